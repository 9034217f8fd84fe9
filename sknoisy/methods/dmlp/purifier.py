"""LabelPurifier: purified labels on frozen features, as an estimator and a pipeline step."""

from __future__ import annotations

import sys
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from tqdm.auto import tqdm

from ..._compat import HasMethods, Interval, Options, StrOptions, fit_context
from ..._docs import share_docs
from ..._engine.construction import random_state_of, resolve_device, warn_of_a_shared_gpu
from ..._engine.containers import from_torch
from ..._engine.groups import check_groups
from ..._engine.imputation import Imputation, has_nan, takes_nan
from ..._engine.label_distribution import set_label_distribution
from ..._engine.labels import check_clean_mask, encode_labels, labels_like
from ..._engine.stopping import current_stop, interruptible, part_of_fit
from ..._engine.streams import Stream, warn_of_label_columns, warn_of_sorted_rows
from ..._engine.threads import suitable_threads
from ..._engine.validation import check_X, forget_fit
from ...cleaning.bookkeeping import keep_classes
from ...cleaning.class_sizes import warn_of_shrunken_classes
from ...exceptions import warn_user
from .blocks import FrozenRows, PurifiedBlocks, purify_blocks, split_blocks
from .frozen_features import are_columns, build_representation
from .judged_rounds import purify
from .kernel_features import KernelFeatures
from .state import PurificationSettings
from .variant import PurificationVariant, variant_named

__all__ = ["LabelPurifier"]


@share_docs
class LabelPurifier(BaseEstimator):
    """Purify labels on frozen features, before a classifier is trained (DMLP).

    The labels themselves are learned, in rounds. Two views of the data have labels of their own.
    In each round the labels of both views take some gradient steps; then each view receives new
    labels from the other. The rounds end when the predictions of held-out rows stop improving.

    - The steps (**intrinsic correction**) change the labels so that a ridge regression on them
      predicts the validation rows: the trusted rows (``clean_mask``) or, without any, pseudo-clean
      rows, whose prediction, neighbourhood and given label agree.
    - The new labels combine the prediction of each row by the ridge regression on all other rows
      with its given label, by an estimated transition matrix; or they are the predictions of a
      linear classifier (**auxiliary correction**).

    No class is emptied: a class that would be lost keeps its most probable row. ``fit_resample``
    returns X unchanged. The purifier is a step for :mod:`sknoisy.pipeline`; in scikit-learn's own
    pipelines use it inside :class:`PurifiedClassifier`.

    Parameters
    ----------
    representation : {"auto", "simclr", "moco", "scarf"}, None or transformer, default="auto"
        The frozen features.

        - None: a kernel map, random Fourier features of a Gaussian kernel on standardised columns
          (images: pixels); the width of the kernel is the median distance between two rows. The
          columns of a table are scaled by what they tell of the labels, if this predicts held-out
          labels better. For a wide sparse X, as that of text: the columns to which it is reduced
          (:ref:`text`).
        - A name: that encoder of :mod:`sknoisy.representation` with its defaults.
        - A transformer is cloned and fitted on X. Wrap a fitted one in
          :class:`sklearn.frozen.FrozenEstimator` to use it as it is.
        - "auto" stands for None. For images of more than 1,024 values, it stands for the kernel
          map of the features of :class:`~sknoisy.representation.SimCLR`.
    n_components : int, default=1024
        Number of random Fourier features, over all views.
    n_views : int, default=2
        Number of views. Each has its own draw of the random Fourier features. Without such
        features, all views are the same and differ only in chunks and initial weights.
    correction : {"intrinsic", "auxiliary", "auto"}, default="intrinsic"
        The correction whose predictions become the labels at the end of a round. "auto" takes in
        each round the one that predicts held-out rows better.
    variant : {"default", "paper", "released"} or PurificationVariant, default="default"
        Objective, parametrisation and optimiser of the labels, ridge, and write-back. "paper" and
        "released" have the values of the paper and of its released code. An object of
        :class:`~sknoisy.methods.dmlp.PurificationVariant` sets each value.
    n_epochs : int, default=100
        Maximum number of epochs.
    n_folds : int, default=3
        Number of folds of the rows that judge the rounds. They decide whether labels take
        intrinsic steps, how many rounds are run, and whether the given labels are kept. 0: no
        judgement; all epochs are run with intrinsic steps, as published.
    chunk_size : int, default=8192
        Maximum number of rows in one regression. More than 16,384 rows, or than two chunks if
        this is more, are purified in blocks of half as many, one after the other;
        ``label_distribution_`` is float32 then.
    {device}
    verbose : int, default=0
        1 shows a progress bar and prints a summary.
    random_state : int, RandomState or None, default=None
        Controls all random draws. On a CPU, two fits with the same int give the same labels bit
        for bit.

    Attributes
    ----------
    {classes_, label_distribution_, purified_labels_, clean_proba_}
    changed_mask_ : ndarray of bool of shape (n_samples,)
        True where the label was changed.
    interrupted_ : bool
        Whether Ctrl-C ended ``fit``.
    sample_indices_ : ndarray of int of shape (n_samples,)
        Indices of the rows that ``fit_resample`` returns: all rows.
    transition_ : ndarray of shape (n_classes, n_classes)
        Estimated probability of each given label (column) for each true label (row).
    validation_rows_ : ndarray of int of shape (n_validation,)
        Indices of the trusted rows or, without any, of the pseudo-clean rows.
    history_ : list of dict
        For each round of the first block: ``epoch``, ``intrinsic_steps``, ``correction``,
        ``n_changed``, ``meta_loss``, and, on held-out rows, ``likelihood`` and
        ``trusted_accuracy``.
    n_iter_ : int
        Number of epochs after which the labels were taken; 0 if the given labels were kept.
    entropy_sign_, ridge_, label_lr_ : int, ndarray of shape (n_views,), ndarray of shape \
            (n_views, n_chunks)
        Values of the variant, with those that "auto" stands for; the ridge is that of the last
        regression, both in the first block.
    representation_ : transformer
        The fitted representation.
    {n_features_in_, feature_names_in_, image_shape_}

    See Also
    --------
    PurifiedClassifier : Purify, then fit any classifier.
    DMLPClassifier : Purify, then train a network.
    sknoisy.methods.dmlp.PurificationVariant : The options that `variant` sets.

    Notes
    -----
    The purifier of the paper is ``LabelPurifier(variant="paper", correction="auxiliary",
    n_views=1, n_folds=0)`` with a self-supervised `representation` and a ``clean_mask``. The
    released code has ``variant="released"`` and two views.

    References
    ----------
    Y. Tu, B. Zhang, Y. Li, L. Liu, J. Li, Y. Wang, C. Wang and C. Zhao. Learning from Noisy Labels
    with Decoupled Meta Label Purifier. CVPR 2023, arXiv:2302.06810.

    Examples
    --------
    >>> from sknoisy import LabelPurifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.4, random_state=0)
    >>> purifier = LabelPurifier(n_components=256, n_epochs=20, random_state=0)
    >>> given, clean = digits.target[:1000], digits.target_clean[:1000]
    >>> X, y = purifier.fit_resample(digits.data[:1000], given)
    >>> bool((given == clean).mean() < 0.7)
    True
    >>> bool((y == clean).mean() > 0.9)
    True
    """

    _parameter_constraints: dict = {
        "representation": [
            None,
            StrOptions({"auto", "simclr", "moco", "scarf"}),
            HasMethods(["fit", "transform"]),
        ],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "n_views": [Interval(Integral, 1, None, closed="left")],
        "correction": [StrOptions({"auto", "intrinsic", "auxiliary"})],
        "variant": [StrOptions({"default", "paper", "released"}), PurificationVariant],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
        "n_folds": [Options(Integral, {0}), Interval(Integral, 2, None, closed="left")],
        "chunk_size": [Interval(Integral, 2, None, closed="left")],
        "device": [str, torch.device],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        representation: Any = "auto",
        n_components: int = 1024,
        n_views: int = 2,
        correction: str = "intrinsic",
        variant: str | PurificationVariant = "default",
        n_epochs: int = 100,
        n_folds: int = 3,
        chunk_size: int = 8192,
        device: str | torch.device = "auto",
        verbose: int = 0,
        random_state: Any = None,
    ):
        self.representation = representation
        self.n_components = n_components
        self.n_views = n_views
        self.correction = correction
        self.variant = variant
        self.n_epochs = n_epochs
        self.n_folds = n_folds
        self.chunk_size = chunk_size
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    @interruptible
    def fit(self, X, y, *, clean_mask=None, groups=None):
        """Purify the labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or images of shape \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Training rows. NaN in tables is a missing value. A ``representation`` of your own takes
            arrays (n_samples, ...) of any shape. With the default one, X may also be the path of
            a Parquet file or a map-style torch ``Dataset`` (:ref:`large_data`).
        y : array-like of shape (n_samples,)
            Noisy labels; :ref:`labels` lists the containers and types.
        clean_mask : array-like of bool of shape (n_samples,) or None, default=None
            True where the label is trusted. Each class needs a trusted row, and at least two for
            these to be held out in turn.
        groups : array-like of shape (n_samples,) or None, default=None
            Group of each row, such as a patient, if the labels of a group may be wrong together.
            The regression then predicts each row without the other rows of its group, and folds of
            held-out rows never divide a group.

        Returns
        -------
        self : object
            The fitted purifier.

        Raises
        ------
        TypeError
            If X is a Parquet file or a ``Dataset``, and the representation reads X as a whole.
        ValueError
            On input or features that cannot be used; the message names the value and the cure.
        """
        self._forget()
        raw = X
        is_own = self._has_own_representation()
        X = check_X(self, X, reset=True, any_shape=is_own, streams=self._reads_streams)
        if isinstance(X, Stream) and self.representation == "auto" and not are_columns(X):
            raise TypeError(
                f"X holds images of the shape {X.shape[1:]}, whose default representation reads X "
                "as a whole. Pass an array or a memory map, or representation=None."
            )
        classes, encoded = encode_labels(y, X.shape[0], type(self).__name__)
        warn_of_sorted_rows(X, encoded)
        warn_of_label_columns(X, encoded)
        trusted = check_clean_mask(clean_mask, encoded, classes)
        group_codes = check_groups(groups, len(encoded))
        if self.correction == "auto" and not self.n_folds:
            raise ValueError(
                'correction="auto" needs held-out rows, but n_folds=0 holds none out. '
                'Pass n_folds=3, or correction="intrinsic" or "auxiliary".'
            )
        device = resolve_device(self.device)
        warn_of_a_shared_gpu(device)
        rng = random_state_of(self.random_state)
        seeds = rng.randint(np.iinfo(np.int32).max, size=2)
        self.classes_ = classes
        if trusted is None:
            trusted = np.zeros(len(encoded), dtype=bool)
        elif self.n_folds:
            self._warn_of_lone_rows(encoded[trusted])
        transformer, source = self._represent(raw, X, encoded, group_codes, int(seeds[0]), device)
        self.representation_ = transformer
        rows = FrozenRows(transformer, source, self.n_views, device, encoded, trusted, group_codes)
        rng = np.random.RandomState(int(seeds[1]))
        blocks = split_blocks(X, encoded, trusted, self.chunk_size, rng)
        with torch.no_grad():
            self._purify(rows, blocks, torch.Generator().manual_seed(int(seeds[1])))
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def fit_resample(self, X, y, *, clean_mask=None, groups=None):
        """Purify the labels and return them with the rows.

        Parameters
        ----------
        X, y, clean_mask, groups
            As in :meth:`fit`.

        Returns
        -------
        X : object
            The object that was passed.
        y : object
            Purified labels, in the container and dtype of y; pandas keeps its index and name.

        Raises
        ------
        ValueError
            As in :meth:`fit`.
        """
        self.fit(X, y, clean_mask=clean_mask, groups=groups)
        return X, labels_like(y, self.classes_, self.purified_labels_)

    # --- steps of fit -----------------------------------------------------------------------

    def _forget(self) -> None:
        """Delete the attributes of an earlier fit, so that a failed fit leaves nothing fitted."""
        forget_fit(self)

    def _warn_of_lone_rows(self, trusted: np.ndarray) -> None:
        lone = np.flatnonzero(np.bincount(trusted, minlength=len(self.classes_)) < 2)
        if len(lone):
            warn_user(
                f"clean_mask trusts only one row of class {self.classes_[lone].tolist()}: such a "
                "row is never held out. Trust at least two rows of each class, ideally n_folds.",
                UserWarning,
            )

    def _represent(
        self, raw, X, encoded, groups, seed: int, device: torch.device
    ) -> tuple[Any, Any]:
        """Return the fitted representation, and the rows that it transforms."""
        transformer = build_representation(
            self.representation,
            X,
            self.n_components,
            self.n_views,
            seed,
            str(device),
            self.verbose,
        )
        given = X
        if self._has_own_representation():  # it may select columns of a frame by name
            given = from_torch(raw)
            if X.ndim == 2 and has_nan(X) and not takes_nan(transformer):
                given = Imputation().fit(X).apply(X)
        labels = (encoded, groups) if isinstance(transformer, KernelFeatures) else ()
        with part_of_fit("the representation"):
            transformer.fit(given, *labels)
        return transformer, given

    @property
    def _reads_streams(self) -> bool:
        """Whether X may be a Parquet file or a data set: not for an encoder or a transformer."""
        return self.representation is None or self.representation == "auto"

    def _has_own_representation(self) -> bool:
        return not (self.representation is None or isinstance(self.representation, str))

    def _settings(self) -> PurificationSettings:
        variant = variant_named(self.variant)
        self.entropy_sign_ = variant.classifier_entropy_sign
        return PurificationSettings(variant, self.n_epochs, self.chunk_size)

    def _purify(
        self, rows: FrozenRows, blocks: list[np.ndarray], generator: torch.Generator
    ) -> None:
        settings = self._settings()
        with part_of_fit("the features"):
            views = rows.take(blocks[0])
        n_multiplications = min(len(views.given), self.chunk_size) * views.given.shape[1]
        n_multiplications *= views.views[0].shape[1]
        with suitable_threads(n_multiplications, views.given.device):
            with self._bar(settings.n_rounds, "round") as bar:

                def show(entry: dict[str, Any]) -> None:
                    bar.set_postfix(changed=entry["n_changed"], refresh=False)
                    bar.update()

                folds = int(self.n_folds)
                first = purify(views, settings, self.correction, folds, generator, show)
            del views
            with self._bar(len(blocks) - 1, "block") as bar:
                purified = purify_blocks(first, blocks, rows, settings, generator, bar.update)
        self.history_ = first.history
        self.label_lr_ = np.array(first.label_rates)
        self.n_iter_ = first.state.epoch
        self.ridge_ = np.array(first.state.ridges)
        self._keep(purified, rows.given, rows.trusted)
        self._report(purified, "trusted" if rows.trusted.any() else "pseudo-clean")

    def _bar(self, total: int, unit: str) -> tqdm:
        return tqdm(
            total=total, desc="LabelPurifier", unit=unit, disable=not (self.verbose and total)
        )

    def _keep(self, purified: PurifiedBlocks, given: np.ndarray, trusted: np.ndarray) -> None:
        self.transition_ = purified.transition
        self.validation_rows_ = purified.validation
        self.sample_indices_ = np.arange(len(given))
        distribution = purified.distribution
        distribution /= distribution.sum(axis=1, keepdims=True)
        distribution[trusted] = np.eye(len(self.classes_))[given[trusted]]
        set_label_distribution(self, keep_classes(distribution, given), given)
        codes = self.label_distribution_.argmax(axis=1)
        self.changed_mask_ = codes != given
        warn_of_shrunken_classes(type(self).__name__, given, codes, self.classes_)

    def _report(self, purified: PurifiedBlocks, kind: str) -> None:
        self.interrupted_ = purified.is_interrupted
        if self.interrupted_:
            current_stop().result = f"the labels are those of epoch {self.n_iter_}"
        if not self.verbose:
            return
        message = f"{len(self.validation_rows_)} {kind} validation rows; labels of epoch "
        message += f"{self.n_iter_} taken, {int(self.changed_mask_.sum())} changed."
        tqdm.write(f"LabelPurifier: {message}", file=sys.stderr)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "purified_labels_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.target_tags.required = True
        return tags

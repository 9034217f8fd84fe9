"""Labels purified on frozen features (DMLP)."""

from __future__ import annotations

import sys
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from tqdm.auto import tqdm

from ..._compat import HasMethods, Interval, Options, StrOptions, fit_context
from ..._docs import share_docs
from ..._engine.construction import random_state_of, resolve_device, warn_of_a_shared_gpu
from ..._engine.validation import check_clean_mask, check_X, encode_labels
from ...cleaning.bookkeeping import keep_classes, labels_in_type_of
from ...exceptions import InterruptedFitWarning, warn_user
from .frozen_features import build_representation, check_features, split_views
from .judged_rounds import Purification, purify
from .soft_labels import one_hot
from .state import Rows, Settings, State

__all__ = ["LabelPurifier"]


@share_docs
class LabelPurifier(BaseEstimator):
    """Purify labels on frozen features, before any classifier sees them (DMLP).

    The labels themselves are learned. In every round, two views of the data with labels of their
    own take a few steps each, then each is given new labels by the other, until rows that were
    left out say that it gets no better.

    - The steps (**intrinsic correction**) move labels so that a ridge regression on them is right
      on validation rows: the trusted ones (``clean_mask``) or, without them, pseudo-clean ones, of
      which prediction, neighbourhood and label agree.
    - The new labels are what the ridge regression on all other rows says of a row, together with
      what its given label says, by an estimated transition matrix; or what a linear classifier of
      the labels says (**auxiliary correction**).

    No class is emptied: one that would be lost keeps the row of it that is believed most. X leaves
    ``fit_resample`` as it came in. It is a step of :mod:`sknoisy.pipeline`; in
    scikit-learn's own pipelines :class:`PurifiedClassifier` runs it.

    Parameters
    ----------
    representation : None, {"simclr", "moco", "scarf"} or transformer, default=None
        The frozen features. None: standardised columns (images: pixels) under random Fourier
        features of a Gaussian kernel, its width being the median distance of two rows. A name:
        that encoder of :mod:`sknoisy.representation` with its defaults. A transformer is cloned
        and fitted on X.
    n_components : int, default=1024
        Random Fourier features, of all views together.
    n_views : int, default=2
        Views. Each has its own draw of the random Fourier features; of any other representation
        all see the same features, and differ by chunks and starts only.
    correction : {"intrinsic", "auxiliary", "auto"}, default="intrinsic"
        Whose predictions become the labels at the end of a round. "auto": in each round the one
        that predicts held-out rows better.
    objective : {"paper", "code"}, default="paper"
        Meta objective and loss of the linear classifier, as published or as released.
    optimizer : {"sgd", "adam"}, default="sgd"
        Of the labels.
    label_param : {"raw", "softmax"}, default="raw"
        Labels are parameters themselves, or by logits.
    label_lr : "auto" or float, default="auto"
        Learning rate of the labels. "auto": 0.01 for "adam", as published; for "sgd" nine tenths
        of the longest step under which the squared error of the validation rows cannot grow.
    classifier_lr : float, default=0.006
        Learning rate of the linear classifier.
    ridge : "auto" or float, default="auto"
        Of the regression. "auto": in each round the one of the smallest leave-one-out error.
    entropy_sign : {"auto", -1, 0, 1}, default="auto"
        Sign of the entropy in the linear classifier's loss: 1 makes it more certain. "auto": 1 for
        the objective "paper", -1 for "code".
    n_epochs : int, default=100
        Epochs, at most.
    eac_period : int, default=5
        Epochs of a round.
    eac_momentum : float, default=1.0
        Share of the new labels in a write-back.
    n_folds : int, default=3
        Folds of the rows that judge the rounds: whether labels take intrinsic steps, how many
        rounds there are, and whether labels had better stay as they are. 0: no judgement, all
        epochs are run with intrinsic steps, as published.
    chunk_size : int, default=8192
        Rows of one regression, at most.
    {device}
    verbose : int, default=0
        1 shows a progress bar, and says what was found.
    random_state : int, RandomState or None, default=None
        Decides all draws; on a CPU, two fits with the same int give the same labels bit for bit.

    Attributes
    ----------
    {classes_}
    purified_labels_ : ndarray of shape (n_samples,)
        The purified labels.
    label_distribution_ : ndarray of shape (n_samples, n_classes)
        Probability of each class for each row.
    changed_mask_ : ndarray of bool of shape (n_samples,)
        Rows whose label was changed.
    clean_proba_ : ndarray of shape (n_samples,)
        Probability that the given label is right, 1 for trusted rows.
    interrupted_ : bool
        Whether Ctrl-C ended ``fit``.
    sample_indices_ : ndarray of int of shape (n_samples,)
        Rows of X that are left: all.
    transition_ : ndarray of shape (n_classes, n_classes)
        Estimated probability of each given label (column) for each true one (row).
    validation_rows_ : ndarray of int of shape (n_validation,)
        The trusted rows, or the pseudo-clean ones.
    history_ : list of dict
        For each round: ``epoch``, ``intrinsic_steps``, ``correction``, ``n_changed``,
        ``meta_loss``, and of held-out rows ``likelihood`` and ``trusted_accuracy``.
    n_iter_ : int
        Epochs of the round whose labels were taken; 0 if labels stayed as they were.
    entropy_sign_, ridge_, label_lr_ : int, ndarray of shape (n_views,), ndarray of shape \
            (n_views, n_chunks)
        What "auto" stood for; the ridge is that of the last regression.
    representation_ : transformer
        The fitted representation.
    {n_features_in_, feature_names_in_, image_shape_}

    See Also
    --------
    PurifiedClassifier : Purify, then fit any classifier.
    DMLPClassifier : Purify, then train a network.

    References
    ----------
    Y. Tu, B. Zhang, Y. Li, L. Liu, J. Li, Y. Wang, C. Wang and C. Zhao. Learning from Noisy Labels
    with Decoupled Meta Label Purifier. CVPR 2023, arXiv:2302.06810.

    Examples
    --------
    >>> from sknoisy import LabelPurifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.4, random_state=0)
    >>> X, y = LabelPurifier(random_state=0).fit_resample(digits.data, digits.target)
    >>> bool((digits.target == digits.target_clean).mean() < 0.7)
    True
    >>> bool((y == digits.target_clean).mean() > 0.9)
    True
    """

    _parameter_constraints: dict = {
        "representation": [
            None,
            StrOptions({"simclr", "moco", "scarf"}),
            HasMethods(["fit", "transform"]),
        ],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "n_views": [Interval(Integral, 1, None, closed="left")],
        "correction": [StrOptions({"auto", "intrinsic", "auxiliary"})],
        "objective": [StrOptions({"paper", "code"})],
        "optimizer": [StrOptions({"sgd", "adam"})],
        "label_param": [StrOptions({"softmax", "raw"})],
        "label_lr": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "classifier_lr": [Interval(Real, 0, None, closed="neither")],
        "ridge": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "entropy_sign": [StrOptions({"auto"}), Interval(Integral, -1, 1, closed="both")],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
        "eac_period": [Interval(Integral, 1, None, closed="left")],
        "eac_momentum": [Interval(Real, 0, 1, closed="both")],
        "n_folds": [Options(Integral, {0}), Interval(Integral, 2, None, closed="left")],
        "chunk_size": [Interval(Integral, 2, None, closed="left")],
        "device": [str, torch.device],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        representation: Any = None,
        n_components: int = 1024,
        n_views: int = 2,
        correction: str = "intrinsic",
        objective: str = "paper",
        optimizer: str = "sgd",
        label_param: str = "raw",
        label_lr: str | float = "auto",
        classifier_lr: float = 0.006,
        ridge: str | float = "auto",
        entropy_sign: str | int = "auto",
        n_epochs: int = 100,
        eac_period: int = 5,
        eac_momentum: float = 1.0,
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
        self.objective = objective
        self.optimizer = optimizer
        self.label_param = label_param
        self.label_lr = label_lr
        self.classifier_lr = classifier_lr
        self.ridge = ridge
        self.entropy_sign = entropy_sign
        self.n_epochs = n_epochs
        self.eac_period = eac_period
        self.eac_momentum = eac_momentum
        self.n_folds = n_folds
        self.chunk_size = chunk_size
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, clean_mask=None):
        """Purify the labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or images of shape \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Training rows.
        y : array-like of shape (n_samples,)
            Noisy labels of any type.
        clean_mask : array-like of bool of shape (n_samples,) or None, default=None
            True where the label is trusted. Each class needs a trusted row, and two for them to be
            judged out of fold.

        Returns
        -------
        self : object
            The fitted purifier.

        Raises
        ------
        ValueError
            On input or features that cannot be used; the message names the value and the cure.
        """
        self._forget()
        raw = X
        X = check_X(self, X, reset=True)
        classes, encoded = encode_labels(y, X.shape[0], type(self).__name__)
        trusted = check_clean_mask(clean_mask, encoded, classes)
        if self.correction == "auto" and not self.n_folds:
            raise ValueError(
                'correction="auto" is decided by held-out rows, but n_folds=0 holds none out. '
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
        views = self._frozen_features(raw, X, int(seeds[0]), device)
        with torch.no_grad():
            rows = Rows(
                views,
                one_hot(torch.as_tensor(encoded, device=device), len(classes), torch.float32),
                torch.as_tensor(trusted, device=device),
            )
            self._purify(rows, torch.Generator().manual_seed(int(seeds[1])))
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def fit_resample(self, X, y, clean_mask=None):
        """Purify the labels and return them with the rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or images of shape \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Training rows.
        y : array-like of shape (n_samples,)
            Noisy labels of any type.
        clean_mask : array-like of bool of shape (n_samples,) or None, default=None
            True where the label is trusted.

        Returns
        -------
        X : object
            The very X that came in.
        y : ndarray or Series of shape (n_samples,)
            Purified labels, of the dtype that came in; a series of pandas or polars stays one.

        Raises
        ------
        ValueError
            On input or features that cannot be used; the message names the value and the cure.
        """
        self.fit(X, y, clean_mask)
        return X, labels_in_type_of(y, self.classes_, self.purified_labels_)

    # --- steps of fit -----------------------------------------------------------------------

    def _forget(self) -> None:
        """Drop what an earlier fit learned: should this one fail, the purifier is not fitted."""
        for name in [name for name in vars(self) if name.endswith("_")]:
            del self.__dict__[name]

    def _warn_of_lone_rows(self, trusted: np.ndarray) -> None:
        lone = np.flatnonzero(np.bincount(trusted, minlength=len(self.classes_)) < 2)
        if len(lone):
            warn_user(
                f"clean_mask trusts only one row of class {self.classes_[lone].tolist()}: it can "
                "judge no round. Trust at least two rows of each class, best one for each fold.",
                UserWarning,
            )

    def _frozen_features(self, raw, X, seed: int, device: torch.device) -> list[torch.Tensor]:
        is_kernel = self.representation is None
        transformer = build_representation(
            self.representation, self.n_components, self.n_views, seed, str(device), self.verbose
        )
        # A transformer of the user's may select columns of a frame by name.
        given = X if is_kernel or isinstance(self.representation, str) else raw
        features = transformer.fit(given).transform(given)
        features = check_features(features, X.shape[0], type(transformer).__name__)
        self.representation_ = transformer
        tensor = torch.as_tensor(features, device=device)
        return split_views(tensor, self.n_views, kernel=is_kernel)

    def _settings(self) -> Settings:
        published = 1 if self.objective == "paper" else -1
        self.entropy_sign_ = published if self.entropy_sign == "auto" else int(self.entropy_sign)
        options = {name: getattr(self, name) for name in Settings._fields}
        return Settings(**{**options, "entropy_sign": self.entropy_sign_})

    def _purify(self, rows: Rows, generator: torch.Generator) -> None:
        settings = self._settings()
        with tqdm(
            total=settings.n_rounds, desc="LabelPurifier", unit="round", disable=not self.verbose
        ) as bar:

            def show(entry: dict[str, Any]) -> None:
                bar.set_postfix(changed=entry["n_changed"], refresh=False)
                bar.update()

            found = purify(rows, settings, self.correction, int(self.n_folds), generator, show)
        self.history_ = found.history
        self.validation_rows_ = found.run.validation.cpu().numpy()
        self.label_lr_ = np.array(found.run.label_rates)
        self._keep(rows, found.state)
        self._report(rows, found)

    def _keep(self, rows: Rows, state: State) -> None:
        self.n_iter_ = state.epoch
        self.ridge_ = np.array(state.ridges)
        assert state.transition is not None  # of all states that were written back
        self.transition_ = state.transition.double().cpu().numpy()
        distribution = state.distribution.double().cpu().numpy()
        given = rows.given.argmax(dim=1).cpu().numpy()
        self.sample_indices_ = np.arange(len(given))
        distribution /= distribution.sum(axis=1, keepdims=True)
        trusted = rows.trusted.cpu().numpy()
        distribution[trusted] = np.eye(len(self.classes_))[given[trusted]]
        self.label_distribution_ = keep_classes(distribution, given)
        self.clean_proba_ = self.label_distribution_[self.sample_indices_, given]
        codes = self.label_distribution_.argmax(axis=1)
        self.changed_mask_ = codes != given
        self.purified_labels_ = self.classes_[codes]

    def _report(self, rows: Rows, found: Purification) -> None:
        self.interrupted_ = found.is_interrupted
        if self.interrupted_:
            warn_user(
                f"fit was interrupted after {len(found.history)} of {found.run.settings.n_rounds} "
                f"rounds; the labels are those of epoch {self.n_iter_}.",
                InterruptedFitWarning,
            )
        if not self.verbose:
            return
        kind = "trusted" if bool(rows.trusted.any()) else "pseudo-clean"
        message = f"{len(self.validation_rows_)} {kind} validation rows; labels of epoch "
        message += f"{self.n_iter_} taken, {int(self.changed_mask_.sum())} changed."
        tqdm.write(f"LabelPurifier: {message}", file=sys.stderr)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "purified_labels_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.required = True
        return tags

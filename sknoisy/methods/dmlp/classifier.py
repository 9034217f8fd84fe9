"""DMLPClassifier: purify the labels, then train a network on them."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from ..._compat import HasMethods, fit_context
from ..._docs import share_docs
from ..._engine.batches import TrainingData
from ..._engine.indexing import take_rows
from ..._engine.problem import Problem
from ..._engine.stopping import Stopped, part_of_fit
from ...base import NetworkClassifier
from ...cleaning.bookkeeping import check_known_labels, distribution_of
from ...cleaning.held_out import MAX_ROWS, Verdict, learn_and_predict, rehearse
from ...cleaning.run import run_cleaner
from ...exceptions import NonFiniteLossError, ShrunkenClassWarning
from .purifier import LabelPurifier

__all__ = ["DMLPClassifier"]

_N_FOLDS = 3


@share_docs
class DMLPClassifier(NetworkClassifier):
    """Classifier for noisy labels by a decoupled meta label purifier (DMLP).

    First, :class:`~sknoisy.LabelPurifier` purifies the labels on frozen features. Then a fresh
    network learns the purified labels by plain cross-entropy: "DMLP-Naive" of the paper.

    The purifier judges its labels by a regression, which may be a worse model of the data than
    the network. Without trusted rows and with at most 2,000 rows, the purified labels are
    therefore judged once more, by three parts of the rows, each of which leaves out a third. Each
    part is purified separately, and the network is trained on it twice, with the given labels and
    with the purified ones. The given labels of all rows are learned if the purified labels of the
    parts predict fewer of the held-out given labels, by more than a standard error, or if the
    purifier changes no label of any part.

    Trusted rows are passed as ``clean_mask``. They validate the purification and keep their
    labels. Rows with a ``sample_weight`` of 0 take part in neither step.

    Parameters
    ----------
    purifier : None, LabelPurifier or other estimator with ``fit_resample``, default=None
        Estimator that purifies the labels. It is cloned, receives validated arrays and returns a
        label for each row. None: ``LabelPurifier()`` on this classifier's device. If its
        ``random_state`` is None, it is seeded by this classifier's. Trusted rows keep their
        labels whatever it returns. The labels of a purifier that is passed are not judged by the
        network, which saves most of the time.
    {module, module_params, optimizer, optimizer_params}
    lr : "auto" or float, default="auto"
        Learning rate of the network. "auto": 0.05, more for larger batches.
    {lr_schedule, max_epochs, batch_size, max_time, augment, standardize, device, precision}
    {callbacks}
    verbose : int, default=0
        1 shows the progress of the purification and of the training.
    {random_state, pretrained, weight_average, n_ensemble}
    {warm_start, checkpoint}

    Attributes
    ----------
    {classes_, label_distribution_, purified_labels_, clean_proba_}
    purifier_ : estimator
        The fitted purifier.
    held_out_gain_ : named tuple or None
        Result of the judgement. ``gain`` is the share of the held-out labels that are predicted
        after purification, minus the share without it; ``error`` is its standard error;
        ``is_worse`` is True if ``gain < -error``. None if nothing was judged.
    {net_}
    history_ : skorch.history.History
        Per epoch: ``train_loss``, ``event_lr``, ``dur``.
    {n_iter_, batch_size_, n_features_in_, feature_names_in_, image_shape_}

    See Also
    --------
    PurifiedClassifier : Purify, then fit any classifier.

    References
    ----------
    Y. Tu et al. Learning from Noisy Labels with Decoupled Meta Label Purifier. CVPR 2023.

    Examples
    --------
    >>> from sknoisy import DMLPClassifier, LabelPurifier
    >>> from sknoisy.datasets import make_noisy_classification
    >>> X, y, y_clean = make_noisy_classification(600, 8, rate=0.3, class_sep=2, random_state=0)
    >>> purifier = LabelPurifier(n_components=128, n_epochs=20)
    >>> clf = DMLPClassifier(purifier=purifier, max_epochs=20, random_state=0)
    >>> clf = clf.fit(X[:300], y[:300])
    >>> bool((clf.purified_labels_ == y_clean[:300]).mean() > 0.9)
    True
    >>> bool(clf.score(X[300:], y_clean[300:]) > 0.9)
    True
    """

    _can_use_ranks = False  # several trainings
    _parameter_constraints: dict = {
        **NetworkClassifier._parameter_constraints,
        "purifier": [HasMethods(["fit_resample"]), None],
    }

    def __init__(
        self,
        *,
        purifier: Any = None,
        **shared: Any,
    ):
        super().__init__(**shared)
        self.purifier = purifier

    @fit_context(prefer_skip_nested_validation=False)  # the purifier checks its own
    @share_docs
    def fit(self, X, y, *, clean_mask=None, sample_weight=None, groups=None):
        """Purify the labels, then train on them.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or images of shape \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Training rows of any numeric dtype, as for every network. NaN in tables is a missing
            value. A ``module`` of your own takes arrays (n_samples, ...) of any shape.
        {y, clean_mask, sample_weight}
        groups : array-like of shape (n_samples,) or None, default=None
            Group of each row, such as a patient, if the labels of a group may be wrong together.
            The purifier receives them if it takes them, and folds of held-out rows never divide a
            group.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            On input that cannot be used; the message names the value and the cure.
        NonFiniteLossError
            If the training loss becomes NaN or infinite.
        """
        return self._fit(X, y, clean_mask, sample_weight, groups)

    def _prepare(self, problem: Problem) -> Problem:
        """Return the problem with purified labels to learn, if they are not judged to be worse."""
        self.held_out_gain_: Verdict | None = None
        purified = self._purify(problem)
        if self._is_judged(problem, purified) and self._keep_given_labels(problem):
            purified = problem.given
        return replace(problem, targets=purified)

    def _purify(self, problem: Problem) -> np.ndarray:
        """Return the codes of the purified labels; trusted rows keep their given labels."""
        counted, trusted = problem.weighted_rows, problem.trusted
        purifier = self.purifier
        if purifier is None:
            purifier = LabelPurifier(device=self.device, verbose=self.verbose)
        with part_of_fit("the purification"):
            self.purifier_, labels = run_cleaner(
                purifier,
                take_rows(problem.X, counted),
                problem.classes[problem.given[counted]],
                None if trusted is None else trusted[counted],
                problem.seed,
                None if problem.groups is None else problem.groups[counted],
            )
        name = type(self.purifier_).__name__
        if len(labels) != len(counted):
            raise ValueError(
                f"{name} returned {len(labels)} labels for {len(counted)} rows: DMLPClassifier "
                "needs a purifier that keeps all rows. Pass one that drops rows to "
                "PurifiedClassifier."
            )
        check_known_labels(labels, problem.classes, name)
        purified = problem.given.copy()
        purified[counted] = np.searchsorted(
            problem.classes, labels.astype(problem.classes.dtype, copy=False)
        )
        if trusted is not None:
            purified[trusted] = problem.given[trusted]
        return purified

    def _label_distribution(self, data: TrainingData, proba: np.ndarray) -> np.ndarray:
        """Return the mean of the labels that the network learned and of its predictions.

        The labels are the distribution of the purifier, if it has one and its labels were learned,
        else one-hot. Rows without weight have no learned label.
        """
        learned, counted = data.targets.cpu().numpy(), np.arange(len(data))
        if data.sample_weight is not None:
            counted = data.sample_weight.cpu().numpy().nonzero()[0]
        labels = distribution_of(self.purifier_, len(counted), self.classes_)
        if labels is None or (labels.argmax(axis=1) != learned[counted]).any():
            labels = np.eye(len(self.classes_))[learned[counted]]
        distribution = proba.copy()
        distribution[counted] += labels
        distribution[counted] /= 2
        return distribution

    # --- the held-out judgement -------------------------------------------------------------

    def _is_judged(self, problem: Problem, purified: np.ndarray) -> bool:
        return (
            self.purifier is None
            and problem.trusted is None
            and len(problem.weighted_rows) <= MAX_ROWS
            and bool((purified != problem.given).any())
            and not self.purifier_.interrupted_
        )

    def _keep_given_labels(self, problem: Problem) -> bool:
        """Return whether networks predict held-out labels worse after purification."""
        X, encoded, counted = problem.X, problem.given, problem.weighted_rows
        groups = None if problem.groups is None else problem.groups[counted]
        data = self._training_data(problem)
        is_part_changed = False
        self._say(f"the purified labels are judged by {_N_FOLDS} parts of the rows")

        def purify(rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
            nonlocal is_part_changed
            purifier = LabelPurifier(device=self.device, random_state=seed)
            y = encoded[counted[rows]]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ShrunkenClassWarning)  # the rows are a part
                of_part = {} if groups is None else {"groups": groups[rows]}
                labels = purifier.fit(take_rows(X, counted[rows]), y, **of_part).purified_labels_
            if purifier.interrupted_:
                raise Stopped
            is_part_changed |= bool((labels != y).any())
            return rows, labels

        def predict(rows, labels, held, seed: int) -> np.ndarray:
            part = _with_labels(data, counted[rows], labels)
            build = partial(self._build_net, data)
            return learn_and_predict(build, part, counted[rows], counted[held], seed)

        try:
            rng = np.random.RandomState(problem.seed)
            with part_of_fit("the judgement"):
                verdict = rehearse(encoded[counted], _N_FOLDS, rng, purify, predict, groups)
        except NonFiniteLossError:  # no judgement: the purified labels are learned
            return False
        self.held_out_gain_ = verdict
        keep_given_labels = verdict is not None and (verdict.is_worse or not is_part_changed)
        self._say(f"the {'given' if keep_given_labels else 'purified'} labels are learned")
        return keep_given_labels


def _with_labels(data: TrainingData, rows: Any, codes: np.ndarray) -> TrainingData:
    """Return a copy of the data in which these rows have other labels to learn."""
    changed = copy.copy(data)
    changed.targets = data.given.clone()
    changed.targets[rows] = torch.as_tensor(codes, device=data.device)
    return changed

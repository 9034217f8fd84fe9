"""Classifier for noisy labels by a decoupled meta label purifier (DMLP)."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from ..._compat import HasMethods
from ..._docs import share_docs
from ..._engine.batches import TrainingData
from ..._engine.indexing import take_rows
from ..._engine.problem import Problem
from ...base import NetworkClassifier
from ...cleaning.bookkeeping import check_known_labels
from ...cleaning.held_out import MAX_ROWS, Verdict, learn_and_predict, rehearse
from ...cleaning.run import run_cleaner
from ...exceptions import InterruptedFitWarning, NonFiniteLossError, warn_user
from .purifier import LabelPurifier

__all__ = ["DMLPClassifier"]

_N_FOLDS = 3


@share_docs
class DMLPClassifier(NetworkClassifier):
    """Classifier for noisy labels by a decoupled meta label purifier (DMLP).

    The labels are purified on frozen features first, by :class:`~sknoisy.LabelPurifier`; then a
    fresh network learns the purified labels by plain cross-entropy: "DMLP-Naive" of the paper.

    The purifier judges its labels by a regression, which may know less of the rows than the
    network does. So up to 2,000 rows without trusted ones are judged once more: three parts of
    them, which leave out a third each, are purified by themselves, and the network learns each
    part with its given labels and with the purified ones. If these predict fewer of the given
    labels left out, by more than a standard error, or if the purifier itself changes no label of
    any part, it learns the given labels.

    Trusted rows are passed as ``clean_mask``; they judge the purification and keep their labels.
    Rows whose ``sample_weight`` is 0 have no part in either step.

    Parameters
    ----------
    purifier : None, LabelPurifier or other estimator with ``fit_resample``, default=None
        It is cloned, sees validated arrays and returns a label for each row. None:
        ``LabelPurifier()`` on this classifier's device. Where its ``random_state`` is None, this
        classifier's decides. Rows of ``clean_mask`` keep their labels, whatever it returns. One
        that is given is taken at its word: the network does not judge its labels, which takes
        most of the time.
    {module, module_params, optimizer, optimizer_params}
    lr : float, default=0.05
        Learning rate of the network.
    {lr_schedule, max_epochs, batch_size, augment, standardize, device, callbacks}
    verbose : int, default=0
        1 shows progress of the purification and of the training.
    {random_state}

    Attributes
    ----------
    {classes_}
    purifier_ : estimator
        The fitted purifier.
    purified_labels_ : ndarray of shape (n_samples,)
        The labels that the network learned: the given ones if the judgement was against the
        purifier's.
    held_out_gain_ : Verdict or None
        Named tuple of the judgement: ``gain``, by how much the share of left-out labels that are
        predicted is larger after purification, and ``error``, its standard error; None if nothing
        was judged.
    clean_proba_ : ndarray of shape (n_samples,)
        Probability that the given label is right: the network's probability of it, 1 for trusted
        rows.
    {net_}
    history_ : skorch.history.History
        Per epoch: ``train_loss``, ``event_lr``, ``dur``.
    {n_iter_, n_features_in_, feature_names_in_, image_shape_}

    See Also
    --------
    PurifiedClassifier : The same with any classifier in place of the network.

    References
    ----------
    Y. Tu et al. Learning from Noisy Labels with Decoupled Meta Label Purifier. CVPR 2023.

    Examples
    --------
    >>> from sknoisy import DMLPClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.3, random_state=0)
    >>> clf = DMLPClassifier(max_epochs=20, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool((clf.purified_labels_ == digits.target_clean[:900]).mean() > 0.9)
    True
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.9)
    True
    """

    _parameter_constraints: dict = {
        **NetworkClassifier._parameter_constraints,
        "purifier": [HasMethods(["fit_resample"]), None],
    }

    def __init__(
        self,
        *,
        purifier: Any = None,
        module=None,
        module_params: dict[str, Any] | None = None,
        optimizer="sgd",
        optimizer_params: dict[str, Any] | None = None,
        lr: float = 0.05,
        lr_schedule="cosine",
        max_epochs: int = 60,
        batch_size: int = 100,
        augment="auto",
        standardize: str | bool = "auto",
        device="auto",
        callbacks: list | None = None,
        verbose: int = 0,
        random_state=None,
    ):
        super().__init__(
            module=module,
            module_params=module_params,
            optimizer=optimizer,
            optimizer_params=optimizer_params,
            lr=lr,
            lr_schedule=lr_schedule,
            max_epochs=max_epochs,
            batch_size=batch_size,
            augment=augment,
            standardize=standardize,
            device=device,
            callbacks=callbacks,
            verbose=verbose,
            random_state=random_state,
        )
        self.purifier = purifier

    def _prepare(self, problem: Problem) -> Problem:
        counted, trusted = problem.weighted_rows, problem.trusted
        given = problem.classes[problem.given]
        purified = given.copy()
        purified[counted] = self._purify(
            take_rows(problem.X, counted),
            given[counted],
            None if trusted is None else trusted[counted],
            problem.seed,
        )
        if trusted is not None:
            purified[trusted] = given[trusted]
        self.held_out_gain_: Verdict | None = None
        is_judged = (
            self.purifier is None
            and trusted is None
            and len(counted) <= MAX_ROWS
            and (purified != given).any()
            and not self.purifier_.interrupted_
        )
        if is_judged and self._had_better_not(problem):
            purified = given
        self.purified_labels_ = purified
        return replace(problem, targets=np.searchsorted(problem.classes, purified))

    def _had_better_not(self, problem: Problem) -> bool:
        """Purify parts of the rows, too, and learn them: are the others predicted worse then?"""
        X, encoded, counts = problem.X, problem.given, problem.weighted_rows
        data = self._training_data(problem)
        is_part_changed = False
        self._say(f"the purified labels are judged by {_N_FOLDS} parts of the rows")

        def purify(rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
            nonlocal is_part_changed
            purifier = LabelPurifier(device=self.device, random_state=seed)
            y = encoded[counts[rows]]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", InterruptedFitWarning)  # of a part; see below
                labels = purifier.fit(take_rows(X, counts[rows]), y).purified_labels_
            if purifier.interrupted_:
                raise KeyboardInterrupt
            is_part_changed |= bool((labels != y).any())
            return rows, labels

        def predict(rows, labels, held, seed: int) -> np.ndarray:
            part = _with_labels(data, counts[rows], labels)
            build = partial(self._build_net, data)
            return learn_and_predict(build, part, counts[rows], counts[held], seed)

        try:
            rng = np.random.RandomState(problem.seed)
            verdict = rehearse(encoded[counts], _N_FOLDS, rng, purify, predict)
        except NonFiniteLossError:  # the purified labels stand
            return False
        except KeyboardInterrupt:
            warn_user(
                "fit was interrupted while the purification was judged; purified labels stand.",
                InterruptedFitWarning,
            )
            return False
        self.held_out_gain_ = verdict
        had_better_not = verdict is not None and (verdict.is_worse or not is_part_changed)
        self._say(f"{'given' if had_better_not else 'purified'} labels are learned")
        return had_better_not

    def _purify(self, X, y: np.ndarray, trusted: np.ndarray | None, seed: int) -> np.ndarray:
        purifier = self.purifier
        if purifier is None:
            purifier = LabelPurifier(device=self.device, verbose=self.verbose)
        self.purifier_, purified = run_cleaner(purifier, X, y, trusted, seed)
        name = type(self.purifier_).__name__
        if len(purified) != len(y):
            raise ValueError(
                f"{name} returned {len(purified)} labels for {len(y)} rows: "
                "DMLPClassifier takes a purifier that keeps all rows. Pass one that drops rows to "
                "PurifiedClassifier."
            )
        check_known_labels(purified, self.classes_, name)
        return purified


def _with_labels(data: TrainingData, rows: Any, codes: np.ndarray) -> TrainingData:
    """The same data, of which some rows have other labels to learn."""
    changed = copy.copy(data)
    changed.targets = data.given.clone()
    changed.targets[rows] = torch.as_tensor(codes, device=data.device)
    return changed

"""Classifiers of all rows, each of which judges the rows of a fold that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.base import ClassifierMixin, clone

from .._engine.folds import draw_folds_of_counted
from .._engine.heap import return_freed_memory
from .._engine.indexing import take_rows
from .._engine.stopping import part_of_fit
from .noisy_rows import NoisyRows
from .posterior import mean_of
from .probabilities import blocks

__all__ = ["CrossFit"]

_ROWS_IN_MEMORY = 100_000  # more are read, and converted, a batch at a time
_OF_ROWS = ("label_distribution_", "purified_labels_", "clean_proba_", "sample_weight_")


class CrossFit:
    """Classifiers that learn the given labels of all rows, each without one fold of them.

    Their mean predicts new rows. Each row of a fold is judged by the classifier that has not seen
    it.

    Parameters
    ----------
    classifiers : sequence of classifier
        One for each fold; clones are fitted. They take ``clean_mask`` and ``sample_weight``.
    seed : int
        Seed of the folds.

    Attributes
    ----------
    fitted_ : dict of classifier
        The fitted classifier of each fold, by its number. A fold without which one class is left
        has none.
    fold_ : ndarray of int64 of shape (n,)
        Number of the fold of each training row, -1 for rows that all classifiers have seen. It is
        needed by :meth:`held_out` alone.
    """

    fitted_: dict[int, Any]
    fold_: np.ndarray

    def __init__(self, classifiers: Sequence[ClassifierMixin], seed: int):
        self.classifiers = classifiers
        self.seed = seed

    def fit(self, data: NoisyRows, n_classes: int) -> CrossFit:
        """Learn the given labels of rows.

        Parameters
        ----------
        data : NoisyRows
            Rows and labels; its X is as in :meth:`LargeEnsemble.fit`.
        n_classes : int
            Number of classes.
        """
        self._n_classes, self.fitted_ = n_classes, {}
        rng = np.random.RandomState(self.seed)
        n_folds = len(self.classifiers)
        self.fold_ = draw_folds_of_counted(data.codes, n_folds, rng, data.groups, data.weights)
        for k, classifier in enumerate(self.classifiers):
            rows = np.flatnonzero((self.fold_ != k) & data.counted)
            codes = data.codes[rows]
            if not (self.fold_ == k).any() or len(np.unique(codes)) < 2:
                continue
            given = _given(data, rows)
            some = data.X[rows] if len(rows) <= _ROWS_IN_MEMORY else take_rows(data.X, rows)
            with part_of_fit(f"fold {k + 1}"), config_context(enable_metadata_routing=False):
                fitted = clone(classifier).fit(some, codes, **given)
            for name in _OF_ROWS:
                vars(fitted).pop(name, None)
            self.fitted_[k] = fitted
            return_freed_memory()
        return self

    def held_out(self, X: Any, rows: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
        """Return the probabilities of training rows by the classifier that has not seen them.

        Parameters
        ----------
        X : Stream of shape (n, d)
            All training rows.
        rows : ndarray of int64 of shape (m,)
            Those that are judged.
        otherwise : ndarray of shape (m, n_classes)
            Probabilities for rows that all classifiers have seen.

        Returns
        -------
        proba : ndarray of shape (m, n_classes)
        """
        proba = otherwise.copy()
        for k in self.fitted_:
            own = np.flatnonzero(self.fold_[rows] == k)
            for block in blocks(len(own)):
                proba[own[block]] = self._proba_by(k, X[rows[own[block]]])
        return proba

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the mean probabilities (n, n_classes) of rows (n, d)."""
        return mean_of([self._proba_by(k, X) for k in self.fitted_])

    def _proba_by(self, k: int, X: Any) -> np.ndarray:
        proba = np.zeros((len(X), self._n_classes))
        proba[:, self.fitted_[k].classes_] = self.fitted_[k].predict_proba(X)
        return proba


def _given(data: NoisyRows, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return arguments of ``fit``: the weights, and the trusted rows if each class has some."""
    given = {}
    if data.weights is not None:
        given["sample_weight"] = data.weights[rows]
    if data.trusted is not None:
        trusted = data.trusted[rows]
        if np.isin(data.codes[rows], data.codes[rows[trusted]]).all():
            given["clean_mask"] = trusted
    return given

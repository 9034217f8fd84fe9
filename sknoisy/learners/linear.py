"""Linear ridge regression of soft labels on sparse rows, with probabilities by folds."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse.linalg import norm
from sklearn.linear_model import Ridge

from .._engine.folds import draw_folds_of_counted
from .probabilities import LEAST, normalized, relative_weights

__all__ = ["LinearRidge"]

_PENALTY = 3.0  # for rows of unit length
_N_FOLDS = 5
_TOLERANCE = 1e-3  # of the conjugate gradients


class LinearRidge:
    """Linear ridge regression of soft labels, with probabilities by five folds.

    The penalty is 3 times the mean squared length of the rows. Values below 0.001 are raised to
    it, and rows are divided by their sums.

    Parameters
    ----------
    seed : int
        Seed of the folds.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def fit(
        self,
        X: Any,
        targets: np.ndarray,
        weights: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> LinearRidge:
        """Learn soft labels; `groups` are not used, as the regression leaves no row out."""
        weights = relative_weights(weights, X.shape[0])
        self._mean = np.average(targets, axis=0, weights=weights)
        penalty = _PENALTY * np.average(norm(X, axis=1) ** 2, weights=weights)
        ridge = Ridge(penalty or 1.0, solver="sparse_cg", tol=_TOLERANCE)
        self._ridge = ridge.fit(X, targets - self._mean, weights)
        return self

    def fit_held_out(
        self,
        X: Any,
        targets: np.ndarray,
        weights: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> np.ndarray:
        """Learn soft labels, and return the probabilities (n, n_classes) by the other folds.

        Folds do not divide groups. Rows that no fold holds have the mean of the targets.
        """
        self.fit(X, targets, weights, groups)
        proba = np.tile(self._mean, (X.shape[0], 1))
        rng = np.random.RandomState(self.seed)
        codes = targets.argmax(axis=1)
        fold = draw_folds_of_counted(codes, _N_FOLDS, rng, groups, weights)
        for k in range(fold.max() + 1):
            rows, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
            of_rows = None if weights is None else weights[rows]
            if len(held) and len(rows) and (of_rows is None or of_rows.any()):
                part = LinearRidge(self.seed).fit(X[rows], targets[rows], of_rows)
                proba[held] = part.predict_proba(X[held])
        return proba

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities (n, n_classes) of sparse rows (n, d)."""
        predicted = self._ridge.predict(X).reshape(X.shape[0], -1)
        return normalized(predicted + self._mean, LEAST)

"""Kernel ridge regression of soft labels, with leave-one-out probabilities in closed form."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh
from sklearn.metrics import pairwise_distances

from .._engine.indexing import row_blocks
from .part import draw_rows
from .probabilities import LEAST, brier_score, normalized, relative_weights

__all__ = ["KernelFeatures", "KernelRidge", "leave_out"]

_PENALTIES = tuple(np.geomspace(0.02, 30, 8))
_MAX_ROWS = 10_000  # that are learned; the others are predicted as new rows
_AT_ONCE = 12_288  # rows that are predicted as one block; of more, _BLOCK_ROWS at a time
_BLOCK_ROWS = 4096
_RANK = 1e-7  # smallest eigenvalue of the landmarks' kernel that is kept, relative to the largest
_SOME_LANDMARKS = 300  # whose distances set the unit


class KernelFeatures:
    """Features whose products approximate a kernel: Nyström's method.

    The features of a row x are k(x, landmarks) K^(-1/2), where K is the kernel of the landmarks
    (C. Williams and M. Seeger, NIPS 13, 2001).

    Parameters
    ----------
    kind : {"linear", "rbf", "exponential"}
        The product of the rows, exp(-d^2) or exp(-d), with the distance d as below.
    sharpness : float
        Factor c of the squared distances: d^2 = c |x - x'|^2 / median |x - x'|^2.
    scale : ndarray of shape (n_columns,) or None
        Factors of the columns.
    n_landmarks : int
        Number of training rows that are landmarks, at most.
    seed : int
        Seed of the choice of landmarks.
    """

    def __init__(
        self,
        kind: str,
        sharpness: float,
        scale: np.ndarray | None,
        n_landmarks: int,
        seed: int,
    ):
        self.kind = kind
        self.sharpness = sharpness
        self.scale = scale
        self.n_landmarks = n_landmarks
        self.seed = seed

    def fit(self, X: np.ndarray) -> KernelFeatures:
        """Choose landmarks among the rows (n, d)."""
        rng = np.random.RandomState(self.seed)
        rows = rng.choice(len(X), min(self.n_landmarks, len(X)), replace=False)
        self._landmarks = self._scaled(X[rows])
        some = self._landmarks[:_SOME_LANDMARKS]
        squares = pairwise_distances(some, metric="sqeuclidean")
        positive = squares[squares > 0]
        self._gamma = self.sharpness / (np.median(positive) if len(positive) else 1.0)
        values, vectors = eigh(self._kernel(self._landmarks))
        kept = values > _RANK * values[-1]
        self._root = vectors[:, kept] / np.sqrt(values[kept])
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Return the features (n, n_features) of rows (n, d)."""
        return self._kernel(self._scaled(X)) @ self._root

    def _scaled(self, X: np.ndarray) -> np.ndarray:
        X = X.astype(np.float64)
        return X if self.scale is None else X * self.scale

    def _kernel(self, X: np.ndarray) -> np.ndarray:
        if self.kind == "linear":
            return self._gamma * (X @ self._landmarks.T)
        values = pairwise_distances(X, self._landmarks, metric="sqeuclidean")
        values *= self._gamma
        if self.kind == "exponential":
            np.sqrt(values, out=values)
        np.negative(values, out=values)
        return np.exp(values, out=values)


class KernelRidge:
    """Kernel ridge regression of soft labels on landmarks, with leave-one-out probabilities.

    The penalty is the one with the lowest Brier score of the probabilities that are left out.
    Values below 0.001 are raised to it, and rows are divided by their sums.

    Parameters
    ----------
    features : KernelFeatures
        Fitted features of the kernel.
    seed : int
        Seed of the choice of rows, of which 10,000 at most are learned.

    Attributes
    ----------
    score_ : float
        Brier score of the probabilities that are left out, over the rows that were learned.
    """

    score_: float

    def __init__(self, features: KernelFeatures, seed: int):
        self.features = features
        self.seed = seed

    def fit(
        self,
        X: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> KernelRidge:
        """Learn soft labels."""
        self.fit_held_out(X, targets, weights, groups)
        return self

    def fit_held_out(
        self,
        X: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> np.ndarray:
        """Learn soft labels, and return the probabilities (n, n_classes) without row or group."""
        weights = relative_weights(weights, len(X))
        rows = draw_rows(weights, groups, _MAX_ROWS, self.seed)
        phi = self.features.transform(X[rows])
        targets, weights = targets[rows], weights[rows]
        self._mean = np.average(targets, axis=0, weights=weights)
        of_rows = None if groups is None else groups[rows]
        values, vectors = eigh((phi * weights[:, None]).T @ phi)
        phi = phi @ vectors
        products = (phi * weights[:, None]).T @ (targets - self._mean)
        best = np.inf
        for penalty in _PENALTIES:
            shrunk = 1 / (values.clip(min=0) + penalty)
            coef = products * shrunk[:, None]
            left_out = leave_out(phi, targets - self._mean, coef, shrunk, weights, of_rows)
            left_out = normalized(left_out + self._mean, LEAST)
            score = brier_score(left_out, targets, weights)
            if score < best:
                best, held_out, self._coef = score, left_out, vectors @ coef
        self.score_ = best
        unseen = np.ones(len(X), dtype=bool)
        unseen[rows] = False
        proba = np.empty((len(X), targets.shape[1]))
        proba[rows], proba[unseen] = held_out, self.predict_proba(X[unseen])
        return proba

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the probabilities (n, n_classes) of rows (n, d)."""
        proba = np.empty((len(X), len(self._mean)))
        for block in row_blocks(len(X), _BLOCK_ROWS if len(X) > _AT_ONCE else _AT_ONCE):
            proba[block] = self.features.transform(X[block]) @ self._coef + self._mean
        return normalized(proba, LEAST)


def leave_out(
    phi: np.ndarray,
    targets: np.ndarray,
    coef: np.ndarray,
    shrunk: np.ndarray,
    weights: np.ndarray,
    groups: np.ndarray | None,
) -> np.ndarray:
    """Return the predictions of a ridge regression for each row, fitted without it or its group.

    With the hat matrix H, the residuals r_g of the group's rows become (I - H_gg)^(-1) r_g.

    Parameters
    ----------
    phi : ndarray of shape (n, n_features)
        Features in the basis in which the penalised Gram matrix is diagonal.
    targets : ndarray of shape (n, n_outputs)
        Targets.
    coef : ndarray of shape (n_features, n_outputs)
        Coefficients of the regression on all rows.
    shrunk : ndarray of shape (n_features,)
        Inverse of the diagonal of the penalised Gram matrix.
    weights : ndarray of shape (n,)
        Weights of the rows.
    groups : ndarray of int64 of shape (n,) or None
        Codes of the groups.

    Returns
    -------
    predictions : ndarray of shape (n, n_outputs)
        Predictions of the regressions without the row or group.
    """
    residuals = targets - phi @ coef
    if groups is None:
        leverage = weights * (phi**2 @ shrunk)
        # A row with a leverage of 1 determines its own prediction, up to rounding.
        return targets - residuals / (1 - leverage).clip(min=1e-3)[:, None]
    predictions = targets.astype(np.float64)
    order = np.argsort(groups, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        half = phi[rows] * np.sqrt(shrunk)
        weighted = half * weights[rows, None]
        # Woodbury's identity: the smaller of the two systems.
        if len(rows) <= phi.shape[1]:
            system = np.eye(len(rows)) - half @ weighted.T
            predictions[rows] -= np.linalg.solve(system, residuals[rows])
        else:
            system = np.eye(phi.shape[1]) - weighted.T @ half
            inner = np.linalg.solve(system, weighted.T @ residuals[rows])
            predictions[rows] -= residuals[rows] + half @ inner
    return predictions

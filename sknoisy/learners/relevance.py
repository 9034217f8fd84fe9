"""How much each column tells of the labels."""

from __future__ import annotations

import numpy as np

from .._engine.trees import grow_tree

__all__ = ["column_relevance"]

_N_TREES = 40
_MIN_LEAF = 5


def column_relevance(X: np.ndarray, codes: np.ndarray, seed: int) -> np.ndarray:
    """Return the part of each column's importance in a forest that shuffled labels do not give.

    Trees also split columns that tell nothing, the more often the more labels are wrong. So the
    importances of a forest that learns the shuffled labels are subtracted from those of a forest
    that learns the labels (A. Altmann et al., Bioinformatics 26, 2010), and values below 0 are
    raised to 0.

    Parameters
    ----------
    X : ndarray of float32 of shape (n, d)
        Rows.
    codes : ndarray of int64 of shape (n,)
        Encoded labels.
    seed : int
        Seed of all draws.

    Returns
    -------
    relevance : ndarray of shape (d,)
        It has the mean 1, or is 0 if no column tells anything.
    """
    rng = np.random.RandomState(seed)
    own = _importances(X, codes, rng)
    by_chance = _importances(X, rng.permutation(codes), rng)
    excess = (own - by_chance).clip(min=0)
    return excess / (excess.mean() or 1.0)


def _importances(X: np.ndarray, codes: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    n_classes, total = int(codes.max()) + 1, np.zeros(X.shape[1])
    for _ in range(_N_TREES):
        counts = np.bincount(rng.randint(len(X), size=len(X)), minlength=len(X))
        rows = counts.nonzero()[0]
        weights = counts[rows].astype(np.float64)
        tree = grow_tree(X[rows], codes[rows], weights, n_classes, _MIN_LEAF, rng)
        total += tree.compute_feature_importances()
    return total / _N_TREES

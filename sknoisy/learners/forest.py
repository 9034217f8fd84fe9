"""A random forest of soft labels, with probabilities out of bag."""

from __future__ import annotations

import numpy as np
from sklearn.utils.parallel import Parallel, delayed

from .._engine.trees import grow_tree

__all__ = ["Forest"]

_MAX_DRAWS = 5000  # rows that a tree draws
_BLOCK_ROWS = 16_384  # that a thread predicts at a time
_BLOCK_TREES = 10  # that a thread grows at a time


class Forest:
    """Random forest whose trees draw their labels from the soft labels.

    Each tree draws rows with replacement, 5,000 at most, and for each row a label from its
    distribution (L. Breiman, Machine Learning 45, 2001, for labels that are certain). With groups,
    whole groups are drawn, so that no tree judges a row whose group it has seen. A row without
    weight is never drawn.

    Parameters
    ----------
    n_trees : int
        Number of trees.
    min_leaf : int
        Least number of different rows in a leaf.
    seed : int
        Seed of all draws.
    n_jobs : int or None, default=None
        Number of threads.

    Attributes
    ----------
    importances_ : ndarray of shape (d,)
        Mean decrease of the impurity by each column; it sums to 1, or is 0 without any split.
    """

    importances_: np.ndarray

    def __init__(self, n_trees: int, min_leaf: int, seed: int, n_jobs: int | None = None):
        self.n_trees = n_trees
        self.min_leaf = min_leaf
        self.seed = seed
        self.n_jobs = n_jobs

    def fit(
        self,
        X: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> Forest:
        """Learn soft labels; rows and groups are drawn with their weights."""
        self._grow_all(X, targets, weights, groups)
        return self

    def fit_held_out(
        self,
        X: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> np.ndarray:
        """Learn soft labels, and return the probabilities (n, n_classes) out of bag.

        These are the mean over the trees that have not drawn the row, or its group. A row that all
        trees have drawn has the mean of the targets.
        """
        drawn = self._grow_all(X, targets, weights, groups)
        total, n_drawn = self._total(X, drawn), np.zeros(len(X), dtype=int)
        for rows in drawn:
            n_drawn[rows] += 1
        total /= np.maximum(self.n_trees - n_drawn, 1)[:, None]
        total[n_drawn == self.n_trees] = np.average(targets, axis=0, weights=weights)
        return total

    def _grow_all(self, X, targets, weights, groups) -> list[np.ndarray]:
        """Grow all trees, and return the indices of the rows that each has drawn."""
        n, self._n_classes = targets.shape
        units = np.arange(n) if groups is None else groups
        # Every unit is drawn with the weight of its rows.
        shares = np.bincount(units, weights)
        if groups is not None and weights is not None:
            mean = shares / np.maximum(np.bincount(units), 1)
            weights = weights / np.where(mean > 0, mean, 1)[units]
        else:
            weights = None  # rows are drawn with their weights
        n_units, n_rows = int((shares > 0).sum()), int((shares[units] > 0).sum())
        n_draws = min(n_units, max(1, int(_MAX_DRAWS * n_units / n_rows)))
        shares = shares / shares.sum()
        limits = targets.cumsum(axis=1)
        seeds = np.random.RandomState(self.seed).randint(2**31 - 1, size=self.n_trees)
        blocks = Parallel(n_jobs=self.n_jobs, prefer="threads")(
            delayed(self._grow_block)(
                X, limits, weights, units, shares, n_draws, seeds[start : start + _BLOCK_TREES]
            )
            for start in range(0, self.n_trees, _BLOCK_TREES)
        )
        grown = [tree for block in blocks for tree in block]
        self._trees = [tree for tree, _ in grown]
        self.importances_ = np.mean(
            [tree.compute_feature_importances() for tree in self._trees], axis=0
        )
        return [rows for _, rows in grown]

    def _grow_block(self, X, limits, weights, units, shares, n_draws: int, seeds) -> list:
        """Return of each seed a tree and the indices of the rows that it has drawn."""
        rng = np.random.RandomState()
        grown = []
        for seed in seeds:
            rng.seed(seed)
            grown.append(self._grow(X, limits, weights, units, shares, n_draws, rng))
        return grown

    def _grow(self, X, limits, weights, units, shares, n_draws: int, rng):
        """Return a tree and the indices of the rows that it has drawn."""
        drawn = rng.choice(len(shares), n_draws, p=shares)
        counts = np.bincount(drawn, minlength=len(shares))[units].astype(np.float64)
        seen = np.flatnonzero(counts)
        counts = counts if weights is None else counts * weights
        rows = np.flatnonzero(counts)
        codes = (rng.random_sample((len(rows), 1)) > limits[rows]).sum(axis=1)
        codes = codes.clip(max=self._n_classes - 1)  # a sum of probabilities may round below 1
        tree = grow_tree(X[rows], codes, counts[rows], self._n_classes, self.min_leaf, rng)
        return tree, seen

    def _total(self, X: np.ndarray, drawn: list[np.ndarray] | None = None) -> np.ndarray:
        """Return the sums (n, n_classes) over the trees, each without the rows that it has drawn.

        Every thread sums all trees for a block of rows, so that the order is always the same.
        """
        total = np.zeros((len(X), self._n_classes))

        def add(start: int) -> None:
            rows, part = X[start : start + _BLOCK_ROWS], total[start : start + _BLOCK_ROWS]
            for k, tree in enumerate(self._trees):
                proba = tree.predict(rows)
                if drawn is not None:
                    first, end = np.searchsorted(drawn[k], (start, start + len(rows)))
                    proba[drawn[k][first:end] - start] = 0
                part += proba

        starts = range(0, len(X), _BLOCK_ROWS)
        Parallel(n_jobs=self.n_jobs, prefer="threads")(delayed(add)(start) for start in starts)
        return total

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the mean probabilities (n, n_classes) of rows (n, d), float32 in C order."""
        return self._total(X) / len(self._trees)

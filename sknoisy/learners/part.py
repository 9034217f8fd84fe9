"""Some of the rows of a fit."""

from __future__ import annotations

import numpy as np

__all__ = ["draw_rows"]


def draw_rows(
    weights: np.ndarray, groups: np.ndarray | None, n_rows: int, seed: int
) -> np.ndarray:
    """Return the rows of positive weight; of too many a random part, with whole groups."""
    rows = np.flatnonzero(weights)
    if len(rows) <= n_rows:
        return rows
    rng = np.random.RandomState(seed)
    if groups is None:
        return np.sort(rng.choice(rows, n_rows, replace=False))
    order = rng.permutation(groups.max() + 1)
    n_before = np.bincount(groups[rows], minlength=len(order))[order].cumsum()
    chosen = order[: max(1, int(np.searchsorted(n_before, n_rows, side="right")))]
    return rows[np.isin(groups[rows], chosen)]

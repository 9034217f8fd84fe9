"""Some of the rows of a fit."""

from __future__ import annotations

import numpy as np

__all__ = ["draw_rows"]


def draw_rows(
    weights: np.ndarray, groups: np.ndarray | None, n_rows: int, seed: int
) -> np.ndarray:
    """Return the rows of positive weight or, of more than `n_rows`, a random part.

    Parameters
    ----------
    weights : ndarray of shape (n,)
        Weights of the rows, or whether they count.
    groups : ndarray of int64 of shape (n,) or None
        Codes of groups, from 0 on. The part then holds whole groups, and at most `n_rows` rows
        unless the first group alone has more.
    n_rows : int
        Largest number of rows.
    seed : int
        Seed of the draw.

    Returns
    -------
    rows : ndarray of int64 of shape (m,)
        Ascending row numbers.
    """
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

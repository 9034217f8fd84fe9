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
        Codes of groups, from 0 on. The part then holds whole groups, which come in a random order,
        and those that do not fit any more are left out.
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
    sizes = np.bincount(groups[rows], minlength=len(order))
    order = order[sizes[order] > 0]
    chosen, n_left, rest = [order[:0]], n_rows, order
    while len(rest := rest[sizes[rest] <= n_left]):
        n_fit = int(np.searchsorted(sizes[rest].cumsum(), n_left, side="right"))
        chosen.append(rest[:n_fit])
        n_left -= int(sizes[rest[:n_fit]].sum())
        rest = rest[n_fit:]
    fitting = np.concatenate(chosen)
    return rows[np.isin(groups[rows], fitting if len(fitting) else order[:1])]

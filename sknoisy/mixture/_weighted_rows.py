"""Distinct rows with their counts, and responsibilities to start a fit from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

__all__ = ["WeightedRows", "distinct_rows", "logarithms", "start_by_density", "start_by_shares"]

_START_BLUR = 0.1  # share of the probability that a start spreads over all components
_GRID = 512  # points of the density estimate

Floats = NDArray[np.float64]


class WeightedRows(NamedTuple):
    """Distinct rows, ``log_x`` of shape (n_features, m), and their ``counts`` of shape (m,)."""

    log_x: Floats
    counts: Floats


def distinct_rows(
    X: Floats, weights: Floats | None, zero_value: float
) -> tuple[WeightedRows, Floats]:
    """Return the distinct rows of positive weight, and the replacement of zeros per column.

    The replacement is `zero_value`, or half of the smallest positive value if that is less.
    """
    if weights is not None:
        X, weights = X[weights > 0], weights[weights > 0]
    data, axis = (X[:, 0], None) if X.shape[1] == 1 else (X, 0)  # an axis makes it slow
    if weights is None:
        distinct, count = np.unique(data, axis=axis, return_counts=True)
    else:
        distinct, index = np.unique(data, axis=axis, return_inverse=True)
        count = np.bincount(index.ravel(), weights=weights)
    x = distinct.reshape(len(count), -1)
    half_smallest = np.where(x > 0, x, np.inf).min(axis=0) / 2
    zeros = np.clip(half_smallest, np.finfo(np.float64).smallest_subnormal, zero_value)
    return WeightedRows(logarithms(x, zeros), count.astype(np.float64)), zeros


def logarithms(X: Floats, zeros: Floats) -> Floats:
    """Return the logarithms of the data, transposed; ``zeros`` replace zeros."""
    return np.log(np.where(X == 0, zeros, X).T)


def start_by_shares(rows: WeightedRows, cuts: Floats) -> Floats:
    """Return the log-responsibilities of a partition: rows by size, cut at the given shares."""
    key = _size(rows)
    order = np.argsort(key, kind="stable")
    position = np.empty_like(key)
    position[order] = np.cumsum(rows.counts[order]) - rows.counts[order] / 2
    return _blurred(np.searchsorted(cuts, position / rows.counts.sum()), len(cuts) + 1)


def start_by_density(rows: WeightedRows) -> Floats:
    """Return the log-responsibilities of two parts, cut in the deepest valley beside the peak.

    Lines run from the highest peak of a kernel density estimate to its values at both ends of the
    data. The cut is where the estimate lies furthest below its line.
    """
    key, count = _size(rows), rows.counts
    low, high = key.min(), key.max()
    if low == high:
        return start_by_shares(rows, np.array([0.5]))
    cell = (key - low) * ((_GRID - 1) / (high - low))
    histogram = np.bincount(cell.round().astype(np.intp), weights=count, minlength=_GRID)
    centre = np.average(cell, weights=count)
    std = np.sqrt(np.average((cell - centre) ** 2, weights=count))
    width = std * max(count.sum(), 1) ** -0.2  # Scott's rule
    density = gaussian_filter1d(histogram, width, mode="constant")
    grid, peak = np.arange(_GRID), int(density.argmax())
    corners = [0, peak, _GRID - 1]
    gap = np.interp(grid, corners, density[corners]) - density
    return _blurred((cell > gap.argmax()).astype(np.intp), 2)


def _size(rows: WeightedRows) -> Floats:
    """Return one number per row: the sum of its columns, each relative to the column's mean."""
    x = np.exp(rows.log_x - rows.log_x.max(axis=1, keepdims=True))
    return (x / np.average(x, axis=1, weights=rows.counts)[:, None]).sum(axis=0)


def _blurred(parts: NDArray[np.intp], k: int) -> Floats:
    hard = np.arange(k)[:, None] == parts
    return np.log((1 - _START_BLUR) * hard + _START_BLUR / k)

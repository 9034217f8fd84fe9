"""Arithmetic on arrays of class probabilities."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .._engine.indexing import row_blocks

__all__ = ["LEAST", "blocks", "brier_score", "normalized", "one_hot", "relative_weights"]

LEAST = 1e-3  # probability by a regression
_BLOCK_ROWS = 16_384


def blocks(n: int) -> Iterator[slice]:
    """Return the slices of n rows, a block at a time, so that intermediate arrays stay small."""
    return row_blocks(n, _BLOCK_ROWS)


def one_hot(codes: np.ndarray, n_classes: int) -> np.ndarray:
    """Return encoded labels (n,) as probabilities (n, n_classes) of 0 and 1."""
    targets = np.zeros((len(codes), n_classes))
    targets[np.arange(len(codes)), codes] = 1
    return targets


def normalized(proba: np.ndarray, least: float = 0.0) -> np.ndarray:
    """Return rows that sum to 1, of values raised to at least `least`; a row of zeros is even."""
    proba = np.maximum(proba, least)
    sums = proba.sum(axis=1, keepdims=True)
    is_empty = ~(sums > 0)
    proba /= np.where(is_empty, 1, sums)
    proba[is_empty[:, 0]] = 1 / proba.shape[1]
    return proba


def relative_weights(weights: np.ndarray | None, n: int) -> np.ndarray:
    """Return weights (n,) whose mean over the rows of positive weight is 1."""
    return np.ones(n) if weights is None else weights / weights[weights > 0].mean()


def brier_score(
    proba: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Return the weighted mean over rows of the squared distance to the targets, from 0 to 2."""
    squares = np.empty(len(proba))
    for rows in blocks(len(proba)):
        squares[rows] = ((proba[rows] - targets[rows]) ** 2).sum(axis=1)
    return float(np.average(squares, weights=weights))

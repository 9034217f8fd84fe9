"""Class probabilities of many rows: their checks, and passes over them piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

__all__ = ["Probabilities", "check_probabilities", "dense", "given_probability", "pieces"]

Probabilities: TypeAlias = Any  # ndarray of floats, or csr_array, which has no types

_PIECE_ENTRIES = 2**21  # 16 MiB in float64


def dense(proba: Probabilities) -> NDArray[np.floating]:
    """Return probabilities as an ndarray, the same object if they are one."""
    return proba.toarray() if sparse.issparse(proba) else proba


def pieces(proba: Probabilities) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield slices of rows and their probabilities as dense float64, at most 16 MiB at a time.

    Parameters
    ----------
    proba : ndarray or csr_array of shape (n, n_classes)
        Probabilities; entries that a sparse array does not hold are 0.
    """
    n_rows, n_classes = proba.shape
    step = max(_PIECE_ENTRIES // n_classes, 1)
    for start in range(0, n_rows, step):
        rows = slice(start, min(start + step, n_rows))
        yield rows, dense(proba[rows]).astype(np.float64, copy=False)


def given_probability(codes: NDArray[np.integer], proba: Probabilities) -> NDArray[np.float64]:
    """Return the probability of each given class (n,), encoded as 0 ... n_classes - 1."""
    given = np.empty(len(codes))
    for rows, piece in pieces(proba):
        given[rows] = piece[np.arange(len(piece)), codes[rows]]
    return given


def check_probabilities(
    proba: ArrayLike, n_rows: int, n_classes: int, *, tolerance: float = 1e-3
) -> Probabilities:
    """Return class probabilities as a float array or csr_array, after a check of every value.

    float32 stays float32, and no copy is made of an array of floats.

    Parameters
    ----------
    proba : array-like or sparse of shape (n_rows, n_classes)
        Probabilities of the classes in the order of the sorted labels. A sparse array may hold
        the largest few of each row; its rows then sum to at most 1.
    n_rows, n_classes : int
        Shape that `proba` must have.
    tolerance : float, default=1e-3
        Largest distance of the sum of a row to 1.

    Raises
    ------
    ValueError
        If the shape differs, a value is negative or not finite, or a row does not sum to 1. The
        message names the first such row.
    """
    if sparse.issparse(proba):
        checked: Probabilities = sparse.csr_array(proba)
    else:
        checked = np.asarray(proba)
    if checked.dtype not in (np.float32, np.float64):
        checked = checked.astype(np.float64)
    if checked.shape != (n_rows, n_classes):
        raise ValueError(
            f"proba has shape {checked.shape}, but there are {n_rows} labels of {n_classes} "
            f"classes. Pass an array of shape ({n_rows}, {n_classes}) whose columns are the "
            "sorted classes."
        )
    is_sparse = sparse.issparse(checked)
    for rows, piece in pieces(checked):
        is_bad = ~(np.isfinite(piece) & (piece >= 0)).all(axis=1)
        if is_bad.any():
            row = int(is_bad.argmax())
            value = piece[row][~(piece[row] >= 0) | ~np.isfinite(piece[row])][0]
            raise ValueError(
                f"proba holds {value:.6g} in row {rows.start + row}. Probabilities are finite and "
                "not negative."
            )
        excess = piece.sum(axis=1) - 1
        is_bad = (excess > tolerance) if is_sparse else (np.abs(excess) > tolerance)
        if is_bad.any():
            row = int(is_bad.argmax())
            raise ValueError(
                f"Row {rows.start + row} of proba sums to {excess[row] + 1:.6g} instead of 1. "
                "Pass probabilities, as predict_proba returns them, not scores or logits."
            )
    return checked

"""Rows and columns of whatever users pass: arrays, lists, frames, sparse matrices."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import indexable

from .._compat import num_samples, safe_indexing

__all__ = ["is_all", "rows_of_classes", "take_columns", "take_rows"]


def take_rows(values, rows: np.ndarray):
    """These rows of an array, a list, a frame or a sparse matrix; all of them are no copy."""
    if is_all(rows, num_samples(values)):
        return values
    return safe_indexing(indexable(values)[0], rows)


def take_columns(X, rows: np.ndarray, n_columns: int, name: str):
    """Columns of a kernel or distance matrix, which stand for the rows of ``fit``.

    Raises
    ------
    ValueError
        If there is not one for each.
    """
    if np.shape(X)[1:] != (n_columns,):
        raise ValueError(
            f"X has shape {np.shape(X)}, but {name} is expecting {n_columns} features as input, "
            "one column for each row that it was fitted on."
        )
    return safe_indexing(X, rows, axis=1)


def is_all(rows: np.ndarray, n_samples: int) -> bool:
    """Whether these are all rows, in order."""
    return len(rows) == n_samples and bool((rows == np.arange(n_samples)).all())


def rows_of_classes(codes: NDArray[np.intp], values: np.ndarray) -> Iterator[NDArray[np.intp]]:
    """The rows of each class, in the order of their values; equal ones keep their order."""
    order = np.lexsort((values, codes))
    yield from np.split(order, np.bincount(codes).cumsum()[:-1])

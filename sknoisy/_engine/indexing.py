"""Selection of rows and columns of arrays, lists, frames, sparse matrices and streams."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import indexable
from torch.utils.data import Dataset, Subset

from .._compat import num_samples, safe_indexing
from .streams import Stream, StreamPart

__all__ = ["is_all", "row_blocks", "rows_of_classes", "take_columns", "take_rows"]


def row_blocks(n_rows: int, size: int) -> Iterator[slice]:
    """Yield the slices of `n_rows` rows, at most `size` rows at a time."""
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def take_rows(values, rows: np.ndarray):
    """Return some rows of an array, a list, a frame, a sparse matrix, a data set or a stream.

    Those of a data set are a ``Subset``, and those of a stream, whose numbers have to ascend, a
    :class:`StreamPart`: both read them later. If `rows` are all rows in order, `values` is
    returned without a copy.
    """
    if is_all(rows, num_samples(values)):
        return values
    if isinstance(values, Dataset):
        return Subset(values, rows.tolist())
    if isinstance(values, Stream):
        return StreamPart(values, rows)
    return safe_indexing(indexable(values)[0], rows)


def take_columns(X, rows: np.ndarray, n_columns: int, name: str):
    """Return the columns of a kernel or distance matrix that belong to some rows of ``fit``.

    ValueError is raised if X does not have one column for each row of ``fit``.
    """
    if np.shape(X)[1:] != (n_columns,):
        raise ValueError(
            f"X has shape {np.shape(X)}, but {name} is expecting {n_columns} features as input, "
            "one column for each row that it was fitted on."
        )
    return safe_indexing(X, rows, axis=1)


def is_all(rows: np.ndarray, n_samples: int) -> bool:
    """Return whether `rows` are all rows, in order."""
    return len(rows) == n_samples and bool((rows == np.arange(n_samples)).all())


def rows_of_classes(codes: NDArray[np.intp], values: np.ndarray) -> Iterator[NDArray[np.intp]]:
    """Yield the rows of each class, ordered by value; ties keep their order."""
    order = np.lexsort((values, codes))
    yield from np.split(order, np.bincount(codes).cumsum()[:-1])

"""What X can be read as a stream: a Parquet file or a map-style torch data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch.utils.data import Dataset, IterableDataset

from .containers import from_torch
from .dataset_rows import DatasetRows
from .parquet_rows import ParquetRows
from .streams import Stream

__all__ = ["as_stream", "rows_of"]


def as_stream(X: Any) -> Stream | None:
    """Return the rows of a Parquet file or a map-style data set, None for any other X.

    A file is a path that ends in ".parquet" or a ``pyarrow.parquet.ParquetFile``. ImportError is
    raised if pyarrow is missing, and TypeError for a data set that has no length or no rows;
    :class:`ParquetRows` and :class:`DatasetRows` have the other errors.
    """
    if isinstance(X, Stream):
        return X
    if isinstance(X, (str, Path)) and str(X).lower().endswith(".parquet"):
        try:
            return ParquetRows(X)
        except ModuleNotFoundError as error:
            raise ImportError(
                f"X={str(X)!r} is read by pyarrow, which is not installed: pip install pyarrow."
            ) from error
    if type(X).__module__.startswith("pyarrow") and hasattr(X, "read_row_groups"):
        return ParquetRows(X)
    if not isinstance(X, Dataset) or isinstance(X, IterableDataset):
        return None
    if not (hasattr(X, "__len__") and len(X)):
        raise TypeError(
            f"X is a {type(X).__name__}, a data set without a length or without rows. Give it "
            "__len__ and __getitem__, as a map-style data set has them."
        )
    return DatasetRows(X)


def rows_of(X: Any) -> Any:
    """Return the stream of a file or a data set, a tensor as an array, and any other X as it is.

    The errors are those of :func:`as_stream` and :func:`from_torch`.
    """
    stream = as_stream(X)
    return from_torch(X) if stream is None else stream

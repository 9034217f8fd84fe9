"""Rows of X that are read when they are needed: Parquet files and map-style torch data sets.

:func:`as_stream` wraps them into an object that is indexed like an array. A Parquet file can only
be read in row groups, so its rows are shuffled in windows of a few blocks (:class:`Windows`). The
rows of a data set are read one by one, in any order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from ..exceptions import warn_user
from .containers import check_numbers

__all__ = ["DatasetRows", "ParquetRows", "Stream", "Windows", "as_stream", "warn_of_sorted_rows"]

_WINDOW_BLOCKS = 8
_WINDOW_BYTES = 2**28  # of all blocks of a window
_BLOCK_ROWS = 8192  # at least; smaller row groups are read together
_SMALL_TYPES = {"bool", "int8", "int16", "uint8", "uint16", "halffloat", "float"}  # in float32
_UNLIKE = 0.3  # distance of class shares from which windows are unlike the file


class Windows:
    """A random order of rows that needs few blocks at a time.

    The blocks come in a random order, and the rows of several consecutive ones, a window, are
    shuffled.

    Parameters
    ----------
    starts : ndarray of int64 of shape (n_blocks + 1,)
        First row of each block, and the number of rows.
    n_blocks : int
        Number of blocks in a window.
    """

    def __init__(self, starts: np.ndarray, n_blocks: int):
        self.starts, self.n_blocks = starts, n_blocks

    def __len__(self) -> int:
        return -(-(len(self.starts) - 1) // self.n_blocks)

    def order(self, active: np.ndarray | None, generator: torch.Generator) -> Tensor:
        """Return all rows, or those of the ascending row numbers `active`, in a random order."""
        bounds = self.starts if active is None else np.searchsorted(active, self.starts)
        parts = []
        for blocks in torch.randperm(len(bounds) - 1, generator=generator).split(self.n_blocks):
            rows = torch.cat([torch.arange(bounds[k], bounds[k + 1]) for k in blocks.tolist()])
            parts.append(rows[torch.randperm(len(rows), generator=generator)])
        order = torch.cat(parts)
        return order if active is None else torch.from_numpy(active)[order]


class Stream(ABC):
    """Rows (n, ...) outside the memory, read by a slice or by ascending row numbers.

    Attributes
    ----------
    shape, dtype : tuple of int, numpy dtype
        Those of the array that all rows would make.
    windows : Windows or None
        Order in which the rows can be read fast, if not in any.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    windows: Windows | None = None

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        if isinstance(index, slice):
            index = np.arange(*index.indices(len(self)))
        return self._read(index)

    @abstractmethod
    def _read(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows of ascending numbers."""

    @abstractmethod
    def check(self, estimator: Any) -> Any:
        """Return the first rows, to be checked like any X; raise if they hold no numbers."""


class ParquetRows(Stream):
    """The columns of a Parquet file, float32 if all of their types fit into it, else float64."""

    def __init__(self, file: Any):
        from pyarrow import parquet

        self._file = file if isinstance(file, parquet.ParquetFile) else parquet.ParquetFile(file)
        metadata, schema = self._file.metadata, self._file.schema_arrow
        sizes = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
        self.shape = metadata.num_rows, len(schema.names)
        self.dtype = np.dtype(np.float32)
        if not {str(column) for column in schema.types} <= _SMALL_TYPES:
            self.dtype = np.dtype(np.float64)
        self._groups = _joined_groups(sizes)
        starts = np.cumsum([0, *(sum(sizes[k] for k in block) for block in self._groups)])
        largest = int(np.diff(starts).max(initial=1)) * self.shape[1] * self.dtype.itemsize
        n_blocks = int(np.clip(_WINDOW_BYTES // max(largest, 1), 1, _WINDOW_BLOCKS))
        self.windows = Windows(starts, n_blocks)
        self._kept: dict[int, np.ndarray] = {}

    def check(self, estimator: Any) -> Any:
        """Return a table of the first two rows."""
        import pyarrow

        rows = next(self._file.iter_batches(batch_size=2), None)
        table = self._file.schema_arrow.empty_table()
        if rows is not None:
            table = pyarrow.Table.from_batches([rows])
        check_numbers(table, estimator)
        return table

    def _read(self, rows: np.ndarray) -> np.ndarray:
        assert self.windows is not None
        values = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        starts = self.windows.starts
        bounds = np.searchsorted(rows, starts)
        wanted = np.flatnonzero(np.diff(bounds)).tolist()
        # A batch at the border of two windows takes the rest of the first one while it is kept.
        for k in sorted(wanted, key=lambda k: k not in self._kept):
            part = slice(bounds[k], bounds[k + 1])
            values[part] = self._block(k)[rows[part] - starts[k]]
        return values

    def _block(self, k: int) -> np.ndarray:
        """Return a block, which is kept with the last ones that were read, a window in all."""
        assert self.windows is not None
        if k not in self._kept:
            while len(self._kept) >= self.windows.n_blocks:
                del self._kept[next(iter(self._kept))]
            table = self._file.read_row_groups(self._groups[k], use_threads=False)
            block = np.empty(table.shape, dtype=self.dtype)
            for j, column in enumerate(table.columns):
                block[:, j] = column.to_numpy()
            self._kept[k] = block
        return self._kept[k]


class DatasetRows(Stream):
    """The rows of a map-style data set, which gives x or a tuple of x and other things."""

    def __init__(self, dataset: Dataset):
        self._dataset = dataset
        first = self._row(0)
        self.shape, self.dtype = (len(dataset), *first.shape), first.dtype  # type: ignore[arg-type]

    def _row(self, number: int) -> np.ndarray:
        item = self._dataset[number]
        x = np.asarray(item[0] if isinstance(item, (tuple, list)) else item)
        if number and x.shape != self.shape[1:]:
            raise ValueError(
                f"Row {number} of X has the shape {x.shape}, but row 0 has {self.shape[1:]}. Pad, "
                "cut or resize the rows to one shape in the data set."
            )
        if x.ndim != 1 and x.dtype.kind == "f" and not np.isfinite(x).all():
            raise ValueError(f"Row {number} of X holds NaN or infinity.")
        return x

    def check(self, estimator: Any) -> Any:
        """Return an array of the first row."""
        head = self[:1]
        check_numbers(head, estimator)
        return head

    def _read(self, rows: np.ndarray) -> np.ndarray:
        values = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        for i, number in enumerate(rows.tolist()):
            values[i] = self._row(number)
        return values


def as_stream(X: Any) -> Stream | None:
    """Return the rows of a Parquet file or a map-style data set, None for any other X.

    A file is a path that ends in ".parquet" or a ``pyarrow.parquet.ParquetFile``. ImportError is
    raised if pyarrow is missing, FileNotFoundError if the file is, and TypeError for a data set
    that has no length or no rows.
    """
    if isinstance(X, Stream):
        return X
    if isinstance(X, (str, Path)) and str(X).endswith(".parquet"):
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


def warn_of_sorted_rows(X: Any, labels: np.ndarray) -> None:
    """Warn if the windows in which X is read hold other classes than the file.

    Parameters
    ----------
    X : Stream or any other X
        Rows.
    labels : ndarray of int64 of shape (n,)
        Encoded labels.
    """
    windows = X.windows if isinstance(X, Stream) else None
    if windows is None or len(windows) == 1:
        return
    everywhere = np.bincount(labels) / len(labels)
    order = windows.order(None, torch.Generator().manual_seed(0)).numpy()
    parts = np.array_split(labels[order], len(windows))
    shares = [np.bincount(part, minlength=len(everywhere)) / len(part) for part in parts]
    distance = np.mean([np.abs(share - everywhere).sum() / 2 for share in shares])
    if distance > _UNLIKE:
        warn_user(
            f"X is read in {len(windows)} windows, which hold other classes than the whole file, "
            "as if it were sorted by class: batches would be of few classes, and training may "
            "fail. Shuffle the rows of the file, together with y, or write smaller row groups.",
            UserWarning,
        )


def _joined_groups(sizes: list[int]) -> list[list[int]]:
    """Return the row groups of each block: one, or several small ones that follow one another."""
    blocks: list[list[int]] = []
    n_rows = _BLOCK_ROWS
    for k, size in enumerate(sizes):
        if n_rows >= _BLOCK_ROWS:
            blocks.append([])
            n_rows = 0
        blocks[-1].append(k)
        n_rows += size
    return blocks

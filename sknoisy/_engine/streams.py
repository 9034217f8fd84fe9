"""Rows of X that are read when they are needed, and the order in which they can be read fast."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..exceptions import warn_user

__all__ = ["Stream", "StreamPart", "Windows", "warn_of_label_columns", "warn_of_sorted_rows"]

_UNLIKE = 0.3  # distance of class shares from which windows are unlike the file
_RUNS, _RUN_ROWS = 8, 250  # rows that are compared with the labels
_LEAST_ROWS = 20  # with fewer, a column may equal the labels by chance


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
    names : list of str or None
        Names of the columns, if they have any.
    windows : Windows or None
        Order in which the rows can be read fast, if not in any.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    names: list[str] | None = None
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

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read all rows."""
        if copy is False:
            raise ValueError("The rows of a stream are not in memory, so that they are copied.")
        return np.asarray(self[:], dtype=dtype)

    @abstractmethod
    def _read(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows of ascending numbers."""

    @abstractmethod
    def check(self, estimator: Any) -> Any:
        """Return the first rows, to be checked like any X; raise if they hold no numbers."""


class StreamPart(Stream):
    """Some rows of a stream, which are read in its order.

    Parameters
    ----------
    stream : Stream
        The stream.
    rows : ndarray of int64 of shape (n,)
        Ascending row numbers.
    """

    def __init__(self, stream: Stream, rows: np.ndarray):
        self._stream, self._rows = stream, rows
        self.shape, self.dtype = (len(rows), *stream.shape[1:]), stream.dtype
        self.names = stream.names
        if stream.windows is not None:
            starts = np.searchsorted(rows, stream.windows.starts)
            self.windows = Windows(starts, stream.windows.n_blocks)

    def check(self, estimator: Any) -> Any:
        """Return the first rows of the whole stream, whose columns are the same."""
        return self._stream.check(estimator)

    def _read(self, rows: np.ndarray) -> np.ndarray:
        return self._stream[self._rows[rows]]


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


def warn_of_label_columns(X: Any, labels: np.ndarray, unlabeled: np.ndarray | None = None) -> None:
    """Warn if a column of a file holds the labels, one value for each class.

    Rows from all parts of the file are compared, 2,000 at most.

    Parameters
    ----------
    X : Stream or any other X
        Rows.
    labels : ndarray of int64 of shape (n,)
        Encoded labels.
    unlabeled : ndarray of bool of shape (n,) or None, default=None
        True for rows without a label.
    """
    if not isinstance(X, Stream) or X.names is None:
        return
    starts = np.linspace(0, max(len(X) - _RUN_ROWS, 0), _RUNS).astype(int)
    rows = np.unique(starts[:, None] + np.arange(_RUN_ROWS))
    rows = rows[rows < len(X)]
    if unlabeled is not None:
        rows = rows[~unlabeled[rows]]
    classes, codes = np.unique(labels[rows], return_inverse=True)
    if len(rows) < _LEAST_ROWS or len(classes) < 2:
        return
    values = X[rows]
    for name, column in zip(X.names, values.T, strict=True):
        found, of_rows = np.unique(column, return_inverse=True)
        pairs = np.unique(of_rows * len(classes) + codes)
        if len(found) == len(classes) == len(pairs):
            warn_user(
                f"Column {name!r} of X holds the labels, one value for each class: it tells the "
                "network what it has to predict. Leave it out of the file.",
                UserWarning,
            )

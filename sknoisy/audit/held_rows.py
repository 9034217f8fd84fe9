"""Arrays that may be larger than the memory: in a temporary file where they take much of it."""

from __future__ import annotations

import math
import os
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._engine.indexing import row_blocks
from .._engine.streams import Stream
from .cells import visible
from .files import InputError

__all__ = ["ColumnStack", "empty_array", "held"]

_SHARE = 0.25  # of the available memory that one array may take
_UNKNOWN = 2**32  # bytes that are taken to be available where the system does not tell
_HELD_BYTES = 2**26  # of columns that wait in the memory
_BLOCK_VALUES = 2**20  # that are copied at a time
_AVAILABLE = "/proc/meminfo"
_LIMITS = (  # of the memory of a container, and what it uses
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def empty_array(shape: tuple[int, ...], dtype: Any) -> NDArray:
    """Return an array without values, in the memory if it takes at most a quarter of what is free.

    A larger one is the memory map of a temporary file without a name, which vanishes with it.
    """
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if n_bytes <= _SHARE * available_memory():
        return np.empty(shape, dtype=dtype)
    return _mapped(shape, dtype)


def _mapped(shape: tuple[int, ...], dtype: Any) -> NDArray:
    """Return the memory map of a new temporary file, whose place on the disk is reserved."""
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        with TemporaryFile() as file:  # the map keeps it
            file.truncate(n_bytes)
            if hasattr(os, "posix_fallocate"):  # else a full disk would end the process later
                os.posix_fallocate(file.fileno(), 0, n_bytes)
            return np.memmap(file, dtype=dtype, mode="r+", shape=shape)
    except OSError as error:
        raise InputError(
            f"The temporary folder {visible(gettempdir())} cannot hold {n_bytes:,} bytes: "
            f"{error.strerror or error}. Name a larger one by the environment variable TMPDIR."
        ) from error


def available_memory() -> int:
    """Return the bytes that this process may still take."""
    found = [_UNKNOWN]
    try:
        lines = Path(_AVAILABLE).read_text(encoding="ascii").splitlines()
        found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    except OSError:
        pass  # no Linux
    for limit, used in _LIMITS:
        try:
            texts = [Path(name).read_text(encoding="ascii") for name in (limit, used)]
            found.append(int(texts[0]) - int(texts[1]))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return max(min(found, default=_UNKNOWN), 0)


def held(X: Any) -> Any:
    """Return a Parquet file or a data set as an array of :func:`empty_array`, other X as it is."""
    if not isinstance(X, Stream):
        return X
    if X.windows is not None:
        X.windows.n_blocks = 1  # kept at a time: the rows are read once, in their order
    rows = empty_array(X.shape, X.dtype)
    step = max(_BLOCK_VALUES // math.prod(X.shape[1:]), 1)
    for block in row_blocks(len(X), step):
        rows[block] = X[block]
    return rows


class ColumnStack:
    """Columns of float32 that are filled one after another, and become the rows of a table.

    They wait in the memory up to 64 MiB, the further ones in temporary files.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    """

    def __init__(self, n_rows: int):
        self._n_rows = n_rows
        self._parts: list[NDArray[np.float32]] = []

    def add(self, n_columns: int) -> NDArray[np.float32]:
        """Return the next columns, (n_columns, n_rows), to be filled."""
        shape = n_columns, self._n_rows
        waiting = sum(part.nbytes for part in self._parts if not isinstance(part, np.memmap))
        in_memory = waiting + 4 * math.prod(shape) <= _HELD_BYTES
        part = np.empty(shape, np.float32) if in_memory else _mapped(shape, np.float32)
        self._parts.append(part)
        return part

    def rows(self) -> NDArray[np.float32]:
        """Return all columns as rows (n_rows, n_columns), as of :func:`empty_array`."""
        n_columns = sum(len(part) for part in self._parts)
        rows = empty_array((self._n_rows, n_columns), np.float32)
        step = max(_BLOCK_VALUES // n_columns, 1)
        for block in row_blocks(self._n_rows, step):
            first = 0
            for part in self._parts:
                rows[block, first : first + len(part)] = part[:, block].T
                first += len(part)
        return rows

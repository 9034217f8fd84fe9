"""Rows of a Parquet file, which are read in row groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .containers import check_numbers
from .streams import Stream, Windows
from .wording import in_words

__all__ = ["ParquetRows"]

_WINDOW_BLOCKS = 8
_WINDOW_BYTES = 2**28  # of all blocks of a window
_BLOCK_ROWS = 8192  # at least; smaller row groups are read together
_SMALL_TYPES = {"bool", "int8", "int16", "uint8", "uint16", "halffloat", "float"}  # in float32


class ParquetRows(Stream):
    """The columns of a Parquet file, float32 if all of their types fit into it, else float64.

    The index of a pandas frame, which pandas writes into the file, is no column.

    Parameters
    ----------
    file : str, path-like or ParquetFile
        The file.

    Raises
    ------
    ModuleNotFoundError
        If pyarrow is missing.
    FileNotFoundError
        If the file is.
    ValueError
        If it is no Parquet file, or has two columns of one name.
    """

    names: list[str]

    def __init__(self, file: Any):
        self._file = _opened(file)
        metadata = self._file.metadata
        sizes = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
        self._schema = _columns(self._file.schema_arrow)
        self.names = self._schema.names
        self.shape = metadata.num_rows, len(self.names)
        self.dtype = np.dtype(np.float32)
        if not {str(column) for column in self._schema.types} <= _SMALL_TYPES:
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
        table = self._schema.empty_table()
        if rows is not None:
            table = pyarrow.Table.from_batches([rows]).select(self.names)
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
            import pyarrow

            while len(self._kept) >= self.windows.n_blocks:
                del self._kept[next(iter(self._kept))]
            table = self._file.read_row_groups(self._groups[k], use_threads=False)
            block = np.empty((len(table), self.shape[1]), dtype=self.dtype)
            for j, column in enumerate(table.select(self.names).columns):
                block[:, j] = column.to_numpy()
            del table, column
            pyarrow.default_memory_pool().release_unused()  # arrow would keep a window or more
            self._kept[k] = block
        return self._kept[k]


def _opened(file: Any) -> Any:
    import pyarrow
    from pyarrow import parquet

    if isinstance(file, parquet.ParquetFile):
        return file
    if Path(file).is_dir():
        raise ValueError(
            f"X={str(file)!r} is a folder. Pass the path of one Parquet file, whose rows are in "
            "the order of y: several files are joined by pyarrow.parquet.ParquetWriter."
        )
    try:
        return parquet.ParquetFile(file)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"X={str(file)!r} is no Parquet file: {error}.") from error


def _columns(schema: Any) -> Any:
    """Return the schema of the columns, without the index that pandas has written."""
    import pyarrow

    index = (schema.pandas_metadata or {}).get("index_columns", [])
    fields = [field for field in schema if field.name not in index]
    names = [field.name for field in fields]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"X has several columns of the {in_words('name', map(repr, repeated))}. Give each "
            "column of the file a name of its own."
        )
    return pyarrow.schema(fields)


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

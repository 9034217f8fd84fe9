"""Tables for the audit: CSV and Parquet files, read column by column and written safely."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .cells import csv_cell, visible
from .csv_file import read_csv
from .files import InputError
from .headers import column_names

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Table", "read_table", "write_csv"]

_PIECE_ROWS = 65_536  # that are copied at a time
_CSV_CELLS = 2**18  # that are written at a time
_PARQUET = (".parquet", ".pq")


class Table:
    """A table in a file, of which a column or a piece is in the memory at a time.

    Cells of a CSV file are strings, or NaN where the cell is empty.

    Parameters
    ----------
    file : path or file object
        A Parquet file.
    index : ndarray of int64 of shape (n,) or None
        Number of each row as a spreadsheet shows it; the header of a CSV file is row 1. None: 1,
        2, ...
    columns : list of str or None
        Names of all columns; None: those of the file, made unique.
    notes : tuple of str
        Columns that were renamed.
    delimiter : str or None
        Character between the cells of a CSV file.
    missing : sequence of str
        Texts that stand for a missing value.
    name : str
        Name of the file in messages.

    Attributes
    ----------
    columns : list of str
        Names of the columns.
    """

    def __init__(
        self,
        file: Any,
        index: np.ndarray | None,
        columns: list[str] | None,
        notes: tuple[str, ...],
        delimiter: str | None,
        missing: Sequence[str],
        name: str,
    ):
        from pyarrow import parquet

        self._file = parquet.ParquetFile(file)
        stored: list[str] = self._file.schema_arrow.names
        self.columns, self.notes = (
            column_names(stored, name) if columns is None else (columns, notes)
        )
        self._stored = dict(zip(self.columns, stored, strict=True))
        n_rows = self._file.metadata.num_rows
        self.index = np.arange(1, n_rows + 1) if index is None else index
        self.delimiter = delimiter
        self._missing, self._name = list(missing), name

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, name: str) -> pd.Series:
        """Return a column, in the type that pandas gives it."""
        import pyarrow as pa

        stored = self._stored[name]
        # A dotted name leads to other columns, too, and a repeated one to several.
        found = self._read(lambda: self._file.read([stored], use_threads=False))
        same = [place for place, other in enumerate(found.column_names) if other == stored]
        alike = [other for other in self.columns if self._stored[other] == stored]
        column = self._cleared(found.column(same[alike.index(name)]))
        series = pa.table({name: column}).to_pandas(ignore_metadata=True)[name]
        del found, column
        pa.default_memory_pool().release_unused()
        series.index = self.index
        return series

    @property
    def frame(self) -> pd.DataFrame:
        """The whole table."""
        import pandas as pd

        return pd.DataFrame({name: self[name] for name in self.columns}, index=self.index)

    def pieces(self) -> Iterator[Any]:
        """Yield pyarrow tables of all columns and some rows."""
        import pyarrow as pa

        # One row group after another: a reader of all keeps what it has read.
        for group in range(self._file.metadata.num_row_groups):
            batches = self._file.iter_batches(_PIECE_ROWS, [group], use_threads=False)
            while (batch := self._read(partial(next, batches, None))) is not None:
                cells = [self._cleared(column) for column in batch.columns]
                yield pa.table(cells, names=self.columns)
            del batches
            pa.default_memory_pool().release_unused()

    def _cleared(self, column: Any) -> Any:
        """Return a column of pyarrow in which texts that stand for a missing value are missing."""
        import pyarrow as pa
        from pyarrow import compute

        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not self._missing or not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            return column
        is_mark = compute.is_in(column.cast(kind), pa.array(self._missing, kind))
        # Without the type of the column, None would clear categories by their codes.
        return compute.if_else(is_mark, pa.scalar(None, column.type), column)

    def _read(self, read: Callable[[], Any]) -> Any:
        """Return what a function reads; InputError is raised for an error of the file."""
        import pyarrow as pa

        try:
            return read()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise _no_parquet(self._name, error) from error
        except OSError as error:
            raise _unreadable(self._name, error) from error


def read_table(path: Path, encoding: str | None = None, missing: Sequence[str] = ()) -> Table:
    """Read a CSV or Parquet file.

    Parameters
    ----------
    path : Path
        The file. A name that ends with ``.parquet`` or ``.pq`` is a Parquet file. A CSV file is
        copied to a temporary file of columns, which lies on the disk beyond 64 MiB.
    encoding : str or None, default=None
        Encoding of a CSV file. None is UTF-8, with or without a mark at its beginning.
    missing : sequence of str, default=()
        Texts that stand for a missing value, in addition to the empty cell.

    Raises
    ------
    InputError
        If the file cannot be read or is no table. The message names the line.
    """
    import pyarrow as pa

    name = visible(os.fspath(path))
    try:
        if path.is_dir():
            raise InputError(
                f"{name} is a folder. Name a CSV or Parquet file, or add --layout folders if it "
                "has a folder of images for each class."
            )
        if path.stat().st_size == 0:
            raise InputError(f"{name} is empty (0 bytes). Save the table again.")
        if path.suffix.lower() in _PARQUET:
            table = Table(path, None, None, (), None, missing, name)
        else:
            cells = read_csv(path, name, encoding)
            table = Table(
                cells.file, cells.numbers, cells.names, cells.notes, cells.delimiter, missing, name
            )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise _no_parquet(name, error) from error
    except FileNotFoundError as error:
        raise InputError(f"{name} does not exist. Check the name and the folder.") from error
    except PermissionError as error:
        raise InputError(
            f"{name} may not be read: no rights. Ask its owner, or copy it."
        ) from error
    except OSError as error:
        raise _unreadable(name, error) from error
    if len(table) == 0:
        raise InputError(f"{name} has a header and no rows.")
    return table


def _no_parquet(name: str, error: Exception) -> InputError:
    reason = str(error).splitlines()[0].rstrip(".")
    return InputError(f"{name} is no Parquet file: {visible(reason)}.")


def _unreadable(name: str, error: OSError) -> InputError:
    return InputError(f"{name} cannot be read: {error.strerror or error}.")


def write_csv(
    frames: pd.DataFrame | Iterable[pd.DataFrame],
    path: Path,
    *,
    raw: bool = False,
    delimiter: str = ",",
) -> int:
    """Write a frame without its index, and return the number of cells with an apostrophe.

    Parameters
    ----------
    frames : DataFrame or iterable of DataFrame
        What to write, also piece by piece; missing values become empty cells.
    path : Path
        The file.
    raw : bool, default=False
        If False, text that a spreadsheet takes for a formula gets an apostrophe in front.
    delimiter : str, default=","
        Character between cells.
    """
    import pandas as pd

    pieces = [frames] if isinstance(frames, pd.DataFrame) else frames
    n_changed = 0
    with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        for part in chain.from_iterable(map(_parts, pieces)):
            safe, n_cells = (part, 0) if raw else _without_formulas(part)
            safe.to_csv(file, index=False, header=not file.tell(), sep=delimiter)
            n_changed += n_cells
    return n_changed


def _parts(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield frames of some 260,000 cells, as each cell becomes an object of Python."""
    step = max(_CSV_CELLS // frame.shape[1], 1)
    for start in range(0, max(len(frame), 1), step):
        yield frame.iloc[start : start + step]


def _without_formulas(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return a frame that a spreadsheet takes for texts, and the number of changed cells."""
    import pandas as pd

    n_changed = 0
    safe = frame.copy(deep=False)
    safe.columns = [csv_cell(str(name)) for name in frame.columns]
    for position, name in enumerate(frame.columns):
        column = frame[name]
        if column.dtype.kind in "biufcM":
            continue
        # Series.map would turn integers beside a missing value into floats.
        cells = [csv_cell(value) for value in column.astype(object)]
        values = pd.Series(cells, index=column.index, dtype=object)
        n_changed += int((values.ne(column) & column.notna()).sum())
        safe.isetitem(position, values)
    return safe, n_changed

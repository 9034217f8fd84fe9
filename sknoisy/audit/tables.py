"""Tables for the audit: CSV and Parquet files, read without guessing and written safely."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

import numpy as np

from .cells import csv_cell, visible
from .files import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Table", "read_table", "write_csv"]

_MAX_COLUMNS = 10_000
_BLOCK_ROWS = 8_192  # that are read as lists of text at a time
_DELIMITERS = ",;\t|"


class Table(NamedTuple):
    """A table as it stands in its file.

    Parameters
    ----------
    frame : DataFrame of shape (n, n_columns)
        Cells. Those of a CSV file are strings, or NaN where the cell is empty. The index holds
        the number of each row as a spreadsheet shows it; the header of a CSV file is row 1.
    notes : tuple of str
        Columns that were renamed.
    delimiter : str or None
        Character between the cells of a CSV file.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...]
    delimiter: str | None


def read_table(path: Path, encoding: str | None = None, missing: Sequence[str] = ()) -> Table:
    """Read a CSV or Parquet file.

    Parameters
    ----------
    path : Path
        The file. A name that ends with ``.parquet`` or ``.pq`` is a Parquet file.
    encoding : str or None, default=None
        Encoding of a CSV file. None is UTF-8, with or without a mark at its beginning.
    missing : sequence of str, default=()
        Texts that stand for a missing value, in addition to the empty cell.

    Raises
    ------
    InputError
        If the file cannot be read or is no table. The message names the line.
    """
    name = visible(os.fspath(path))
    try:
        if path.is_dir():
            raise InputError(
                f"{name} is a folder. Name a CSV or Parquet file, or add --layout folders if it "
                "has a folder of images for each class."
            )
        if path.stat().st_size == 0:
            raise InputError(f"{name} is empty (0 bytes). Save the table again.")
        if path.suffix.lower() in (".parquet", ".pq"):
            table = _read_parquet(path, name)
        else:
            table = _read_csv(path, name, encoding)
    except FileNotFoundError as error:
        raise InputError(f"{name} does not exist. Check the name and the folder.") from error
    except PermissionError as error:
        raise InputError(
            f"{name} may not be read: no rights. Ask its owner, or copy it."
        ) from error
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}.") from error
    if len(table.frame) == 0:
        raise InputError(f"{name} has a header and no rows.")
    return _without(table, missing)


def write_csv(frame: pd.DataFrame, path: Path, *, raw: bool = False, delimiter: str = ",") -> int:
    """Write a frame without its index, and return the number of cells with an apostrophe.

    Parameters
    ----------
    frame : DataFrame
        What to write; missing values become empty cells.
    path : Path
        The file.
    raw : bool, default=False
        If False, text that a spreadsheet takes for a formula gets an apostrophe in front.
    delimiter : str, default=","
        Character between cells.
    """
    import pandas as pd

    n_changed = 0
    if not raw:
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
        frame = safe
    frame.to_csv(path, index=False, sep=delimiter, encoding="utf-8", errors="surrogatepass")
    return n_changed


def _without(table: Table, missing: Sequence[str]) -> Table:
    """Replace the texts that stand for a missing value."""
    if not missing:
        return table
    text = table.frame.select_dtypes(include=["str", "object"]).columns
    frame = table.frame.copy(deep=False)
    for name in text:
        column = frame[name]
        frame[name] = column.mask(column.isin(list(missing)))
    return table._replace(frame=frame)


def _read_parquet(path: Path, name: str) -> Table:
    """Read a Parquet file; what its writer noted about pandas is not used."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path, partitioning=None)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"{name} is no Parquet file: {visible(reason)}.") from error
    header, notes = _column_names(table.column_names, name)
    frame = table.rename_columns(header).to_pandas(ignore_metadata=True)
    frame.index = np.arange(1, len(frame) + 1)
    return Table(frame, notes, None)


def _read_csv(path: Path, name: str, encoding: str | None) -> Table:
    """Read a CSV file record by record."""
    with path.open("rb") as file:
        _refuse_other_formats(file.read(4), name, encoding)
    try:
        with path.open(encoding=encoding or "utf-8-sig", newline="") as file:
            return _read_records(file, name)
    except LookupError as error:
        raise InputError(
            f"The encoding {visible(encoding)!r} is unknown. Use --encoding utf-8, cp1252 or "
            "another name that Python knows."
        ) from error
    except UnicodeError as error:
        used = encoding or "UTF-8"
        line = _undecodable_line(path, encoding or "utf-8")
        where = f"Line {line:,} of {name}" if line else name
        raise InputError(
            f"{where} is not {visible(used)}. Pass the encoding of the file, as in --encoding "
            f"{'cp1252' if encoding is None else 'utf-8'}, or save it as UTF-8."
        ) from error


def _refuse_other_formats(start: bytes, name: str, encoding: str | None) -> None:
    """Raise InputError at the first bytes of a workbook, a compressed file or UTF-16."""
    if start[:2] == b"PK":
        raise InputError(f"{name} is a workbook or a zip file. Save the table as CSV.")
    if start[:2] == b"\x1f\x8b":
        raise InputError(f"{name} is compressed. Unpack it first.")
    if start == b"PAR1":
        raise InputError(f"{name} is a Parquet file. Let its name end with .parquet.")
    if encoding is None and start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{name} is in UTF-16. Add --encoding utf-16.")


def _undecodable_line(path: Path, encoding: str) -> int | None:
    """Return the number of the first line that is not of this encoding."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode(encoding)
            except UnicodeError:
                return None if encoding.lower().startswith(("utf-16", "utf-32")) else number
    return None


def _read_records(file: TextIO, name: str) -> Table:
    """Read the header, then the rows in blocks, each column of a block as one array."""
    import pandas as pd

    first = file.readline()
    delimiter = max(_DELIMITERS, key=first.count)
    file.seek(0)
    previous = csv.field_size_limit(sys.maxsize)  # the limit belongs to the process
    try:
        records = _records(file, name, delimiter)
        header = next(records, (0, []))[1]
        names, notes = _column_names(header, name)
        blocks: list[list[pd.api.extensions.ExtensionArray]] = []
        numbers: list[np.ndarray] = []
        while block := list(islice(records, _BLOCK_ROWS)):
            numbers.append(np.array([number for number, _ in block]))
            columns = zip(*(row for _, row in block), strict=True)
            blocks.append(
                [pd.array(_missing_when_empty(column), dtype="str") for column in columns]
            )
    finally:
        csv.field_size_limit(previous)
    if not blocks:
        return Table(pd.DataFrame(columns=names), notes, delimiter)
    joined = {
        column: pd.concat([pd.Series(block[position]) for block in blocks], ignore_index=True)
        for position, column in enumerate(names)
    }
    frame = pd.DataFrame(joined)
    frame.index = np.concatenate(numbers)
    return Table(frame, notes, delimiter)


def _missing_when_empty(column: Sequence[str]) -> list[str | None]:
    """Return the cells with None in place of empty ones."""
    return [value or None for value in column]


def _records(file: TextIO, name: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each record, as a spreadsheet counts, and its cells."""
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    width, number, line = None, 0, 1
    while True:
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise InputError(
                f"Line {line:,} of {name} has a broken quote ({visible(error)}). Close the quote, "
                'or write "" for a quote inside a cell.'
            ) from error
        if record is None:
            return
        number += 1
        if record or width == 1:  # an empty line is an empty cell where there is one column
            record = record or [""]
            width = width or len(record)
            if len(record) != width:
                raise InputError(
                    f"Line {line:,} of {name} has {len(record):,} cells, the header has "
                    f"{width:,}. Put quotes around cells with a separator in them, and fill "
                    "missing cells up."
                )
            yield number, record
        line = reader.line_num + 1


def _column_names(header: Sequence[str], name: str) -> tuple[list[str], tuple[str, ...]]:
    """Return unique column names, and a note on each that was made up."""
    if len(header) > _MAX_COLUMNS:
        raise InputError(
            f"{name} has {len(header):,} columns; at most {_MAX_COLUMNS:,} can be read. Leave out "
            "those that do not describe the rows."
        )
    if not any(title.strip() for title in header):
        raise InputError(f"{name} has no header: the first line must name the columns.")
    taken, names, notes = set(header), [], []
    seen: set[str] = set()
    for position, title in enumerate(header, 1):
        unique = title
        if not title.strip():
            unique = _free(f"column {position}", taken)
            notes.append(f"Column {position} has no name; it is called “{unique}”.")
        elif title in seen:
            unique = _free(f"{title} ({position})", taken)
            notes.append(
                f"Two columns are called “{visible(title)}”; one is now “{visible(unique)}”."
            )
        seen.add(title)
        taken.add(unique)
        names.append(unique)
    return names, tuple(notes)


def _free(name: str, taken: set[str]) -> str:
    """Return the name, with as many stars as it takes to be new."""
    while name in taken:
        name += "*"
    return name

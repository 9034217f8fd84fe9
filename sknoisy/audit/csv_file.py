"""CSV files, read record by record into a temporary Parquet file."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any, NamedTuple, TextIO

import numpy as np

from .cells import visible
from .files import InputError
from .headers import column_names

__all__ = ["Records", "read_csv"]

_BLOCK_CELLS = 2**18  # that are held as Python strings at a time
_GROUP_BYTES = 2**23  # of a row group
_HELD_BYTES = 2**26  # of the temporary file; a larger one lies on the disk
_DELIMITERS = ",;\t|"


class Records(NamedTuple):
    """Cells of a CSV file as texts, column by column.

    Parameters
    ----------
    file : file object
        A Parquet file whose columns are called "0", "1", ...; an empty cell is missing. It lies in
        the memory while it is small, and vanishes when it is closed.
    names : list of str
        Names of the columns.
    notes : tuple of str
        Columns that were renamed.
    numbers : ndarray of int64 of shape (n,)
        Number of each row as a spreadsheet shows it; the header is row 1.
    delimiter : str
        Character between the cells.
    """

    file: IO[bytes]
    names: list[str]
    notes: tuple[str, ...]
    numbers: np.ndarray
    delimiter: str


def read_csv(path: Path, name: str, encoding: str | None) -> Records:
    """Read a CSV file; InputError is raised with the number of a line that cannot be read."""
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


def _read_records(file: TextIO, name: str) -> Records:
    """Read the header, then the rows in blocks."""
    first = file.readline()
    delimiter = max(_DELIMITERS, key=first.count)
    file.seek(0)
    previous = csv.field_size_limit(sys.maxsize)  # the limit belongs to the process
    try:
        records = _records(file, name, delimiter)
        names, notes = column_names(next(records, (0, []))[1], name)
        numbers = [np.empty(0, dtype=np.int64)]
        columns = _write_columns(_blocks(records, len(names), numbers), len(names))
    finally:
        csv.field_size_limit(previous)
    return Records(columns, names, notes, np.concatenate(numbers), delimiter)


def _blocks(
    records: Iterator[tuple[int, list[str]]], width: int, numbers: list[np.ndarray]
) -> Iterator[list[Sequence[str]]]:
    """Yield the columns of some rows at a time, and append the numbers of these rows."""
    n_rows = max(_BLOCK_CELLS // width, 1)
    while block := list(islice(records, n_rows)):
        numbers.append(np.array([number for number, _ in block]))
        yield list(zip(*(row for _, row in block), strict=True))


def _write_columns(blocks: Iterator[list[Sequence[str]]], width: int) -> IO[bytes]:
    """Return a temporary Parquet file of these columns."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(str(position), pa.large_string()) for position in range(width)])
    file: Any = SpooledTemporaryFile(max_size=_HELD_BYTES)  # noqa: SIM115 (the table reads it)
    with parquet.ParquetWriter(file, schema) as writer:
        for group in _row_groups(blocks, schema):
            writer.write_table(group, row_group_size=len(group))
    return file


def _row_groups(blocks: Iterator[list[Sequence[str]]], schema: Any) -> Iterator[Any]:
    """Yield tables of some 8 MiB."""
    import pyarrow as pa

    waiting: list[Any] = []
    for block in blocks:
        cells = [pa.array(_missing_when_empty(column), pa.large_string()) for column in block]
        waiting.append(pa.record_batch(cells, schema))
        if sum(batch.nbytes for batch in waiting) >= _GROUP_BYTES:
            yield pa.Table.from_batches(waiting, schema)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting, schema)


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

"""What the command passes to the audit: rows and labels of a table or of folders of images."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .cells import visible
from .files import InputError
from .headers import free_name

if TYPE_CHECKING:
    import pandas as pd

    from .result import LabelAudit
    from .tables import Table

__all__ = ["Source", "of_images", "of_table"]

_MAX_CLASSES = 1_000
_FEW_CLASSES = 20  # that may have any size; more need 8 rows each on the mean
_TRUE = frozenset({"1", "1.0", "true", "t", "yes", "y", "x"})
_FALSE = frozenset({"0", "0.0", "false", "f", "no", "n"})


@dataclass
class Source:
    """Rows and labels, and what the files that are written take from them.

    Parameters
    ----------
    X : ndarray of shape (n, ...)
        Rows.
    y : Series of shape (n,) or DataFrame of shape (n, n_annotators)
        Labels; the index names the rows.
    notes : list of str
        What was left out.
    groups, clean_mask : ndarray of shape (n,) or None, default=None
        Group of each row; True where the label is trusted.
    columns : list of str or None, default=None
        Columns whose values the report shows.
    thumbnail : callable or None, default=None
        Returns the picture of a row.
    table : Table or None, default=None
        The whole table.
    label : str or None, default=None
        Column of the labels.
    """

    X: np.ndarray
    y: Any
    notes: list[str] = field(default_factory=list)
    groups: np.ndarray | None = None
    clean_mask: np.ndarray | None = None
    columns: list[str] | None = None
    thumbnail: Callable[[int], str | None] | None = None
    table: Table | None = None
    label: str | None = None

    def shown(self, rows: Sequence[int]) -> Mapping[str, Mapping[int, Any]] | None:
        """Return the values of some rows by column and row, for the report; None for images."""
        return None if self.table is None else _ShownValues(self.table, self.columns or [], rows)

    def cleaned(self, audit: LabelAudit) -> Iterator[Any]:
        """Yield the table with the suggested labels in the suspected rows, as pyarrow tables.

        With several annotators, a new column holds the labels that they agreed on, corrected.
        """
        import pyarrow as pa

        assert self.table is not None
        labels, start = pa.Array.from_pandas(self._cleaned_labels(audit)), 0
        names = self.table.columns
        name = free_name("label", names) if self.label is None else self.label
        for piece in self.table.pieces():
            cells = labels[start : start + len(piece)]
            if self.label is None:
                yield piece.append_column(name, cells)
            else:
                place = names.index(name)
                yield piece.set_column(place, name, cells.cast(piece.schema.field(place).type))
            start += len(piece)

    def _cleaned_labels(self, audit: LabelAudit) -> pd.Series:
        """Return the labels of all rows, with the suggested ones of suspects."""
        import pandas as pd

        assert self.table is not None
        if self.label is not None:
            labels = self.table[self.label].copy()
            labels[audit.flagged] = audit.labels[audit.suggested_codes[audit.flagged]]
            return labels
        codes = np.where(audit.flagged, audit.suggested_codes, audit.given_codes)
        agreed = audit.labels.astype(object)[codes]
        agreed[codes < 0] = None
        return pd.Series(agreed)


class _ShownValues(Mapping):
    """Values of some rows of a table; a column is read when it is asked for."""

    def __init__(self, table: Table, columns: Sequence[str], rows: Sequence[int]):
        self._table, self._columns, self._rows = table, columns, rows
        self._read: dict[str, dict[int, Any]] = {}

    def __len__(self) -> int:
        return len(self._columns)

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __getitem__(self, name: str) -> Mapping[int, Any]:
        if name not in self._read:
            values = self._table[name]
            self._read[name] = {row: values.iloc[row] for row in self._rows}
        return self._read[name]


def of_images(arguments: Namespace) -> Source:
    """Read folders of images."""
    import pandas as pd

    from .images import read_image_folders, thumbnail

    for name in ("label", "annotators", "group", "clean_mask", "drop"):
        if getattr(arguments, name):
            raise InputError(
                f"--{name.replace('_', '-')} names a column, and there are none with --layout "
                "folders: the folders are the labels."
            )
    folder: Path = arguments.data
    images = read_image_folders(folder)
    labels = pd.Series(images.labels, index=images.names, dtype=object)
    _check_labels(labels, "the folders")
    return Source(
        images.X,
        labels,
        list(images.notes),
        thumbnail=lambda row: thumbnail(folder / images.names[row]),
    )


def of_table(arguments: Namespace, tell: Callable[[str], None]) -> Source:
    """Read a table, and encode its columns; `tell` prints progress."""
    from .tables import read_table

    if bool(arguments.label) == bool(arguments.annotators):
        raise InputError(
            "Name the column of the labels with --label, or several with --annotators."
        )
    table = read_table(arguments.data, arguments.encoding, arguments.missing)
    named = _named_columns(arguments, table)
    labels = _labels(table, arguments)
    groups = _groups(table[arguments.group]) if arguments.group else None
    trusted = _trusted(table[arguments.clean_mask], labels) if arguments.clean_mask else None
    described = [name for name in table.columns if name not in named]
    first = labels if arguments.label else labels.iloc[:, 0]
    tell(f"Reading {len(described):,} columns of {len(table):,} rows …")
    from .columns import encode_columns  # not before the errors above: scikit-learn takes a second

    encoded = encode_columns(
        table, first, arguments.seed, names=described, decimal_comma=table.delimiter == ";"
    )
    return Source(
        encoded.X,
        labels,
        [*table.notes, *_notes_on_columns(encoded.left_out, arguments.drop)],
        groups=groups,
        clean_mask=trusted,
        columns=[*(arguments.annotators or []), *described],
        table=table,
        label=arguments.label,
    )


def _named_columns(arguments: Namespace, table: Table) -> set[str]:
    """Return the columns that options name, after a check of each."""
    options = {
        "--label": [arguments.label] if arguments.label else [],
        "--annotators": arguments.annotators or [],
        "--group": [arguments.group] if arguments.group else [],
        "--clean-mask": [arguments.clean_mask] if arguments.clean_mask else [],
        "--drop": arguments.drop,
    }
    named: set[str] = set()
    for option, names in options.items():
        for name in names:
            _check_column(name, option, table)
            if name in named:
                raise InputError(f"{option} {visible(name)!r}: this column is named twice.")
            named.add(name)
    return named


def _check_column(name: str, option: str, table: Table) -> None:
    """Raise InputError if there is no such column, or more than one, or if it cannot be used."""
    import pandas as pd

    if name not in table.columns:
        close = get_close_matches(name, table.columns, n=1)
        listed = ", ".join(visible(column, 40) for column in table.columns[:20])
        more = ", …" if len(table.columns) > 20 else ""
        hint = f"Did you mean {visible(close[0])!r}?" if close else f"There are: {listed}{more}."
        raise InputError(f"{option} {visible(name)!r}: there is no such column. {hint}")
    if any(f"called “{visible(name)}”" in note for note in table.notes):
        raise InputError(f"{option} {visible(name)!r}: two columns have this name. Rename one.")
    if option == "--drop":
        return
    values = table[name].dropna()
    if len(values) and not pd.api.types.is_hashable(values.iloc[0]):
        raise InputError(
            f"{option} {visible(name)!r} holds nested values, such as "
            f"{visible(values.iloc[0], 40)}. Name a column with texts or numbers."
        )


def _labels(table: Table, arguments: Namespace) -> pd.Series | pd.DataFrame:
    """Return the column of labels, or those of the annotators, in a type that knows gaps."""
    import pandas as pd

    if arguments.label:
        labels = table[arguments.label].convert_dtypes()
        _check_labels(labels.dropna(), f"The column {visible(arguments.label)!r}")
        # Of texts, each class is one object: an object for each row would take some 60 bytes.
        is_text = isinstance(labels.dtype, pd.StringDtype)
        return labels.astype("category") if is_text else labels
    columns = {name: table[name] for name in arguments.annotators}
    labels = pd.DataFrame(columns).convert_dtypes().astype(object)
    labels = labels.where(labels.notna(), None)
    _check_labels(labels.stack().dropna(), "the columns of --annotators")
    return labels


def _check_labels(labels: pd.Series, where: str) -> None:
    """Raise InputError if labels that are not missing cannot be classes."""
    counts = labels.value_counts()
    counts = counts[counts > 0]  # a categorical column also counts values that no row has
    if len(counts) == 0:
        raise InputError(f"{where} holds no label. Name another column, or fill labels in.")
    if len(counts) == 1:
        raise InputError(
            f"{where} holds one label only, {visible(counts.index[0])!r}. An audit needs two "
            "classes."
        )
    n_classes, n_labels = len(counts), len(labels)
    if n_classes > _MAX_CLASSES or (n_classes > _FEW_CLASSES and n_labels < 8 * n_classes):
        raise InputError(
            f"{where} holds {n_classes:,} different values in {n_labels:,} rows, such as "
            f"{visible(counts.index[0], 40)!r}: it looks like an identifier or a number to be "
            "predicted. Name a column with classes."
        )


def _groups(column: pd.Series) -> np.ndarray:
    """Return a code for each group; a row without a group is a group of its own."""
    import pandas as pd

    codes, groups = pd.factorize(column)
    alone = codes < 0
    if len(groups) + alone.sum() < 2:
        raise InputError(
            f"--group {visible(column.name)!r} holds one group only, so that no rows are left to "
            "judge it by. Name another column, or none."
        )
    codes = codes.astype(np.int64)
    codes[alone] = codes.max(initial=-1) + 1 + np.arange(alone.sum())
    return codes


def _trusted(column: pd.Series, labels: pd.Series | pd.DataFrame) -> np.ndarray:
    """Return True where a cell means yes, False where it means no or is empty."""
    words = column.astype("str").str.strip().str.lower()
    is_true = words.isin(_TRUE).to_numpy()
    unknown = ~is_true & ~words.isin(_FALSE).to_numpy() & column.notna().to_numpy()
    if unknown.any():
        place = int(unknown.argmax())
        raise InputError(
            f"--clean-mask {visible(column.name)!r} holds {visible(column.iloc[place], 40)!r} in "
            f"row {column.index[place]}. Write yes or no, true or false, 1 or 0."
        )
    has_label = labels.notna().to_numpy().reshape(len(labels), -1).any(axis=1)
    if (is_true & ~has_label).any():
        row = column.index[int((is_true & ~has_label).argmax())]
        raise InputError(
            f"--clean-mask {visible(column.name)!r} says that the label of row {row} was checked, "
            "but it has none. Fill it in, or write no."
        )
    return is_true


def _notes_on_columns(left_out: dict[str, str], dropped: Sequence[str]) -> list[str]:
    """Return a sentence for each reason to leave columns out."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        by_reason.setdefault(reason, []).append(visible(name, 60))
    if dropped:
        by_reason["named by --drop"] = [visible(name, 60) for name in dropped]
    notes = []
    for reason, names in by_reason.items():
        more = f" and {len(names) - 10:,} more" if len(names) > 10 else ""
        plural = "s" if len(names) > 1 else ""
        notes.append(f"Column{plural} left out ({reason}): {', '.join(names[:10])}{more}.")
    return notes

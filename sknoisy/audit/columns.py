"""Columns of a table for the audit: their kinds, and their values as numbers.

One column is in the memory at a time. It is searched piece by piece, and no more of its values are
remembered than there may be categories or classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .cells import visible
from .files import InputError
from .held_rows import ColumnStack
from .texts import text_numbers

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Encoded", "encode_columns"]

_MAX_CATEGORIES = 50  # values of a column that get an indicator each; more are text
_FEW_ROWS = 20  # whose values may all differ by chance
_LARGEST = 1e30  # beyond, squares overflow in float32 even after a division
_SOME_TEXTS = 20_000  # whose words are counted
_PIECE_ROWS = 65_536  # of a column that are searched at a time

_DATE = r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ]\d{1,2}:\d{2}.*)?"
_WITH_COMMA = r"[-+]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?"
_IDENTIFIER_NAME = re.compile(
    r"(?:.*[\W_])?(?:id|ids|uuid|guid|key|index|idx|nr|no|number|row)|.*[a-z]Id|unnamed.*", re.I
)


class Encoded(NamedTuple):
    """Columns as numbers.

    Parameters
    ----------
    X : ndarray of float32 of shape (n, n_numbers)
        Numbers as they are, an indicator for each category, and 30 numbers for each text column.
        A missing number is NaN. It is a memory map if it takes much of the memory.
    kinds : dict of str to str
        Kind of each column that was used: "number", "category" or "text".
    left_out : dict of str to str
        Reason for each column that was not used.
    """

    X: np.ndarray
    kinds: dict[str, str]
    left_out: dict[str, str]


def encode_columns(
    frame: Any,
    labels: pd.Series,
    seed: int,
    *,
    names: Sequence[str] | None = None,
    decimal_comma: bool = False,
) -> Encoded:
    """Find the kind of each column, and encode the columns.

    Identifiers, dates, columns with one value, nested columns and columns that equal the label
    are left out.

    Parameters
    ----------
    frame : DataFrame or Table of shape (n, n_columns)
        Columns.
    labels : Series of shape (n,)
        Labels, to find a column that repeats them.
    seed : int
        Seed of the text encoder.
    names : sequence of str or None, default=None
        Columns that describe the rows; None: all.
    decimal_comma : bool, default=False
        Whether texts such as "1,5" and "1.200,50" are numbers.

    Raises
    ------
    InputError
        If no column is left, or a number is infinite or beyond 1e30.
    """
    import pandas as pd

    kinds: dict[str, str] = {}
    left_out: dict[str, str] = {}
    stack = ColumnStack(len(labels))
    label_codes = pd.factorize(labels)[0]
    for name in frame.columns if names is None else names:
        column = frame[name]
        kind, values = _kind(name, column, label_codes, decimal_comma)
        if kind == "number":
            stack.add(1)[0] = _checked_numbers(name, values)
        elif kind == "category":
            _add_indicators(stack, column)
        elif kind == "text":
            text_numbers(column, seed, stack.add)
        else:
            left_out[name] = kind
            continue
        kinds[name] = kind
    if not kinds:
        reasons = "; ".join(f"{visible(name)}: {reason}" for name, reason in left_out.items())
        raise InputError(
            "No column describes the rows" + (f" ({reasons[:300]})" if reasons else "") + ". Add "
            "columns with numbers, categories or text."
        )
    return Encoded(stack.rows(), kinds, left_out)


def _kind(
    name: str, column: pd.Series, label_codes: np.ndarray, decimal_comma: bool
) -> tuple[str, pd.Series]:
    """Return the kind of a column, or the reason to leave it out, and its values."""
    import pandas as pd

    present = column.dropna()
    kind = column.dtype.kind
    if kind in "mM":
        return "dates", column
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    is_text = isinstance(column.dtype, pd.StringDtype) or pd.api.types.is_string_dtype(present)
    if kind == "O" and not is_text and pd.to_numeric(present, errors="coerce").isna().any():
        return "not numbers, categories or text", column
    n_values = _count_values(present)
    if n_values <= 1:
        return "only one value" if n_values else "empty", column
    if _same_partition(present, label_codes[column.notna().to_numpy()]):
        return "equals the label", column
    numbers = column if kind in "iufb" else _as_numbers(column, decimal_comma)
    if numbers is not None:
        floats = numbers.dropna().to_numpy(np.float64)
        if _looks_numbered(name, floats) and _all_differ(present):
            return "an identifier: another number in each row", column
        return "number", numbers
    if all(piece.astype("str").str.fullmatch(_DATE).all() for piece in _pieces(present)):
        return "dates", column
    some = present.iloc[:: max(len(present) // _SOME_TEXTS, 1)].astype("str")
    if some.str.count(r"\s+").median() < 2 and _all_differ(present):
        return "an identifier: another value in each row", column
    return ("category" if n_values <= _MAX_CATEGORIES else "text"), column


def _pieces(column: pd.Series) -> Iterator[pd.Series]:
    """Yield some rows of a column at a time."""
    for start in range(0, len(column), _PIECE_ROWS):
        yield column.iloc[start : start + _PIECE_ROWS]


def _count_values(present: pd.Series) -> int:
    """Return the number of different values; `_MAX_CATEGORIES` + 1 stands for any more."""
    values: set[Any] = set()
    for piece in _pieces(present):
        values.update(piece.unique())
        if len(values) > _MAX_CATEGORIES:
            return _MAX_CATEGORIES + 1
    return len(values)


def _all_differ(present: pd.Series) -> bool:
    """Return whether no value is there twice, by hashes of 64 bits; False for up to 20 values."""
    import pandas as pd

    if len(present) <= _FEW_ROWS:
        return False
    hashes = np.empty(len(present), dtype=np.uint64)
    start = 0
    for piece in _pieces(present):
        if not piece.is_unique:
            return False
        values = piece.to_numpy() if piece.dtype.kind in "iufb" else piece.to_numpy(object)
        hashes[start : start + len(piece)] = pd.util.hash_array(values, categorize=False)
        start += len(piece)
    hashes.sort()
    return not (hashes[1:] == hashes[:-1]).any()


def _as_numbers(column: pd.Series, decimal_comma: bool) -> pd.Series | None:
    """Return the numbers of a column of text, or None if a cell is no number."""
    import pandas as pd

    has_commas = decimal_comma and _have_commas(column.dropna())
    numbers = np.empty(len(column))
    start = 0
    try:
        _parsed(column.dropna().iloc[:1000], has_commas)  # a quick look first
        for piece in _pieces(column):
            numbers[start : start + len(piece)] = _parsed(piece, has_commas)
            start += len(piece)
    except (ValueError, TypeError):
        return None
    return pd.Series(numbers, index=column.index)


def _parsed(texts: pd.Series, has_commas: bool) -> np.ndarray:
    """Return the numbers in texts as float64; ValueError or TypeError if one is no number."""
    import pandas as pd

    if has_commas:
        texts = texts.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    return pd.to_numeric(texts.astype(object)).to_numpy(np.float64, na_value=np.nan)


def _have_commas(text: pd.Series) -> bool:
    """Return whether all texts are numbers with a decimal comma, or without decimals."""
    has_comma = False
    for piece in _pieces(text):
        if not piece.str.fullmatch(_WITH_COMMA).all():
            return False
        has_comma = has_comma or bool(piece.str.contains(",", regex=False).any())
    return has_comma


def _same_partition(present: pd.Series, label_codes: np.ndarray) -> bool:
    """Return whether each value goes with one label, and each label with one value.

    Rows without a label, of code -1, do not count.
    """
    n_labels = len(np.unique(label_codes[label_codes >= 0]))
    if n_labels < 2:
        return False
    label_of: dict[Any, int] = {}
    start = 0
    for piece in _pieces(present):
        codes = label_codes[start : start + len(piece)]
        start += len(piece)
        values = piece[codes >= 0]
        distinct = ~values.duplicated()
        codes = codes[codes >= 0]
        for value, code in zip(values[distinct], codes[distinct], strict=True):
            label_of.setdefault(value, code)
        if len(label_of) > n_labels or (values.map(label_of).to_numpy() != codes).any():
            return False
    return len(label_of) == n_labels  # each label has a value, so none has two


def _looks_numbered(name: str, numbers: np.ndarray) -> bool:
    """Return whether different numbers are an identifier: dense integers, or by their name."""
    if not np.isfinite(numbers).all() or (numbers != np.round(numbers)).any():
        return False
    is_dense = np.ptp(numbers) < 2 * len(numbers)
    return bool(is_dense or _IDENTIFIER_NAME.fullmatch(name.strip()))


def _checked_numbers(name: str, column: pd.Series) -> np.ndarray:
    """Return numbers as float32, after a check of their size."""
    numbers = column.to_numpy(np.float64, na_value=np.nan)
    too_large = np.abs(numbers) > _LARGEST
    if too_large.any():
        row = column.index[int(too_large.argmax())]
        value = numbers[too_large][0]
        raise InputError(
            f"The column {visible(name)!r} holds {value:g} in row {row}. Correct the cell, or "
            f"leave the column out with --drop {visible(name)!r}."
        )
    return numbers.astype(np.float32)


def _add_indicators(stack: ColumnStack, column: pd.Series) -> None:
    """Add an indicator for each value; a missing value has none."""
    import pandas as pd

    codes, values = pd.factorize(column, sort=True)
    for code, indicator in enumerate(stack.add(len(values))):
        indicator[:] = codes == code

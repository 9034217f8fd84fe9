"""Columns of a table for the audit: their kinds, and their values as numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .cells import visible
from .files import InputError
from .texts import text_numbers

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Encoded", "encode_columns"]

_MAX_CATEGORIES = 50  # values of a column that get an indicator each; more are text
_LARGEST = 1e30  # beyond, squares overflow in float32 even after a division
_SOME_TEXTS = 20_000  # whose words are counted

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
        A missing number is NaN.
    kinds : dict of str to str
        Kind of each column that was used: "number", "category" or "text".
    left_out : dict of str to str
        Reason for each column that was not used.
    """

    X: np.ndarray
    kinds: dict[str, str]
    left_out: dict[str, str]


def encode_columns(
    frame: pd.DataFrame, labels: pd.Series, seed: int, *, decimal_comma: bool = False
) -> Encoded:
    """Find the kind of each column, and encode the columns.

    Identifiers, dates, columns with one value, nested columns and columns that equal the label
    are left out.

    Parameters
    ----------
    frame : DataFrame of shape (n, n_columns)
        Columns that describe the rows.
    labels : Series of shape (n,)
        Labels, to find a column that repeats them.
    seed : int
        Seed of the text encoder.
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
    parts: list[np.ndarray] = []
    label_codes = pd.factorize(labels)[0]
    for name in frame.columns:
        column = frame[name]
        kind, values = _kind(name, column, label_codes, decimal_comma)
        if kind in ("number", "category", "text"):
            kinds[name] = kind
        else:
            left_out[name] = kind
            continue
        if kind == "number":
            parts.append(_checked_numbers(name, values)[:, None])
        elif kind == "category":
            parts.append(_indicators(column))
        else:
            parts.append(text_numbers(column, seed))
    if not parts:
        reasons = "; ".join(f"{visible(name)}: {reason}" for name, reason in left_out.items())
        raise InputError(
            "No column describes the rows" + (f" ({reasons[:300]})" if reasons else "") + ". Add "
            "columns with numbers, categories or text."
        )
    return Encoded(np.hstack(parts), kinds, left_out)


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
    codes, values = pd.factorize(present)
    if len(values) <= 1:
        return "only one value" if len(values) else "empty", column
    if _same_partition(codes, label_codes[column.notna().to_numpy()]):
        return "equals the label", column
    is_unique = len(values) == len(present) > 20
    numbers = column if kind in "iufb" else _as_numbers(column, decimal_comma)
    if numbers is not None:
        if is_unique and _looks_numbered(name, numbers.dropna().to_numpy(np.float64)):
            return "an identifier: another number in each row", column
        return "number", numbers
    text = present.astype("str")
    if text.str.fullmatch(_DATE).all():
        return "dates", column
    some = text.iloc[:: max(len(text) // _SOME_TEXTS, 1)]
    if is_unique and some.str.count(r"\s+").median() < 2:
        return "an identifier: another value in each row", column
    return ("category" if len(values) <= _MAX_CATEGORIES else "text"), column


def _as_numbers(column: pd.Series, decimal_comma: bool) -> pd.Series | None:
    """Return the numbers of a column of text, or None if a cell is no number."""
    import pandas as pd

    if decimal_comma and _have_commas(column.dropna()):
        column = column.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    try:
        pd.to_numeric(column.dropna().iloc[:1000].astype(object))  # a quick look first
        return pd.to_numeric(column.astype(object)).astype(np.float64)
    except (ValueError, TypeError):
        return None


def _have_commas(text: pd.Series) -> bool:
    """Return whether all texts are numbers with a decimal comma, or without decimals."""
    return bool(
        text.str.contains(",", regex=False).any() and text.str.fullmatch(_WITH_COMMA).all()
    )


def _same_partition(codes: np.ndarray, label_codes: np.ndarray) -> bool:
    """Return whether each value goes with one label, and each label with one value."""
    codes, label_codes = codes[label_codes >= 0], label_codes[label_codes >= 0]
    n_labels = np.count_nonzero(np.bincount(label_codes))
    if n_labels < 2 or np.count_nonzero(np.bincount(codes)) != n_labels:
        return False  # a quick look first
    return len(np.unique(codes * (label_codes.max() + 1) + label_codes)) == n_labels


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


def _indicators(column: pd.Series) -> np.ndarray:
    """Return an indicator (n, n_values) for each value; a missing value has none."""
    import pandas as pd

    codes, values = pd.factorize(column, sort=True)
    return (codes[:, None] == np.arange(len(values))).astype(np.float32)

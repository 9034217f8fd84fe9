"""Containers of X: tensors and sequences become arrays, and what holds no numbers is refused."""

from __future__ import annotations

import datetime
import os
import re
import sys
from collections.abc import Iterator, Mapping, Set
from numbers import Number
from typing import Any, NoReturn

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from .._compat import is_pandas_na
from .wording import in_words

__all__ = ["check_numbers", "from_sequence", "from_torch"]


# Dtypes of pandas, polars and arrow by their names: others do not tell categories from numbers.
_KINDS = {
    "categories": r"categor|enum|dictionary|interval",
    "dates": r"date|time|duration|period",
    "text": r"str\b|string|large_string|utf8|(large_|fixed_size_)?binary",
    "nested values": r"(large_|fixed_size_)?list|array|struct|map",
}
_OF_ARRAYS = {"U": "text", "S": "text", "M": "dates", "m": "dates"}
_DATES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)


# --- tensors and containers without rows --------------------------------------------------------


def from_torch(X: Any) -> Any:
    """Return a tensor as an array on the CPU, without its graph; bfloat16 becomes float32.

    Any other X is returned as it is. TypeError is raised for a torch ``Dataset`` or
    ``DataLoader``, a mapping, a set, an iterator, a string, a path, a lazy frame, and a tensor
    that is not dense: these have no rows that can be selected by index.
    """
    if not isinstance(X, torch.Tensor):
        _check_container(X)
        return X
    if X.layout != torch.strided:
        raise TypeError(
            f"X is a tensor of the layout {X.layout}: pass X.to_dense(), or a scipy sparse matrix."
        )
    if X.device.type == "meta":
        raise TypeError("X is a tensor on the meta device, which holds no numbers.")
    X = X.detach().cpu()
    has_numpy_dtype = X.dtype not in {torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2}
    return (X if has_numpy_dtype else X.float()).numpy()


def _check_container(X: Any) -> None:
    cure = "Pass an array, a tensor, a frame or a sparse matrix of shape (n_samples, ...)."
    if isinstance(X, (Dataset, DataLoader)):
        cure = (
            "Collect its rows once, X = numpy.stack([numpy.asarray(x) for x, _ in dataset]), or "
            "write them into a numpy.lib.format.open_memmap file if they do not fit into memory."
        )
    elif isinstance(X, Mapping) and not hasattr(X, "shape"):  # as sparse DOK matrices have
        cure = "Pass pandas.DataFrame(X) if it holds columns of numbers."
    elif type(X).__module__.startswith("polars") and hasattr(X, "collect"):
        cure = "Pass X.collect()."
    elif isinstance(X, (str, bytes, os.PathLike)):
        cure = (
            "Read the file first: pass an array or a frame. Network classifiers also read a "
            "Parquet file, by a path that ends in '.parquet'."
        )
    elif not isinstance(X, (Set, Iterator, Number, type(None))):
        return
    raise TypeError(f"X is a {type(X).__name__}, whose rows have no index. {cure}")


# --- sequences ----------------------------------------------------------------------------------


def from_sequence(X: Any) -> Any:
    """Return lists, tuples and objects with ``__array__`` as arrays, and any other X as it is.

    A masked array becomes an array of floats with NaN where it is masked. ValueError is raised if
    the rows of a sequence have different shapes.
    """
    if isinstance(X, np.ma.MaskedArray):
        masked = np.ma.getmaskarray(X)
        return np.where(masked, np.nan, X.data) if masked.any() else X.data
    if hasattr(X, "shape") or not (isinstance(X, (list, tuple)) or hasattr(X, "__array__")):
        return X
    if isinstance(X, (list, tuple)):
        X = [from_torch(row) for row in X]
    try:
        return np.asarray(X)
    except ValueError as error:
        raise ValueError(_describe_ragged(X)) from error


def _describe_ragged(X: Any) -> str:
    shapes = [_shape_of(row) for row in X]
    other = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), 0)
    return (
        f"The rows of X have different shapes, such as {shapes[0]} of row 0 and {shapes[other]} "
        f"of row {other}. Pad, cut or resize them to one shape."
    )


def _shape_of(row: Any) -> tuple[int, ...] | str:
    try:
        return np.shape(row)
    except ValueError:  # the row itself is ragged
        return "a ragged list"


# --- columns ------------------------------------------------------------------------------------


def check_numbers(X: Any, estimator: Any) -> None:
    """Raise an error that names the columns of X that hold no numbers.

    ValueError is raised for text, categories, dates and nested values; TypeError for objects that
    are no numbers. `estimator` is named in the message. None and NA are missing values.
    """
    found: dict[str, list] = {}
    for name, dtype, values in _columns(X):
        kind = _kind_of(dtype)
        if isinstance(dtype, np.dtype) and dtype.kind == "O":
            kind = _kind_of_objects(name, np.asarray(values()))
        if kind is not None:
            found.setdefault(kind, []).append((name, values))
    if found:
        _refuse(found, type(estimator).__name__)


def _columns(X: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield name, dtype and a function that returns the values of each column."""
    if hasattr(X, "dtypes") and hasattr(X, "columns"):  # a frame of pandas or polars
        select = X.iloc.__getitem__ if hasattr(X, "iloc") else X.__getitem__
        for i, (name, dtype) in enumerate(zip(X.columns, X.dtypes, strict=True)):
            is_object = str(dtype).lower() == "object"
            yield (
                name,
                np.dtype(object) if is_object else dtype,
                lambda i=i: select((slice(None), i)),
            )
    elif hasattr(X, "column_names") and hasattr(X, "schema"):  # a table of arrow
        for i, (name, dtype) in enumerate(zip(X.column_names, X.schema.types, strict=True)):
            yield name, dtype, lambda i=i: X.column(i).to_pylist()
    elif isinstance(X, np.ndarray) and X.dtype.kind in "OUSMm" and X.ndim > 1 and X.size:
        rows = X.reshape(len(X), -1) if X.ndim > 2 else X
        for i in range(rows.shape[1]):
            yield i, X.dtype, lambda i=i: rows[:, i]


def _kind_of(dtype: Any) -> str | None:
    if isinstance(dtype, np.dtype):
        return _OF_ARRAYS.get(dtype.kind)
    name = str(dtype).lower()
    return next((kind for kind, names in _KINDS.items() if re.match(names, name)), None)


def _kind_of_objects(name: Any, values: np.ndarray) -> str | None:
    """Return the kind of objects, None for numbers; TypeError if they are of no kind."""
    for type_ in {type(value) for value in values}:
        if issubclass(type_, (str, bytes)):
            return "text"
        if issubclass(type_, _DATES):
            return "dates"
        if not issubclass(type_, (Number, np.bool_, type(None))):
            _check_object(name, next(value for value in values if type(value) is type_))
    for value in values:
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            raise ValueError(
                f"Input X contains infinity or a value too large for dtype('float64'): an integer "
                f"of {value.bit_length()} bits in column {name!r}. Scale or clip this column."
            )
    return None


def _check_object(name: Any, value: Any) -> None:
    if is_pandas_na(value):
        return
    try:
        float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"Column {name!r} of X holds {value!r}: {error}. Pass a number for each entry."
        ) from error


def _refuse(found: dict[str, list], name: str) -> NoReturn:
    parts = []
    for kind, columns in found.items():
        named = in_words("column", [repr(column) for column, _ in columns])
        example = _example(np.asarray(columns[0][1]()))
        parts.append(f"{kind} in {named}, such as {example!r}")
    raise ValueError(
        f"X holds {'; '.join(parts)}; {name} takes numbers only. Encode them in a pipeline: from "
        "skrub import TableVectorizer; from sknoisy.pipeline import make_pipeline; "
        f"make_pipeline(TableVectorizer(), {name}()). For categories alone, "
        "sklearn.preprocessing.OneHotEncoder() suffices as the first step."
    )


def _example(values: np.ndarray) -> Any:
    """Return a value that is no number or, if all are numbers as in a category, the first one."""
    others = (value for value in values if isinstance(value, (str, bytes, *_DATES)))
    value = next((other for other in others if other == other), values[0])  # without NaT
    return value.item() if isinstance(value, np.generic) else value

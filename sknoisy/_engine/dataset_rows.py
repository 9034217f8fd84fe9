"""Rows of a map-style torch data set, which are read in any order."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .containers import check_numbers, from_torch
from .streams import Stream

__all__ = ["DatasetRows"]

_NOTE = "Row {} of the data set X caused this error."


class DatasetRows(Stream):
    """The rows of a map-style data set, which gives x or a tuple of x and other things.

    Rows are read by ``__getitems__``, a list of items for a list of numbers, if the data set has
    it, else one by one.

    Each x is an array, a tensor or a sequence of numbers, of the shape of the first one, and of a
    type that its type holds; float64 may be rounded to float32. TypeError or ValueError is raised
    for any other row. An error of the data set itself, or of the conversion to an array, has a
    note with the row number, or with those that were read together.
    """

    def __init__(self, dataset: Any):
        self._dataset = dataset
        (item,) = self._items([0])
        first = self._array(0, item)
        self.shape, self.dtype = (len(dataset), *first.shape), first.dtype

    def check(self, estimator: Any) -> Any:
        """Return an array of the first row."""
        head = self[:1]
        check_numbers(head, estimator)
        return head

    def _read(self, rows: np.ndarray) -> np.ndarray:
        numbers = rows.tolist()
        items = self._items(numbers)
        values = _stacked([_x_of(item) for item in items])
        if values is not None and self._is_expected(values):
            return values
        values = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        for i, (number, item) in enumerate(zip(numbers, items, strict=True)):
            values[i] = self._row(number, item)
        return values

    def _items(self, numbers: list[int]) -> list[Any]:
        """Return what the data set gives for rows, all at once if it has ``__getitems__``."""
        if len(numbers) > 1 and callable(getattr(self._dataset, "__getitems__", None)):
            return self._items_at_once(numbers)
        items = []
        for number in numbers:
            try:
                items.append(self._dataset[number])
            except Exception as error:
                error.add_note(_NOTE.format(number))
                raise
        return items

    def _items_at_once(self, numbers: list[int]) -> list[Any]:
        where = f"{len(numbers)} rows from {numbers[0]} to {numbers[-1]}"
        try:
            items = list(self._dataset.__getitems__(numbers))
        except Exception as error:
            error.add_note(f"__getitems__ of the data set X, for {where}, caused this error.")
            raise
        if len(items) != len(numbers):
            raise ValueError(
                f"__getitems__ of the data set X returned {len(items)} items for {where}. Return "
                "a list of one item for each number."
            )
        return items

    def _is_expected(self, values: np.ndarray) -> bool:
        """Return whether rows are as the first one, and finite where they have to be."""
        if values.shape[1:] != self.shape[1:] or values.dtype != self.dtype:
            return False
        return values.ndim == 2 or values.dtype.kind != "f" or bool(np.isfinite(values).all())

    def _row(self, number: int, item: Any) -> np.ndarray:
        x = self._array(number, item)
        if x.shape != self.shape[1:]:
            raise ValueError(
                f"Row {number} of X has the shape {x.shape}, but row 0 has {self.shape[1:]}. Pad, "
                "cut or resize the rows to one shape in the data set."
            )
        are_floats = x.dtype.kind == "f" and self.dtype in (np.float32, np.float64)
        if not are_floats and not np.can_cast(x.dtype, self.dtype, casting="safe"):
            raise ValueError(
                f"Row {number} of X holds {x.dtype}, but row 0 holds {self.dtype}, which cannot "
                "hold these values. Return rows of one type from the data set."
            )
        if x.ndim != 1 and x.dtype.kind == "f" and not np.isfinite(x).all():
            raise ValueError(f"Row {number} of X holds NaN or infinity.")
        return x

    def _array(self, number: int, item: Any) -> np.ndarray:
        """Return x of a row as an array of numbers, or of texts, which are refused later."""
        x = _x_of(item)
        try:
            x = np.asarray(from_torch(x) if isinstance(x, Tensor) else x)
        except Exception as error:
            error.add_note(_NOTE.format(number))
            raise
        if x.dtype == object and x.ndim:
            with suppress(TypeError, ValueError):
                x = x.astype(np.float64)  # None becomes NaN
        if x.ndim == 0 or x.dtype.kind not in "biufUSMm":
            what = "complex numbers" if x.dtype.kind == "c" else f"{x[()]!r:.60}"
            raise TypeError(
                f"The data set X gives {what} as x of row {number}. Return an array or a tensor "
                "of real numbers, of at least one axis, or a tuple of it and other things: the "
                "first entry of a tuple or list is x."
            )
        return x


def _x_of(item: Any) -> Any:
    return item[0] if isinstance(item, (tuple, list)) and len(item) else item


def _stacked(rows: list[Any]) -> np.ndarray | None:
    """Return tensors or arrays of one shape and type as one array; None for any others."""
    kinds = {(type(x), getattr(x, "dtype", None)) for x in rows}
    try:
        if len(kinds) == 1 and isinstance(rows[0], Tensor):
            return from_torch(torch.stack(rows))
        if len(kinds) == 1 and isinstance(rows[0], np.ndarray):
            return np.asarray(np.stack(rows))
    except (RuntimeError, TypeError, ValueError):  # one of the rows is told apart later
        pass
    return None

"""Rows of a map-style torch data set, which are read one by one, in any order."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from .containers import check_numbers, from_torch
from .streams import Stream

__all__ = ["DatasetRows"]


class DatasetRows(Stream):
    """The rows of a map-style data set, which gives x or a tuple of x and other things.

    Each x is an array, a tensor or a sequence of numbers, of the shape of the first one, and of a
    type that its type holds; float64 may be rounded to float32. TypeError or ValueError is raised
    for any other row. An error of the data set itself, or of the conversion to an array, has a
    note with the row number.
    """

    def __init__(self, dataset: Dataset):
        self._dataset = dataset
        first = self._item(0)
        self.shape, self.dtype = (len(dataset), *first.shape), first.dtype  # type: ignore[arg-type]

    def check(self, estimator: Any) -> Any:
        """Return an array of the first row."""
        head = self[:1]
        check_numbers(head, estimator)
        return head

    def _read(self, rows: np.ndarray) -> np.ndarray:
        values = np.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        for i, number in enumerate(rows.tolist()):
            values[i] = self._row(number)
        return values

    def _row(self, number: int) -> np.ndarray:
        x = self._item(number)
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

    def _item(self, number: int) -> np.ndarray:
        """Return x of a row as an array of numbers, or of texts, which are refused later."""
        try:
            item = self._dataset[number]
            x = item[0] if isinstance(item, (tuple, list)) and len(item) else item
            x = np.asarray(from_torch(x) if isinstance(x, torch.Tensor) else x)
        except Exception as error:
            error.add_note(f"Row {number} of the data set X caused this error.")
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

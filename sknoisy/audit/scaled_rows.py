"""Rows of a table as scaled columns of float32, held or converted when they are read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._engine.indexing import row_blocks
from .._engine.scaling import InputScaling

__all__ = ["ScaledRows", "scaled_rows"]

_HELD_VALUES = 2**23  # 32 MiB
_CONVERT_ROWS = 8192  # in float64


def scaled_rows(X: Any, scaling: InputScaling) -> NDArray[np.float32] | ScaledRows:
    """Return rows (n, d) by a fitted scaling, as an array if they are few."""
    rows = ScaledRows(X, scaling)
    return rows[:] if rows.shape[0] * rows.shape[1] <= _HELD_VALUES else rows


class ScaledRows:
    """Rows that are converted when they are read, as an array of them would take its own memory.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, d)
        Validated rows.
    scaling : InputScaling
        Fitted on these rows.
    rows : ndarray of int or None, default=None
        Positions in X; None: all.

    Attributes
    ----------
    shape : tuple of int
        Numbers of rows and of columns, with those that the scaling adds.
    """

    def __init__(self, X: Any, scaling: InputScaling, rows: NDArray[np.integer] | None = None):
        self._X, self._scaling, self._rows = X, scaling, rows
        n_rows = X.shape[0] if rows is None else len(rows)
        self.shape = n_rows, scaling.to_tensor(X[:1]).shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.integer]) -> NDArray[np.float32]:
        """Return some rows, float32."""
        X = self._X[rows if self._rows is None else self._rows[rows]]
        converted = np.empty((X.shape[0], self.shape[1]), dtype=np.float32)
        for block in row_blocks(X.shape[0], _CONVERT_ROWS):  # without the threads of torch
            converted[block] = self._scaling.to_tensor(X[block]).numpy()
        return converted

    def take(self, rows: NDArray[np.integer], axis: int = 0) -> ScaledRows:
        """Return some of these rows, as unread as all."""
        return ScaledRows(self._X, self._scaling, rows if self._rows is None else self._rows[rows])

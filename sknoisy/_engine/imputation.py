"""Repair of the columns of a table: missing values, and units beyond the range of float32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.utils import get_tags

from ..exceptions import ConstantColumnWarning, warn_user
from .wording import in_words

__all__ = ["Imputation", "has_nan", "is_memory_mapped", "name_columns", "takes_nan"]

_BLOCK_VALUES = 2**19  # values that are copied at a time
_FLOAT32 = (1e-35, 1e35)  # magnitudes that the networks and the trees hold


class Imputation:
    """Missing values become the median of their column, with an indicator column.

    A column has an indicator, 1 where a value is missing and 0 elsewhere, if training rows miss
    some of its values. The indicators follow the columns. A column that misses values later alone
    has none. A column without any value is 0 everywhere, and a warning names it. A column whose
    largest magnitude float32 cannot hold is divided by this magnitude.

    ``median_`` (d,) are the medians of the training rows, of a memory map or a stream those of
    evenly spaced ones. ``unit_`` (d,) are the divisors, or None if all are 1. ``empty_`` and
    ``indicators_`` are the indices of the columns without any value, and of those with an
    indicator.
    """

    median_: np.ndarray
    unit_: np.ndarray | None
    empty_: np.ndarray
    indicators_: np.ndarray

    def fit(self, X, names: Any = None) -> Imputation:
        """Learn from training rows (n, d), an array or a CSR matrix; `names` are for warnings."""
        low, high, missing = _ranges(X)
        infinite = np.flatnonzero(np.isinf(low) | np.isinf(high))
        if len(infinite):  # of a stream, which is not checked before
            raise ValueError(f"Input X contains infinity in {name_columns(infinite, names)}.")
        empty = np.isnan(high)
        median = _sparse_medians(X) if scipy.sparse.issparse(X) else _medians(X)
        # A column may be empty in the rows of a memory map that are read.
        median = np.where(np.isnan(median), low / 2 + high / 2, median)
        self.median_ = np.where(empty, 0.0, median)
        self.empty_ = np.flatnonzero(empty)
        self.indicators_ = np.flatnonzero(missing & ~empty)
        peak = np.fmax(np.abs(low), np.abs(high))
        extreme = (peak > 0) & ((peak < _FLOAT32[0]) | (peak > _FLOAT32[1]))
        self.unit_ = np.where(extreme, peak, 1.0) if extreme.any() else None
        if len(self.empty_):
            warn_user(
                f"X has no value in {name_columns(self.empty_, names)}: a column of missing "
                "values is taken for constant. Drop it, or look where its values got lost.",
                ConstantColumnWarning,
            )
        return self

    def apply(self, X):
        """Return the repaired columns and their indicators; X itself if there is nothing to do."""
        if scipy.sparse.issparse(X):
            return self._apply_to_sparse(X)
        missing = np.isnan(X) if X.dtype.kind == "f" else np.zeros((1, 1), dtype=bool)
        columns = X
        if missing.any() or len(self.empty_):
            columns = np.where(missing, self.median_, X)
            columns[:, self.empty_] = 0
        if self.unit_ is not None:
            columns = columns / self.unit_
        if not len(self.indicators_):
            return columns
        missing = np.broadcast_to(missing, X.shape)
        return np.hstack([columns, missing[:, self.indicators_]])

    def _apply_to_sparse(self, X):
        missing = np.isnan(X.data) if X.dtype.kind == "f" else np.zeros(len(X.data), dtype=bool)
        columns = X
        if missing.any() or len(self.empty_) or self.unit_ is not None:
            columns = X.astype(np.float64)
            columns.data = np.where(missing, self.median_[X.indices], columns.data)
            columns.data[np.isin(X.indices, self.empty_)] = 0
            if self.unit_ is not None:
                columns.data /= self.unit_[X.indices]
        if not len(self.indicators_):
            return columns
        where = type(X)((missing.astype(np.float64), X.indices, X.indptr), shape=X.shape)
        return scipy.sparse.hstack([columns, where[:, self.indicators_]], format="csr")


def name_columns(index: np.ndarray, names: Any = None) -> str:
    """Return "column 3" or "columns 'age', 'sex', ...": by name if there are names."""
    return in_words("column", [repr(int(i) if names is None else str(names[i])) for i in index])


def has_nan(X) -> bool:
    """Return whether an array or a sparse matrix holds NaN."""
    values = X.data if scipy.sparse.issparse(X) else X
    return values.dtype.kind == "f" and bool(np.isnan(values).any())


def takes_nan(estimator: Any) -> bool:
    """Return whether an estimator takes NaN, or is one of those that can only tell by trying.

    A pipeline takes NaN if all of its steps do, or those up to the first imputer. A search and
    other meta-estimators take what their ``estimator`` takes.
    """
    for _, step in getattr(estimator, "steps", []):
        if type(step).__module__.startswith("sklearn.impute"):
            return True
        if not (isinstance(step, str) or takes_nan(step)):
            return False
    if hasattr(estimator, "steps") or hasattr(estimator, "transformers"):
        return True
    if not hasattr(estimator, "__sklearn_tags__") or get_tags(estimator).input_tags.allow_nan:
        return True
    inner = getattr(estimator, "estimator", None)
    return hasattr(inner, "fit") and takes_nan(inner)


def is_memory_mapped(array: object) -> bool:
    """Return whether an array is a ``numpy.memmap`` or a view of one."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False


def _ranges(X) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return least and largest value of each column, NaN without any, and where some are missing.

    All have the shape (d,).
    """
    if scipy.sparse.issparse(X):
        low, high = (part.toarray().ravel() for part in (X.nanmin(axis=0), X.nanmax(axis=0)))
        missing = np.zeros(X.shape[1], dtype=bool)
        missing[X.indices[np.isnan(X.data)]] = True
        return low.astype(np.float64), high.astype(np.float64), missing
    low, high = np.full((2, X.shape[1]), np.nan)
    missing = np.zeros(X.shape[1], dtype=bool)
    for block in _row_blocks(X):
        low = np.fmin(low, np.fmin.reduce(block, axis=0))
        high = np.fmax(high, np.fmax.reduce(block, axis=0))
        missing |= np.isnan(block).any(axis=0)
    return low, high, missing


def _row_blocks(X: np.ndarray) -> Iterator[np.ndarray]:
    rows = max(1, _BLOCK_VALUES // X.shape[1])
    for start in range(0, len(X), rows):
        yield np.asarray(X[start : start + rows])


def _medians(X: np.ndarray) -> np.ndarray:
    n_rows, n_columns = X.shape
    if not isinstance(X, np.ndarray) or is_memory_mapped(X):  # columns are spread over the file
        n_read = min(n_rows, max(64, _BLOCK_VALUES // n_columns))
        X = np.asarray(X[np.linspace(0, n_rows - 1, n_read).astype(int)])
    width = max(1, _BLOCK_VALUES // len(X))
    blocks = [_column_medians(X[:, i : i + width]) for i in range(0, n_columns, width)]
    return np.concatenate(blocks)


def _column_medians(X: np.ndarray) -> np.ndarray:
    """Return the medians in float64, NaN for columns without any value."""
    columns = np.ascontiguousarray(X.T, dtype=np.float64)
    medians = np.median(columns, axis=1)
    for i in np.flatnonzero(np.isnan(medians)):
        values = columns[i][~np.isnan(columns[i])]
        medians[i] = np.median(values) if len(values) else np.nan
    return medians


def _sparse_medians(X) -> np.ndarray:
    """Return the medians of a CSR matrix; they are 0 where less than half is stored."""
    n_rows, n_columns = X.shape
    medians = np.zeros(n_columns)
    stored = np.flatnonzero(2 * np.bincount(X.indices, minlength=n_columns) >= n_rows)
    width = max(1, _BLOCK_VALUES // n_rows)
    for start in range(0, len(stored), width):
        columns = stored[start : start + width]
        medians[columns] = _column_medians(X[:, columns].toarray())
    return medians

"""Rows as points: features whose distances compare them, and the nearest other rows.

Rows are those of a table, dense or sparse, or arrays of more dimensions, which are flattened.
Images and texts are better given as features, such as a network's penultimate ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from .._engine.indexing import row_blocks
from .._engine.scaling import InputScaling
from ..exceptions import ConstantColumnWarning
from .scaled_rows import ScaledRows, scaled_rows

__all__ = [
    "Features",
    "blocks",
    "distance_features",
    "distances_between",
    "mean_distances",
    "nearest_distances",
]

Features: TypeAlias = NDArray[np.float32] | ScaledRows
Rows = NDArray[np.intp]

_BLOCK_VALUES = 2**22  # that are held at a time: 32 MiB in float64


def distance_features(X: Any, *, scale: bool = True) -> Features:
    """Return rows as dense float32 whose Euclidean distances compare them.

    Columns are centred and divided by their standard deviation, except those that hold nothing but
    0 and 1, such as one-hot categories: two categories then differ by the distance that two rows
    have on average in a scaled column, and a rare category does not outweigh all else. Missing
    values become the median with an indicator column, constant columns 0. Wide sparse rows are
    reduced to 200 columns at most.

    Parameters
    ----------
    X : array-like or sparse of shape (n, ...), numeric
        Rows; arrays of more than two dimensions are flattened. NaN is a missing value.
    scale : bool, default=True
        Whether columns are divided by their standard deviations.

    Returns
    -------
    features : ndarray or ScaledRows of shape (n, n_features), float32
        Features; those of more than 32 MiB are computed when they are read.

    Raises
    ------
    TypeError
        If X is not numeric.
    ValueError
        If X holds infinity.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.audit.distances import distance_features
    >>> distance_features(np.array([[0, 10], [1, 30]]))
    array([[-0.5, -1. ],
           [ 0.5,  1. ]], dtype=float32)
    """
    rows = sparse.csr_array(X) if sparse.issparse(X) else np.asarray(X)
    if rows.dtype.kind not in "biuf":
        raise TypeError(
            f"X has the dtype {rows.dtype}: distances need numbers. Encode its columns, such as "
            "with skrub.TableVectorizer."
        )
    rows = rows if rows.ndim == 2 else rows.reshape(len(rows), -1)
    values: Any = rows.data if sparse.issparse(rows) else rows
    if values.dtype.kind == "f" and np.isinf(values.max(initial=0) - values.min(initial=0)):
        raise ValueError("X holds infinity or values near the largest float: clip them.")
    scaling = InputScaling()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantColumnWarning)  # they add nothing to distances
        scaling.fit(rows)
    if scaling.scale_ is not None:
        is_binary = np.logical_and.reduce([_holds_0_and_1(rows[block]) for block in blocks(rows)])
        kept = is_binary if scale else np.ones(rows.shape[1], dtype=bool)
        scaling.scale_[: rows.shape[1]][kept] = 1
    return scaled_rows(rows, scaling)


def mean_distances(features: Features, references: Rows, n_neighbors: int) -> NDArray[np.float64]:
    """Return the mean distance (n,) of each row to the nearest other references."""
    distances = np.empty(len(features))
    search = _Search(features, references, n_neighbors)
    step = max(_BLOCK_VALUES // (features.shape[1] * n_neighbors), 1)
    for block in row_blocks(len(features), step):
        distances[block] = search.distances(np.arange(block.start, block.stop)).mean(axis=1)
    return distances


def nearest_distances(features: Features, rows: Rows) -> NDArray[np.float64]:
    """Return the distance of some rows, at least two in all, to the nearest other row."""
    n_rows, n_columns = features.shape
    n_parts = max(min(n_rows * n_columns // _BLOCK_VALUES, n_rows // 2), 1)
    parts = np.array_split(np.arange(n_rows), n_parts)
    return np.minimum.reduce([_Search(features, part, 1).distances(rows)[:, 0] for part in parts])


class _Search:
    """Search of the nearest other reference rows."""

    def __init__(self, features: Features, references: Rows, n_neighbors: int):
        self._features, self._references, self._n_neighbors = features, references, n_neighbors
        self._points = features[references]
        self._search = NearestNeighbors(n_neighbors=n_neighbors + 1).fit(self._points)

    def distances(self, rows: Rows) -> NDArray[np.float64]:
        """Return the distances (n_rows, n_neighbors) of rows."""
        points = self._features[rows]
        found = self._search.kneighbors(points, return_distance=False)
        # Without the row itself, or the last if it is hidden behind copies, or no reference.
        is_self = self._references[found] == rows[:, None]
        is_self[~is_self.any(axis=1), -1] = True
        found = found[~is_self]
        # Those of the search, from products of the rows, are not 0 for equal rows.
        of_row = np.repeat(np.arange(len(rows)), self._n_neighbors)
        return distances_between(points, of_row, self._points, found).reshape(len(rows), -1)


def distances_between(first: Features, a: Rows, second: Features, b: Rows) -> NDArray[np.float64]:
    """Return the distances of rows a of one array to rows b of another, 0 for equal ones.

    No large temporary array is made.
    """
    distances = np.empty(len(a))
    step = max(_BLOCK_VALUES // first.shape[1], 1)
    for part in row_blocks(len(a), step):
        difference = first[a[part]] - second[b[part]]
        distances[part] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    return distances


def blocks(X: Any) -> Iterator[slice]:
    """Return slices of rows of some 4 million values."""
    return row_blocks(X.shape[0], max(_BLOCK_VALUES // max(int(np.prod(X.shape[1:])), 1), 1))


def _holds_0_and_1(block: Any) -> NDArray[np.bool_]:
    """Return which columns hold nothing but 0, 1 and missing values."""
    values = block.toarray() if sparse.issparse(block) else block
    return ((values == 0) | (values == 1) | (values != values)).all(axis=0)

"""Near and identical rows, and identical rows with different labels."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from .._engine.indexing import row_blocks
from .._engine.labels import is_missing
from .distances import Features, Rows, blocks, distances_between, nearest_distances

__all__ = ["contradictions", "duplicate_of", "identical_rows", "near_duplicates"]

_NEAR = 0.13  # times the median distance to the nearest row
_MEDIAN_ROWS = 500  # whose distances to all rows give the median

# A pair at the limit falls into one cell of a projection with probability 0.9, into one of all ten
# with 0.35, and in at least one of 20 rounds with 0.9998.
_N_ROUNDS, _N_PROJECTIONS, _CELL = 20, 10, 8
_STEPS = (1, 2, 3)  # rows that follow in the cell and are compared
_BLOCK_ROWS, _BLOCK_PAIRS = 2**16, 2**18  # that are projected, or compared, at a time


def near_duplicates(features: Features, identical: Rows) -> Rows:
    """Return sets of rows that are identical or nearly so.

    Two rows are near duplicates if their distance is below 0.13 times the median distance of a row
    to its nearest other row; identical rows always are. Sets are the connected components of
    these pairs. If the median is 0, only identical rows count.

    The median is that of 500 rows at most. Near rows are found by random projections: a pair just
    below the limit is missed with a probability of some 0.0002 in general, 0.002 in a single
    column, and closer ones less often.

    Parameters
    ----------
    features : ndarray or ScaledRows of shape (n, d), float32
        Rows as points, as of :func:`~sknoisy.audit.distances.distance_features`.
    identical : ndarray of shape (n,), intp
        First identical rows, as of :func:`identical_rows`.

    Returns
    -------
    sets : ndarray of shape (n,), intp
        Number of the set of each row, 0, 1, ... in the order of the first rows of the sets; -1 for
        rows that are alone.

    References
    ----------
    M. Datar, N. Immorlica, P. Indyk and V. Mirrokni, "Locality-sensitive hashing scheme based on
    p-stable distributions", SoCG 2004, for the search. The limit is this library's own.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.audit.distances import distance_features
    >>> from sknoisy.audit.duplicates import duplicate_of, identical_rows, near_duplicates
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0], [1.001], [4.0], [5.0]])
    >>> sets = near_duplicates(distance_features(X), identical_rows(X))
    >>> sets
    array([-1,  0, -1, -1,  0, -1, -1])
    >>> duplicate_of(sets)
    array([-1, -1, -1, -1,  1, -1, -1])
    """
    is_first = identical == np.arange(len(identical))
    distinct, of_row = np.flatnonzero(is_first), (np.cumsum(is_first) - 1)[identical]
    if len(distinct) < len(features):
        features = features.take(distinct, axis=0)
    limit = _NEAR * _median_nearest(features, of_row)
    if limit > 0:
        of_row = _near_components(features, limit)[of_row]
    sizes = np.bincount(of_row)
    sets = np.full(len(of_row), -1)
    together = sizes[of_row] > 1
    _, first, number = np.unique(of_row[together], return_index=True, return_inverse=True)
    sets[together] = first.argsort().argsort()[number]
    return sets


def duplicate_of(sets: Rows) -> Rows:
    """Return the first row of the set of each row, -1 for first rows and rows that are alone.

    Dropping the rows that have one keeps one row of each set.

    Parameters
    ----------
    sets : ndarray of shape (n,), intp
        Numbers of sets, as of :func:`near_duplicates`.

    Returns
    -------
    rows : ndarray of shape (n,), intp
        Row numbers, or -1.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.audit.duplicates import duplicate_of
    >>> duplicate_of(np.array([-1, 0, 0, -1, 0]))
    array([-1, -1,  1, -1,  1])
    """
    members = np.flatnonzero(sets >= 0)
    _, first, number = np.unique(sets[members], return_index=True, return_inverse=True)
    rows = np.full(len(sets), -1)
    rows[members] = members[first[number]]
    rows[members[first]] = -1
    return rows


def identical_rows(X: Any) -> Rows:
    """Return the first row that is identical to each row.

    Rows are compared by hashes of 128 bits of their values, so that any number of copies form one
    set. 0.0 and -0.0 are equal, and so are missing values.

    Parameters
    ----------
    X : array-like or sparse of shape (n, ...)
        Rows of any dtype, also of objects such as strings.

    Returns
    -------
    first : ndarray of shape (n,), intp
        Row numbers; a row without an earlier copy has its own. They may serve as groups that keep
        copies in one fold.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.audit.duplicates import identical_rows
    >>> identical_rows(np.array([[1.0, 0.0], [np.nan, 2.0], [1.0, -0.0], [np.nan, 2.0]]))
    array([0, 1, 0, 1])
    """
    if sparse.issparse(X):
        return _first_equal(_sparse_digests(sparse.csr_array(X)), X.shape[0])
    X = np.asarray(X)
    if X.dtype != object:
        return _first_equal(_digests(X), len(X))
    first: dict[Hashable, int] = {}
    found = (first.setdefault(key, row) for row, key in enumerate(_object_keys(X)))
    return np.fromiter(found, dtype=np.intp)


def contradictions(codes: NDArray[np.integer], identical: Rows) -> Rows:
    """Return for each row the first identical row with another given label.

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        Codes of the given labels; -1 marks a row without a label.
    identical : ndarray of shape (n,), intp
        First identical rows, as of :func:`identical_rows`.

    Returns
    -------
    rows : ndarray of shape (n,), intp
        Row numbers, or -1 for rows that no identical row contradicts.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.audit.duplicates import contradictions
    >>> contradictions(np.array([0, 1, 0, 1, 0]), np.array([0, 0, 0, 3, 3]))
    array([1, 0, 1, 4, 3])
    """
    has_copies = np.bincount(identical, minlength=len(identical)) > 1
    labeled = np.flatnonzero((codes >= 0) & has_copies[identical])
    groups, labels = identical[labeled], codes[labeled]
    _, first, of_group = np.unique(groups, return_index=True, return_inverse=True)
    differs = labels != labels[first[of_group]]
    # The first row of a group contradicts all other labels, and the first of those this label.
    second = np.full(len(first), -1)
    others = np.flatnonzero(differs)
    group, first_other = np.unique(of_group[others], return_index=True)
    second[group] = labeled[others[first_other]]
    rows = np.full(len(codes), -1)
    rows[labeled] = np.where(differs, labeled[first[of_group]], second[of_group])
    return rows


def _first_equal(digests: Iterator[bytes], n_rows: int) -> Rows:
    """Return the first row that has the digest of each row, of 16 bytes."""
    halves = np.empty((n_rows, 2), dtype=np.uint64)
    for row, digest in enumerate(digests):
        halves[row] = np.frombuffer(digest, dtype=np.uint64)
    order = np.lexsort(halves.T)  # stable: equal rows stay in their order
    is_first = np.ones(n_rows, dtype=bool)
    is_first[1:] = (halves[order[1:]] != halves[order[:-1]]).any(axis=1)
    first = np.empty(n_rows, dtype=np.intp)
    first[order] = order[is_first][np.cumsum(is_first) - 1]
    return first


def _object_keys(X: NDArray[Any]) -> Iterator[Hashable]:
    """Yield equal keys for equal rows of objects."""
    for rows in blocks(X):
        block = X[rows].reshape(len(X[rows]), -1)
        yield from (tuple(None if is_missing(v) else v for v in row) for row in block)


def _digests(X: NDArray[Any]) -> Iterator[bytes]:
    """Yield equal digests for equal rows."""
    for rows in blocks(X):
        block = X[rows].reshape(len(X[rows]), -1)
        yield from map(_digest, _unified(np.ascontiguousarray(block)))


def _sparse_digests(X: Any) -> Iterator[bytes]:
    for rows in blocks(X):
        block = X[rows].copy()
        block.sum_duplicates()
        block.eliminate_zeros()
        data, indices = _unified(block.data), block.indices.astype(np.int64)
        for start, end in zip(block.indptr[:-1], block.indptr[1:], strict=True):
            yield _digest(indices[start:end], data[start:end])


def _unified(values: NDArray[Any]) -> NDArray[Any]:
    """Return values of which equal ones have equal bytes."""
    if values.dtype.kind != "f":
        return values
    values = values + 0  # -0.0 becomes 0.0
    values[np.isnan(values)] = np.nan
    return values


def _digest(*values: NDArray[Any]) -> bytes:
    """Return 16 bytes; of several arrays, the first tells the lengths of all."""
    return hashlib.blake2b(b"".join(part.tobytes() for part in values), digest_size=16).digest()


def _median_nearest(features: Features, of_row: Rows) -> float:
    """Return the median over rows of the distance to the nearest other row; 0 for copies."""
    n_rows, n_distinct = len(of_row), len(features)
    if n_distinct < 2:
        return 0.0
    some = np.unique(np.linspace(0, n_rows - 1, _MEDIAN_ROWS).astype(np.intp))
    distances = np.zeros(len(some))
    is_alone = np.bincount(of_row)[of_row[some]] == 1
    if is_alone.any():
        distances[is_alone] = nearest_distances(features, of_row[some[is_alone]])
    return float(np.median(distances))


def _near_components(features: Features, limit: float) -> Rows:
    """Return the number (n,) of the component of each row, which rows closer than the limit link.

    In each round, rows fall into cells of random projections; rows of one cell are sorted by one
    more projection, and each is compared with the next ones.
    """
    rng = np.random.RandomState(0)
    n_rows, n_columns = features.shape
    width = _CELL * limit / np.sqrt(n_columns)
    component = np.arange(n_rows)
    for _ in range(_N_ROUNDS):
        directions = rng.standard_normal((n_columns, _N_PROJECTIONS + 1)).astype(np.float32)
        directions /= np.linalg.norm(directions, axis=0)
        shift, factors = rng.random_sample(_N_PROJECTIONS), rng.randint(2**62, size=_N_PROJECTIONS)
        cell, last = np.empty(n_rows, dtype=np.int64), np.empty(n_rows, dtype=np.float32)
        for rows in row_blocks(n_rows, _BLOCK_ROWS):
            projected = features[rows] @ directions
            cells = np.floor(projected[:, :-1] / width + shift)
            with np.errstate(invalid="ignore"):  # cells that int64 does not hold fall together
                cell[rows] = cells.astype(np.int64) @ factors
            last[rows] = projected[:, -1]
        component = _linked(component, _close_pairs(features, cell, last, limit))
    return component


def _close_pairs(
    features: Features, cell: NDArray[np.int64], last: NDArray[np.float32], limit: float
) -> Iterator[tuple[Rows, Rows]]:
    """Yield pairs of rows of one cell that are closer than the limit."""
    order = np.lexsort((last, cell))
    for start in range(0, len(order), _BLOCK_PAIRS):
        for step in _STEPS:
            b = order[start + step : start + step + _BLOCK_PAIRS]
            a = order[start : start + len(b)]
            together = cell[a] == cell[b]
            a, b = a[together], b[together]
            close = distances_between(features, a, features, b) < limit
            yield a[close], b[close]


def _linked(component: Rows, pairs: Iterator[tuple[Rows, Rows]]) -> Rows:
    """Return the components that remain where pairs of rows link them."""
    links = []
    for a, b in pairs:
        is_new = component[a] != component[b]
        if is_new.any():
            links.append(component[np.stack([a[is_new], b[is_new]])])
    if not links:
        return component
    both = np.concatenate(links, axis=1)
    shape = (int(component.max()) + 1,) * 2
    graph = sparse.coo_array((np.ones(both.shape[1], dtype=bool), tuple(both)), shape=shape)
    return connected_components(graph, directed=False)[1][component]

"""Units of rows that belong together: identical rows, and rows of one group."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from .._engine.folds import draw_folds

__all__ = ["draw_unit_folds", "join_units"]


def join_units(
    identical: NDArray[np.integer] | None, groups: NDArray[np.integer] | None
) -> NDArray[np.int64] | None:
    """Return codes 0, 1, ... of the units (n,): rows that identical rows and groups connect.

    None if every row is a unit of its own.
    """
    if identical is None or groups is None:
        codes = groups if identical is None else identical
        if codes is None:
            return None
        units = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    else:
        # A graph whose nodes are the sets and the groups; each row connects two of them.
        shape = (int(identical.max()) + 1, int(groups.max()) + 1)
        edges = sparse.coo_array((np.ones(len(groups), np.int8), (identical, groups)), shape)
        graph = sparse.block_array([[None, edges], [edges.T, None]])
        nodes = connected_components(graph, directed=False)[1]
        units = np.unique(nodes[identical], return_inverse=True)[1].astype(np.int64)
    return None if units.max() == len(units) - 1 else units


def draw_unit_folds(
    codes: NDArray[np.integer],
    n_folds: int,
    rng: np.random.RandomState,
    units: NDArray[np.integer] | None,
    *,
    grouped: bool,
) -> NDArray[np.intp]:
    """Return the number of each row's fold (n,); -1 for rows that no fold leaves out.

    Folds are stratified by the given label and keep units together; rows without a label, of code
    -1, are in no fold. If the units are identical rows alone, not `grouped`, they are drawn by
    the label of their first row.
    """
    fold = np.full(len(codes), -1, dtype=np.intp)
    labeled = np.flatnonzero(codes >= 0)
    if units is None:
        fold[labeled] = draw_folds(codes[labeled], n_folds, rng)
        return fold
    own = np.unique(units[labeled], return_index=True, return_inverse=True)
    if grouped:
        fold[labeled] = draw_folds(codes[labeled], n_folds, rng, own[2])
    else:
        fold[labeled] = draw_folds(codes[labeled[own[1]]], n_folds, rng)[own[2]]
    return fold

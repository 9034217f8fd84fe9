"""Folds and halves of rows, by class and by group, and standard errors of means over groups."""

from __future__ import annotations

import math
import warnings

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

__all__ = [
    "draw_folds",
    "draw_folds_of_counted",
    "standard_error",
    "stratified_half",
]


def _class_ranks(codes: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Number the rows of each class 0, 1, ... in random order; `codes` are encoded labels."""
    order = rng.permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    first = np.r_[0, np.bincount(codes).cumsum()[:-1]]
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(codes)) - first[codes[order]]
    return ranks


def draw_folds(
    codes: np.ndarray,
    n_folds: int,
    rng: np.random.RandomState,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Draw folds stratified by class, and return the number of each row's fold, of shape (n,).

    With the codes of `groups` (n,), all rows of a group are in one fold. There are at most as many
    folds as groups, and a group that holds all other rows of some class has no fold: its number
    is -1, so that every class can be learned from the rows outside of each fold.
    """
    if groups is None:
        return _class_ranks(codes, rng) % n_folds
    fold = np.full(len(codes), -1)
    n_folds = min(n_folds, len(np.unique(groups)), int(np.bincount(codes).max()))
    if n_folds < 2:
        return fold
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=rng)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        for k, (_, held) in enumerate(splitter.split(codes, codes, groups)):
            fold[held] = k
    for k in range(n_folds):
        lacking = ~np.isin(codes, codes[fold != k])
        fold[np.isin(groups, groups[lacking])] = -1
    return fold


def draw_folds_of_counted(
    codes: np.ndarray,
    n_folds: int,
    rng: np.random.RandomState,
    groups: np.ndarray | None,
    weights: np.ndarray | None,
) -> np.ndarray:
    """Draw folds of the rows of positive weight, and return the number of each row's fold.

    A row without weight is in the fold of its group; without groups, the folds of such rows follow
    their order, so that their labels have no effect. The number is -1 where :func:`draw_folds`
    says so, and in groups without any weight.
    """
    if weights is None:
        return draw_folds(codes, n_folds, rng, groups)
    counted = weights.nonzero()[0]
    if groups is None:
        fold = np.arange(len(codes)) % n_folds
        fold[counted] = draw_folds(codes[counted], n_folds, rng)
        return fold
    of_group = np.full(groups.max() + 1, -1)
    of_group[groups[counted]] = draw_folds(codes[counted], n_folds, rng, groups[counted])
    return of_group[groups]


def stratified_half(
    codes: np.ndarray, rng: np.random.RandomState, groups: np.ndarray | None = None
) -> np.ndarray:
    """Draw half of the rows of each class, the larger half of an odd number, as a mask (n,).

    With the codes of `groups` (n,), the mask is equal within a group.
    """
    return draw_folds(codes, 2, rng, groups) == 0


def standard_error(values: np.ndarray, groups: np.ndarray | None = None) -> float:
    """Return the standard error of the mean of values (n,), whose groups are independent."""
    if groups is None:
        return float(values.std()) / math.sqrt(len(values))
    sums = np.bincount(groups, values - values.mean())
    return float(np.sqrt((sums**2).sum())) / len(values)

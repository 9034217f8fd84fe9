"""The learners that are tried on the given labels, and those that are picked."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from .forest import Forest
from .kernel import KernelFeatures, KernelRidge
from .learner import Build, Learner
from .linear import LinearRidge
from .probabilities import brier_score

__all__ = ["Member", "pick_members"]

_N_TREES = 60
_LEAVES = (1, 3, 8)
_OF_PURIFIED = 1  # rows in a leaf: purified labels are hardly noisy
_KERNELS = (
    ("linear", 1.0),
    ("rbf", 0.25),
    ("rbf", 1.0),
    ("rbf", 4.0),
    ("exponential", 1.0),
    ("exponential", 4.0),
)
_N_LANDMARKS = 500
_TRIED_ROWS, _TRIED_LANDMARKS = 1000, 300  # used to compare kernels
_LEAST_IMPORTANCE = 1e-3  # of a column, relative to the mean


class Member(NamedTuple):
    """A learner that was picked among candidates of its kind.

    Attributes
    ----------
    name : str
        Name of the candidate that was picked.
    scores : dict of float
        Brier score of each candidate on held-out given labels, by name.
    learner : Learner
        Has learned the given labels of all rows.
    held_out : ndarray of shape (n, n_classes)
        Its held-out probabilities.
    of_given, of_purified : callable
        Return a new learner of the same kind, for given and for purified labels.
    """

    name: str
    scores: dict[str, float]
    learner: Learner
    held_out: np.ndarray
    of_given: Build
    of_purified: Build


def pick_members(
    X: Any,
    targets: np.ndarray,
    weights: np.ndarray | None,
    groups: np.ndarray | None,
    seed: int,
    n_jobs: int | None,
) -> list[Member]:
    """Fit the candidates to the given labels, and pick the best of each kind.

    For dense rows the kinds are a forest, whose candidates have leaves of 1, 3 and 8 rows; kernel
    ridge regression with six kernels; and the same on columns that are scaled by the square root
    of their importance in the forest. For sparse rows there is a linear learner alone.

    Parameters
    ----------
    X : ndarray of float32 or sparse matrix of shape (n, d)
        Rows.
    targets : ndarray of shape (n, n_classes)
        Given labels as probabilities.
    weights : ndarray of shape (n,) or None
        Weights of the rows.
    groups : ndarray of int64 of shape (n,) or None
        Codes of groups of rows.
    seed : int
        Seed of all draws.
    n_jobs : int or None
        Number of threads of the forests.
    """
    if scipy.sparse.issparse(X):
        return [_pick_linear(X, targets, weights, groups, seed)]
    forest, importances = _pick_forest(X, targets, weights, groups, seed, n_jobs)
    relative = importances / (importances.mean() or 1.0)
    members = [forest]
    for of_columns, scale in (("", None), (", scaled", np.sqrt(relative + _LEAST_IMPORTANCE))):
        members.append(_pick_kernel(X, targets, weights, groups, seed, scale, of_columns))
    return members


def _pick_forest(X, targets, weights, groups, seed, n_jobs) -> tuple[Member, np.ndarray]:
    """Return the member and the importances of the columns, by the forest of largest leaves."""
    best, scores = np.inf, {}
    for leaf in _LEAVES:
        forest = Forest(_N_TREES, leaf, seed, n_jobs)
        held_out = forest.fit_held_out(X, targets, weights, groups)
        name = f"forest, leaf {leaf}"
        scores[name] = brier_score(held_out, targets, weights)
        if scores[name] < best:
            best, picked = scores[name], (name, scores, forest, held_out)
            of_given = partial(Forest, _N_TREES, leaf, seed, n_jobs)
    of_purified = partial(Forest, _N_TREES, _OF_PURIFIED, seed, n_jobs)
    return Member(*picked, of_given, of_purified), forest.importances_


def _pick_kernel(X, targets, weights, groups, seed, scale, of_columns: str) -> Member:
    rows = np.arange(len(X)) if weights is None else weights.nonzero()[0]
    rows = np.random.RandomState(seed).permutation(rows)[:_TRIED_ROWS]
    some = [None if values is None else values[rows] for values in (weights, groups)]
    best, scores = np.inf, {}
    for kind, sharpness in _KERNELS:
        features = KernelFeatures(kind, sharpness, scale, _TRIED_LANDMARKS, seed).fit(X[rows])
        ridge = KernelRidge(features, seed).fit(X[rows], targets[rows], *some)
        name = f"{kind} kernel, sharpness {sharpness:g}{of_columns}"
        scores[name] = ridge.score_
        if ridge.score_ < best:
            best, picked, chosen = ridge.score_, name, (kind, sharpness)
    features = KernelFeatures(*chosen, scale, _N_LANDMARKS, seed).fit(X)
    build = partial(KernelRidge, features, seed)
    learner = build()
    held_out = learner.fit_held_out(X, targets, weights, groups)
    scores[picked] = brier_score(held_out, targets, weights)
    return Member(picked, scores, learner, held_out, build, build)


def _pick_linear(X, targets, weights, groups, seed) -> Member:
    build = partial(LinearRidge, seed)
    learner = build()
    held_out = learner.fit_held_out(X, targets, weights, groups)
    scores = {"linear ridge": brier_score(held_out, targets, weights)}
    return Member("linear ridge", scores, learner, held_out, build, build)

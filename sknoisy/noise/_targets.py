"""Replacement distributions of the class-conditional noise models.

Every such model replaces a label of class i with probability ``r_i`` by a draw from row i of a
matrix ``Q``, hence ``P = (1 - r) I + r Q``. The models differ in ``Q`` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._labels import Matrix, check_n_classes
from .streams import own_generator


def mix(targets: Matrix, rate: float | NDArray[np.float64]) -> Matrix:
    """Return ``(1 - r_i) I + r_i Q_i``, where `rate` is one number or one per class."""
    n_classes = len(targets)
    r = np.broadcast_to(np.asarray(rate, dtype=float), n_classes)[:, None]
    return (1 - r) * np.eye(n_classes) + r * targets


def symmetric_targets(n_classes: int, include_true: bool) -> Matrix:
    """Return uniform distributions over all classes, or over the wrong ones."""
    check_n_classes(n_classes)
    if include_true:
        return np.full((n_classes, n_classes), 1 / n_classes)
    return (1 - np.eye(n_classes)) / (n_classes - 1)


def map_targets(n_classes: int, mapping: Mapping[int, int]) -> Matrix:
    """Return the matrix that sends each class to one class; others stay as they are."""
    targets = np.eye(check_n_classes(n_classes))
    for source, target in mapping.items():
        for index in (source, target):
            if not 0 <= index < n_classes:
                raise ValueError(f"mapping names class {index}, outside 0..{n_classes - 1}.")
        targets[source] = np.eye(n_classes)[target]
    return targets


def superclass_targets(n_classes: int, groups: Any, mode: str) -> Matrix:
    """Return the matrix that sends classes to the next or to any other class of their group."""
    if mode not in ("next", "uniform"):
        raise ValueError(f"mode={mode!r} must be 'next' or 'uniform'.")
    groups = [list(g) for g in (groups.values() if isinstance(groups, Mapping) else groups)]
    members = [index for group in groups for index in group]
    if len(set(members)) < len(members):
        twice = sorted({i for i in members if members.count(i) > 1})
        raise ValueError(f"groups hold class {twice[:5]} more than once; groups must not overlap.")
    if any(not 0 <= index < n_classes for index in members):
        raise ValueError(f"groups name a class outside 0..{n_classes - 1}.")
    targets = np.eye(check_n_classes(n_classes))
    for group in (g for g in groups if len(g) > 1):
        for i, index in enumerate(group):
            others = (
                [group[(i + 1) % len(group)]]
                if mode == "next"
                else [other for other in group if other != index]
            )
            targets[index, index] = 0
            targets[index, others] = 1 / len(others)
    return targets


def random_map_targets(n_classes: int, n_targets: int, map_seed: int) -> Matrix:
    """Return the matrix that sends each class to `n_targets` wrong classes, drawn once."""
    check_n_classes(n_classes)
    if not 1 <= n_targets < n_classes:
        raise ValueError(
            f"n_targets={n_targets} must be from 1 to the number of wrong classes, "
            f"{n_classes - 1}."
        )
    rng = own_generator(map_seed, "random_map_targets")
    targets = np.zeros((n_classes, n_classes))
    for index in range(n_classes):
        wrong = np.delete(np.arange(n_classes), index)
        targets[index, rng.choice(wrong, size=n_targets, replace=False)] = 1 / n_targets
    return targets


def pairflip_map(n_classes: int) -> dict[int, int]:
    """Return the mapping of each class to the next one, and of the last to the first."""
    return {i: (i + 1) % n_classes for i in range(n_classes)}

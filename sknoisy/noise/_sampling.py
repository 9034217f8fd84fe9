"""Draws of noisy labels, independent or with exact counts, by inverse distribution functions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ._labels import Codes, Matrix
from ._targets import mix


def corrupt(
    codes: Codes,
    targets: Matrix,
    rate: float,
    *,
    rng: np.random.Generator,
    exact: str | bool = False,
    balanced: bool = False,
) -> tuple[Codes, Matrix]:
    """Replace labels with probability or frequency `rate` by draws from rows of `targets`.

    Returns the noisy codes and the transition matrix. `exact` is False, "global", "per_class"
    (rounded up) or "per_class_floor"; `balanced` deals the replacements out evenly.
    """
    if not exact:
        transition = mix(targets, rate)
        return draw(transition, codes, rng), transition
    if exact == "global":
        n_selected = count(rate, len(codes), math.floor)
        selected = rng.choice(len(codes), size=n_selected, replace=False)
        realised = np.full(len(targets), n_selected / len(codes))
    else:
        rounding = math.ceil if exact == "per_class" else math.floor
        selected, realised = _select_per_class(codes, len(targets), rate, rounding, rng)
    replace = _deal if balanced else draw
    noisy = codes.copy()
    noisy[selected] = replace(targets, codes[selected], rng)
    return noisy, mix(targets, realised)


def count(rate: float, n: int, rounding: Callable[[float], int]) -> int:
    """Round ``rate * n``, where 0.29 * 100 counts as 29 and not as 28.999999999999996."""
    product = rate * n
    nearest = round(product)
    return nearest if math.isclose(product, nearest, rel_tol=1e-12) else rounding(product)


def _select_per_class(
    codes: Codes,
    n_classes: int,
    rate: float,
    rounding: Callable[[float], int],
    rng: np.random.Generator,
) -> tuple[Codes, NDArray[np.float64]]:
    """Choose a rounded share of each class; return rows and realised rates."""
    realised = np.full(n_classes, rate)
    selected = []
    for k in range(n_classes):
        rows = np.flatnonzero(codes == k)
        if len(rows):
            n_selected = count(rate, len(rows), rounding)
            realised[k] = n_selected / len(rows)
            selected.append(rng.choice(rows, size=n_selected, replace=False))
    return np.concatenate(selected), realised


def draw(transition: Matrix, codes: Codes, rng: np.random.Generator) -> Codes:
    """Draw one class for every code from its row of `transition`."""
    uniform = rng.random(len(codes))
    drawn = np.empty_like(codes)
    for k, distribution in enumerate(_cumulative(transition)):
        rows = codes == k
        # "right" skips classes of probability zero even where the draw is exactly on a step.
        drawn[rows] = np.searchsorted(distribution, uniform[rows], side="right")
    return drawn


def draw_classes(probabilities: Matrix, rng: np.random.Generator) -> Codes:
    """Draw one class per sample from the sample's own row of `probabilities`."""
    uniform = rng.random((len(probabilities), 1))
    return (_cumulative(probabilities) <= uniform).sum(axis=1)


def _cumulative(probabilities: Matrix) -> Matrix:
    """Return the distribution function of each row, which ends at exactly 1."""
    cumulative = np.cumsum(probabilities, axis=1)
    return cumulative / cumulative[:, -1:]


def _deal(targets: Matrix, codes: Codes, rng: np.random.Generator) -> Codes:
    """Deal the possible classes of each row of `targets` out equally often, up to one."""
    dealt = np.empty_like(codes)
    for k in np.unique(codes):
        rows = np.flatnonzero(codes == k)
        possible = rng.permutation(np.flatnonzero(targets[k]))
        dealt[rows] = rng.permutation(np.resize(possible, len(rows)))
    return dealt

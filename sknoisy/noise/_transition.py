"""Transition matrices ``P[i, j] = Pr(noisy = j | clean = i)`` in closed form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from ._labels import Matrix, check_rate
from ._targets import (
    map_targets,
    mix,
    pairflip_map,
    random_map_targets,
    superclass_targets,
    symmetric_targets,
)


def symmetric_transition(n_classes: int, rate: float, *, include_true: bool = False) -> Matrix:
    r"""Transition matrix of symmetric noise.

    Exclusive (the default): :math:`P_{ii} = 1 - r` and :math:`P_{ij} = r / (c - 1)`, so that a
    fraction r of the labels is wrong. Inclusive: :math:`P = (1 - r) I + (r / c) 1 1^T`, so that
    the true class may be drawn again and only :math:`r (1 - 1/c)` is wrong.

    Parameters
    ----------
    n_classes : int
        Number of classes c, at least 2.
    rate : float
        Noise rate r in [0, 1].
    include_true : bool, default=False
        Whether a replaced label may be the true one again.

    Returns
    -------
    transition : ndarray of shape (n_classes, n_classes), float64

    Raises
    ------
    ValueError
        If `rate` lies outside [0, 1] or `n_classes` is below 2.

    Examples
    --------
    >>> from sknoisy.noise import noise_rate, symmetric_transition
    >>> symmetric_transition(3, 0.2)
    array([[0.8, 0.1, 0.1],
           [0.1, 0.8, 0.1],
           [0.1, 0.1, 0.8]])
    >>> round(noise_rate(symmetric_transition(10, 0.5, include_true=True)), 12)
    0.45
    """
    return mix(symmetric_targets(n_classes, include_true), check_rate(rate))


def pairflip_transition(n_classes: int, rate: float) -> Matrix:
    """Transition matrix of pairflip noise: class i becomes ``(i + 1) mod c`` with `rate`.

    Parameters
    ----------
    n_classes : int
        Number of classes c, at least 2.
    rate : float
        Noise rate in [0, 1]. Above 0.5 the wrong class is the majority.

    Returns
    -------
    transition : ndarray of shape (n_classes, n_classes), float64

    Raises
    ------
    ValueError
        If `rate` lies outside [0, 1] or `n_classes` is below 2.

    Examples
    --------
    >>> from sknoisy.noise import pairflip_transition
    >>> pairflip_transition(3, 0.25)
    array([[0.75, 0.25, 0.  ],
           [0.  , 0.75, 0.25],
           [0.25, 0.  , 0.75]])
    """
    return class_map_transition(n_classes, pairflip_map(n_classes), rate)


def class_map_transition(n_classes: int, mapping: Mapping[int, int], rate: float) -> Matrix:
    """Transition matrix of asymmetric noise along a map of class indices.

    Parameters
    ----------
    n_classes : int
        Number of classes, at least 2.
    mapping : dict of int to int
        Wrong class of each affected class; the others stay clean.
    rate : float
        Probability in [0, 1] that a label of an affected class is replaced.

    Returns
    -------
    transition : ndarray of shape (n_classes, n_classes), float64

    Raises
    ------
    ValueError
        If `rate` lies outside [0, 1], `n_classes` is below 2, or `mapping` holds an index outside
        0 ... n_classes - 1.

    Examples
    --------
    >>> from sknoisy.noise import class_map_transition
    >>> class_map_transition(3, {0: 2}, 0.5)
    array([[0.5, 0. , 0.5],
           [0. , 1. , 0. ],
           [0. , 0. , 1. ]])
    """
    return mix(map_targets(n_classes, mapping), check_rate(rate))


def superclass_transition(
    n_classes: int,
    groups: Mapping[Any, Iterable[int]] | Iterable[Iterable[int]],
    rate: float,
    *,
    mode: Literal["next", "uniform"] = "next",
) -> Matrix:
    """Transition matrix of noise that stays inside groups of class indices.

    Parameters
    ----------
    n_classes : int
        Number of classes, at least 2.
    groups : iterable of iterables of int, or dict of them
        Groups of classes that do not overlap. Classes in no group, or alone in one, stay clean.
    rate : float
        Probability in [0, 1] that a label of a grouped class is replaced.
    mode : {"next", "uniform"}, default="next"
        "next": by the next class of the group, the last by the first. "uniform": by any other
        class of the group.

    Returns
    -------
    transition : ndarray of shape (n_classes, n_classes), float64

    Raises
    ------
    ValueError
        If `rate` lies outside [0, 1], `n_classes` is below 2, `mode` is not known, or groups
        overlap or hold an index outside 0 ... n_classes - 1.

    Examples
    --------
    >>> from sknoisy.noise import superclass_transition
    >>> superclass_transition(4, [[0, 1, 3]], 0.5, mode="uniform")
    array([[0.5 , 0.25, 0.  , 0.25],
           [0.25, 0.5 , 0.  , 0.25],
           [0.  , 0.  , 1.  , 0.  ],
           [0.25, 0.25, 0.  , 0.5 ]])
    """
    return mix(superclass_targets(n_classes, groups, mode), check_rate(rate))


def random_map_transition(
    n_classes: int, rate: float, *, n_targets: int = 1, map_seed: int = 1
) -> Matrix:
    """Transition matrix of "flip" noise: each class has `n_targets` wrong classes drawn once.

    Parameters
    ----------
    n_classes : int
        Number of classes, at least 2.
    rate : float
        Noise rate in [0, 1], shared evenly by the targets.
    n_targets : int, default=1
        Number of wrong classes per class: 1 is "flip", 2 is "flip2".
    map_seed : int, default=1
        Seed of the map alone.

    Returns
    -------
    transition : ndarray of shape (n_classes, n_classes), float64

    Raises
    ------
    ValueError
        If `rate` lies outside [0, 1], `n_classes` is below 2, or `n_targets` is not from 1 to
        n_classes - 1.

    Examples
    --------
    >>> from sknoisy.noise import random_map_transition
    >>> P = random_map_transition(10, 0.4, n_targets=2)
    >>> (P == 0.2).sum(axis=1)
    array([2, 2, 2, 2, 2, 2, 2, 2, 2, 2])
    """
    return mix(random_map_targets(n_classes, n_targets, map_seed), check_rate(rate))

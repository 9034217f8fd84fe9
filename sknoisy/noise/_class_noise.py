"""Class-conditional label noise: the noisy label depends on the clean label alone."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Literal

from numpy.typing import ArrayLike

from ._labels import NoisyLabels, check_rate, codes_of, decode, encode
from ._sampling import corrupt
from ._targets import (
    map_targets,
    pairflip_map,
    random_map_targets,
    superclass_targets,
    symmetric_targets,
)
from .streams import own_generator


def symmetric(
    y: ArrayLike,
    rate: float,
    *,
    include_true: bool = False,
    exact_count: bool | Literal["balanced"] = False,
    classes: Iterable[Hashable] | None = None,
    random_state: Any = None,
) -> NoisyLabels:
    """Replace labels by uniformly drawn ones.

    Papers mix two meanings of "50 % symmetric": drawn from the wrong classes, half of the labels
    are wrong (`include_true=False`); drawn from all c classes, ``0.5 (1 - 1/c)`` are. Report the
    realised rate, ``result.mask.mean()``.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Clean labels of any type. Not modified.
    rate : float
        Probability in [0, 1] that a label is replaced. With the true class excluded,
        ``(c - 1) / c`` leaves labels without information.
    include_true : bool, default=False
        Whether the replacement may be the true class.
    exact_count : bool or "balanced", default=False
        False: each label is replaced independently. True: exactly ``floor(rate * n_samples)``
        are. "balanced": exactly ``floor(rate * n_k)`` of each class, and their replacements hold
        every possible class equally often, up to one.
    classes : iterable of labels, default=None
        All classes, in the order of the transition matrix; None: those in y, sorted.
    random_state : int, Generator, RandomState or None, default=None
        Source of the draws. An integer gives the same labels everywhere.

    Returns
    -------
    result : NoisyLabels
        Named tuple of the noisy labels `y`, the `mask` of changed ones and the `transition`
        matrix of shape (n_classes, n_classes). With exact counts the matrix holds the
        probabilities after rounding.

    Raises
    ------
    ValueError
        If `rate` lies outside [0, 1], there are fewer than two classes, or y holds missing
        labels or labels not in `classes`.

    References
    ----------
    Han et al., "Co-teaching", NeurIPS 2018 (exclusive); Shu et al., "Meta-Weight-Net",
    NeurIPS 2019 (inclusive); Li et al., "DivideMix", ICLR 2020 (inclusive, exact count).

    Examples
    --------
    >>> from sknoisy.noise import symmetric
    >>> noisy = symmetric(["cat", "dog", "owl"] * 100, 0.4, exact_count=True, random_state=0)
    >>> int(noisy.mask.sum())
    120
    >>> noisy.transition
    array([[0.6, 0.2, 0.2],
           [0.2, 0.6, 0.2],
           [0.2, 0.2, 0.6]])
    """
    modes: dict[bool | str, bool | str]
    modes = {False: False, True: "global", "balanced": "per_class_floor"}
    if exact_count not in modes:
        raise ValueError(f"exact_count={exact_count!r} must be True, False or 'balanced'.")
    codes, decoder = encode(y, classes)
    targets = symmetric_targets(len(decoder), include_true)
    noisy, transition = corrupt(
        codes,
        targets,
        check_rate(rate),
        exact=modes[exact_count],
        balanced=exact_count == "balanced",
        rng=own_generator(random_state, "symmetric"),
    )
    return decode(decoder, codes, noisy, transition)


def pairflip(
    y: ArrayLike,
    rate: float,
    *,
    classes: Iterable[Hashable] | None = None,
    random_state: Any = None,
) -> NoisyLabels:
    """Move each label to the next class with probability `rate`, the last class to the first.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Clean labels of any type. Not modified.
    rate : float
        Noise rate in [0, 1]. Above 0.5 the wrong class is the majority.
    classes : iterable of labels, default=None
        All classes, in the order that defines "next"; None: those in y, sorted.
    random_state : int, Generator, RandomState or None, default=None
        Source of the draws. An integer gives the same labels everywhere.

    Returns
    -------
    result : NoisyLabels
        Named tuple `y`, `mask`, `transition` of shape (n_classes, n_classes).

    Raises
    ------
    ValueError
        If `rate` lies outside [0, 1], there are fewer than two classes, or y holds missing
        labels or labels not in `classes`.

    References
    ----------
    Han et al., "Co-teaching: Robust training of deep neural networks with extremely noisy
    labels", NeurIPS 2018.

    Examples
    --------
    >>> from sknoisy.noise import pairflip
    >>> pairflip(["low", "mid", "high"], 1, classes=["low", "mid", "high"]).y.tolist()
    ['mid', 'high', 'low']
    """
    codes, decoder = encode(y, classes)
    targets = map_targets(len(decoder), pairflip_map(len(decoder)))
    noisy, transition = corrupt(
        codes, targets, check_rate(rate), rng=own_generator(random_state, "pairflip")
    )
    return decode(decoder, codes, noisy, transition)


def class_map(
    y: ArrayLike,
    mapping: Mapping[Hashable, Hashable],
    rate: float,
    *,
    exact: Literal[False, "per_class", "per_class_floor", "global"] = False,
    classes: Iterable[Hashable] | None = None,
    random_state: Any = None,
) -> NoisyLabels:
    """Asymmetric noise: replace labels of some classes by one given wrong class each.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Clean labels of any type. Not modified.
    mapping : dict of label to label
        Wrong class of each affected class, such as `CIFAR10_ASYMMETRIC`; others stay clean.
    rate : float
        Probability in [0, 1] that a label of an affected class is replaced. Where half of the
        classes is affected, half of `rate` is wrong.
    exact : {False, "per_class", "per_class_floor", "global"}, default=False
        False: each label independently. "per_class": ``ceil(rate * n_k)`` labels of each
        affected class (ELR, FINE). "per_class_floor": the floor of it (CDR). "global":
        ``floor(rate * n_samples)`` samples are selected from all classes, and those of affected
        classes change (DivideMix), so the count per class is random.
    classes : iterable of labels, default=None
        All classes, in the order of the transition matrix; None: those in y, sorted.
    random_state : int, Generator, RandomState or None, default=None
        Source of the draws. An integer gives the same labels everywhere.

    Returns
    -------
    result : NoisyLabels
        Named tuple `y`, `mask`, `transition` of shape (n_classes, n_classes). With exact counts
        the matrix holds the probabilities after rounding.

    Raises
    ------
    ValueError
        If `rate` lies outside [0, 1], the mapping names labels that are no classes, or y holds
        missing labels or labels not in `classes`.

    References
    ----------
    Patrini et al., "Making deep neural networks robust to label noise: a loss correction
    approach", CVPR 2017.

    Examples
    --------
    >>> from sknoisy.noise import class_map
    >>> noisy = class_map(["cat", "dog", "owl"] * 10, {"cat": "dog"}, 0.5, exact="per_class")
    >>> int((noisy.y == "dog").sum()), int((noisy.y == "owl").sum())
    (15, 10)
    """
    if exact not in (False, "per_class", "per_class_floor", "global"):
        raise ValueError(
            f"exact={exact!r} must be False, 'per_class', 'per_class_floor' or 'global'."
        )
    codes, decoder = encode(y, classes)
    sources = codes_of(mapping.keys(), decoder, what="mapping")
    wrong = codes_of(mapping.values(), decoder, what="mapping")
    targets = map_targets(len(decoder), dict(zip(sources, wrong, strict=True)))
    noisy, transition = corrupt(
        codes, targets, check_rate(rate), exact=exact, rng=own_generator(random_state, "class_map")
    )
    return decode(decoder, codes, noisy, transition)


def superclass(
    y: ArrayLike,
    groups: Mapping[Any, Iterable[Hashable]] | Iterable[Iterable[Hashable]],
    rate: float,
    *,
    mode: Literal["next", "uniform"] = "next",
    classes: Iterable[Hashable] | None = None,
    random_state: Any = None,
) -> NoisyLabels:
    """Replace labels by other labels of the same group of classes.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Clean labels of any type. Not modified.
    groups : iterable of iterables of labels, or dict of them
        Groups of classes that do not overlap: `CIFAR100_SUPERCLASSES` for the true superclasses,
        `CIFAR100_BLOCKS` for the blocks of consecutive ids that several papers use instead.
        Classes in no group, or alone in one, stay clean.
    rate : float
        Probability in [0, 1] that a label of a grouped class is replaced.
    mode : {"next", "uniform"}, default="next"
        "next": by the next class of the group, the last by the first. "uniform": by any other
        class of the group.
    classes : iterable of labels, default=None
        All classes, in the order of the transition matrix; None: those in y, sorted.
    random_state : int, Generator, RandomState or None, default=None
        Source of the draws. An integer gives the same labels everywhere.

    Returns
    -------
    result : NoisyLabels
        Named tuple `y`, `mask`, `transition` of shape (n_classes, n_classes).

    Raises
    ------
    ValueError
        If `rate` lies outside [0, 1], groups overlap or name labels that are no classes, or y
        holds missing labels or labels not in `classes`.

    References
    ----------
    Hendrycks et al., "Using trusted data to train deep networks on labels corrupted by severe
    noise", NeurIPS 2018 (uniform); Patrini et al., CVPR 2017 (next).

    Examples
    --------
    >>> from sknoisy.noise import superclass
    >>> animals, fruit = ["cat", "dog", "owl"], ["fig", "pear"]
    >>> superclass(animals + fruit, [animals, fruit], 1).y.tolist()
    ['dog', 'owl', 'cat', 'pear', 'fig']
    """
    codes, decoder = encode(y, classes)
    members = groups.values() if isinstance(groups, Mapping) else groups
    coded = [codes_of(group, decoder, what="groups") for group in members]
    targets = superclass_targets(len(decoder), coded, mode)
    noisy, transition = corrupt(
        codes, targets, check_rate(rate), rng=own_generator(random_state, "superclass")
    )
    return decode(decoder, codes, noisy, transition)


def random_map(
    y: ArrayLike,
    rate: float,
    n_targets: int = 1,
    map_seed: int = 1,
    *,
    classes: Iterable[Hashable] | None = None,
    random_state: Any = None,
) -> NoisyLabels:
    """Replace labels by wrong classes that are drawn once per class ("flip", "flip2").

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Clean labels of any type. Not modified.
    rate : float
        Noise rate in [0, 1].
    n_targets : int, default=1
        Number of wrong classes per class, each with probability ``rate / n_targets``: 1 is
        "flip", 2 is "flip2".
    map_seed : int, default=1
        Seed of the map alone, so that runs with different `random_state` share it.
    classes : iterable of labels, default=None
        All classes, in the order of the transition matrix; None: those in y, sorted.
    random_state : int, Generator, RandomState or None, default=None
        Source of the draws. An integer gives the same labels everywhere.

    Returns
    -------
    result : NoisyLabels
        Named tuple `y`, `mask`, `transition` of shape (n_classes, n_classes).

    Raises
    ------
    ValueError
        If `rate` lies outside [0, 1], `n_targets` exceeds the number of wrong classes, or y
        holds missing labels or labels not in `classes`.

    References
    ----------
    Shu et al., "Meta-Weight-Net: Learning an explicit mapping for sample weighting",
    NeurIPS 2019.

    Examples
    --------
    >>> from sknoisy.noise import random_map
    >>> noisy = random_map([0, 1, 2, 3] * 100, 0.3, n_targets=2, random_state=0)
    >>> (noisy.transition > 0).sum(axis=1)
    array([3, 3, 3, 3])
    """
    codes, decoder = encode(y, classes)
    targets = random_map_targets(len(decoder), n_targets, map_seed)
    noisy, transition = corrupt(
        codes, targets, check_rate(rate), rng=own_generator(random_state, "random_map")
    )
    return decode(decoder, codes, noisy, transition)

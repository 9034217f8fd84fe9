"""Label noise that is given by a transition matrix, or by labels of annotators."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from numpy.typing import ArrayLike

from ._estimation import check_transition, encode_pair, estimate_transition
from ._labels import NoisyLabels, decode, encode
from ._sampling import draw, draw_classes
from .streams import own_generator


def from_transition(
    y: ArrayLike,
    transition: ArrayLike,
    *,
    classes: Iterable[Hashable] | None = None,
    random_state: Any = None,
) -> NoisyLabels:
    """Draw noisy labels from a transition matrix.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Clean labels of any type. Not modified.
    transition : array-like of shape (n_classes, n_classes) or (n_samples, n_classes)
        Probabilities of the noisy classes (columns), one row per clean class or one per sample.
        A square matrix of n_classes rows is read as one row per class.
    classes : iterable of labels, default=None
        All classes, in the order of the transition matrix; None: those in y, sorted.
    random_state : int, Generator, RandomState or None, default=None
        Source of the draws. An integer gives the same labels everywhere.

    Returns
    -------
    result : NoisyLabels
        Named tuple `y`, `mask` and `transition` (a float64 copy of the argument).

    Raises
    ------
    ValueError
        If the matrix does not fit the classes, holds negative or non-finite numbers, or a row
        does not sum to 1 within 1e-6; or y holds missing labels or labels not in `classes`.

    Examples
    --------
    >>> from sknoisy.noise import from_transition
    >>> noisy = from_transition(["ham", "spam"] * 2, [[1, 0], [1, 0]])
    >>> noisy.y.tolist(), noisy.mask.tolist()
    (['ham', 'ham', 'ham', 'ham'], [False, True, False, True])
    """
    codes, decoder = encode(y, classes)
    P = check_transition(transition, len(decoder), len(codes)).copy()
    rng = own_generator(random_state, "from_transition")
    noisy = draw(P, codes, rng) if len(P) == len(decoder) else draw_classes(P, rng)
    return decode(decoder, codes, noisy, P)


def human(
    y: ArrayLike, y_noisy: ArrayLike, *, classes: Iterable[Hashable] | None = None
) -> NoisyLabels:
    """Return labels of annotators in the form of the noise generators.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Clean labels.
    y_noisy : array-like of shape (n_samples,)
        Labels of the same samples by annotators, for instance those of CIFAR-N.
    classes : iterable of labels, default=None
        All classes, in the order of the transition matrix; None: all that occur, sorted.

    Returns
    -------
    result : NoisyLabels
        Named tuple `y` (a copy of `y_noisy`), `mask` and `transition` of shape
        (n_classes, n_classes), which is estimated from the labels themselves.

    Raises
    ------
    ValueError
        If the two differ in length or hold labels outside `classes`.

    See Also
    --------
    estimate_transition : Returns the matrix only.
    sknoisy.datasets.load_cifar10 : Reads the labels of CIFAR-N.

    Examples
    --------
    >>> from sknoisy.noise import human
    >>> noisy = human([0, 0, 1, 1], [0, 1, 1, 1])
    >>> noisy.mask.tolist(), noisy.transition.tolist()
    ([False, True, False, False], [[0.5, 0.5], [0.0, 1.0]])
    """
    clean, noisy, decoder = encode_pair(y, y_noisy, classes)
    return decode(decoder, clean, noisy, estimate_transition(y, y_noisy, classes=decoder))

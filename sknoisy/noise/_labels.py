"""Conversion of labels of any type to class codes 0..c-1 and back, never in place."""

from __future__ import annotations

import numbers
from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import column_or_1d

Codes = NDArray[np.intp]
Matrix = NDArray[np.float64]


class NoisyLabels(NamedTuple):
    """Result of every noise generator.

    Attributes
    ----------
    y : ndarray of shape (n_samples,)
        Noisy labels, of the type of the clean labels.
    mask : ndarray of shape (n_samples,), bool
        True where the noisy label differs from the clean one.
    transition : ndarray of shape (n_classes, n_classes) or (n_samples, n_classes), float64
        ``transition[i, j]`` is the probability of noisy class ``j`` given clean class ``i``, or,
        for noise that depends on the sample, given sample ``i``. Classes are sorted, or in the
        order of the argument ``classes``.

    Examples
    --------
    >>> from sknoisy.noise import pairflip
    >>> y, mask, transition = pairflip(["ant", "bee", "cat"], 1.0, random_state=0)
    >>> y.tolist(), mask.tolist()
    (['bee', 'cat', 'ant'], [True, True, True])
    >>> transition
    array([[0., 1., 0.],
           [0., 0., 1.],
           [1., 0., 0.]])
    """

    y: NDArray[Any]
    mask: NDArray[np.bool_]
    transition: Matrix


def encode(y: ArrayLike, classes: Iterable[Hashable] | None = None) -> tuple[Codes, NDArray[Any]]:
    """Return the class codes of `y` and the array of classes that decodes them."""
    y = np.asarray(column_or_1d(y))
    if len(y) == 0:
        raise ValueError("y is empty: there is no label to corrupt.")
    if y.dtype.kind == "f" and (y != np.floor(y)).any():
        raise ValueError("y holds missing or continuous values; class labels are discrete.")
    try:
        found, codes = np.unique(y, return_inverse=True)
    except TypeError as error:
        raise TypeError(
            "y mixes types or holds missing labels (None, NaN); give all labels one type."
        ) from error
    if any(label != label for label in found.tolist()):
        raise ValueError("y holds missing labels (NaN); drop those rows or name their class.")
    if classes is None:
        return codes, found
    given = np.asarray(list(classes))
    position = index_of(given)
    unknown = [label for label in found.tolist() if label not in position]
    if unknown:
        raise ValueError(f"y holds {unknown[:5]}, not among classes={given.tolist()[:20]}.")
    to_given = np.array([position[label] for label in found.tolist()], dtype=np.intp)
    # The result keeps the type of y wherever that type can hold every class.
    same_type = given.astype(found.dtype)
    return to_given[codes], same_type if np.array_equal(same_type, given) else given


def index_of(classes: NDArray[Any]) -> dict[Hashable, int]:
    """Return the code of each class; raise if a class occurs twice."""
    position: dict[Hashable, int] = {label: i for i, label in enumerate(classes.tolist())}
    if len(position) < len(classes):
        raise ValueError(f"classes={classes.tolist()[:20]} names a class twice.")
    return position


def codes_of(labels: Iterable[Hashable], classes: NDArray[Any], *, what: str) -> list[int]:
    """Return the codes of some labels; raise if one of them is not a class."""
    position = index_of(classes)
    labels = list(labels)
    unknown = [label for label in labels if label not in position]
    if unknown:
        raise ValueError(
            f"{what} names {unknown[:5]!r}, which are not among the classes "
            f"{classes.tolist()[:20]}. If y merely happens to lack them, pass classes=; "
            "if the types differ (7 and '7'), convert one side."
        )
    return [position[label] for label in labels]


def decode(classes: NDArray[Any], codes: Codes, noisy: Codes, transition: Matrix) -> NoisyLabels:
    """Return the result for clean codes and noisy codes."""
    return NoisyLabels(classes[noisy], noisy != codes, transition)


def check_rate(rate: float) -> float:
    """Return `rate` as a float in [0, 1]."""
    if not isinstance(rate, numbers.Real) or isinstance(rate, bool) or not 0 <= rate <= 1:
        raise ValueError(f"rate={rate!r} must be a number from 0 to 1 (0.4 for 40 %).")
    return float(rate)


def check_n_classes(n_classes: int) -> int:
    """Return `n_classes`, an integer of at least 2."""
    if not isinstance(n_classes, numbers.Integral) or n_classes < 2:
        raise ValueError(
            f"Label noise needs at least two classes, got {n_classes}. If y merely lacks the "
            "others, pass classes=."
        )
    return int(n_classes)

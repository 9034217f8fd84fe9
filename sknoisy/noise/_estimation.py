"""Transition matrices: their validation, the noise rate they imply, and their estimation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._labels import Codes, Matrix, encode


def check_transition(
    transition: ArrayLike, n_classes: int, n_samples: int | None = None
) -> Matrix:
    """Return a valid (n_classes, n_classes) or (n_samples, n_classes) matrix as float64."""
    P = np.asarray(transition, dtype=np.float64)
    if P.ndim != 2 or P.shape[1] != n_classes or len(P) not in (n_classes, n_samples):
        wanted = f"({n_classes}, {n_classes})"
        wanted += "" if n_samples is None else f" or ({n_samples}, {n_classes})"
        raise ValueError(f"The transition matrix has shape {P.shape}; it should be {wanted}.")
    if not np.isfinite(P).all() or (P < 0).any():
        raise ValueError("The transition matrix holds negative or non-finite probabilities.")
    sums = P.sum(axis=1)
    worst = int(np.argmax(np.abs(sums - 1)))
    if abs(sums[worst] - 1) > 1e-6:
        raise ValueError(
            f"Row {worst} of the transition matrix sums to {sums[worst]:.6g} instead of 1; "
            "rows are clean classes, columns noisy ones (transpose?)."
        )
    return P


def noise_rate(transition: ArrayLike, prior: ArrayLike | None = None) -> float:
    r"""Return the expected fraction of wrong labels, :math:`1 - \sum_i \pi_i P_{ii}`.

    Parameters
    ----------
    transition : array-like of shape (n_classes, n_classes)
        Transition matrix.
    prior : array-like of shape (n_classes,), default=None
        Frequencies or counts of the clean classes, normalised here; None: equal.

    Returns
    -------
    rate : float
        Noise rate in [0, 1].

    Raises
    ------
    ValueError
        If the matrix is not square and stochastic, or `prior` does not fit it.

    Examples
    --------
    >>> from sknoisy.noise import CIFAR10_ASYMMETRIC, class_map_transition, noise_rate
    >>> noise_rate(class_map_transition(10, CIFAR10_ASYMMETRIC, 0.4))
    0.2
    """
    P = np.atleast_2d(np.asarray(transition, dtype=np.float64))
    P = check_transition(P, P.shape[1])
    weights = np.ones(len(P)) if prior is None else np.asarray(prior, dtype=np.float64)
    if weights.shape != (len(P),) or not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
        raise ValueError(
            f"prior={prior!r} must hold {len(P)} frequencies, none negative, not all zero."
        )
    wrong = np.where(np.eye(len(P), dtype=bool), 0, P).sum(axis=1)
    return float(np.average(wrong, weights=weights))


def estimate_transition(
    y_clean: ArrayLike, y_noisy: ArrayLike, *, classes: Iterable[Any] | None = None
) -> Matrix:
    """Estimate the transition matrix by counting pairs of clean and noisy labels.

    Parameters
    ----------
    y_clean : array-like of shape (n_samples,)
        Clean labels.
    y_noisy : array-like of shape (n_samples,)
        Noisy labels of the same samples.
    classes : iterable of labels, default=None
        Classes in the order of rows and columns; None: all that occur in either, sorted.

    Returns
    -------
    transition : ndarray of shape (n_classes, n_classes), float64
        Row-normalised counts. A class without clean samples gets its row of the identity.

    Raises
    ------
    ValueError
        If the two differ in length or hold labels outside `classes`.

    Examples
    --------
    >>> from sknoisy.noise import estimate_transition
    >>> estimate_transition(["cat", "cat", "dog"], ["cat", "dog", "dog"])
    array([[0.5, 0.5],
           [0. , 1. ]])
    """
    clean, noisy, classes = encode_pair(y_clean, y_noisy, classes)
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (clean, noisy), 1)
    return to_transition(counts)


def to_transition(counts: Matrix) -> Matrix:
    """Divide each row by its sum; a row of zeros becomes that of the identity."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.eye(len(counts)), where=totals > 0)


def encode_pair(
    y_clean: ArrayLike, y_noisy: ArrayLike, classes: Iterable[Any] | None
) -> tuple[Codes, Codes, NDArray[Any]]:
    """Encode two label arrays of the same samples with the same classes."""
    (_, found_clean), (_, found_noisy) = encode(y_clean), encode(y_noisy)
    if classes is None:
        try:
            classes = sorted({*found_clean.tolist(), *found_noisy.tolist()})
        except TypeError as error:
            raise TypeError("Clean and noisy labels are of different types.") from error
    else:
        classes = list(classes)
    (clean, _), (noisy, decoded) = encode(y_clean, classes), encode(y_noisy, classes)
    if len(clean) != len(noisy):
        raise ValueError(f"There are {len(clean)} clean but {len(noisy)} noisy labels.")
    return clean, noisy, decoded

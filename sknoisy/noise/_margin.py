"""Polynomial-margin-diminishing noise: ambiguous samples are mislabelled more often."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._labels import Matrix, NoisyLabels, check_n_classes, check_rate, decode, encode
from ._sampling import draw_classes
from .streams import own_generator

# Probability of the flip u -> s as a function of the margin m = eta_u - eta_s.
_FLIP = {
    "I": lambda m: 0.5 - 0.5 * m**2,
    "II": lambda m: 1 - m**3,
    "III": lambda m: 1 - (m**3 + m**2 + m) / 3,
}


def polynomial_margin(
    y: ArrayLike,
    posterior: ArrayLike,
    rate: float | None,
    *,
    kind: Literal["I", "II", "III"] = "I",
    classes: Iterable[Hashable] | None = None,
    random_state: Any = None,
) -> NoisyLabels:
    r"""Flip the likeliest class to the second likeliest, the more often the closer the two are.

    With the posterior :math:`\eta` of a reference model, u its likeliest and s its second
    likeliest class of a sample, and the margin :math:`m = \eta_u - \eta_s`, a label u becomes s
    with probability

    - type I: :math:`\frac12 - \frac12 m^2`,
    - type II: :math:`1 - m^3`,
    - type III: :math:`1 - \frac13 (m^3 + m^2 + m)`,

    multiplied by the factor that makes the expected fraction of wrong labels `rate`, and clipped
    at 1. Labels other than u, which the reference model contradicts, stay.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
        Clean labels of any type. Not modified.
    posterior : array-like of shape (n_samples, n_classes)
        Class probabilities by a model fitted to clean labels, for instance
        ``cross_val_predict(..., method="predict_proba")``. Rows sum to 1 within 1e-4.
    rate : float or None
        Expected fraction in [0, 1] of wrong labels; None: the formulas without a factor.
    kind : {"I", "II", "III"}, default="I"
        Which polynomial.
    classes : iterable of labels, default=None
        All classes, in the order of the columns of `posterior`; None: those in y, sorted.
    random_state : int, Generator, RandomState or None, default=None
        Source of the draws. An integer gives the same labels everywhere.

    Returns
    -------
    result : NoisyLabels
        Named tuple `y`, `mask` and `transition` of shape (n_samples, n_classes).

    Raises
    ------
    ValueError
        If `posterior` does not fit y or its rows are no distributions, `kind` is unknown, or
        `rate` exceeds what the samples with label u and a margin below 1 can give.

    References
    ----------
    Zhang et al., "Learning with feature-dependent label noise: a progressive approach",
    ICLR 2021, Section 4.

    Examples
    --------
    >>> from sknoisy.noise import polynomial_margin
    >>> noisy = polynomial_margin([0, 0, 1], [[0.5, 0.5], [0.9, 0.1], [0.0, 1.0]], None)
    >>> noisy.transition.round(2)
    array([[0.5 , 0.5 ],
           [0.82, 0.18],
           [0.  , 1.  ]])
    """
    if kind not in _FLIP:
        raise ValueError(f"kind={kind!r} must be 'I', 'II' or 'III'.")
    codes, decoder = encode(y, classes)
    eta = _check_posterior(posterior, (len(codes), check_n_classes(len(decoder))))
    order = np.argsort(-eta, axis=1, kind="stable")
    u, s = order[:, 0], order[:, 1]
    samples = np.arange(len(codes))
    flip = np.where(codes == u, _FLIP[kind](eta[samples, u] - eta[samples, s]), 0.0)
    if rate is not None:
        flip = _rescale(flip, check_rate(rate))
    transition = np.zeros_like(eta)
    transition[samples, codes] = 1 - flip
    transition[samples, s] += flip  # += because s is the label itself where flip is 0
    noisy = draw_classes(transition, own_generator(random_state, "polynomial_margin"))
    return decode(decoder, codes, noisy, transition)


def _check_posterior(posterior: ArrayLike, shape: tuple[int, int]) -> Matrix:
    """Return the posterior as float64 with rows that sum to exactly 1."""
    eta = np.asarray(posterior, dtype=np.float64)
    if eta.shape != shape:
        raise ValueError(
            f"posterior has shape {eta.shape} instead of (n_samples, n_classes) = {shape}; "
            "if y lacks a class of the model, pass classes=model.classes_."
        )
    sums = eta.sum(axis=1)
    # Written so that NaN fails, too.
    if not ((eta >= 0).all() and (np.abs(sums - 1) <= 1e-4).all()):
        raise ValueError("The rows of posterior must be probabilities that sum to 1.")
    return eta / sums[:, None]


def _rescale(flip: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """Multiply by the factor f for which the mean of ``min(1, f * flip)`` is `rate`."""
    wanted = rate * len(flip)
    possible = np.count_nonzero(flip)
    if wanted > possible:
        raise ValueError(
            f"rate={rate} cannot be reached: only {possible} of {len(flip)} samples have the "
            "likeliest class of posterior as their label and a margin below 1."
        )
    if wanted == 0:
        return np.zeros_like(flip)
    descending = np.sort(flip[flip > 0])[::-1]
    # If the n largest are clipped at 1, the others sum to the rest: f = (wanted - n) / their sum.
    remaining = np.cumsum(descending[::-1])[::-1]
    factors = (wanted - np.arange(possible)) / remaining
    n_cut = int(np.argmax(factors * descending <= 1))
    return np.minimum(1, factors[n_cut] * flip)

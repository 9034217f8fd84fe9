"""How many labels are wrong, with an interval, and whether any clearly are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..noise.probabilities import Probabilities
from .result import Accuracy, Estimate

__all__ = ["Evidence", "Share", "count_transition", "estimate_share", "evidence_of_noise"]

_POWERS = 2.0 ** np.arange(-2, 3.25, 0.25)  # of held-out probabilities; above 1 they get surer
_RATES = np.r_[0, np.geomspace(1e-3, 0.8, 80)]
_PSEUDO_ROWS = 5.0  # per class, whose wrong labels follow the sizes of the classes
_LEAST = 1e-3  # of a probability: a forest of 200 trees counts no smaller one
_MAX_ENTRIES = 2**24  # of the probabilities that are compared
_CLEAR = 9.0  # twice the gain of the log-likelihood; 3 standard errors


class Evidence(NamedTuple):
    """Result of the comparison with and without wrong labels.

    Attributes
    ----------
    gain : float
        Twice the gain of the log-likelihood by wrong labels.
    rate : float
        Their share in the better model.
    """

    gain: float
    rate: float


def evidence_of_noise(codes: NDArray[np.integer], proba: NDArray[np.float64]) -> Evidence:
    """Compare two explanations of given labels that held-out probabilities do not expect.

    Without wrong labels, the classes of a row have the probabilities p^a / sum p^a, where the
    power a calibrates them: labels are surprising only where the model is unsure. With wrong ones,
    a share e of the labels of each true class is exchanged for others, also where the model is
    sure. Both models are fitted by maximum likelihood.

    Parameters
    ----------
    codes : ndarray of int of shape (n,)
        Given labels.
    proba : ndarray of float64 of shape (n, n_classes)
        Probabilities by models that have not seen the row.
    """
    n_rows, n_classes = proba.shape
    rows = np.arange(n_rows)
    exchanged = _exchanged(codes, proba.argmax(axis=1), n_classes)[:, codes].T
    logarithms = np.log(proba.clip(min=_LEAST))
    best_without, best, rate = -np.inf, -np.inf, 0.0
    for power in _POWERS:
        q = np.exp(power * (logarithms - logarithms.max(axis=1, keepdims=True)))
        q /= q.sum(axis=1, keepdims=True)
        right, wrong = q[rows, codes], (q * exchanged).sum(axis=1)
        fits = [np.log((1 - e) * right + e * wrong).sum() for e in _RATES]
        best_without = max(best_without, fits[0])
        if max(fits) > best:
            best, rate = max(fits), float(_RATES[np.argmax(fits)])
    return Evidence(2 * (best - best_without), rate)


def _exchanged(
    codes: NDArray[np.integer], predicted: NDArray[np.integer], n_classes: int
) -> NDArray[np.float64]:
    """Return the shares of the wrong labels of each predicted class, (n_classes, n_classes)."""
    sizes = np.bincount(codes, minlength=n_classes) / len(codes)
    counts = np.bincount(predicted * n_classes + codes, minlength=n_classes**2)
    shares = counts.reshape(n_classes, n_classes) + _PSEUDO_ROWS * (sizes + 1e-12)
    np.fill_diagonal(shares, 0)
    return shares / shares.sum(axis=1, keepdims=True)


class Share(NamedTuple):
    """How many labels are wrong.

    Attributes
    ----------
    noise_rate : Estimate
        Share of wrong labels.
    is_clear : bool
        Whether there is a clear sign of any.
    accuracy : Accuracy
        Accuracy of the held-out models.
    """

    noise_rate: Estimate
    is_clear: bool
    accuracy: Accuracy


def count_transition(
    given: NDArray[np.integer], true: NDArray[np.integer], n_classes: int
) -> NDArray[np.float64]:
    """Return the shares of the given labels (columns) of each true class (rows).

    A class without rows has the row of the identity.
    """
    counts = np.bincount(true * n_classes + given, minlength=n_classes**2)
    counts = counts.reshape(n_classes, n_classes).astype(np.float64)
    sums = counts.sum(axis=1, keepdims=True)
    return np.where(sums > 0, counts / np.where(sums > 0, sums, 1), np.eye(n_classes))


def estimate_share(
    codes, suggested, held_out, counted, n_labels, seed
) -> Share:
    rows = counted
    e = evidence_of_noise(codes[rows], np.asarray(held_out[rows]))
    v = float((codes[rows] != suggested[rows]).mean())
    return Share(Estimate(v, v, v), e.gain > _CLEAR, Accuracy(0.0, 0.0))

"""How many labels are wrong, with an interval, and whether any clearly are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..learners.posterior import answer
from ..metrics import noise_corrected_accuracy_score
from ..noise.checks import to_transition
from ..noise.probabilities import Probabilities, dense
from .reasons import MIN_ROWS
from .result import Accuracy, Estimate

__all__ = ["Share", "count_transition", "estimate_share", "least_share"]

_POWERS = 2.0 ** np.arange(-2, 3.25, 0.25)  # of held-out probabilities; above 1 they get surer
_RATES = np.r_[0, np.geomspace(1e-3, 0.8, 80)]
_PSEUDO_ROWS = 5.0  # per class, whose wrong labels follow the sizes of the classes
_LEAST = 1e-3  # of a probability: a forest of 200 trees counts no smaller one
_MAX_ROWS, _MAX_ENTRIES = 20_000, 2**22  # of the probabilities that are compared
_Z = 1.645  # standard errors that 95 % of the estimates do not exceed
_LAPSES = 0.02  # share of surprises that needs no wrong label
# Twice the loss of the log-likelihood, in all and for each row. On overlapping classes without
# wrong labels, forests reached 13 on 500 rows and 0.003 for each of 2,000 rows.
_CLEAR, _CLEAR_PER_ROW = 20.0, 0.01


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


def least_share(
    codes: NDArray[np.integer], proba: NDArray[np.float64], n_units: int | None = None
) -> float:
    """Return the smallest share of wrong labels that the given labels do not clearly exclude.

    The classes of a row have the probabilities p^a / sum p^a, where the power a calibrates them,
    and a share e of the labels of each class is exchanged for others. With e = 0, labels are
    surprising only where the model is unsure; with a larger e also where it is sure. A share is
    excluded if the best other one makes the labels much more likely, by maximum likelihood over a.
    Since no model is calibrated everywhere, the share is 0 if 2 % are not excluded. A class that
    is spread thinly over the whole region of another one looks like wrong labels: only knowledge
    of the rows can tell them apart.

    Parameters
    ----------
    codes : ndarray of int of shape (n,)
        Given labels.
    proba : ndarray of float64 of shape (n, n_classes)
        Probabilities by models that have not seen the row.
    n_units : int or None, default=None
        Number of units of rows that belong together, which count once; None: each row counts.
    """
    n_rows, n_classes = proba.shape
    n_units = n_rows if n_units is None else n_units
    rows = np.arange(n_rows)
    exchanged = _exchanged(codes, proba.argmax(axis=1), n_classes)[:, codes].T
    logarithms = np.log(proba.clip(min=_LEAST))
    fits = np.full(len(_RATES), -np.inf)
    for power in _POWERS:
        q = np.exp(power * (logarithms - logarithms.max(axis=1, keepdims=True)))
        q /= q.sum(axis=1, keepdims=True)
        right, wrong = q[rows, codes], (q * exchanged).sum(axis=1)
        fits = np.fmax(fits, [np.log((1 - e) * right + e * wrong).mean() for e in _RATES])
    is_possible = 2 * n_units * (fits.max() - fits) <= max(_CLEAR, _CLEAR_PER_ROW * n_units)
    least = float(_RATES[is_possible].min())
    return least if least > _LAPSES else 0.0


def _exchanged(
    codes: NDArray[np.integer], predicted: NDArray[np.integer], n_classes: int
) -> NDArray[np.float64]:
    """Return the shares of the wrong labels of each predicted class, (n_classes, n_classes)."""
    sizes = np.bincount(codes, minlength=n_classes) / len(codes)
    counts = np.bincount(predicted * n_classes + codes, minlength=n_classes**2)
    shares = counts.reshape(n_classes, n_classes) + _PSEUDO_ROWS * (sizes + 1e-12)
    np.fill_diagonal(shares, 0)
    return shares / shares.sum(axis=1, keepdims=True)


def count_transition(
    given: NDArray[np.integer], true: NDArray[np.integer], n_classes: int
) -> NDArray[np.float64]:
    """Return the shares of the given labels (columns) of each true class (rows).

    A class without rows has the row of the identity.
    """
    counts = np.bincount(true * n_classes + given, minlength=n_classes**2)
    return to_transition(counts.reshape(n_classes, n_classes).astype(np.float64))


def estimate_share(
    codes: NDArray[np.integer],
    held_out: Probabilities,
    counted: NDArray[np.intp],
    n_trusted: int,
    units: NDArray[np.integer] | None,
    seed: int,
    suspected: float | None = None,
) -> Share:
    """Estimate the share of wrong labels among counted and trusted rows.

    The held-out probabilities are sharpened so that, with a transition matrix from the surest
    rows, they make the given labels most likely; Bayes' rule with both gives the most probable
    class of each row, given its label (:func:`sknoisy.learners.posterior.answer`). The estimate is
    the mean of two shares: that of the rows for which that is another class than the given one,
    which misses wrong labels that the models have learned, and that of the matrix, which takes
    errors of the models for wrong labels. Unlike the number of suspects, it does not depend on how
    well a network has remembered its labels. Where a network has taken part, and its share of
    suspects is in the interval, that one is taken: it is the better of the two, unless the network
    has remembered wrong labels of a small table.

    The interval begins at :func:`least_share`. It reaches up to the share of labels that the
    held-out models do not predict, with its error: their own errors come on top of the wrong
    labels. There is a clear sign of wrong labels if it does not begin at 0.

    Parameters
    ----------
    codes : ndarray of int of shape (n,)
        Given labels.
    held_out : ndarray or csr_array of shape (n, n_classes)
        Probabilities by models that have not seen the row.
    counted : ndarray of int
        Positions of the rows that are judged and not trusted; of many, some are drawn.
    n_trusted : int
        Number of trusted rows, whose labels are right.
    units : ndarray of int of shape (n,) or None
        Codes of rows that belong together, such as identical ones; None: each row is a unit.
    seed : int
        Seed of the draw of rows.
    suspected : float or None, default=None
        Share of the counted rows for which a network that learned them expects another class.
    """
    n_counted = len(counted)
    if n_counted < MIN_ROWS:
        nothing = np.nan
        return Share(Estimate(nothing, 0.0, 1.0), False, Accuracy(nothing, nothing, nothing))
    rng = np.random.RandomState(seed)
    n_rows = min(n_counted, _MAX_ROWS, max(_MAX_ENTRIES // held_out.shape[1], 1000))
    rows = counted if n_rows == n_counted else np.sort(rng.permutation(counted)[:n_rows])
    given, proba = codes[rows], held_out[rows]
    proba = dense(proba).astype(np.float64)
    unit = np.arange(n_rows) if units is None else np.unique(units[rows], return_inverse=True)[1]
    found = answer([proba], given)
    predicted = proba.argmax(axis=1)
    missed = (predicted != given).astype(np.float64)
    error = np.sqrt((np.bincount(unit, missed - missed.mean()) ** 2).sum()) / n_rows
    high = min(missed.mean() + _Z * error, 1.0)
    low = min(least_share(given, proba, int(unit.max()) + 1), high)
    improbable = (found.posterior.argmax(axis=1) != given).mean()
    of_surest = 1 - np.diag(found.transition)[predicted].mean()
    value = np.clip((improbable + min(of_surest, missed.mean())) / 2, low, high)
    if suspected is not None and low <= suspected <= high:
        value = suspected
    scale = n_counted / (n_counted + n_trusted)
    rate = Estimate(*(float(scale * share) for share in (value, low, high)))
    return Share(rate, low > 0, _accuracy(predicted, given, found.transition))


def _accuracy(
    predicted: NDArray[np.integer], given: NDArray[np.integer], transition: NDArray[np.float64]
) -> Accuracy:
    """Return how many given labels are predicted, and how many true ones by the transition."""
    raw = float((predicted == given).mean())
    try:
        corrected = noise_corrected_accuracy_score(
            given, predicted, transition, classes=range(len(transition))
        )
    except ValueError:  # the matrix is nearly singular
        return Accuracy(raw, np.nan, np.nan)
    return Accuracy(raw, *corrected)

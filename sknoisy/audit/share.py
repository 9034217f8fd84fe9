"""How many labels are wrong, with an interval, and whether any clearly are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..learners.posterior import answer, estimate_transition, posterior
from ..noise.checks import to_transition
from ..noise.probabilities import Probabilities, dense
from .reasons import MIN_ROWS
from .result import Accuracy, Estimate

__all__ = ["Evidence", "Share", "count_transition", "estimate_share", "evidence_of_noise"]

_POWERS = 2.0 ** np.arange(-2, 3.25, 0.25)  # of held-out probabilities; above 1 they get surer
_RATES = np.r_[0, np.geomspace(1e-3, 0.8, 80)]
_PSEUDO_ROWS = 5.0  # per class, whose wrong labels follow the sizes of the classes
_LEAST = 1e-3  # of a probability: a forest of 200 trees counts no smaller one
_MAX_ROWS, _MAX_ENTRIES = 20_000, 2**22  # of the probabilities that are compared
_N_DRAWS = 40  # of the bootstrap
_Z = 1.645  # standard errors of an interval of 90 %
_MAX_CONDITION = 1e3  # of a transition matrix that is inverted
_LAPSES = 0.02  # share of surprises that needs no wrong label
# Twice the gain of the log-likelihood, in all and for each row. On overlapping classes without
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
    sure. Both models are fitted by maximum likelihood. Since no model is calibrated everywhere,
    the first one may exchange 2 %, too. A class that is spread thinly over the whole region of
    another one looks like wrong labels: only knowledge of the rows can tell them apart.

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
    n_lapses = int((_RATES <= _LAPSES).sum())
    best_without, best, rate = -np.inf, -np.inf, 0.0
    for power in _POWERS:
        q = np.exp(power * (logarithms - logarithms.max(axis=1, keepdims=True)))
        q /= q.sum(axis=1, keepdims=True)
        right, wrong = q[rows, codes], (q * exchanged).sum(axis=1)
        fits = [np.log((1 - e) * right + e * wrong).sum() for e in _RATES]
        best_without = max(best_without, *fits[:n_lapses])
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
    the share of the rows for which that is another class than the given one. Unlike the number of
    suspects, it does not depend on how well a network has remembered its labels. Where a network
    has taken part, and its share of suspects is in the interval, that one is taken: it is the
    better of the two, unless the network has remembered wrong labels of a small table.

    The interval holds three estimates, each widened by the bootstrap: the one above, the mean
    probability of the other classes in place of their count, and :func:`evidence_of_noise`. It
    reaches up to the share of labels that the held-out models do not predict, since their own
    errors come on top of the wrong labels. If there is no clear sign of wrong labels, the interval
    begins at 0, ends at the larger of the first two estimates, and the value is its middle.

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
        Codes of rows that the bootstrap draws together.
    seed : int
        Seed of the draws.
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
    evidence = evidence_of_noise(given, proba)
    found = answer([proba], given)
    wrong, doubt = _wrong(found.posterior, given)
    drawn = _bootstrap(found.proba, given, None if units is None else units[rows], rng)
    error = _Z * drawn.std(ddof=1)
    is_clear = bool(evidence.gain > max(_CLEAR, _CLEAR_PER_ROW * len(given)))
    estimates = [wrong, doubt, evidence.rate] if is_clear else [wrong, doubt]
    low = max(min(estimates) - error, 0.0) if is_clear else 0.0
    high = min(max(estimates) + error, 1.0)
    if is_clear:
        high = max(high, float((proba.argmax(axis=1) != given).mean()))
    scale = n_counted / (n_counted + n_trusted)
    value = wrong if is_clear else high / 2
    if is_clear and suspected is not None and low <= suspected <= high:
        value = suspected
    rate = Estimate(*(float(scale * share) for share in (value, low, high)))
    return Share(rate, is_clear, _accuracy(proba.argmax(axis=1), given, found.transition))


def _wrong(posterior: NDArray[np.float64], given: NDArray[np.integer]) -> tuple[float, float]:
    """Return the share of rows whose most probable class is another, and the mean doubt."""
    own = posterior[np.arange(len(given)), given]
    return float((own < posterior.max(axis=1)).mean()), float(1 - own.mean())


def _bootstrap(
    proba: NDArray[np.float64],
    given: NDArray[np.integer],
    units: NDArray[np.integer] | None,
    rng: np.random.RandomState,
) -> NDArray[np.float64]:
    """Return the estimated share of each of some draws of the rows, or of whole units."""
    codes = np.arange(len(given)) if units is None else np.unique(units, return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    shares = []
    for _ in range(_N_DRAWS):
        drawn = rng.randint(len(members), size=len(members))
        rows = np.concatenate([members[k] for k in drawn])
        transition = estimate_transition(proba[rows], given[rows])
        shares.append(_wrong(posterior(proba[rows], transition, given[rows]), given[rows])[0])
    return np.array(shares)


def _accuracy(
    predicted: NDArray[np.integer], given: NDArray[np.integer], transition: NDArray[np.float64]
) -> Accuracy:
    """Return how many given labels are predicted, and how many true ones by the transition.

    N. Natarajan et al., NeurIPS 2013, for several classes: the mean of the entries (given,
    predicted) of the inverse transition matrix.
    """
    raw = float((predicted == given).mean())
    if np.linalg.cond(transition) > _MAX_CONDITION:
        return Accuracy(raw, np.nan, np.nan)
    values = np.linalg.inv(transition)[given, predicted]
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    return Accuracy(raw, float(np.clip(values.mean(), 0, 1)), error)

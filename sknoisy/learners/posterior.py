"""The transition matrix, the mixture of learners, and the posterior of each label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .probabilities import blocks, normalized, relative_weights

__all__ = [
    "Answer",
    "Mixture",
    "answer",
    "estimate_noise_rate",
    "estimate_transition",
    "fit_mixture",
    "log_likelihoods",
    "mean_of",
    "posterior",
]

_POWERS = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
_LEAST = 1e-4  # probability that a power is taken of
_TINY = 1e-12
_N_PASSES = 2  # over the powers of all learners
_N_EM_STEPS = 15
_MAX_ROWS = 20_000  # that choose the powers
_SUREST, _N_SUREST = 0.3, 10  # part of the rows of a predicted class, and the least number
_PSEUDO_ROWS = 20.0  # per class, with the noise of all classes


class Mixture(NamedTuple):
    """Weighted mean of the powers of probabilities by several learners.

    Attributes
    ----------
    powers : tuple of float
        Power of the probabilities of each learner. One above 1 makes them surer.
    shares : ndarray of shape (n_learners,)
        Weights of the learners; they sum to 1.
    """

    powers: tuple[float, ...]
    shares: np.ndarray

    def __call__(self, probas: Sequence[np.ndarray]) -> np.ndarray:
        """Return the mixture (n, n_classes) of the probabilities by each learner."""
        mixed = np.zeros(probas[0].shape)
        for rows in blocks(len(mixed)):
            for proba, power, share in zip(probas, self.powers, self.shares, strict=True):
                if share:
                    mixed[rows] += share * _powered(proba[rows], power)
        return mixed


class Answer(NamedTuple):
    """Probabilities by learners, combined with the given labels.

    Attributes
    ----------
    mixture : Mixture
        Powers and shares of the learners.
    transition : ndarray of shape (n_classes, n_classes)
        Entry (i, j) is the probability that a row of true class i is given the label j.
    proba : ndarray of shape (n, n_classes)
        Probabilities of the true class by the mixture, without the row's given label.
    posterior : ndarray of shape (n, n_classes)
        Probabilities of the true class that include the given label, except in rows without
        weight.
    """

    mixture: Mixture
    transition: np.ndarray
    proba: np.ndarray
    posterior: np.ndarray


def _powered(proba: np.ndarray, power: float) -> np.ndarray:
    return normalized(proba.clip(min=_LEAST) ** power)


def answer(
    probas: Sequence[np.ndarray],
    codes: np.ndarray,
    weights: np.ndarray | None = None,
    trusted: np.ndarray | None = None,
    mixture: Mixture | None = None,
) -> Answer:
    """Combine the out-of-fold probabilities by learners with the given labels.

    Parameters
    ----------
    probas : sequence of ndarray of shape (n, n_classes)
        Out-of-fold probabilities by each learner.
    codes : ndarray of int64 of shape (n,)
        Encoded given labels.
    weights : ndarray of shape (n,) or None, default=None
        Weights of the rows.
    trusted : ndarray of bool of shape (n,) or None, default=None
        Rows whose given label is right.
    mixture : Mixture or None, default=None
        Powers and shares of the learners. None: those by :func:`fit_mixture`.
    """
    transition = estimate_transition(mean_of(probas), codes, weights, trusted)
    if mixture is None:
        mixture = fit_mixture(probas, transition, codes, weights, trusted)
    proba = mixture(probas)
    with_labels = posterior(proba, transition, codes, trusted)
    if weights is not None:
        with_labels[weights <= 0] = proba[weights <= 0]
    return Answer(mixture, transition, proba, with_labels)


def mean_of(probas: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean (n, n_classes) of the probabilities by each learner."""
    mean = probas[0].astype(np.float64)
    for proba in probas[1:]:
        mean += proba
    mean /= len(probas)
    return mean


def estimate_transition(
    proba: np.ndarray,
    codes: np.ndarray,
    weights: np.ndarray | None = None,
    trusted: np.ndarray | None = None,
) -> np.ndarray:
    """Count the given labels of the surest rows of each predicted class.

    The surest 30 % of the rows that are predicted as class i, at least 10, are taken for rows of
    class i. The counts of each class are added to 20 rows with the noise of all classes, whose
    wrong labels follow the sizes of the classes. Trusted rows are not counted, since their labels
    are right.

    Returns
    -------
    transition : ndarray of shape (n_classes, n_classes)
        Entry (i, j) estimates the probability that a row of true class i is given the label j.
    """
    n_classes = proba.shape[1]
    weights = relative_weights(weights, len(codes))
    weights = weights if trusted is None else np.where(trusted, 0, weights)
    predicted, surety = proba.argmax(axis=1), proba.max(axis=1)
    counts = np.zeros((n_classes, n_classes))
    for k in range(n_classes):
        rows = np.flatnonzero((predicted == k) & (weights > 0))
        n_surest = max(int(_SUREST * len(rows)), min(_N_SUREST, len(rows)))
        rows = rows[np.argsort(-surety[rows], kind="stable")[:n_surest]]
        counts[k] = np.bincount(codes[rows], weights[rows], minlength=n_classes)
    total = counts.sum()
    rate = 1 - np.trace(counts) / total if total else 0.0
    sizes = np.bincount(codes, weights, minlength=n_classes) + _TINY
    wrong = np.tile(sizes, (n_classes, 1))
    np.fill_diagonal(wrong, 0)
    prior = rate * normalized(wrong)
    np.fill_diagonal(prior, 1 - rate)
    return normalized(counts + _PSEUDO_ROWS * prior)


def estimate_noise_rate(
    proba: np.ndarray,
    codes: np.ndarray,
    weights: np.ndarray | None = None,
    trusted: np.ndarray | None = None,
) -> float:
    """Return the share of wrong labels among the rows that are not trusted.

    It is the mean of the rates of the classes, by :func:`estimate_transition`, weighted by the
    number of rows that are predicted as each class. The rate is less than 1, and 0 if all rows are
    trusted.

    Parameters
    ----------
    proba : ndarray of shape (n, n_classes)
        Probabilities of the true class, which do not depend much on the row's given label.
    codes, weights, trusted : ndarray of shape (n,)
        As in :func:`answer`.
    """
    counted = relative_weights(weights, len(codes))
    if trusted is not None:
        counted = np.where(trusted, 0, counted)
    if not counted.any():
        return 0.0
    right = np.diag(estimate_transition(proba, codes, weights, trusted))
    return float(1 - np.average(right[proba.argmax(axis=1)], weights=counted))


def posterior(
    proba: np.ndarray,
    transition: np.ndarray,
    codes: np.ndarray,
    trusted: np.ndarray | None = None,
) -> np.ndarray:
    """Return the probabilities of the true class, given the row and its label: Bayes' rule.

    Trusted rows have their given label.
    """
    combined = np.empty_like(proba)
    for rows in blocks(len(proba)):
        of_rows = None if trusted is None else trusted[rows]
        likelihoods = _likelihoods(transition, codes[rows], of_rows)
        combined[rows] = normalized(proba[rows] * likelihoods)
    return combined


def log_likelihoods(
    proba: np.ndarray,
    transition: np.ndarray,
    codes: np.ndarray,
    trusted: np.ndarray | None = None,
) -> np.ndarray:
    """Return the logarithm (n,) of the probability of each given label."""
    of_labels = np.empty(len(proba))
    for rows in blocks(len(proba)):
        of_rows = None if trusted is None else trusted[rows]
        likelihoods = _likelihoods(transition, codes[rows], of_rows)
        of_labels[rows] = (proba[rows] * likelihoods).sum(axis=1)
    return np.log(of_labels.clip(min=_TINY))


def _likelihoods(
    transition: np.ndarray, codes: np.ndarray, trusted: np.ndarray | None
) -> np.ndarray:
    """Return the probability (n, n_classes) of each given label if the true class were k."""
    likelihoods = transition[:, codes].T
    if trusted is not None and trusted.any():
        likelihoods = likelihoods.copy()
        likelihoods[trusted] = np.eye(len(transition))[codes[trusted]]
    return likelihoods


def fit_mixture(
    probas: Sequence[np.ndarray],
    transition: np.ndarray,
    codes: np.ndarray,
    weights: np.ndarray | None = None,
    trusted: np.ndarray | None = None,
) -> Mixture:
    """Choose the powers and shares of the learners by the likelihood of the given labels.

    The likelihood of a row is the probability of its given label under the mixture's probabilities
    and the transition matrix. Powers are chosen one learner at a time, shares by EM.
    """
    rows = np.arange(len(codes)) if weights is None else weights.nonzero()[0]
    rows = np.random.RandomState(0).permutation(rows)[:_MAX_ROWS]
    likelihoods = _likelihoods(transition, codes[rows], None if trusted is None else trusted[rows])
    weights = np.ones(len(rows)) if weights is None else weights[rows]
    # Of each row, learner and power: the probability of the given label.
    of_labels = np.stack(
        [
            [(_powered(proba[rows], power) * likelihoods).sum(axis=1) for power in _POWERS]
            for proba in probas
        ]
    ).clip(min=_TINY)
    learners = np.arange(len(probas))
    chosen = np.array([np.argmax(np.log(of_powers) @ weights) for of_powers in of_labels])
    for _ in range(_N_PASSES):
        shares = _shares(of_labels[learners, chosen], weights)
        for k in learners:
            rest = shares @ of_labels[learners, chosen] - shares[k] * of_labels[k, chosen[k]]
            chosen[k] = np.argmax(np.log(rest + shares[k] * of_labels[k]) @ weights)
    shares = _shares(of_labels[learners, chosen], weights)
    return Mixture(tuple(_POWERS[power] for power in chosen), shares)


def _shares(of_labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the shares of learners that maximise the likelihood, by EM from equal shares."""
    shares = np.full(len(of_labels), 1 / len(of_labels))
    for _ in range(_N_EM_STEPS):
        parts = shares[:, None] * of_labels
        shares = (parts / parts.sum(axis=0)) @ weights / weights.sum()
    return shares

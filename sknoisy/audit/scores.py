"""Scores of the given labels from class probabilities; a low score is suspicious.

All functions read the probabilities piece by piece and never copy them as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from ..noise.probabilities import Probabilities, dense, pieces

__all__ = [
    "AdjustedProbabilities",
    "Suggestions",
    "adjusted",
    "confidence_weighted_entropy",
    "normalized_margin",
    "self_confidence",
    "suggestions",
]

Codes = NDArray[np.integer]
Scores = NDArray[np.float64]

_LEAST = 1e-6  # probability of the given label, where it divides


class Suggestions(NamedTuple):
    """The most probable class of each row beside its given label.

    Attributes
    ----------
    codes : ndarray of shape (n,), intp
        Code of the most probable class.
    probability : ndarray of shape (n,), float64
        Its probability.
    given_probability : ndarray of shape (n,), float64
        Probability of the given label; NaN in rows without a label.
    """

    codes: NDArray[np.intp]
    probability: Scores
    given_probability: Scores


def self_confidence(codes: Codes, proba: Probabilities) -> Scores:
    """Return the probability of each given label.

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        Codes of the given labels, 0 to n_classes - 1; -1 marks a row without a label.
    proba : ndarray or csr_array of shape (n, n_classes), float32 or float64
        Class probabilities, best from models that have not seen the row. Entries that a sparse
        array does not hold are 0.

    Returns
    -------
    scores : ndarray of shape (n,), float64
        Probabilities from 0 to 1; NaN in rows without a label.

    References
    ----------
    J. Kuan and J. Mueller, "Model-agnostic label quality scoring to detect real-world label
    errors", ICML DataPerf workshop 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.audit.scores import self_confidence
    >>> self_confidence(np.array([0, 1]), np.array([[0.9, 0.1], [0.7, 0.3]]))
    array([0.9, 0.3])
    """
    return _scores(codes, proba, _probability_of)


def normalized_margin(codes: Codes, proba: Probabilities) -> Scores:
    """Return the lead of each given label over the most probable other class.

    The score is (p_s - max_{j != s} p_j + 1) / 2 for the given label s. It is below 0.5 exactly
    where another class is more probable than the given one.

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        Codes of the given labels, 0 to n_classes - 1; -1 marks a row without a label.
    proba : ndarray or csr_array of shape (n, n_classes), float32 or float64
        Class probabilities, best from models that have not seen the row. Entries that a sparse
        array does not hold are 0.

    Returns
    -------
    scores : ndarray of shape (n,), float64
        Scores from 0 to 1; NaN in rows without a label.

    References
    ----------
    J. Kuan and J. Mueller, "Model-agnostic label quality scoring to detect real-world label
    errors", ICML DataPerf workshop 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.audit.scores import normalized_margin
    >>> normalized_margin(np.array([0, 1]), np.array([[0.75, 0.25], [0.75, 0.25]]))
    array([0.75, 0.25])
    """

    def margin(codes: Codes, proba: Scores) -> Scores:
        others = proba.copy()
        others[np.arange(len(codes)), codes] = 0
        return (_probability_of(codes, proba) - others.max(axis=1) + 1) / 2

    return _scores(codes, proba, margin)


def confidence_weighted_entropy(codes: Codes, proba: Probabilities) -> Scores:
    """Return scores that are low where a row is unclear or its given label improbable.

    With c = (-sum_j p_j ln p_j / ln n_classes) / p_s, where p_s is at least 1e-6, the score is
    ln(1 + c) / c, and 1 for c = 0. The score is therefore 1 where the model is certain of any
    class, also of another one than the given: it finds unclear rows rather than wrong labels.

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        Codes of the given labels, 0 to n_classes - 1; -1 marks a row without a label.
    proba : ndarray or csr_array of shape (n, n_classes), float32 or float64
        Class probabilities, best from models that have not seen the row. Entries that a sparse
        array does not hold are 0.

    Returns
    -------
    scores : ndarray of shape (n,), float64
        Scores from 0 to 1; NaN in rows without a label.

    References
    ----------
    J. Kuan and J. Mueller, "Model-agnostic label quality scoring to detect real-world label
    errors", ICML DataPerf workshop 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.audit.scores import confidence_weighted_entropy
    >>> scores = confidence_weighted_entropy(np.array([0, 0]), np.array([[1, 0], [0.5, 0.5]]))
    >>> scores.round(3)
    array([1.   , 0.549])
    """

    def weighted(codes: Codes, proba: Scores) -> Scores:
        entropy = entr(proba).sum(axis=1) / np.log(proba.shape[1])
        c = entropy / _probability_of(codes, proba).clip(min=_LEAST)
        return np.where(c > 0, np.log1p(c) / np.where(c > 0, c, 1), 1.0)

    return _scores(codes, proba, weighted)


class AdjustedProbabilities:
    """Class probabilities relative to thresholds; rows are computed when they are read.

    The functions of this package take it in place of the probabilities, so that no second array
    of this size is made. See :func:`adjusted`.

    Parameters
    ----------
    proba : ndarray or csr_array of shape (n, n_classes), float32 or float64
        Class probabilities.
    thresholds : ndarray of shape (n_classes,), float64
        Finite thresholds.
    """

    def __init__(self, proba: Probabilities, thresholds: Scores):
        self.shape = proba.shape
        self._proba = proba
        self._shift = thresholds.max() - thresholds

    def __getitem__(self, rows: slice) -> Scores:
        """Return some rows as a dense array (n_rows, n_classes) of float64."""
        piece = dense(self._proba[rows]) + self._shift
        sums = piece.sum(axis=1, keepdims=True)
        return piece / np.where(sums > 0, sums, 1)


def adjusted(proba: Probabilities, thresholds: Scores) -> AdjustedProbabilities:
    """Return probabilities that no longer favour the classes that the model favours.

    With the thresholds t_j, the mean probabilities of the given labels of each class, an adjusted
    probability is p_j - t_j + max t, divided by the sum of its row. It helps where classes are
    very unequal, and harms the ranking elsewhere.

    Parameters
    ----------
    proba : ndarray or csr_array of shape (n, n_classes), float32 or float64
        Class probabilities.
    thresholds : ndarray of shape (n_classes,), float64
        Thresholds of the classes. A class without one, NaN or infinite, gets the largest.

    Returns
    -------
    proba : AdjustedProbabilities of shape (n, n_classes)
        Probabilities that are computed when they are read, for the scores of this module.

    References
    ----------
    J. Kuan and J. Mueller, "Model-agnostic label quality scoring to detect real-world label
    errors", ICML DataPerf workshop 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.audit.scores import adjusted
    >>> adjusted(np.array([[0.5, 0.5]]), np.array([0.75, 0.25]))[:]
    array([[0.33333333, 0.66666667]])
    """
    thresholds = np.asarray(thresholds, dtype=np.float64)
    known = np.isfinite(thresholds)
    largest = thresholds[known].max() if known.any() else 0.0
    return AdjustedProbabilities(proba, np.where(known, thresholds, largest))


def suggestions(codes: Codes, proba: Probabilities) -> Suggestions:
    """Return the most probable class of each row, its probability and that of the given label.

    Of classes with equal probabilities the given label is suggested, else the first. A suggestion
    thus differs from the given label exactly where the normalised margin is below 0.5.

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        Codes of the given labels, 0 to n_classes - 1; -1 marks a row without a label.
    proba : ndarray or csr_array of shape (n, n_classes), float32 or float64
        Class probabilities. Entries that a sparse array does not hold are 0.

    Returns
    -------
    suggestions : Suggestions
        Codes, their probabilities, and the probabilities of the given labels, each of shape (n,).

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.audit.scores import suggestions
    >>> found = suggestions(np.array([0, 1]), np.array([[0.9, 0.1], [0.7, 0.3]]))
    >>> found.codes, found.probability, found.given_probability
    (array([0, 0]), array([0.9, 0.7]), array([0.9, 0.3]))
    """
    given = self_confidence(codes, proba)
    best = np.empty(len(codes), dtype=np.intp)
    probability = np.empty(len(codes))
    for rows, piece in pieces(proba):
        best[rows] = piece.argmax(axis=1)
        probability[rows] = piece.max(axis=1)
    return Suggestions(np.where(given == probability, codes, best), probability, given)


def _scores(codes: Codes, proba: Probabilities, score: Callable[[Codes, Scores], Scores]):
    """Return the scores of all rows, NaN where there is no label."""
    scores = np.empty(len(codes))
    for rows, piece in pieces(proba):
        scores[rows] = score(codes[rows].clip(min=0), piece)
    scores[codes < 0] = np.nan
    return scores


def _probability_of(codes: Codes, proba: Scores) -> Scores:
    return proba[np.arange(len(codes)), codes]

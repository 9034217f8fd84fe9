"""CROWDLAB: the labels of several annotators with the probabilities of a model.

Labels are codes as those of :mod:`sknoisy.audit.annotators`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..noise.probabilities import Probabilities, dense, pieces
from .annotators import Codes, Floats, majority_vote, votes

__all__ = ["CrowdLab", "Posterior", "crowdlab"]

_LEAST_WEIGHT = 1e-6


class Posterior:
    """Class probabilities by the model and the annotators; rows are computed when they are read.

    They may be passed wherever this package takes probabilities.

    Parameters
    ----------
    codes : ndarray of shape (n, n_annotators), int
        Labels.
    proba : ndarray or csr_array of shape (n, n_classes), float32 or float64
        Probabilities by the model.
    accuracy : float
        Probability that a label is right.
    weights : ndarray of shape (n_annotators,), float64
        Weights of the annotators.
    model_weight : float
        Weight of the model.
    """

    def __init__(
        self,
        codes: Codes,
        proba: Probabilities,
        accuracy: float,
        weights: Floats,
        model_weight: float,
    ):
        self.shape = proba.shape
        self._codes, self._proba = codes, proba
        self._accuracy, self._weights, self._model_weight = accuracy, weights, model_weight

    def __getitem__(self, rows: Any) -> Floats:
        """Return some rows, by a slice or an array, as a dense array of float64."""
        codes, piece = self._codes[rows], dense(self._proba[rows])
        total = self._weights @ (codes >= 0).T
        wrong = (1 - self._accuracy) / (self.shape[1] - 1)
        said = votes(codes, self.shape[1], self._weights)
        sums = (
            self._model_weight * piece + (self._accuracy - wrong) * said + wrong * total[:, None]
        )
        return sums / (self._model_weight + total[:, None])


class CrowdLab(NamedTuple):
    """Result of :func:`crowdlab`.

    Attributes
    ----------
    consensus : ndarray of shape (n,), intp
        Most probable class of each row; without a label, that of the model.
    quality : ndarray of shape (n,), float64
        Its probability.
    label_quality : ndarray of shape (n, n_annotators), float64
        Probability of each label; NaN where there is none.
    posterior : Posterior of shape (n, n_classes)
        Probabilities of the classes, computed when they are read.
    annotator_quality : ndarray of shape (n_annotators,), float64
        Estimated trustworthiness of each annotator, from 0 to 1; NaN without a label.
    agreement : ndarray of shape (n_annotators,), float64
        Share of the annotator's labels that equal the consensus, in rows with several labels; NaN
        without any.
    n_labels : ndarray of shape (n_annotators,), intp
        Number of labels of each annotator.
    weights : ndarray of shape (n_annotators,), float64
        Weights of the annotators.
    model_weight : float
        Weight of the model.
    """

    consensus: NDArray[np.intp]
    quality: Floats
    label_quality: Floats
    posterior: Posterior
    annotator_quality: Floats
    agreement: Floats
    n_labels: NDArray[np.intp]
    weights: Floats
    model_weight: float


def crowdlab(codes: Codes, proba: Probabilities) -> CrowdLab:
    """Combine the labels of several annotators with the probabilities of a model.

    Annotators weigh as much as they agree with each other beyond the commonest label, and the
    model as much as it agrees with their majority. If that label is the majority everywhere, or no
    row has several labels, all weights are 1. In the latter case a label is right with the share
    of the labels that the model predicts. An annotator whose rows nobody else labelled gets the
    agreement of all others. Means over rows are those over rows with a label.

    Parameters
    ----------
    codes : ndarray of shape (n, n_annotators), int
        Labels; -1 where there is none. Annotators without labels and rows without labels are
        allowed.
    proba : ndarray or csr_array of shape (n, n_classes), float32 or float64
        Class probabilities, best from models that have not seen the row.

    Returns
    -------
    result : CrowdLab
        Consensus, and the quality of labels and annotators.

    Raises
    ------
    ValueError
        If there is no label.

    References
    ----------
    H. W. Goh, U. Tkachenko and J. Mueller, "CROWDLAB: supervised learning to infer consensus
    labels and quality scores for data with multiple annotators", NeurIPS human in the loop
    learning workshop, 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.audit.crowdlab import crowdlab
    >>> codes = np.array([[0, 0, 1], [1, 1, 0], [0, 0, -1], [1, -1, 0]])
    >>> proba = np.array([[0.9, 0.1], [0.2, 0.8], [0.8, 0.2], [0.1, 0.9]])
    >>> result = crowdlab(codes, proba)
    >>> result.consensus
    array([0, 1, 0, 1])
    >>> result.annotator_quality.round(2)
    array([0.85, 0.83, 0.13])
    """
    is_given = codes >= 0
    n_labels = is_given.sum(axis=1)
    labeled, multi = n_labels > 0, n_labels > 1
    if not labeled.any():
        raise ValueError("codes holds no label: pass at least one code that is not negative.")
    n_annotators = codes.shape[1]
    accuracy, weights, model_weight = _weights(codes, proba, is_given, n_labels)
    posterior = Posterior(codes, proba, accuracy, weights, model_weight)
    consensus, quality = np.empty(len(codes), dtype=np.intp), np.empty(len(codes))
    label_quality = np.full(codes.shape, np.nan)
    for rows, piece in pieces(posterior):
        consensus[rows], quality[rows] = piece.argmax(axis=1), piece.max(axis=1)
        of_labels = np.take_along_axis(piece, codes[rows].clip(min=0), axis=1)
        label_quality[rows] = np.where(is_given[rows], of_labels, np.nan)
    total, counts = np.nansum(label_quality, axis=0), is_given.sum(axis=0)
    mean_quality = np.divide(total, counts, out=np.full(n_annotators, np.nan), where=counts > 0)
    agreement = _agreement(codes == consensus[:, None], is_given & multi[:, None])
    # Share of the model in the posterior.
    u = model_weight / (model_weight + (is_given[labeled] @ weights).mean())
    known = np.where(np.isnan(agreement), mean_quality, agreement)
    annotator_quality = u * mean_quality + (1 - u) * known
    return CrowdLab(
        consensus,
        quality,
        label_quality,
        posterior,
        annotator_quality,
        agreement,
        counts,
        weights,
        model_weight,
    )


def _weights(
    codes: Codes, proba: Probabilities, is_given: NDArray[np.bool_], n_labels: NDArray[np.intp]
) -> tuple[float, Floats, float]:
    """Return the probability that a label is right, and the weights of annotators and model."""
    n_classes = proba.shape[1]
    majority = majority_vote(codes, n_classes, proba)
    predicted = np.empty(len(codes), dtype=np.intp)
    n_equal = np.zeros(codes.shape)  # other labels of the row that equal the annotator's
    for rows, piece in pieces(proba):
        predicted[rows] = piece.argmax(axis=1)
        counts = votes(codes[rows], n_classes)
        n_equal[rows] = np.take_along_axis(counts, codes[rows].clip(min=0), axis=1) - 1
    equal_weights, multi = np.ones(codes.shape[1]), n_labels > 1
    if not multi.any():
        return float((predicted == majority)[n_labels > 0].mean()), equal_weights, 1.0
    shares = (codes == majority[:, None])[multi].sum(axis=1) / n_labels[multi]
    accuracy = float(shares.mean())
    commonest = np.bincount(codes[is_given]).argmax()
    by_chance = float((majority[multi] == commonest).mean())
    if by_chance == 1:
        return accuracy, equal_weights, 1.0
    n_pairs = np.where(is_given, n_labels[:, None] - 1, 0).sum(axis=0)
    equal = np.where(is_given, n_equal, 0).sum(axis=0)
    agreement = np.where(n_pairs > 0, equal / n_pairs.clip(min=1), equal.sum() / n_pairs.sum())
    model_accuracy = float((predicted == majority)[multi].mean())
    weights = np.maximum(1 - (1 - agreement) / (1 - by_chance), _LEAST_WEIGHT)
    model_weight = max(1 - (1 - model_accuracy) / (1 - by_chance), _LEAST_WEIGHT)
    return accuracy, weights, model_weight * float(np.sqrt(n_labels[n_labels > 0].mean()))


def _agreement(equal: NDArray[np.bool_], counted: NDArray[np.bool_]) -> Floats:
    """Return the share of the counted labels of each annotator that are equal, NaN of none."""
    n = counted.sum(axis=0)
    return np.divide((equal & counted).sum(axis=0), n, out=np.full(len(n), np.nan), where=n > 0)

"""The labels of several annotators: majority, Dawid-Skene, CROWDLAB.

Labels are codes of shape (n, n_annotators), 0 to n_classes - 1, and -1 where an annotator gave
none; :func:`encode_annotations` makes them of labels of any type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from .._engine.labels import encode_labels, is_missing, to_numpy
from ..noise.probabilities import Probabilities, dense, pieces

__all__ = [
    "Annotations",
    "CrowdLab",
    "DawidSkene",
    "Posterior",
    "crowdlab",
    "dawid_skene",
    "encode_annotations",
    "majority_vote",
]

Codes = NDArray[np.integer]
Floats = NDArray[np.float64]

_LEAST_WEIGHT = 1e-6
_LEAST_GAIN = 1e-10  # of the log-likelihood
_MAX_STEPS = 10_000


class Annotations(NamedTuple):
    """Encoded labels of several annotators.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The labels that occur, sorted.
    codes : ndarray of shape (n, n_annotators), int64
        Positions of the labels among the classes; -1 where there is none.
    """

    classes: NDArray[Any]
    codes: NDArray[np.int64]


class DawidSkene(NamedTuple):
    """Result of :func:`dawid_skene`.

    Attributes
    ----------
    consensus : ndarray of shape (n,), intp
        Most probable class of each row.
    proba : ndarray of shape (n, n_classes), float64
        Probabilities of the classes; a row without a label has the prior.
    prior : ndarray of shape (n_classes,), float64
        Shares of the classes.
    confusion : ndarray of shape (n_annotators, n_classes, n_classes), float64
        ``confusion[a, k, l]`` is the probability that annotator a says l where k is true.
    log_likelihood : float
        Logarithm of the probability of all labels.
    objective : ndarray of shape (n_steps,), float64
        Log-likelihood after each step, plus the smoothing times the sum of the logarithms of the
        confusion. It never falls.
    """

    consensus: NDArray[np.intp]
    proba: Floats
    prior: Floats
    confusion: Floats
    log_likelihood: float
    objective: Floats


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
        votes = _votes(codes, self.shape[1], self._weights)
        sums = (
            self._model_weight * piece + (self._accuracy - wrong) * votes + wrong * total[:, None]
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


def encode_annotations(labels: Any) -> Annotations:
    """Encode the labels of several annotators.

    Parameters
    ----------
    labels : array-like of shape (n, n_annotators)
        Strings, integers, floats or booleans, of one type: an array, a list of rows or a frame.
        None, NaN, the NA of pandas and empty strings are missing labels.

    Returns
    -------
    annotations : Annotations
        Classes and codes.

    Raises
    ------
    ValueError, TypeError
        If there is no table of labels, or no label of at least two classes, or of several types.

    Examples
    --------
    >>> from sknoisy.audit.annotators import encode_annotations
    >>> classes, codes = encode_annotations([["dog", "cat"], [None, "dog"], ["cat", ""]])
    >>> classes
    array(['cat', 'dog'], dtype='<U3')
    >>> codes
    array([[ 1,  0],
           [-1,  1],
           [ 0, -1]])
    """
    is_list = isinstance(labels, Sequence)
    values = np.asarray(labels, dtype=object) if is_list else to_numpy(labels, "labels")
    values = values[:, None] if values.ndim == 1 and not is_list else values
    if values.ndim != 2:
        raise ValueError(
            f"labels has shape {values.shape}: pass one row for each row of X and one column for "
            "each annotator, with None for missing labels."
        )
    flat = values.ravel().tolist()
    missing = np.array([is_missing(label) or label == "" for label in flat], dtype=bool)
    if missing.all():
        raise ValueError("labels holds no label. Pass labels of at least 2 classes.")
    classes, codes = encode_labels(flat, len(flat), "encode_annotations", missing)
    codes[missing] = -1
    return Annotations(classes, codes.reshape(values.shape))


def majority_vote(
    codes: Codes, n_classes: int, proba: Probabilities | None = None
) -> NDArray[np.intp]:
    """Return the label that most annotators gave each row.

    Parameters
    ----------
    codes : ndarray of shape (n, n_annotators), int
        Labels; -1 where there is none.
    n_classes : int
        Number of classes.
    proba : ndarray or csr_array of shape (n, n_classes), float32 or float64, or None, default=None
        Class probabilities, which decide ties. Without them the label that is given more often in
        all rows decides, then the smaller code.

    Returns
    -------
    majority : ndarray of shape (n,), intp
        Codes; -1 for rows without a label.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.audit.annotators import majority_vote
    >>> majority_vote(np.array([[0, 1, 1], [1, -1, 0], [-1, -1, -1]]), 2)
    array([ 1,  1, -1])
    """
    if proba is None:
        shares = np.bincount(codes[codes >= 0], minlength=n_classes) / max(codes.size, 1)
        proba = np.broadcast_to(shares, (len(codes), n_classes))
    majority = np.empty(len(codes), dtype=np.intp)
    for rows, piece in pieces(proba):
        # Half a probability is less than a vote.
        majority[rows] = (_votes(codes[rows], n_classes) + piece / 2).argmax(axis=1)
    return np.where((codes >= 0).any(axis=1), majority, -1)


def dawid_skene(codes: Codes, n_classes: int, *, smoothing: float = 0.01) -> DawidSkene:
    """Estimate true labels and the confusion of each annotator by expectation maximisation.

    Each annotator a says l with probability E_a[k, l] where k is true, independently of the other
    annotators. The start are the shares of the labels of each row. Steps end when the objective
    gains less than 1e-10. With few labels of an annotator the estimates become extreme, which the
    smoothing dampens. If no row has several labels, nothing can be learned about the annotators:
    there is only one step, and every label is believed.

    Parameters
    ----------
    codes : ndarray of shape (n, n_annotators), int
        Labels; -1 where there is none. At least one is given.
    n_classes : int
        Number of classes.
    smoothing : float, default=0.01
        Number of labels that is added to each cell of the confusion of each annotator; 0 is the
        paper's estimate.

    Returns
    -------
    result : DawidSkene
        Consensus, probabilities and confusion.

    Raises
    ------
    ValueError
        If there is no label.

    References
    ----------
    A. P. Dawid and A. M. Skene, "Maximum likelihood estimation of observer error-rates using the
    EM algorithm", Applied Statistics 28(1), 1979, equations 2.3 to 2.5.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.audit.annotators import dawid_skene
    >>> codes = np.array([[0, 0, 1], [1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 1], [1, 1, 0]])
    >>> dawid_skene(codes, 2).consensus
    array([0, 1, 0, 1, 0, 1])
    """
    n_rows, n_annotators = codes.shape
    labeled = (codes >= 0).any(axis=1)
    if not labeled.any():
        raise ValueError("codes holds no label: pass at least one code that is not negative.")
    rows, annotators = np.nonzero(codes[labeled] >= 0)
    columns = annotators * n_classes + codes[labeled][rows, annotators]
    said = sparse.csr_array(  # whether this annotator said this class
        (np.ones(len(rows)), (rows, columns)), shape=(labeled.sum(), n_annotators * n_classes)
    )
    q = _votes(codes[labeled], n_classes)
    q /= q.sum(axis=1, keepdims=True)
    objective: list[float] = []
    has_several = len(rows) > labeled.sum()
    while len(objective) < (_MAX_STEPS if has_several else 1):
        prior = q.mean(axis=0)  # equation 2.4
        counts = (said.T @ q).reshape(n_annotators, n_classes, n_classes).swapaxes(1, 2)
        confusion = _shares(counts + smoothing)  # equation 2.3
        with np.errstate(divide="ignore"):
            log_confusion, log_prior = np.log(confusion), np.log(prior)
        of_said = log_confusion.swapaxes(1, 2).reshape(-1, n_classes)
        log_joint = said @ of_said + log_prior
        largest = log_joint.max(axis=1, keepdims=True)
        q = np.exp(log_joint - largest)
        sums = q.sum(axis=1, keepdims=True)
        q /= sums  # equation 2.5
        likelihood = float((largest + np.log(sums)).sum())
        objective.append(likelihood)
        if smoothing:
            objective[-1] += smoothing * float(log_confusion.sum())
        least = max(_LEAST_GAIN, 1e-15 * abs(objective[-1]))  # which float64 resolves
        if len(objective) > 1 and objective[-1] - objective[-2] < least:
            break
    proba = np.tile(prior, (n_rows, 1))
    proba[labeled] = q
    return DawidSkene(
        proba.argmax(axis=1), proba, prior, confusion, likelihood, np.array(objective)
    )


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
    >>> from sknoisy.audit.annotators import crowdlab
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
        votes = _votes(codes[rows], n_classes)
        n_equal[rows] = np.take_along_axis(votes, codes[rows].clip(min=0), axis=1) - 1
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


def _votes(codes: Codes, n_classes: int, weights: Floats | None = None) -> Floats:
    """Return the number or weight of the labels of each class in each row, (n, n_classes)."""
    votes = np.zeros((len(codes), n_classes))
    for annotator, said in enumerate(codes.T):
        rows = np.flatnonzero(said >= 0)
        votes[rows, said[rows]] += 1 if weights is None else weights[annotator]
    return votes


def _agreement(equal: NDArray[np.bool_], counted: NDArray[np.bool_]) -> Floats:
    """Return the share of the counted labels of each annotator that are equal, NaN of none."""
    n = counted.sum(axis=0)
    return np.divide((equal & counted).sum(axis=0), n, out=np.full(len(n), np.nan), where=n > 0)


def _shares(counts: Floats) -> Floats:
    """Return counts divided by the sums over the last axis; even shares where the sum is 0."""
    sums = counts.sum(axis=-1, keepdims=True)
    even = np.full_like(counts, 1 / counts.shape[-1])
    return np.divide(counts, sums, out=even, where=sums > 0)

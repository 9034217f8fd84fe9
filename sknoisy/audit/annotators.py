"""The labels of several annotators, majority and Dawid-Skene.

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
from ..noise.probabilities import Probabilities, pieces

__all__ = [
    "Annotations",
    "DawidSkene",
    "dawid_skene",
    "encode_annotations",
    "majority_vote",
    "votes",
]

Codes = NDArray[np.integer]
Floats = NDArray[np.float64]

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
        majority[rows] = (votes(codes[rows], n_classes) + piece / 2).argmax(axis=1)
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
    q = votes(codes[labeled], n_classes)
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


def votes(codes: Codes, n_classes: int, weights: Floats | None = None) -> Floats:
    """Return the number or weight of the labels of each class in each row, (n, n_classes)."""
    total = np.zeros((len(codes), n_classes))
    for annotator, said in enumerate(codes.T):
        rows = np.flatnonzero(said >= 0)
        total[rows, said[rows]] += 1 if weights is None else weights[annotator]
    return total


def _shares(counts: Floats) -> Floats:
    """Return counts divided by the sums over the last axis; even shares where the sum is 0."""
    sums = counts.sum(axis=-1, keepdims=True)
    even = np.full_like(counts, 1 / counts.shape[-1])
    return np.divide(counts, sums, out=even, where=sums > 0)

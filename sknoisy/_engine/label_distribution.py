"""The fitted attributes of every estimator about the labels of the training rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .batches import TrainingData

__all__ = ["distribute_labels", "prefer_given", "set_label_distribution", "spread_over_others"]

_LEAST = 1e-12  # a share of the other classes, where a network is certain of the given one


def set_label_distribution(
    estimator: Any,
    proba: NDArray[np.float64],
    given: NDArray[np.integer],
    trusted: NDArray[np.bool_] | None = None,
    unlabeled: NDArray[np.bool_] | None = None,
) -> None:
    """Set ``label_distribution_``, ``purified_labels_`` and ``clean_proba_``.

    ``label_distribution_`` is `proba`, one-hot for trusted rows. The purified label of a row is
    its most probable class, the given one if several are as probable. ``clean_proba_`` is the
    probability of the given label, NaN for rows that have none.

    Parameters
    ----------
    estimator : object
        A fitted estimator with the attribute ``classes_``.
    proba : ndarray of float64 of shape (n, n_classes)
        Probability of each class for each row. The array becomes the attribute, and is changed.
    given : ndarray of shape (n,)
        Encoded given labels.
    trusted : ndarray of bool of shape (n,) or None, default=None
        True for trusted rows.
    unlabeled : ndarray of bool of shape (n,) or None, default=None
        True for rows without a label.
    """
    if trusted is not None:
        proba[trusted] = 0
        proba[trusted, given[trusted]] = 1
    labels = proba.argmax(axis=1)
    labeled = slice(None) if unlabeled is None else ~unlabeled
    own = proba[labeled]
    labels[labeled] = prefer_given(own, given[labeled])
    proba[labeled] = own
    estimator.purified_labels_ = estimator.classes_[labels]
    estimator.label_distribution_ = proba
    estimator.clean_proba_ = proba[np.arange(len(given)), given]
    if unlabeled is not None:
        estimator.clean_proba_[unlabeled] = np.nan


def distribute_labels(estimator: Any, proba: NDArray[np.float64], data: TrainingData) -> None:
    """Call :func:`set_label_distribution` with the given labels and masks of training data."""
    given = data.given.cpu().numpy()
    trusted = None if data.trusted is None else data.trusted.cpu().numpy()
    unlabeled = None
    if data.unlabeled is not None:
        unlabeled = np.zeros(len(given), dtype=bool)
        unlabeled[data.unlabeled.cpu().numpy()] = True
    set_label_distribution(estimator, proba, given, trusted, unlabeled)


def prefer_given(distribution: NDArray, given: NDArray[np.integer]) -> NDArray[np.intp]:
    """Return the most probable class of each row, the given one if others are as probable.

    The probability of a given class that ties is raised to the next floating-point number.
    """
    rows = np.arange(len(given))
    labels, own = distribution.argmax(axis=1), distribution[rows, given]
    tied = (labels != given) & (own == distribution[rows, labels])
    distribution[tied, given[tied]] = np.nextafter(own[tied], np.inf)
    labels[tied] = given[tied]
    return labels


def spread_over_others(
    clean_proba: NDArray[np.float64], proba: NDArray[np.floating], given: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return a distribution (n, c) in which the given labels have these probabilities.

    The rest of each row is divided among the other classes in proportion to `proba`.
    """
    rows = np.arange(len(given))
    others = proba.clip(min=_LEAST).astype(np.float64)
    others[rows, given] = 0
    others *= ((1 - clean_proba) / others.sum(axis=1))[:, None]
    others[rows, given] = clean_proba
    return others

"""The fitted attributes of every estimator about the labels of the training rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["set_label_distribution", "spread_over_others"]

_LEAST = 1e-12  # a share of the other classes, where a network is certain of the given one


def set_label_distribution(
    estimator: Any,
    proba: NDArray[np.floating],
    given: NDArray[np.integer],
    trusted: NDArray[np.bool_] | None = None,
) -> None:
    """Set ``label_distribution_``, ``purified_labels_`` and ``clean_proba_``.

    ``label_distribution_`` is `proba`, one-hot for trusted rows. The purified label of a row is
    its most probable class, the given one if several are as probable. ``clean_proba_`` is the
    probability of the given label.

    The distribution is float32, as the outputs of the networks are: it is the largest array of a
    pickled classifier. ``clean_proba_`` is float64, as probabilities are elsewhere.

    Parameters
    ----------
    estimator : object
        A fitted estimator with the attribute ``classes_``.
    proba : ndarray of shape (n, n_classes)
        Probability of each class for each row; it is not changed.
    given : ndarray of shape (n,)
        Encoded given labels.
    trusted : ndarray of bool of shape (n,) or None, default=None
        True for trusted rows.
    """
    distribution = proba.astype(np.float32)
    clean_proba = proba[np.arange(len(given)), given].astype(np.float64)
    if trusted is not None:
        distribution[trusted] = 0
        distribution[trusted, given[trusted]] = clean_proba[trusted] = 1
    _prefer_given(distribution, given)
    estimator.label_distribution_ = distribution
    estimator.purified_labels_ = estimator.classes_[distribution.argmax(axis=1)]
    estimator.clean_proba_ = clean_proba


def _prefer_given(distribution: NDArray[np.float32], given: NDArray[np.integer]) -> None:
    """Lower the classes that tie with the given one to the next number, in place."""
    rows = np.arange(len(given))
    is_top = distribution == distribution.max(axis=1, keepdims=True)
    tied = is_top[rows, given].nonzero()[0]
    is_top[rows, given] = False
    tied = tied[is_top[tied].any(axis=1)]
    distribution[tied] -= np.spacing(distribution[tied]) * is_top[tied]


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

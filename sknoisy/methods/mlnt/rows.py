"""Rows that MLNT sets aside: those that choose the epoch, those that the mentor doubts."""

from __future__ import annotations

import math

import numpy as np

from ..._engine.indexing import rows_of_classes
from ...exceptions import warn_user

__all__ = ["believed_rows", "validation_rows"]

_MIN_PER_CLASS = 10
_VALIDATION_SHARE = 0.1


def validation_rows(
    labels: np.ndarray,
    trusted: np.ndarray,
    counted: np.ndarray,
    random_state: np.random.RandomState,
) -> np.ndarray:
    """Draw trusted rows that choose the epoch and are kept out of training.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        Encoded labels.
    trusted, counted : ndarray of bool of shape (n,)
        Rows that the user vouches for, and those that count in training; both to be drawn.
    random_state : RandomState
        Draws them.

    Returns
    -------
    is_drawn : ndarray of bool of shape (n,)
        Of each class at most a tenth of its rows that count, rounded up, never the last one.
    """
    is_drawn = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels[counted]):
        of_class = counted & (labels == label)
        n_most = min(math.ceil(_VALIDATION_SHARE * of_class.sum()), of_class.sum() - 1)
        members = random_state.permutation(np.flatnonzero(of_class & trusted))
        is_drawn[members[:n_most]] = True
    return is_drawn


def believed_rows(
    proba: np.ndarray,
    labels: np.ndarray,
    threshold: str | float,
    always: np.ndarray,
    candidates: np.ndarray,
    classes: np.ndarray,
) -> np.ndarray:
    """Rows whose given label the mentor believes; every class keeps some.

    Parameters
    ----------
    proba : ndarray of shape (n, n_classes)
        The mentor's probabilities.
    labels : ndarray of shape (n,)
        Encoded given labels.
    threshold : "auto" or float
        Rows are kept whose label has a larger probability, or ("auto") the largest of all.
    always : ndarray of bool of shape (n,)
        Rows that are kept whatever the mentor says.
    candidates : ndarray of bool of shape (n,)
        Rows that count in training.
    classes : ndarray of shape (n_classes,)
        Labels, for the warning.

    Returns
    -------
    is_kept : ndarray of bool of shape (n,)
    """
    of_given = proba[np.arange(len(labels)), labels]
    believed = proba.argmax(axis=1) == labels if threshold == "auto" else of_given > threshold
    is_kept = believed | always
    poor = []
    for label, rows in enumerate(rows_of_classes(labels, -of_given)):
        members = rows[candidates[rows]]
        n_least = min(_MIN_PER_CLASS, math.ceil(len(members) / 2))
        if is_kept[members].sum() < n_least:
            is_kept[members[:n_least]] = True
            poor.append(label)
    if poor:
        warn_user(
            f"The mentor believes hardly any label of class {classes[poor].tolist()}: the most "
            f"probable ones, up to {_MIN_PER_CLASS} per class, were kept. Pass a mentor_threshold "
            f"that keeps more than {threshold!r}.",
            UserWarning,
        )
    return is_kept

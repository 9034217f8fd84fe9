"""The mentor of a further iteration: the labels that it believes, and its part of the target."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from ..._engine.indexing import rows_of_classes
from ...exceptions import warn_user

__all__ = ["believed_rows", "blend_targets"]

_MIN_PER_CLASS = 10


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


def blend_targets(teacher: Tensor, mentor: Tensor | None, share: float) -> Tensor:
    """Blended target: ``share`` of the teacher's probabilities, the rest the mentor's.

    Parameters
    ----------
    teacher, mentor : Tensor of shape (k, n_classes)
        Probabilities; without a mentor the teacher's are the target.
    share : float
        Share of the teacher, in [0, 1].

    Returns
    -------
    target : Tensor of shape (k, n_classes)

    Examples
    --------
    >>> import torch
    >>> from sknoisy.methods.mlnt import blend_targets
    >>> blend_targets(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 0.25)
    tensor([[0.2500, 0.7500]])
    """
    return teacher if mentor is None else share * teacher + (1 - share) * mentor

"""The mentor of the second and later iterations: it filters labels and blends the target."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np
from torch import Tensor

from ..._compat import Interval, StrOptions, validate_parameter_constraints
from ..._engine.indexing import rows_of_classes
from ...exceptions import warn_user

__all__ = ["Mentoring", "believed_rows", "blend_targets"]

_MIN_PER_CLASS = 10


@dataclass(frozen=True, eq=False)
class Mentoring:
    """Settings of the mentor, for :class:`~sknoisy.MLNTClassifier`.

    Parameters
    ----------
    threshold : "auto" or float, default="auto"
        Rows take part in the cross-entropy if the mentor's probability of their label is larger
        than this; 0.3 is published. "auto": if the mentor predicts their label. Trusted rows
        always take part, and each class keeps its most probable rows.
    blend : float, default=0.5
        Share of the teacher in the target at the end of an iteration, in [0, 1]. The share grows
        from 0 at the beginning; the rest is the mentor's.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    blend_targets : The blended target.

    Examples
    --------
    >>> from sknoisy import MLNTClassifier
    >>> from sknoisy.methods.mlnt import Mentoring
    >>> clf = MLNTClassifier(n_iterations=3, mentoring=Mentoring(threshold=0.3))
    >>> clf.mentoring
    Mentoring(threshold=0.3, blend=0.5)
    """

    threshold: str | float = "auto"
    blend: float = 0.5

    def __post_init__(self) -> None:
        constraints = {
            "threshold": [StrOptions({"auto"}), Interval(Real, None, None, closed="neither")],
            "blend": [Interval(Real, 0, 1, closed="both")],
        }
        validate_parameter_constraints(constraints, vars(self), type(self).__name__)


def believed_rows(
    proba: np.ndarray,
    labels: np.ndarray,
    threshold: str | float,
    always: np.ndarray,
    candidates: np.ndarray,
    classes: np.ndarray,
) -> np.ndarray:
    """Return a mask (n,) of the rows whose label the mentor believes; every class keeps some.

    The mentor believes the label of a row if its probability, in `proba` (n, n_classes), is larger
    than the threshold, or, with "auto", if it is the largest of all classes. The rows `always` are
    kept whatever the mentor predicts. If a class would keep fewer than ten rows, or than half of
    its rows if it has fewer than twenty, its most probable `candidates`, rows of positive weight,
    are kept and a UserWarning names the class.
    """
    # Eq. 10 of the paper, with a floor for each class.
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
            f"probable ones, up to {_MIN_PER_CLASS} per class, were kept. Pass "
            f"mentoring=Mentoring(threshold=...) with a threshold that keeps more than "
            f"{threshold!r}.",
            UserWarning,
        )
    return is_kept


def blend_targets(teacher: Tensor, mentor: Tensor | None, share: float) -> Tensor:
    """Return the blended target: ``share`` of the teacher's probabilities, the rest the mentor's.

    Parameters
    ----------
    teacher, mentor : Tensor of shape (k, n_classes)
        Probabilities. Without a mentor, the teacher's are the target.
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
    # s of Eq. 12; share is lambda.
    return teacher if mentor is None else share * teacher + (1 - share) * mentor

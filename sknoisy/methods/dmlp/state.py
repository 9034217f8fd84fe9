"""The data, the settings and the changing state of a purification."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from torch import Tensor

from .auxiliary import AuxiliaryClassifier
from .soft_labels import LabelState
from .variant import PurificationVariant

__all__ = ["LabelledViews", "PurificationSettings", "PurificationState", "RoundPlan"]


class PurificationSettings(NamedTuple):
    """Settings of all rounds; `chunk_size` is the maximum number of rows in one regression."""

    variant: PurificationVariant = PurificationVariant()
    n_epochs: int = 100
    chunk_size: int = 8192

    @property
    def n_rounds(self) -> int:
        """Number of rounds; the last one may be shorter than ``correction_period``."""
        return -(-self.n_epochs // self.variant.correction_period)


class RoundPlan(NamedTuple):
    """Whether labels descend on the meta objective, and the correction that is written back."""

    intrinsic_steps: bool
    correction: str


class LabelledViews(NamedTuple):
    """Frozen features (n, d) of each view, one-hot given labels (n, c), and trust mask (n,).

    The codes of the groups (n,), if any, are those of rows whose labels may be wrong together.
    """

    views: list[Tensor]
    given: Tensor
    trusted: Tensor
    groups: Tensor | None = None

    def take(self, index: Tensor) -> LabelledViews:
        """Return the rows of this index."""
        views = [view[index] for view in self.views]
        groups = None if self.groups is None else self.groups[index]
        return LabelledViews(views, self.given[index], self.trusted[index], groups)


@dataclass
class PurificationState:
    """Everything that changes from round to round.

    Attributes
    ----------
    labels, classifiers : list of LabelState, list of AuxiliaryClassifier
        Y and C of each view.
    distribution : Tensor of shape (n, c)
        The labels of the last write-back, averaged over the views.
    epoch : int
        Number of epochs done.
    transition : Tensor of shape (c, c) or None
        T; None before the first write-back.
    ridges : list of float
        λ of the last regression in each view.
    meta_loss : float or None
        Squared error of the regression on the validation rows, before the last write-back.
    held_proba : Tensor of shape (n_held, c) or None
        Predictions for the held-out rows, made without their given labels.
    """

    labels: list[LabelState]
    classifiers: list[AuxiliaryClassifier]
    distribution: Tensor
    epoch: int = 0
    transition: Tensor | None = None
    ridges: list[float] = field(default_factory=list)
    meta_loss: float | None = None
    held_proba: Tensor | None = None

    def copy(self) -> PurificationState:
        """Return a copy with labels of its own, which a further round changes."""
        return replace(self, labels=copy.deepcopy(self.labels))

    def without_labels(self) -> PurificationState:
        """Return a copy that takes less memory, and from which no further round can start."""
        return replace(self, labels=[], classifiers=[])

"""What a purification is given, and what changes in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from .auxiliary import AuxiliaryClassifier
from .soft_labels import LabelState

__all__ = ["Choice", "Rows", "Settings", "State"]


class Settings(NamedTuple):
    """Options of the method, as :class:`~sknoisy.LabelPurifier` describes them."""

    objective: str = "paper"
    optimizer: str = "sgd"
    label_param: str = "raw"
    ridge: float | str = "auto"
    n_epochs: int = 100
    eac_period: int = 5
    eac_momentum: float = 1.0
    entropy_sign: int = 1
    label_lr: float | str = "auto"
    classifier_lr: float = 0.006
    chunk_size: int = 8192

    @property
    def n_rounds(self) -> int:
        """Periods of epochs, each of which ends in a write-back; the last may be shorter."""
        return -(-self.n_epochs // self.eac_period)


class Choice(NamedTuple):
    """What a round does.

    Attributes
    ----------
    intrinsic_steps : bool
        Whether labels descend on the meta objective.
    correction : {"intrinsic", "auxiliary"}
        Whose predictions are written back.
    """

    intrinsic_steps: bool
    correction: str


class Rows(NamedTuple):
    """Rows and what is known of them.

    Attributes
    ----------
    views : list of Tensor of shape (n, d)
        Frozen features of each view.
    given : Tensor of shape (n, c)
        One-hot given labels.
    trusted : Tensor of bool of shape (n,)
        Rows whose given label is right.
    """

    views: list[Tensor]
    given: Tensor
    trusted: Tensor

    def take(self, index: Tensor) -> Rows:
        """Some of the rows."""
        views = [view[index] for view in self.views]
        return Rows(views, self.given[index], self.trusted[index])


@dataclass
class State:
    """All that changes.

    Attributes
    ----------
    labels : list of LabelState
        Y of each view.
    classifiers : list of AuxiliaryClassifier
        C of each view.
    distribution : Tensor of shape (n, c)
        What was written back last, the mean over the views.
    epoch : int
        Epochs done.
    transition : Tensor of shape (c, c) or None
        T; None before the first write-back.
    ridges : list of float
        λ of the last regression in each view.
    meta_loss : float or None
        Squared error of the regression on the validation rows, before the last write-back.
    held_proba : Tensor of shape (n_held, c) or None
        What is predicted of held-out rows, before their given label is looked at.
    """

    labels: list[LabelState]
    classifiers: list[AuxiliaryClassifier]
    distribution: Tensor
    epoch: int = 0
    transition: Tensor | None = None
    ridges: list[float] = field(default_factory=list)
    meta_loss: float | None = None
    held_proba: Tensor | None = None

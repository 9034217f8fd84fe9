"""The step size of MLNT's meta step, which follows the teacher's contradiction of the labels."""

from __future__ import annotations

from typing import Any

from skorch.callbacks import Callback
from torch import Tensor

from ..._engine.evaluation import outputs_of, rows_per_pass
from ...callbacks.named import callback_named

__all__ = ["MetaRate", "contradiction"]

_FULL = 0.075  # contradiction from which on the meta step has its largest size


class MetaRate(Callback):
    r"""Scale the meta step by how far the teacher contradicts the labels.

    The meta loss holds the network back at its teacher, whether the labels are right or wrong.
    Before each epoch, the step size of the meta step becomes

    .. math:: \eta = \eta_{\max} \min(1, c / 0.075)

    with the contradiction c: the teacher's largest probability minus that of the given label, in
    the mean over `rows`, indices of training rows. A network that has not learned yet contradicts
    no label with confidence. A network that has learned right labels contradicts none. Neither is
    held back.

    A :class:`~sknoisy.methods.mlnt.NoiseToleranceUpdate` reads the step size, ``rate_``, if its
    ``meta_lr`` is the name of this callback; ramp and schedule follow. The history records it as
    ``"meta_lr"``. The net must be sknoisy's own. `bound` is :math:`\eta_{\max}`, `teacher` the
    name of the callback that keeps the teacher, in its attribute ``teacher_``.
    """

    def __init__(self, bound: float, rows: Any, teacher: str = "TeacherAverage"):
        self.bound = bound
        self.rows = rows
        self.teacher = teacher

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Begin with a step size of 0."""
        self.rate_ = 0.0

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        """Set the step size of the epoch."""
        teacher = callback_named(net, self.teacher, "teacher", "teacher_").teacher_
        _, logits = outputs_of(teacher, dataset_train, self.rows, rows_per_pass(net))
        found = contradiction(logits, dataset_train.given[self.rows])
        self.rate_ = self.bound * min(1.0, found / _FULL)
        net.history.record("meta_lr", self.rate_)


def contradiction(logits: Tensor, labels: Tensor) -> float:
    """Return the mean over rows of the largest probability minus that of the label, in [0, 1].

    The logits have the shape (m, n_classes), the encoded given labels (m,).
    """
    p = logits.softmax(dim=1)
    of_given = p.gather(1, labels[:, None])[:, 0]
    return (p.amax(dim=1) - of_given).mean().item()

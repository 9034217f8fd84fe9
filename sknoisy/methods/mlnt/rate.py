"""The step size of MLNT's meta step, by what the teacher makes of the labels."""

from __future__ import annotations

from typing import Any

from skorch.callbacks import Callback
from torch import Tensor

from ..._engine.evaluation import outputs_of, rows_per_pass
from .update import NoiseToleranceUpdate, teacher_among

__all__ = ["MetaRate", "contradiction"]

_FULL = 0.075  # contradiction from which on the meta step is as large as it may be


class MetaRate(Callback):
    r"""Make the meta step as large as the teacher contradicts the labels.

    The meta loss holds the network back at its teacher, whatever the labels say. Before each epoch
    its step size becomes

    .. math:: \eta = \eta_{\max} \min(1, c / 0.075)

    with the contradiction c: the teacher's largest probability less that of the given label, in
    the mean over rows. A network that has not learned yet contradicts no label with confidence,
    and one that has learned right labels contradicts none: neither is held back.

    Parameters
    ----------
    bound : float
        The largest step size, eta_max.
    rows : Tensor of shape (m,) or None, default=None
        Rows of the training data that are asked, int64, set before training.

    Notes
    -----
    ``history`` has the step size of each epoch, before ramp and schedule, as ``"meta_lr"``.
    """

    def __init__(self, bound: float, rows: Any = None):
        self.bound = bound
        self.rows = rows

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        """Set the step size of the net's meta step."""
        teacher = teacher_among(net.callbacks_).teacher_
        _, logits = outputs_of(teacher, dataset_train, self.rows, rows_per_pass(net))
        found = contradiction(logits, dataset_train.given[self.rows])
        update = next(c for _, c in net.callbacks_ if isinstance(c, NoiseToleranceUpdate))
        update.meta_lr = self.bound * min(1.0, found / _FULL)
        net.history.record("meta_lr", update.meta_lr)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Forget the rows: a fitted net is pickled without them."""
        self.rows = None


def contradiction(logits: Tensor, labels: Tensor) -> float:
    """Largest probability less that of the label, in [0, 1], the mean over rows.

    Parameters
    ----------
    logits : Tensor of shape (m, n_classes)
        Of a network.
    labels : Tensor of shape (m,)
        Encoded given labels, int64.

    Returns
    -------
    contradiction : float

    Examples
    --------
    >>> import torch
    >>> probabilities = torch.tensor([[0.75, 0.25], [0.75, 0.25]])
    >>> round(contradiction(probabilities.log(), torch.tensor([0, 1])), 4)
    0.25
    """
    p = logits.softmax(dim=1)
    of_given = p.gather(1, labels[:, None])[:, 0]
    return (p.amax(dim=1) - of_given).mean().item()

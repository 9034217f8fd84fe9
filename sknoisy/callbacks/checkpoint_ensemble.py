"""Callback that keeps the states of the best epochs."""

from __future__ import annotations

import heapq
import math

from skorch.callbacks import Callback
from torch import Tensor

from .._engine.evaluation import copied_state
from .._engine.held_state import held_state, hold_state
from .named import RecordedInTime, network_of

__all__ = ["CheckpointEnsemble"]


class CheckpointEnsemble(Callback):
    """Keep the network's state after the epochs with the lowest monitored value.

    Parameters
    ----------
    monitor : str, default="clid"
        Key of the history. The callback that records it must come earlier in the list. Epochs
        without a value, or with NaN, are skipped, and so are epochs after which a
        :class:`~sknoisy.callbacks.CollapseGuard` set the network back.
    n_members : int, default=5
        Number of states to keep.
    n_skip_epochs : int, default=0
        Number of epochs at the beginning that cannot be chosen.
    teacher : str or None, default=None
        Name of a :class:`TeacherAverage` whose network is kept. None: the net's own.

    Attributes
    ----------
    members_ : list of (float, int, dict)
        Value, epoch (from 1) and state dict, best first.

    Examples
    --------
    >>> from sknoisy.callbacks import CheckpointEnsemble
    >>> CheckpointEnsemble(monitor="meta_loss", n_members=3).n_members
    3
    """

    def __init__(
        self,
        monitor: str = "clid",
        n_members: int = 5,
        *,
        n_skip_epochs: int = 0,
        teacher: str | None = None,
    ):
        self.monitor = monitor
        self.n_members = n_members
        self.n_skip_epochs = n_skip_epochs
        self.teacher = teacher

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Drop the states of an earlier training."""
        self.members_: list[tuple[float, int, dict[str, Tensor]]] = []
        self._readers = [
            RecordedInTime(key, "CheckpointEnsemble") for key in (self.monitor, "set_back")
        ]

    def on_epoch_begin(self, net, **kwargs):
        """Check that the monitored value of the last epoch was recorded in time."""
        for reader in self._readers:
            reader.check(net)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Check that the last epoch was recorded in time."""
        for reader in self._readers if len(net.history) else ():
            reader.check(net, -1)

    def on_epoch_end(self, net, **kwargs):
        """Keep the state if it is among the best."""
        epoch = len(net.history)
        value, was_set_back = (reader.read(net) for reader in self._readers)
        if epoch <= self.n_skip_epochs or value is None or math.isnan(value):
            return
        if was_set_back:
            return
        if len(self.members_) == self.n_members and value >= self.members_[-1][0]:
            return
        state = copied_state(network_of(net, self.teacher))
        self.members_.append((value, epoch, state))
        self.members_ = heapq.nsmallest(self.n_members, self.members_, key=lambda m: m[:2])

    def state_dict(self, net):
        """Return the state after an epoch, for a checkpoint."""
        return held_state(self, "members_")

    def load_state_dict(self, state, net, data):
        """Restore what :meth:`state_dict` returned."""
        hold_state(self, state, net.device)

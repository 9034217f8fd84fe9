"""Callback that records CLID after each epoch."""

from __future__ import annotations

import torch
from skorch.callbacks import Callback

from .._engine.construction import random_state_of
from .._engine.evaluation import draw_rows, evaluate, keep_rows
from .._engine.held_state import held_state, hold_state
from ..meta import CLIDObjective
from .named import network_of

__all__ = ["CLIDScore"]


class CLIDScore(Callback):
    """Record CLID as ``"clid"`` in the history at the end of each epoch, without labels.

    Parameters
    ----------
    rows : int or array-like of int, default=1000
        Rows of the X given to ``fit`` to score, or the number of rows to draw from those that the
        net trains on.
    temperature : float, default=0.5
        Temperature of the feature graph.
    batch_size : int, default=100
        Number of rows per graph. CLID is the mean over batches, weighted by their size. A last
        batch of less than half the size is left out, because CLID grows with the logarithm of
        the number of rows.
    random_state : int, RandomState or None, default=None
        Controls the draw of the rows.
    teacher : str or None, default=None
        Name of a :class:`TeacherAverage` whose network is scored. None: the net's own.

    Examples
    --------
    >>> from sknoisy.callbacks import CLIDScore
    >>> CLIDScore(rows=200, batch_size=50).rows
    200
    """

    def __init__(
        self, rows=1000, *, temperature=0.5, batch_size=100, random_state=None, teacher=None
    ):
        self.rows = rows
        self.temperature = temperature
        self.batch_size = batch_size
        self.random_state = random_state
        self.teacher = teacher

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Drop the rows of an earlier training."""
        self._X, self._index = X, None

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        """Record CLID of the network."""
        if self._index is None:
            # A random order: rows sorted by class would make batches of one class.
            rng = random_state_of(self.random_state)
            rows = rng.permutation(draw_rows(dataset_train, self.rows, rng, self._X))
            self._index = torch.as_tensor(rows, device=net.device)
            keep_rows(dataset_train, self._index, id(self))
        objective = CLIDObjective(self.temperature)
        total, count = 0.0, 0
        module = network_of(net, self.teacher)
        for features, logits, _ in evaluate(
            net, dataset_train, self._index, self.batch_size, module
        ):
            if count and len(logits) < self.batch_size / 2:
                break
            total += objective(features, logits).item() * len(logits)
            count += len(logits)
        net.history.record("clid", total / count)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Drop the data."""
        self._X = None

    def state_dict(self, net):
        """Return the state after an epoch, for a checkpoint."""
        return held_state(self, "_index")

    def load_state_dict(self, state, net, data):
        """Restore what :meth:`state_dict` returned."""
        hold_state(self, state, net.device)

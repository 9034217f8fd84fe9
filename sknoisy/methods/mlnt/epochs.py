"""The epoch and the network, student or teacher, that MLNT predicts with."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from skorch.callbacks import Callback
from torch import Tensor, nn

from ..._engine.batches import TrainingData
from ..._engine.evaluation import cpu_state, outputs_of, rows_per_pass
from ...meta import CLIDObjective
from ...meta.models import per_sample_loss
from .update import teacher_among

__all__ = ["Choice", "EpochChoice", "validation_rows"]

_GRAPH_ROWS = 100  # rows per graph of CLID
_VALIDATION_SHARE = 0.1


class Choice(NamedTuple):
    """A network after an epoch.

    Attributes
    ----------
    epoch : int
        From 1; 0 before the end of the first one.
    name : str
        "student" or "teacher".
    state : dict of str to Tensor
        State dict, on the CPU.
    """

    epoch: int
    name: str
    state: dict[str, Tensor]


class EpochChoice(Callback):
    """Choose an epoch by what can be known of its networks without their training labels.

    Parameters
    ----------
    by : {"last", "agreement", "clid", "trusted"}
        "last": the last epoch. "agreement": the largest share of rows of which student and teacher
        predict the same class. "clid": the lowest cross-layer information divergence. "trusted":
        the highest accuracy, then the lowest cross-entropy. Of equal epochs the last.
    candidates : tuple of {"student", "teacher"}
        Networks that may be chosen, the first one where nothing tells them apart.
    n_skip_epochs : int, default=0
        Epochs at the beginning that "agreement" and "clid" cannot choose: a network that predicts
        one class for all scores well.
    rows : Tensor of shape (m,) or None, default=None
        Rows of the training data that are asked, int64; None is for "last" alone.

    Attributes
    ----------
    choice_ : Choice
        What was chosen; the last state where no epoch could be.
    """

    def __init__(
        self, by: str, candidates: tuple[str, ...], n_skip_epochs: int = 0, rows: Any = None
    ):
        self.by = by
        self.candidates = candidates
        self.n_skip_epochs = n_skip_epochs
        self.rows = rows

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Forget an earlier choice."""
        self.choice_: Choice | None = None
        self._best: tuple[float, ...] | None = None

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        """Keep the state if the epoch is the best up to now."""
        if self.by == "last":
            return
        scores = self._scores(net, dataset_train)
        name = max(self.candidates, key=lambda candidate: scores[candidate])
        net.history.record(self.by, abs(scores[name][0]))
        if self.by != "trusted" and len(net.history) <= self.n_skip_epochs:
            return
        if self._best is None or scores[name] >= self._best:
            self._best = scores[name]
            self.choice_ = self._state(net, name)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Without a choice, take the networks as they are."""
        if self.choice_ is None:
            self.choice_ = self._state(net, self.candidates[0])

    def _state(self, net, name: str) -> Choice:
        epoch = net.n_finished_epochs
        return Choice(epoch, name, cpu_state(_networks(net)[name]))

    def _scores(self, net, data: TrainingData) -> dict[str, tuple[float, ...]]:
        networks = _networks(net)
        outputs = {
            name: outputs_of(networks[name], data, self.rows, rows_per_pass(net))
            for name in (networks if self.by == "agreement" else self.candidates)
        }
        if self.by == "agreement":
            same = [logits.argmax(dim=1) for _, logits in outputs.values()]
            agreement = (same[0] == same[1]).double().mean().item()
            return dict.fromkeys(self.candidates, (agreement,))
        if self.by == "clid":  # the lower the better
            return {name: (-_clid(*output),) for name, output in outputs.items()}
        labels = data.given[self.rows]
        return {
            name: (
                (logits.argmax(dim=1) == labels).double().mean().item(),
                -per_sample_loss(logits, labels).mean().item(),
            )
            for name, (_, logits) in outputs.items()
        }


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


def _networks(net) -> dict[str, nn.Module]:
    return {"student": net.module_, "teacher": teacher_among(net.callbacks_).teacher_}


def _clid(features: Tensor, logits: Tensor) -> float:
    """Mean over graphs of equal size; CLID grows with the logarithm of the rows."""
    n_graphs = max(len(logits) // _GRAPH_ROWS, 1)
    size = len(logits) // n_graphs
    parts = (slice(i * size, (i + 1) * size) for i in range(n_graphs))
    return sum(CLIDObjective()(features[p], logits[p]).item() for p in parts) / n_graphs

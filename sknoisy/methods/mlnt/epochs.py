"""The epoch and the network, student or teacher, that MLNT predicts with."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from skorch.callbacks import Callback
from torch import Tensor, nn

from ..._engine.batches import TrainingData
from ..._engine.evaluation import copied_state, outputs_of, rows_per_pass
from ..._engine.held_state import held_state, hold_state
from ...callbacks.named import callback_named
from ...meta import CLIDObjective
from ...meta.models import per_sample_loss

__all__ = ["ChosenNetwork", "EpochChoice", "validation_rows"]

_GRAPH_ROWS = 100  # rows per graph of CLID
_VALIDATION_SHARE = 0.1


class ChosenNetwork(NamedTuple):
    """State dict of the "student" or the "teacher" after an epoch.

    Epochs count from 1; 0 stands for a network before the end of the first one.
    """

    epoch: int
    name: str
    state: dict[str, Tensor]


class EpochChoice(Callback):
    """Choose the epoch and the network by a score that reads no label of the training.

    With ``by="last"``, the last epoch is chosen; with "agreement", the one with the largest share
    of rows for which student and teacher predict the same class; with "clid", the one with the
    lowest cross-layer information divergence; with "trusted", the one with the highest accuracy,
    then the lowest cross-entropy. Among equal epochs the last one is chosen, among equal
    `candidates` the first one. The choice, ``choice_``, is the last network if no epoch could be
    chosen.

    "agreement" and "clid" cannot choose the first `n_skip_epochs`, where a network that predicts
    one class for all rows has a good score. `rows` (m,) are the indices of the training rows that
    the score is computed on; "last" needs none. `teacher` is the name of the callback that keeps
    the teacher, in its attribute ``teacher_``.
    """

    def __init__(
        self,
        by: str,
        candidates: tuple[str, ...],
        n_skip_epochs: int = 0,
        rows: Any = None,
        teacher: str = "TeacherAverage",
    ):
        self.by = by
        self.candidates = candidates
        self.n_skip_epochs = n_skip_epochs
        self.rows = rows
        self.teacher = teacher

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Forget the choice of an earlier training."""
        self.choice_: ChosenNetwork | None = None
        self._best: tuple[float, ...] | None = None

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        """Keep the state if no earlier epoch has a better score."""
        if self.by == "last":
            return
        scores = self._scores(net, dataset_train)
        name = max(self.candidates, key=lambda candidate: scores[candidate])
        net.history.record(self.by, abs(scores[name][0]))
        if self.by != "trusted" and len(net.history) <= self.n_skip_epochs:
            return
        if self._best is None or scores[name] >= self._best:
            self._best = scores[name]
            self.choice_ = self._chosen(net, name)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Choose the last state if no epoch was chosen."""
        if self.choice_ is None:
            self.choice_ = self._chosen(net, self.candidates[0])

    def state_dict(self, net):
        """Return the state after an epoch, for a checkpoint."""
        return held_state(self, "choice_", "_best")

    def load_state_dict(self, state, net, data):
        """Restore what :meth:`state_dict` returned."""
        hold_state(self, state, net.device)
        self.choice_ = self.choice_ and ChosenNetwork(*self.choice_)

    def _chosen(self, net, name: str) -> ChosenNetwork:
        epoch = net.n_finished_epochs
        return ChosenNetwork(epoch, name, copied_state(self._networks(net)[name]))

    def _networks(self, net) -> dict[str, nn.Module]:
        teacher = callback_named(net, self.teacher, "teacher", "teacher_").teacher_
        return {"student": net.module_, "teacher": teacher}

    def _scores(self, net, data: TrainingData) -> dict[str, tuple[float, ...]]:
        """Return the scores of the candidates; the higher, the better."""
        networks = self._networks(net)
        outputs = {
            name: outputs_of(networks[name], data, self.rows, rows_per_pass(net))
            for name in (networks if self.by == "agreement" else self.candidates)
        }
        if self.by == "agreement":
            same = [logits.argmax(dim=1) for _, logits in outputs.values()]
            agreement = (same[0] == same[1]).cpu().double().mean().item()
            return dict.fromkeys(self.candidates, (agreement,))
        if self.by == "clid":
            return {name: (-_clid(*output),) for name, output in outputs.items()}
        labels = data.given[self.rows]
        return {
            name: (
                (logits.argmax(dim=1) == labels).cpu().double().mean().item(),
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
    """Draw the trusted rows that choose the epoch and are kept out of training, as a mask (n,).

    All drawn rows are trusted and `counted`, which is True where the weight in training is
    positive. At most a tenth of the counted rows of each class, rounded up, are drawn, and at
    least one is left.
    """
    is_drawn = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels[counted]):
        of_class = counted & (labels == label)
        n_most = min(math.ceil(_VALIDATION_SHARE * of_class.sum()), of_class.sum() - 1)
        members = random_state.permutation(np.flatnonzero(of_class & trusted))
        is_drawn[members[:n_most]] = True
    return is_drawn


def _clid(features: Tensor, logits: Tensor) -> float:
    """Return the mean CLID of graphs of equal size, as it grows with the logarithm of the rows."""
    n_graphs = max(len(logits) // _GRAPH_ROWS, 1)
    size = len(logits) // n_graphs
    parts = (slice(i * size, (i + 1) * size) for i in range(n_graphs))
    return sum(CLIDObjective()(features[p], logits[p]).item() for p in parts) / n_graphs

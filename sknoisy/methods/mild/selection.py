"""The state of a selection: the rows that are left, and the dynamics of each row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from ..._engine.batches import TrainingData
from ..._engine.evaluation import evaluate, rows_per_pass
from ..._engine.label_distribution import spread_over_others
from ..._engine.net import DeviceNet
from ...cleaning.class_sizes import separations, shrunken_classes
from .dynamics import LearningDynamics, count_dynamics
from .threshold import NO_ROW, Criteria, KeptRows, keep_rows

__all__ = ["SelectionState"]

# Area under the ROC curve. It is about 0.65 where wrong labels do not depend on X, more than 0.5,
# since the net has learned a part of these labels.
_SEPARATED = 0.75


class SelectionState:
    """Rows that are left after some rounds, and the dynamics of every row in its last round.

    Parameters
    ----------
    data : TrainingData
        All rows.
    rows : ndarray of shape (n,), int64, or None, default=None
        Rows to select from, ascending; None: all.

    Attributes
    ----------
    given, trusted : ndarray of shape (n_rows,)
        Encoded given labels, and True where they are trusted.
    rows : ndarray of shape (n_left,), int64
        Rows that are left, ascending.
    memorization, forgetting : ndarray of shape (n_rows,), float64
        M and G, in epochs.
    memorized : ndarray of shape (n_rows,), float64
        Share of the epochs in which the given label was predicted; 0.5 before the first epoch.
    rounds : list of dict
        One entry for each finished round.
    net : DeviceNet or None
        The net of the last round; None before the first.
    """

    def __init__(self, data: TrainingData, rows: np.ndarray | None = None):
        n_rows = len(data)
        self.data = data
        self.given, self.trusted = data.given.cpu().numpy(), np.zeros(n_rows, bool)
        if data.trusted is not None:
            self.trusted = data.trusted.cpu().numpy()
        self.rows = np.arange(n_rows) if rows is None else rows
        self.memorization, self.forgetting = np.zeros(n_rows), np.zeros(n_rows)
        self.memorized = np.full(n_rows, 0.5)
        self.rounds: list[dict[str, Any]] = []
        self.net: Any = None

    @property
    def is_first_round(self) -> bool:
        """Whether no round is finished."""
        return not self.rounds

    @property
    def scores(self) -> np.ndarray:
        """``M - G`` of the rows that are left."""
        return (self.memorization - self.forgetting)[self.rows]

    def observe(self, net: DeviceNet, metric: Callable[..., LearningDynamics]) -> None:
        """Take a round's net and, from its callback "dynamics", the dynamics of the rows left."""
        self.net = net
        record = dict(net.callbacks_)["dynamics"]
        if not len(record.bits_):
            return
        dynamics = metric(record.bits_, record.n_rows_)
        counts = count_dynamics(record.bits_, record.n_rows_)
        self.memorization[self.rows] = dynamics.memorization[self.rows]
        self.forgetting[self.rows] = dynamics.forgetting[self.rows]
        self.memorized[self.rows] = counts.forgetting[self.rows] / len(record.bits_)

    def _predicted(self, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield parts of rows (m,) and the probabilities that the net predicts for them.

        The probabilities of all m rows are never in memory at once.
        """
        index, n_done = torch.as_tensor(rows, device=self.data.device), 0
        for _, logits, _ in evaluate(self.net, self.data, index, rows_per_pass(self.net)):
            part = slice(n_done, n_done + len(logits))
            yield part, logits.softmax(dim=1).cpu().numpy()
            n_done = part.stop

    def label_distribution(self, n_classes: int) -> np.ndarray:
        """Return the probability of each class for every row, float64 of shape (n_rows, c).

        That of the given label is the share of the epochs in which it was predicted; the net of
        the last round divides the rest.
        """
        n_rows = len(self.data)
        distribution = np.empty((n_rows, n_classes))
        for part, proba in self._predicted(np.arange(n_rows)):
            distribution[part] = spread_over_others(self.memorized[part], proba, self.given[part])
        return distribution

    def drop_rows(self, criteria: Criteria, seed: int) -> str | None:
        """Drop rows, record the round, and return why it is the last one; None if it is not."""
        rows, scores = self.rows, self.scores
        if self.is_first_round:  # a first round that is the last one found no noise
            criteria = criteria._replace(min_memorized=0.0)
        kept = keep_rows(
            scores, self.memorized[rows], self.given[rows], self.trusted[rows], criteria, seed
        )
        kept = self._spare_rare_classes(kept)
        self._record(kept, scores)
        self.rows = rows[kept.mask]
        return kept.reason

    def _spare_rare_classes(self, kept: KeptRows) -> KeptRows:
        """Keep all rows of a class that would shrink although the net finds them similar to it."""
        given, n_classes = self.given[self.rows], int(self.given.max()) + 1
        shrunken = shrunken_classes(given, given[kept.mask], n_classes)
        if not len(shrunken):
            return kept
        proba = np.empty(0)
        for part, predicted in self._predicted(self.rows):
            if not part.start:
                proba = np.empty((len(given), n_classes), dtype=predicted.dtype)
            proba[part] = predicted
        spared = shrunken[separations(proba, given, ~kept.mask, shrunken) > _SEPARATED]
        mask = kept.mask | np.isin(given, spared)
        n_spared = kept.n_spared + int(mask.sum() - kept.mask.sum())
        reason = kept.reason or (NO_ROW if mask.all() else None)
        return kept._replace(mask=mask, n_spared=n_spared, reason=reason)

    def _record(self, kept: KeptRows, scores: np.ndarray) -> None:
        distinct, counts = np.unique(scores, return_counts=True)
        self.rounds.append(
            {
                "n_rows": len(scores),
                "n_kept": int(kept.mask.sum()),
                "threshold": kept.threshold,
                "mixture": kept.mixture,
                "n_spared": kept.n_spared,
                "scores": distinct,
                "counts": counts,
                "history": self.net.history,
            }
        )

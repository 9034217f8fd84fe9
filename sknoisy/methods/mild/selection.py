"""What a selection knows of each row, and the record of its rounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..._engine.batches import TrainingData
from ...callbacks import RecordDynamics
from .threshold import Choice, Criteria, choose_rows
from .dynamics import LearningDynamics, count_dynamics

__all__ = ["SelectionState"]


class SelectionState:
    """Rows that are left, and the dynamics of every row in its last round.

    Parameters
    ----------
    data : TrainingData
        Its rows.
    rows : ndarray of shape (n,), int64, optional
        Those to select from, ascending; by default all.

    Attributes
    ----------
    given : ndarray of shape (n_rows,), int64
        Encoded given labels.
    trusted : ndarray of shape (n_rows,), bool
        True where the user vouches for the label.
    rows : ndarray of shape (n_left,), int64
        Rows that are left, ascending.
    memorization, forgetting : ndarray of shape (n_rows,), float64
        M and G, in epochs.
    memorized : ndarray of shape (n_rows,), float64
        Share of the epochs in which the given label was predicted; 0.5 before any was seen.
    rounds : list of dict
        The record.
    """

    def __init__(self, data: TrainingData, rows: np.ndarray | None = None):
        n_rows = len(data)
        self.given, self.trusted = data.given.cpu().numpy(), np.zeros(n_rows, bool)
        if data.trusted is not None:
            self.trusted = data.trusted.cpu().numpy()
        self.rows = np.arange(n_rows) if rows is None else rows
        self.memorization, self.forgetting = np.zeros(n_rows), np.zeros(n_rows)
        self.memorized = np.full(n_rows, 0.5)
        self.rounds: list[dict[str, Any]] = []

    @property
    def scores(self) -> np.ndarray:
        """``M - G`` of the rows that are left."""
        return (self.memorization - self.forgetting)[self.rows]

    def observe(self, record: RecordDynamics, metric: Callable[..., LearningDynamics]) -> None:
        """Take the dynamics of the rows that are left from a round's record."""
        if not len(record.bits_):
            return
        dynamics = metric(record.bits_, record.n_rows_)
        counts = count_dynamics(record.bits_, record.n_rows_)
        self.memorization[self.rows] = dynamics.memorization[self.rows]
        self.forgetting[self.rows] = dynamics.forgetting[self.rows]
        self.memorized[self.rows] = counts.forgetting[self.rows] / len(record.bits_)

    def choose(self, criteria: Criteria, seed: int) -> Choice:
        """Which of the rows that are left to keep."""
        rows = self.rows
        if not self.rounds:  # if the first round is the last, there is no noise to speak of
            criteria = criteria._replace(min_memorized=0.0)
        return choose_rows(
            self.scores, self.memorized[rows], self.given[rows], self.trusted[rows], criteria, seed
        )

    def apply(self, choice: Choice, **more: Any) -> None:
        """Drop rows, and add to the record."""
        distinct, counts = np.unique(self.scores, return_counts=True)
        self.rounds.append(
            {
                "n_rows": len(self.rows),
                "n_kept": int(choice.keep.sum()),
                "threshold": choice.threshold,
                "mixture": choice.mixture,
                "n_spared": choice.n_spared,
                "scores": distinct,
                "counts": counts,
                **more,
            }
        )
        self.rows = self.rows[choice.keep]

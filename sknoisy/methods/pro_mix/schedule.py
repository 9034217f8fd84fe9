"""What ProMix switches on in which epoch."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Schedule"]

# Lengths of the published training, in epochs.
_PUBLISHED = 600
_RAMP, _UNLABELED, _GUESSING, _WARMUP = 50, 100, 250, 10


class Schedule(NamedTuple):
    """Weights and switches by epoch, counted from 0 and with the warm-up.

    The lengths of the published training of 600 epochs are scaled to that of this one. ``None``
    stands for the scaled length in the two fields that may be None.

    Attributes
    ----------
    max_epochs : int
        Length of the training.
    n_warmup_epochs : int
        Epochs of plain cross-entropy.
    unlabeled_weight : float
        Largest weight of the rows without a label.
    n_unlabeled_epochs : int or None
        First epochs in which rows without a label count. None: the epochs in which their weight
        grows.
    n_guessing_epochs : int or None
        Last epochs in which labels are guessed.
    """

    max_epochs: int
    n_warmup_epochs: int
    unlabeled_weight: float = 0.1
    n_unlabeled_epochs: int | None = None
    n_guessing_epochs: int | None = None

    @staticmethod
    def default_warmup(max_epochs: int) -> int:
        """Return 10 epochs, as published, but at most a twelfth of a short training."""
        return max(1, min(_WARMUP, max_epochs // 12))

    def is_warmup(self, epoch: int) -> bool:
        """Return whether the networks train on all rows by plain cross-entropy."""
        return epoch < self.n_warmup_epochs

    def consistency_weight(self, epoch: int) -> float:
        """Return the weight of strong views and mixtures; it grows in a twelfth of the epochs."""
        return min(1.0, epoch / self._scaled(_RAMP))

    def weight_of_unlabeled(self, epoch: int) -> float:
        """Return the weight of rows without a label; it grows in a sixth of the epochs."""
        ramp = self._scaled(_UNLABELED)
        last = ramp if self.n_unlabeled_epochs is None else self.n_unlabeled_epochs
        return self.unlabeled_weight * min(1.0, epoch / ramp) if epoch < last else 0.0

    def guesses(self, epoch: int) -> bool:
        """Return whether agreement of the networks gives rows a label."""
        guessing = self.n_guessing_epochs
        return epoch > self.max_epochs - (
            self._scaled(_GUESSING) if guessing is None else guessing
        )

    def _scaled(self, n_epochs: int) -> float:
        return n_epochs * self.max_epochs / _PUBLISHED

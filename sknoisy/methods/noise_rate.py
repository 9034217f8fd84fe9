"""The noise rate of the methods that need one: given by the user, or estimated in training."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback

from .._compat import Interval, StrOptions
from .._engine.batches import TrainingData
from .._engine.evaluation import outputs_of, rows_per_pass
from .._engine.held_state import held_state, hold_state
from .._engine.sizes import auto_warmup
from ..learners.posterior import estimate_noise_rate

__all__ = ["NOISE_RATE", "NoiseRate"]

#: Constraint of the parameter ``noise_rate``.
NOISE_RATE: list[Any] = [StrOptions({"auto"}), Interval(Real, 0, 1, closed="left")]

# Measured on digits, wine, breast cancer and a made problem of five classes, at rates from 0 to
# 0.6: estimates are best after two to five epochs, and fall as labels are memorised.
_N_WARMUP_EPOCHS = 3


class NoiseRate(Callback):
    """The noise rate of the training labels.

    "auto" is resolved once, after three epochs or half of the training, and for other rows than
    those of tables after :func:`~sknoisy._engine.sizes.auto_warmup` epochs, by
    :func:`~sknoisy.learners.posterior.estimate_noise_rate` on the predictions for all training
    rows. Networks learn right labels first, so these predictions are not yet those of the wrong
    labels.

    Parameters
    ----------
    noise_rate : "auto" or float
        The rate, in [0, 1), if it is known.

    Attributes
    ----------
    rate_ : float
        The noise rate; 0 until it is estimated.
    is_known_ : bool
        Whether the rate was given or is estimated.
    """

    def __init__(self, noise_rate: str | float = "auto"):
        self.noise_rate = noise_rate

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Forget the estimate of an earlier training."""
        self.rate_ = 0.0 if self.noise_rate == "auto" else float(self.noise_rate)
        self.is_known_ = self.noise_rate != "auto"

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        """Estimate the rate at the end of the warm-up."""
        if self.noise_rate != "auto":
            return
        if len(net.history) == self._n_epochs(net, dataset_train):
            self.rate_, self.is_known_ = _estimate(net, dataset_train), True

    def state_dict(self, net):
        """Return the state after an epoch, for a checkpoint."""
        return held_state(self, "rate_", "is_known_")

    def load_state_dict(self, state, net, data):
        """Restore what :meth:`state_dict` returned."""
        hold_state(self, state, net.device)

    def _n_epochs(self, net, data: TrainingData) -> int:
        if data.is_table:
            return max(1, min(_N_WARMUP_EPOCHS, net.max_epochs // 2))
        n_steps = net.max_epochs * math.ceil(len(data) / net.batch_size)
        return max(1, auto_warmup(net.max_epochs, n_steps))


def _estimate(net, data) -> float:
    rows = data.active
    if rows is None:
        rows = torch.arange(len(data), device=data.device)
    logits = outputs_of(net.module_, data, rows, rows_per_pass(net))[1]

    def of_rows(values: torch.Tensor | None) -> np.ndarray | None:
        return None if values is None else values[rows].cpu().numpy()

    return estimate_noise_rate(
        logits.cpu().double().softmax(dim=1).numpy(),
        data.targets[rows].cpu().numpy(),
        of_rows(data.sample_weight),
        of_rows(data.trusted),
    )

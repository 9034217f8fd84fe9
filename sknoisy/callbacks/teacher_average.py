"""The moving average of a network over its training steps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from skorch.callbacks import Callback
from torch.optim.swa_utils import get_ema_multi_avg_fn

from .._engine.held_state import held_state, hold_state

__all__ = ["TeacherAverage"]


class TeacherAverage(Callback):
    r"""Keep a teacher: the exponential moving average of the network, buffers included.

    After each training step t, counted from 0, the teacher becomes

    .. math:: \tilde\theta \leftarrow \gamma_t \tilde\theta + (1 - \gamma_t) \theta, \qquad
        \gamma_t = \min(\gamma, 1 - 1 / (t + 1)) ,

    in its parameters and floating-point buffers, such as the running statistics of batch norm.
    Integer buffers are copied. The bound on :math:`\gamma_t` makes the teacher the plain mean of
    the first networks, so that the random start has no part in it.

    Parameters
    ----------
    decay : float or callable, default=0.999
        Gamma, in [0, 1], or a callable that returns it for step t. 0: the teacher equals the
        network. The teacher lags behind by about 1 / (1 - gamma) steps, so short trainings need a
        smaller gamma.
    bias_correction : bool, default=True
        Apply the bound. False: the average begins with the random start of the network.

    Attributes
    ----------
    teacher_ : nn.Module
        A copy of the network with the averaged state, in eval mode and without gradients.
    n_steps_ : int
        Number of averaged steps.

    References
    ----------
    A. Tarvainen and H. Valpola. Mean teachers are better role models: Weight-averaged consistency
    targets improve semi-supervised deep learning results. NeurIPS 2017.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from skorch import NeuralNetClassifier
    >>> from sknoisy.callbacks import TeacherAverage
    >>> X = np.random.default_rng(0).normal(size=(200, 5)).astype("float32")
    >>> y = (X[:, 0] > 0).astype("int64")
    >>> average = TeacherAverage(decay=0.9)
    >>> net = NeuralNetClassifier(
    ...     torch.nn.Linear(5, 2), criterion=torch.nn.CrossEntropyLoss, max_epochs=5, lr=0.5,
    ...     train_split=None, verbose=0, callbacks=[("teacher", average)]).fit(X, y)
    >>> average.teacher_(torch.from_numpy(X)).shape
    torch.Size([200, 2])
    """

    def __init__(
        self, decay: float | Callable[[int], float] = 0.999, *, bias_correction: bool = True
    ):
        self.decay = decay
        self.bias_correction = bias_correction

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Start with a copy of the network."""
        if not callable(self.decay) and not 0 <= self.decay <= 1:
            raise ValueError(f"decay must be in [0, 1], or a callable; got {self.decay!r}.")
        self.teacher_: Any = copy.deepcopy(net.module_).eval().requires_grad_(False)
        self.n_steps_ = 0

    @torch.no_grad()
    def on_batch_end(self, net, training=False, **kwargs):
        """Add the network after its step to the average."""
        if not training:
            return
        decay = self.decay(self.n_steps_) if callable(self.decay) else self.decay
        if self.bias_correction:
            decay = min(decay, 1 - 1 / (self.n_steps_ + 1))
        self.n_steps_ += 1
        means, now = [], []
        for mean, value in _pairs(self.teacher_, net.module_):
            if mean.is_floating_point() or mean.is_complex():
                means.append(mean)
                now.append(value)
            else:
                mean.copy_(value)
        get_ema_multi_avg_fn(decay)(means, now, None)

    def state_dict(self, net):
        """Return the state after an epoch, for a checkpoint."""
        return held_state(self, "teacher_", "n_steps_")

    def load_state_dict(self, state, net, data):
        """Restore what :meth:`state_dict` returned."""
        hold_state(self, state, net.device)


def _pairs(teacher, module):
    yield from zip(teacher.parameters(), module.parameters(), strict=True)
    yield from zip(teacher.buffers(), module.buffers(), strict=True)

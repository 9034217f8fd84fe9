"""The base class of meta models, and the batch that meta models and per-row losses receive.

A meta model returns the guidance of each row of a batch: a weight, a scale of its logits or a soft
label. The guidance enters the training loss only at the level of the logits
(:meth:`MetaModel.training_loss`); this is why one forward-mode pass through the network serves
every meta model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["BatchOutputs", "MetaModel", "balance_weights", "weighted_mean"]

_LEAST_MEAN = 1e-3
_SGD = partial(torch.optim.SGD, lr=0.1)


class BatchOutputs(NamedTuple):
    """A training batch, as passed to meta models and per-row losses.

    Attributes
    ----------
    logits : Tensor of shape (n, n_classes)
        Logits of the network at the current parameters: detached for a meta model, with their
        graph for a per-row loss.
    features : Tensor of shape (n, d) or None
        Penultimate features, detached; None for a per-row loss.
    targets : Tensor of shape (n,)
        Encoded given labels, int64.
    sample_weight : Tensor of shape (n,) or None
        The user's weights, of mean 1 over the training set.
    trusted : Tensor of shape (n,) or None
        True for trusted rows.
    rows : Tensor of shape (n,) or None
        Positions of the rows in the training set, int64.
    """

    logits: Tensor
    features: Tensor | None
    targets: Tensor
    sample_weight: Tensor | None = None
    trusted: Tensor | None = None
    rows: Tensor | None = None


def weighted_mean(losses: Tensor, sample_weight: Tensor | None = None) -> Tensor:
    """Return the mean over the rows of loss times weight.

    Parameters
    ----------
    losses : Tensor of shape (n,)
        Loss of each row.
    sample_weight : Tensor of shape (n,) or None, default=None
        Weights of mean 1 over the training set; None: all are 1.

    Returns
    -------
    loss : Tensor of shape ()
    """
    return (losses if sample_weight is None else losses * sample_weight).mean()


class MetaModel(nn.Module):
    """Base class of meta models, which guide the training loss of each row.

    Subclasses implement :meth:`forward` (guidance, differentiable in the meta parameters) and
    :meth:`row_losses` or :meth:`training_loss` (differentiable in logits and guidance). A subclass
    whose parameters live for a single batch creates them in :meth:`begin_batch` and updates them
    in :meth:`learn`.

    Parameters
    ----------
    optimizer : callable, default=functools.partial(torch.optim.SGD, lr=0.1)
        Called with the meta parameters; returns their optimiser, which holds the step size.

    Attributes
    ----------
    identity_step : bool
        True if the guidance before an update is zero, so that the virtual step is the identity.
    trust_meta_rows : bool
        True if rows of the meta set count as trusted in training, too. The batches must then
        carry their row numbers, as those of sknoisy's own nets do.
    weights_can_vanish : bool
        False if the weights of a batch are never all 0. If they can be, each batch is checked,
        which on a GPU waits for the device, and the network makes no step if they are.
    """

    identity_step = False
    trust_meta_rows = False
    weights_can_vanish = True

    def __init__(self, optimizer: Callable[..., torch.optim.Optimizer] = _SGD):
        super().__init__()
        self.optimizer = optimizer
        self._stepper: torch.optim.Optimizer | None = None

    def forward(self, batch: BatchOutputs) -> Tensor:
        """Return the guidance of each row, with the graph to the meta parameters."""
        raise NotImplementedError

    def row_losses(self, logits: Tensor, guidance: Tensor, batch: BatchOutputs) -> Tensor:
        """Return the training loss of each row under the guidance, shape (n,)."""
        raise NotImplementedError

    def training_loss(self, logits: Tensor, guidance: Tensor, batch: BatchOutputs) -> Tensor:
        """Return the training loss of a batch, the weighted mean of the row losses, a scalar.

        `logits` (n, n_classes) have the graph to the network, and `guidance` (n, ...) is the
        output of :meth:`forward`. The logits of `batch` are not used.
        """
        return weighted_mean(self.row_losses(logits, guidance, batch), batch.sample_weight)

    # --- learning ---------------------------------------------------------------------------

    def meta_parameters(self) -> list[Tensor]:
        """Return the tensors with respect to which the meta gradient is taken."""
        return [p for p in self.parameters() if p.requires_grad]

    @property
    def lr(self) -> float | None:
        """Step size of the optimiser; None before training and without an optimiser."""
        return None if self._stepper is None else self._stepper.param_groups[0]["lr"]

    def start_learning(self) -> None:
        """Create a new optimiser if there are parameters that outlive a batch."""
        parameters = list(self.parameters())
        self._stepper = self.optimizer(parameters) if parameters else None

    def slow_down(self) -> float | None:
        """Create a new optimiser with a tenth of the step size, which is returned, or None."""
        rate = self.lr
        self.start_learning()
        if rate is None or self._stepper is None:
            return None
        for group in self._stepper.param_groups:
            group["lr"] = rate / 10
        return rate / 10

    def stop_learning(self) -> None:
        """Drop the optimiser, so that a trained model is pickled without it."""
        self._stepper = None

    def learning_state(self) -> dict[str, Any]:
        """Return the state of the model and of its optimiser between two batches."""
        stepper = self._stepper
        return {
            "model": self.state_dict(),
            "optimizer": None if stepper is None else stepper.state_dict(),
        }

    def load_learning_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`learning_state` returned, after :meth:`start_learning`."""
        self.load_state_dict(state["model"])
        if self._stepper is not None:
            self._stepper.load_state_dict(state["optimizer"])

    def begin_batch(self, n_rows: int) -> None:
        """Prepare for the update on a batch of ``n_rows`` rows."""

    def learn(self, gradients: Sequence[Tensor]) -> None:
        """Update the meta parameters by one step of the optimiser."""
        assert self._stepper is not None
        for parameter, gradient in zip(self.meta_parameters(), gradients, strict=True):
            parameter.grad = gradient
        self._stepper.step()

    def observe(self, batch: BatchOutputs, guidance: Tensor | None) -> None:
        """Process a batch after the actual step; `guidance` is None in the warm-up."""

    # --- reports ----------------------------------------------------------------------------

    def penalty(self, batch: BatchOutputs) -> Tensor | None:
        """Return a term of the meta loss that depends directly on the meta parameters, or None."""
        return None

    def sample_weight(self, batch: BatchOutputs) -> Tensor:
        """Return a number in [0, 1] per row for reports, the trust in its given label."""
        raise NotImplementedError


def per_sample_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of each row, shape (n,)."""
    return F.cross_entropy(logits, targets, reduction="none")


def balance_weights(
    weights: Tensor,
    targets: Tensor,
    exponent: Tensor | None,
    sample_weight: Tensor | None = None,
) -> Tensor:
    r"""Distribute the weight of a batch over its rows and given classes.

    .. math:: w_i = v_i \bar v_{c(i)}^{-e_{c(i)}} / \sum_k v_k \bar v_{c(k)}^{-e_{c(k)}}

    Here c(i) = y_i is the given class of row i, and :math:`\bar v_c` is the mean weight of the
    rows of given class c as a fraction of the largest weight in the batch. Exponent 0 normalises
    over the batch, as published. With exponent 1, each given class keeps its share of the batch,
    whatever its mean weight. The mean of a class is taken as at least a thousandth of the largest
    weight.

    A row with the sample weight s counts like s rows, in the means and in the sum; the balanced
    weights then sum to the mean of s over the batch.

    Parameters
    ----------
    weights : Tensor of shape (n,)
        Weights v in [0, 1].
    targets : Tensor of shape (n,)
        Encoded given labels.
    exponent : Tensor of shape (n_classes,) or None
        Exponents e in [0, 1]; None: zeros.
    sample_weight : Tensor of shape (n,) or None, default=None
        The user's weights; None: ones.

    Returns
    -------
    balanced : Tensor of shape (n,)
        Weights that sum to 1, or to the mean of `sample_weight`; all 0 if all weights are 0.
        Gradients flow through the sums, too.
    """
    rows = torch.ones_like(weights) if sample_weight is None else sample_weight
    weights = weights * rows
    largest = weights.amax()
    weights = weights / torch.where(largest > 0, largest, 1.0)  # avoids underflow in the sums
    if exponent is not None:
        zeros = weights.new_zeros(len(exponent))
        n_rows = zeros.index_add(0, targets, rows)
        mean = zeros.index_add(0, targets, weights) / torch.where(n_rows > 0, n_rows, 1.0)
        weights = weights * (mean.clamp(min=_LEAST_MEAN) ** -exponent)[targets]
    total = weights.sum()
    return weights * (rows.mean() / torch.where(total > 0, total, 1.0))

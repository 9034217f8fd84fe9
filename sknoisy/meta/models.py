"""The base class of meta models, and the batch that they and per-row losses see.

A meta model gives every row of a batch its guidance: a weight, a scale of its logits or a soft
label. The guidance enters the training loss only on the level of the logits
(:meth:`MetaModel.training_loss`); this is why one forward-mode pass through the network serves
every meta model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["BatchOutputs", "MetaModel", "balance_weights", "weighted_mean"]

_LEAST_MEAN = 1e-3
_SGD = partial(torch.optim.SGD, lr=0.1)


class BatchOutputs(NamedTuple):
    """A training batch as meta models and per-row losses see it.

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
        True where the user vouches for the label.
    rows : Tensor of shape (n,) or None
        Where the rows stand in the training set, int64.
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
    """Base of the meta models: guidance in, training loss out.

    Subclasses implement :meth:`forward` (guidance, differentiable in the meta parameters) and
    :meth:`row_losses` or :meth:`training_loss` (differentiable in logits and guidance). One whose
    parameters live for a single batch makes them in :meth:`begin_batch` and steps in
    :meth:`learn`.

    Parameters
    ----------
    optimizer : callable, default=functools.partial(torch.optim.SGD, lr=0.1)
        Makes the optimiser when it is called with the meta parameters; it holds the step size.

    Attributes
    ----------
    identity_step : bool
        True if the guidance before an update is zero, so that the virtual step is the identity.
    trust_meta_rows : bool
        True if rows of the meta set count as trusted in training, too. The batches must then
        carry their row numbers, as those of sknoisy's own nets do.
    """

    identity_step = False
    trust_meta_rows = False

    def __init__(self, optimizer: Callable[..., torch.optim.Optimizer] = _SGD):
        super().__init__()
        self.optimizer = optimizer
        self._stepper: torch.optim.Optimizer | None = None

    def forward(self, batch: BatchOutputs) -> Tensor:
        """Guidance of every row, with the graph to the meta parameters."""
        raise NotImplementedError

    def row_losses(self, logits: Tensor, guidance: Tensor, batch: BatchOutputs) -> Tensor:
        """Training loss of each row of a batch under the guidance, shape (n,)."""
        raise NotImplementedError

    def training_loss(self, logits: Tensor, guidance: Tensor, batch: BatchOutputs) -> Tensor:
        """Scalar training loss of a batch: the mean of the row losses by sample weight.

        Parameters
        ----------
        logits : Tensor of shape (n, n_classes)
            With the graph to the network.
        guidance : Tensor of shape (n, ...)
            What :meth:`forward` returned for the batch.
        batch : BatchOutputs
            Targets, sample weights, trust flags and row numbers; its own logits are not read.

        Returns
        -------
        loss : Tensor of shape ()
        """
        return weighted_mean(self.row_losses(logits, guidance, batch), batch.sample_weight)

    # --- learning ---------------------------------------------------------------------------

    def meta_parameters(self) -> list[Tensor]:
        """Return what the meta gradient is taken with respect to."""
        return [p for p in self.parameters() if p.requires_grad]

    @property
    def lr(self) -> float | None:
        """Step size of the optimiser; None before training and without an optimiser."""
        return None if self._stepper is None else self._stepper.param_groups[0]["lr"]

    def start_learning(self) -> None:
        """Start with a fresh optimiser, if there are parameters that outlive a batch."""
        parameters = list(self.parameters())
        self._stepper = self.optimizer(parameters) if parameters else None

    def slow_down(self) -> float | None:
        """Start with a fresh optimiser at a tenth of the step size, and return that, or None."""
        rate = self.lr
        self.start_learning()
        if rate is None or self._stepper is None:
            return None
        for group in self._stepper.param_groups:
            group["lr"] = rate / 10
        return rate / 10

    def stop_learning(self) -> None:
        """Drop the optimiser: a trained model is pickled without it."""
        self._stepper = None

    def begin_batch(self, n_rows: int) -> None:
        """Prepare for the update on a batch of ``n_rows`` rows."""

    def learn(self, gradients: Sequence[Tensor]) -> None:
        """Update the meta parameters by one step of the optimiser."""
        assert self._stepper is not None
        for parameter, gradient in zip(self.meta_parameters(), gradients, strict=True):
            parameter.grad = gradient
        self._stepper.step()

    def observe(self, batch: BatchOutputs, guidance: Tensor | None) -> None:
        """Note a batch after the actual step, and its guidance, None in the warm-up."""

    # --- reports ----------------------------------------------------------------------------

    def penalty(self, batch: BatchOutputs) -> Tensor | None:
        """A term of the meta loss that depends on the meta parameters directly, or None."""
        return None

    def sample_weight(self, batch: BatchOutputs) -> Tensor:
        """One number in [0, 1] per row, for reports: how far the row's label is believed."""
        raise NotImplementedError


def per_sample_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of every row, shape (n,)."""
    return F.cross_entropy(logits, targets, reduction="none")


def balance_weights(
    weights: Tensor,
    targets: Tensor,
    exponent: Tensor | None,
    sample_weight: Tensor | None = None,
) -> Tensor:
    r"""Share a batch's weight out among its rows and given classes.

    .. math:: w_i = v_i \bar v_{c(i)}^{-e_{c(i)}} / \sum_k v_k \bar v_{c(k)}^{-e_{c(k)}}

    with :math:`\bar v_c` the mean weight of the rows of given class c = y_i, as a share of the
    largest weight in the batch. Exponent 0 normalises over the batch, as published; exponent 1
    lets each given class keep its share of the batch, whatever the weighting network says of the
    class as a whole. A class's mean counts as no less than a thousandth of the largest weight.

    A row with the user's weight s counts as s such rows, in the means and in the sum; the batch
    as a whole counts as much as its mean s.

    Parameters
    ----------
    weights : Tensor of shape (n,)
        Weights v in [0, 1].
    targets : Tensor of shape (n,)
        Encoded given labels.
    exponent : Tensor of shape (n_classes,) or None
        Exponents e in [0, 1]; None stands for zeros.
    sample_weight : Tensor of shape (n,) or None, default=None
        The user's weights; None stands for ones.

    Returns
    -------
    balanced : Tensor of shape (n,)
        Of sum 1, or the mean of sample_weight, or all 0 where all weights are 0. The sums are
        part of the gradient.
    """
    rows = torch.ones_like(weights) if sample_weight is None else sample_weight
    weights = weights * rows
    largest = weights.amax()
    weights = weights / torch.where(largest > 0, largest, 1.0)  # no underflow in the sums
    if exponent is not None:
        zeros = weights.new_zeros(len(exponent))
        n_rows = zeros.index_add(0, targets, rows)
        mean = zeros.index_add(0, targets, weights) / torch.where(n_rows > 0, n_rows, 1.0)
        weights = weights * (mean.clamp(min=_LEAST_MEAN) ** -exponent)[targets]
    total = weights.sum()
    return weights * (rows.mean() / torch.where(total > 0, total, 1.0))

"""What a meta model is: it says something of every row of a batch, its guidance.

The guidance of a row is a weight, a scale of its logits or a soft label. It enters the training
loss only on the level of the logits (:meth:`MetaModel.training_loss`); this is why one
forward-mode pass through the network serves every meta model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["BatchOutputs", "MetaModel", "balance_weights"]

_LEAST_MEAN = 1e-3


class BatchOutputs(NamedTuple):
    """What the network says of a training batch; the meta model's input, without gradient.

    Attributes
    ----------
    logits : Tensor of shape (n, n_classes)
        Logits of the network at the current parameters, detached.
    features : Tensor of shape (n, d)
        Penultimate features, detached.
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
    features: Tensor
    targets: Tensor
    sample_weight: Tensor | None = None
    trusted: Tensor | None = None
    rows: Tensor | None = None


class MetaModel(nn.Module):
    """Base of the meta models: guidance in, training loss out.

    Subclasses implement :meth:`forward` (guidance, differentiable in the meta parameters) and
    :meth:`training_loss` (differentiable in logits and guidance). One whose parameters live for a
    single batch makes them in :meth:`begin_batch` and steps in :meth:`learn`.

    Attributes
    ----------
    identity_step : bool
        The guidance before an update is nought, so that the virtual step is the identity.
    """

    identity_step = False

    def forward(self, batch: BatchOutputs) -> Tensor:
        """Guidance of every row, with the graph to the meta parameters."""
        raise NotImplementedError

    def training_loss(self, logits: Tensor, targets: Tensor, guidance: Tensor) -> Tensor:
        """Scalar training loss of a batch under the guidance."""
        raise NotImplementedError

    def meta_parameters(self) -> list[Tensor]:
        """What the meta gradient is taken with respect to."""
        return [p for p in self.parameters() if p.requires_grad]

    def begin_batch(self, n_rows: int) -> None:
        """Prepare for the update on a batch of ``n_rows`` rows."""

    def learn(self, gradients: Sequence[Tensor], optimizer: Any = None) -> None:
        """Update the meta parameters: one step of the optimiser."""
        for parameter, gradient in zip(self.meta_parameters(), gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()

    def observe(
        self, logits: Tensor, targets: Tensor, rows: Tensor | None, guidance: Tensor | None
    ) -> None:
        """Note what was trained on: a batch and its guidance, None in the warm-up."""

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

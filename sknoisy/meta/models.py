"""What a meta model is: it says something of every row of a batch, its guidance.

The guidance of a row is a weight, a scale of its logits or a soft label. It enters the training
loss only on the level of the logits (:meth:`MetaModel.training_loss`); this is why one
forward-mode pass through the network serves every meta model.
"""

from __future__ import annotations

from typing import NamedTuple

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
    """

    logits: Tensor
    features: Tensor
    targets: Tensor
    sample_weight: Tensor | None = None
    trusted: Tensor | None = None


class MetaModel(nn.Module):
    """Base of the meta models: guidance in, training loss out.

    Subclasses implement :meth:`forward` (guidance, differentiable in the meta parameters) and
    :meth:`training_loss` (differentiable in logits and guidance).
    """

    def forward(self, batch: BatchOutputs) -> Tensor:
        """Guidance of every row, with the graph to the meta parameters."""
        raise NotImplementedError

    def training_loss(self, logits: Tensor, targets: Tensor, guidance: Tensor) -> Tensor:
        """Scalar training loss of a batch under the guidance."""
        raise NotImplementedError

    def penalty(self, batch: BatchOutputs) -> Tensor | None:
        """A term of the meta loss that depends on the meta parameters directly, or None."""
        return None

    def sample_weight(self, batch: BatchOutputs) -> Tensor:
        """One number in [0, 1] per row, for reports: how far the row's label is believed."""
        raise NotImplementedError


def per_sample_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of every row, shape (n,)."""
    return F.cross_entropy(logits, targets, reduction="none")


def balance_weights(weights: Tensor, targets: Tensor, exponent: Tensor | None) -> Tensor:
    r"""Share a batch's weight out among its rows and given classes.

    .. math:: w_i = v_i \bar v_{c(i)}^{-e_{c(i)}} / \sum_k v_k \bar v_{c(k)}^{-e_{c(k)}}

    with :math:`\bar v_c` the mean weight of the rows of given class c = y_i, as a share of the
    largest weight in the batch. Exponent 0 normalises over the batch, as published; exponent 1
    lets each given class keep its share of the batch, whatever the weighting network says of the
    class as a whole. A class's mean counts as no less than a thousandth of the largest weight.

    Parameters
    ----------
    weights : Tensor of shape (n,)
        Weights v in [0, 1].
    targets : Tensor of shape (n,)
        Encoded given labels.
    exponent : Tensor of shape (n_classes,) or None
        Exponents e in [0, 1]; None stands for zeros.

    Returns
    -------
    balanced : Tensor of shape (n,)
        Of sum 1, or all 0 where all weights are 0. The sums are part of the gradient.
    """
    largest = weights.amax()
    weights = weights / torch.where(largest > 0, largest, 1.0)  # no underflow in the sums
    if exponent is not None:
        zeros = weights.new_zeros(len(exponent))
        rows = zeros.index_add(0, targets, torch.ones_like(weights))
        mean = zeros.index_add(0, targets, weights) / rows.clamp(min=1)
        weights = weights * (mean.clamp(min=_LEAST_MEAN) ** -exponent)[targets]
    total = weights.sum()
    return weights / torch.where(total > 0, total, 1.0)

"""Learning to reweight: weights that live for one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .models import BatchOutputs, MetaModel, per_sample_loss

__all__ = ["L2RWeights"]


class L2RWeights(MetaModel):
    r"""Weights by the direction of each sample's gradient: learning to reweight.

    In every batch the weights start at :math:`\epsilon = 0`, where the virtual step is the
    identity, and take one step, whose size does not matter:

    .. math::

        u_i = -\frac{\partial M}{\partial \epsilon_i} \Big|_{\epsilon = 0}
            = \alpha \langle \nabla M(w), \nabla \ell_i(w) \rangle, \qquad
        w_i = \frac{\max(u_i, 0)}{\sum_k \max(u_k, 0)} .

    There is nothing to learn from one batch to the next, hence no meta optimiser.

    Parameters
    ----------
    n_samples : int or None, default=None
        Rows of the training set, to keep each one's mean weight; None: none is kept.

    Attributes
    ----------
    mean_weight : Tensor of shape (n_samples,)
        Mean weight of each row over its batches, 1 for an even share of the batch.

    References
    ----------
    M. Ren et al., Learning to Reweight Examples for Robust Deep Learning, ICML 2018, Algorithm 1.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.meta import BatchOutputs, L2RWeights
    >>> batch = BatchOutputs(torch.zeros(3, 2), torch.zeros(3, 4), torch.tensor([0, 1, 0]))
    >>> weights = L2RWeights()
    >>> weights.begin_batch(3)
    >>> weights.learn([torch.tensor([-3.0, 2.0, -1.0])])
    >>> weights(batch)
    tensor([0.7500, 0.0000, 0.2500])
    """

    identity_step = True

    def __init__(self, n_samples: int | None = None):
        super().__init__()
        self.mean_weight: Tensor
        self.n_visits: Tensor
        self.register_buffer("mean_weight", torch.zeros(n_samples or 0))
        self.register_buffer("n_visits", torch.zeros(n_samples or 0))
        self._weights = torch.zeros(0)

    def meta_parameters(self) -> list[Tensor]:
        """The weights of this batch."""
        return [self._weights]

    def begin_batch(self, n_rows: int) -> None:
        """Start at 0."""
        self._weights = self.mean_weight.new_zeros(n_rows, requires_grad=True)

    def learn(self, gradients: Sequence[Tensor]) -> None:
        """Keep the positive part of a step."""
        self._weights = (-gradients[0]).clamp(min=0)

    def forward(self, batch: BatchOutputs) -> Tensor:
        """Weights of the rows: 0 before the step, of sum 1, or all 0, after it."""
        if self._weights.requires_grad:
            return self._weights
        weights = self._weights
        if batch.sample_weight is not None:
            weights = weights * batch.sample_weight
        total = weights.sum()
        weights = weights / torch.where(total > 0, total, 1.0)
        return weights if batch.sample_weight is None else weights * batch.sample_weight.mean()

    def training_loss(self, logits: Tensor, guidance: Tensor, batch: BatchOutputs) -> Tensor:
        """Weighted sum of the row losses; the guidance holds the sample weights."""
        return (guidance * per_sample_loss(logits, batch.targets)).sum()

    def observe(self, batch: BatchOutputs, guidance: Tensor | None) -> None:
        """Add a batch's weights to the means of its rows."""
        rows = batch.rows
        if guidance is None or rows is None or not len(self.mean_weight):
            return
        visits = self.n_visits[rows] + 1
        weight = guidance.detach() * len(guidance)
        self.mean_weight[rows] += (weight - self.mean_weight[rows]) / visits
        self.n_visits[rows] = visits

    def sample_weight(self, batch: BatchOutputs) -> Tensor:
        """Mean weight of the rows as a share of the training set's largest."""
        if not len(self.mean_weight) or batch.rows is None:
            raise TypeError(
                "L2RWeights kept no weights to report: pass n_samples, and batches that say which "
                "rows they hold, as a sknoisy classifier's do."
            )
        largest = self.mean_weight.max()
        return self.mean_weight[batch.rows] / torch.where(largest > 0, largest, 1.0)

"""Learning to reweight: sample weights that are computed anew for each batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .models import BatchOutputs, MetaModel, per_sample_loss

__all__ = ["L2RWeights"]


class L2RWeights(MetaModel):
    r"""Sample weights from the inner products of sample gradients and meta objective gradient.

    In each batch, the weights start at :math:`\epsilon = 0`, where the virtual step is the
    identity, and take one step, whose size has no effect:

    .. math::

        u_i = -\frac{\partial M}{\partial \epsilon_i} \Big|_{\epsilon = 0}
            = \alpha \langle \nabla M(w), \nabla \ell_i(w) \rangle, \qquad
        w_i = \frac{\max(u_i, 0)}{\sum_k \max(u_k, 0)} .

    No parameters are kept from one batch to the next, so there is no meta optimiser.

    Parameters
    ----------
    n_samples : int or None, default=None
        Number of rows of the training set, needed to record the mean weight of each row. None: no
        weights are recorded.

    Attributes
    ----------
    mean_weight : Tensor of shape (n_samples,)
        Mean weight of each row over its batches; 1 is an even share of the batch.

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
        """Return the weights of this batch."""
        return [self._weights]

    def begin_batch(self, n_rows: int) -> None:
        """Set the weights of the batch to 0."""
        self._weights = self.mean_weight.new_zeros(n_rows, requires_grad=True)

    def learn(self, gradients: Sequence[Tensor]) -> None:
        """Make one step from 0 and keep its positive part."""
        self._weights = (-gradients[0]).clamp(min=0)

    def forward(self, batch: BatchOutputs) -> Tensor:
        """Return the weights: 0 before the step; after it, of sum 1 or all 0."""
        if self._weights.requires_grad:
            return self._weights
        weights = self._weights
        if batch.sample_weight is not None:
            weights = weights * batch.sample_weight
        total = weights.sum()
        weights = weights / torch.where(total > 0, total, 1.0)
        return weights if batch.sample_weight is None else weights * batch.sample_weight.mean()

    def training_loss(self, logits: Tensor, guidance: Tensor, batch: BatchOutputs) -> Tensor:
        """Return the weighted sum of the row losses; the guidance includes sample weights."""
        return (guidance * per_sample_loss(logits, batch.targets)).sum()

    def observe(self, batch: BatchOutputs, guidance: Tensor | None) -> None:
        """Update the mean weights of the rows of a batch."""
        rows = batch.rows
        if guidance is None or rows is None or not len(self.mean_weight):
            return
        visits = self.n_visits[rows] + 1
        weight = guidance.detach() * len(guidance)
        self.mean_weight[rows] += (weight - self.mean_weight[rows]) / visits
        self.n_visits[rows] = visits

    def sample_weight(self, batch: BatchOutputs) -> Tensor:
        """Return the mean weights of the rows, divided by the largest in the training set."""
        if not len(self.mean_weight) or batch.rows is None:
            raise TypeError(
                "L2RWeights has recorded no weights: pass n_samples, and use batches with an "
                "attribute `rows`, such as those of a sknoisy classifier."
            )
        largest = self.mean_weight.max()
        return self.mean_weight[batch.rows] / torch.where(largest > 0, largest, 1.0)

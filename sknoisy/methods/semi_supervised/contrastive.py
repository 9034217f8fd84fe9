"""MixUp of the rows with labels and a contrastive loss on all rows."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from ..._engine.batches import Batch
from ...networks import WithFeatures
from ...representation.encoder import Projected
from ...representation.simclr import nt_xent
from .mixing import mixup
from .unlabeled import SemiSupervisedNet

__all__ = ["ContrastiveMixUpNet"]


class ContrastiveMixUpNet(SemiSupervisedNet):
    """Net with cross-entropy on mixtures of rows with labels and a contrastive loss on all rows.

    Each step takes a batch of rows with labels and a batch of rows without, and makes two views of
    each row. The first views of the rows with labels are mixed with each other. One forward pass
    on the mixtures and all views gives the loss

        cross-entropy of the mixtures
        + ``contrastive_weight`` * NT-Xent of the views.

    NT-Xent is computed on the penultimate features, mapped by a projection head of one hidden
    layer. The head, ``head_``, is trained with the network and is not used in predictions. Sample
    weights multiply the labels in the cross-entropy; the contrastive loss reads no label and
    counts all rows alike.

    MILD combines MixUp and a contrastive loss for web noise and publishes no constants; the
    defaults are ours.

    Parameters
    ----------
    module, criterion, **kwargs
        As in ``DeviceNet``. The criterion takes distributions as targets.
    n_features : int
        Number of the module's penultimate features, as returned by
        :class:`~sknoisy.networks.WithFeatures`.
    unlabeled : Tensor of shape (m,) or None, default=None
        Rows of the training data whose labels are not read, int64. None: only the rows with labels
        are contrasted.
    alpha : float, default=0.2
        Parameter of the beta distribution: the share of a row in its mixture is the larger part of
        a draw from Beta(alpha, alpha), the same for all rows of a step. 0: rows are not mixed.
    contrastive_weight : float, default=0.5
        Weight of the contrastive loss.
    temperature : float, default=0.5
        Divides the similarities in the contrastive loss, positive.
    projection_dim : int, default=128
        Dimension of the projection head's output.
    corruption_rate : float or None, default=None
        Share of the columns of a table, rounded down, that a view takes from other rows; data with
        an augmentation of their own ignore it. None: 0.1 for a network without dropout, else 0,
        so that the views differ by the dropout alone.
    generator : torch.Generator
        Generator on the CPU of all draws except the order of the rows with labels and the training
        data's own augmentation.

    Attributes
    ----------
    head_ : nn.Module
        The projection head.

    References
    ----------
    H. Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018. T. Chen et al., A Simple
    Framework for Contrastive Learning of Visual Representations, ICML 2020 (NT-Xent). C. Hu et
    al., MILD, IJCAI 2023 (both together).

    Examples
    --------
    >>> import torch
    >>> from sknoisy.callbacks import PerSampleCrossEntropy
    >>> from sknoisy._engine.rows import TensorRows
    >>> from sknoisy._engine.batches import TrainingData
    >>> from sknoisy.methods.semi_supervised import ContrastiveMixUpNet
    >>> data = TrainingData(TensorRows(torch.randn(30, 4)), torch.arange(30) % 2)
    >>> net = ContrastiveMixUpNet(
    ...     torch.nn.Linear(4, 2), PerSampleCrossEntropy, n_features=4,
    ...     unlabeled=torch.arange(20, 30), generator=torch.Generator().manual_seed(0),
    ...     max_epochs=2, batch_size=10, verbose=0)
    >>> len(net.fit(data.only(torch.arange(20))).history)
    2
    """

    def __init__(
        self,
        module,
        criterion,
        *,
        n_features: int,
        unlabeled: Tensor | None = None,
        alpha: float = 0.2,
        contrastive_weight: float = 0.5,
        temperature: float = 0.5,
        projection_dim: int = 128,
        corruption_rate: float | None = None,
        generator: torch.Generator,
        **kwargs,
    ):
        super().__init__(
            module,
            criterion,
            unlabeled=unlabeled,
            alpha=alpha,
            corruption_rate=corruption_rate,
            generator=generator,
            **kwargs,
        )
        self.n_features, self.projection_dim = n_features, projection_dim
        self.contrastive_weight, self.temperature = contrastive_weight, temperature

    def initialize_module(self):
        """Build the network and the projection head; the optimiser trains both."""
        super().initialize_module()
        dtype = next(self.module_.parameters()).dtype
        self.head_ = Projected(nn.Identity(), self.n_features, self.projection_dim).to(dtype)
        return self

    def loss_of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch and the logits of the mixtures that are mostly its rows."""
        n, source = len(batch[1]), self.source
        X, weights = source.with_unlabeled(batch)
        views = source.views(X)
        mixed = partial(mixup, share=source.share(), permutation=source.permutation(n))
        features, logits = WithFeatures(self.module_)(torch.cat([mixed(views[:n]), views]))
        # Cross-entropy is linear in the target, so that each label in a mixture can be weighted.
        targets = mixed(weights[:n, None] * source.one_hot(batch[1]))
        loss = self.criterion_(logits[:n], targets)
        if self.contrastive_weight:
            contrast = nt_xent(self.head_(features[n:]), self.temperature)
            loss = loss + self.contrastive_weight * contrast
        return loss, logits[:n]

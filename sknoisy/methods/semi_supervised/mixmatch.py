"""MixMatch: guessed labels for the rows without labels, and mixtures of all rows."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..._engine.batches import Batch
from ...networks.precision import logits_of
from .mixing import mixup, prior_penalty, sharpen, squared_error
from .unlabeled import SemiSupervisedNet

__all__ = ["MixMatchNet"]


class MixMatchNet(SemiSupervisedNet):
    """Net with cross-entropy on rows with labels and consistency on rows without (MixMatch).

    Each step takes a batch of rows with labels and a batch of rows without, and makes two views of
    each row. The guessed label of a row without label is the network's probabilities, averaged
    over both views and sharpened. All views are mixed with each other in a random order. One
    forward pass on the mixtures gives the loss

        cross-entropy of the mixtures that are mostly rows with labels
        + ``unlabeled_weight`` * squared error of the other mixtures
        + ``prior_weight`` * KL(class shares of the rows with labels || mean prediction).

    The sample weight of a row with a label multiplies its label in the cross-entropy. The squared
    error of a mixture is multiplied by the mixture of the weights of its rows.

    If there are no rows without labels, the rows with labels are mixed with each other.

    Parameters
    ----------
    module, criterion, **kwargs
        As in ``DeviceNet``. The criterion takes distributions as targets.
    unlabeled : Tensor of shape (m,) or None, default=None
        Rows of the training data whose labels are not read, int64.
    alpha : float, default=0.2
        Parameter of the beta distribution: the share of a row in its mixture is the larger part of
        a draw from Beta(alpha, alpha), the same for all rows of a step. 0: rows are not mixed.
    temperature : float, default=0.5
        Temperature of the sharpening, positive. 1: guesses are not sharpened.
    unlabeled_weight : float, default=15.0
        Weight of the squared error. It is scaled down in proportion if fewer rows than a batch are
        without labels.
    n_ramp_epochs : float, default=16
        Epochs in which ``unlabeled_weight`` grows linearly from 0. 0: it is constant.
    prior_weight : float, default=1.0
        Weight of the divergence of the mean prediction.
    corruption_rate : float or None, default=None
        Share of the columns of a table, rounded down, that a view takes from other rows; data with
        an augmentation of their own ignore it. None: 0.1 for a network without dropout, else 0,
        so that the views differ by the dropout alone.
    generator : torch.Generator
        Generator on the CPU of all draws except the order of the rows with labels and the training
        data's own augmentation.

    Notes
    -----
    MILD publishes no constants. Temperature and ramp are those of DivideMix. Its alpha of 4 and
    its weight of 25 suit images and long training; the defaults here were chosen on the digits,
    where an alpha of 4 costs the default MLP about a point. The prior of DivideMix is uniform; the
    prior here is the class shares of the labels. Guesses are made in eval mode: dropout adds no
    noise to them, and the running statistics of batch norm do not change.

    References
    ----------
    D. Berthelot et al., MixMatch: A Holistic Approach to Semi-Supervised Learning, NeurIPS 2019.
    J. Li, R. Socher and S. Hoi, DivideMix: Learning with Noisy Labels as Semi-supervised Learning,
    ICLR 2020 (its constants, the ramp and the prior).

    Examples
    --------
    >>> import torch
    >>> from sknoisy.callbacks import PerSampleCrossEntropy
    >>> from sknoisy._engine.rows import TensorRows
    >>> from sknoisy._engine.batches import TrainingData
    >>> from sknoisy.methods.semi_supervised import MixMatchNet
    >>> data = TrainingData(TensorRows(torch.randn(30, 4)), torch.arange(30) % 2)
    >>> net = MixMatchNet(
    ...     torch.nn.Linear(4, 2), PerSampleCrossEntropy, unlabeled=torch.arange(20, 30),
    ...     generator=torch.Generator().manual_seed(0), max_epochs=2, batch_size=10, verbose=0)
    >>> len(net.fit(data.only(torch.arange(20))).history)
    2
    """

    def __init__(
        self,
        module,
        criterion,
        *,
        unlabeled: Tensor | None = None,
        alpha: float = 0.2,
        temperature: float = 0.5,
        unlabeled_weight: float = 15.0,
        n_ramp_epochs: float = 16,
        prior_weight: float = 1.0,
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
        self.temperature, self.unlabeled_weight = temperature, unlabeled_weight
        self.n_ramp_epochs, self.prior_weight = n_ramp_epochs, prior_weight

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Prepare the draws and begin the ramp."""
        super().on_train_begin(net, X=X, y=y, **kwargs)
        self._n_steps = 0
        self._n_ramp_steps = self.n_ramp_epochs * len(self.get_iterator(X, training=True))

    def loss_of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch and the logits of the mixtures that are mostly its rows."""
        n, source = len(batch[1]), self.source
        labeled, unlabeled = partial(_of_rows, slice(n)), partial(_of_rows, slice(n, None))
        X, weights = source.with_unlabeled(batch)
        n_unlabeled = len(X) - n
        views, targets = source.views(X), source.one_hot(batch[1])
        if n_unlabeled:
            targets = torch.cat([targets, self._guess(unlabeled(views))])
        targets, weights = targets.repeat(2, 1), weights.repeat(2)
        mixed = partial(mixup, share=source.share(), permutation=source.permutation(len(views)))

        logits = logits_of(self.module_, mixed(views))
        # Cross-entropy is linear in the target, so that each label in a mixture can be weighted.
        loss = self.criterion_(labeled(logits), labeled(mixed(weights[:, None] * targets)))
        if n_unlabeled:
            guessed = squared_error(*map(unlabeled, (logits, mixed(targets), mixed(weights))))
            loss = loss + self._ramp() * min(n_unlabeled / n, 1) * self.unlabeled_weight * guessed
        if self.prior_weight:
            loss = loss + self.prior_weight * prior_penalty(logits, source.class_shares)
        self._n_steps += 1
        return loss, logits[:n]

    @torch.no_grad()
    def _guess(self, views: Tensor) -> Tensor:
        """Return guessed labels of m rows, (m, n_classes), from their two views (2m, ...)."""
        self._set_training(False)
        logits = logits_of(self.module_, views)
        self._set_training(True)
        mean = logits.softmax(dim=1).unflatten(0, (2, -1)).mean(dim=0)
        return sharpen(mean, self.temperature)  # MixMatch, eqs. (6) and (7)

    def _ramp(self) -> float:
        """Return the share of ``unlabeled_weight`` that counts in this step."""
        return min(self._n_steps / self._n_ramp_steps, 1) if self._n_ramp_steps else 1.0


def _of_rows(rows: slice, views: Tensor) -> Tensor:
    """Select some of m rows in a tensor (2m, ...) that holds two views of them."""
    return views.unflatten(0, (2, -1))[:, rows].flatten(0, 1)

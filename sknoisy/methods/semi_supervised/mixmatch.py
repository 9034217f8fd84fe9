"""MixMatch: guessed labels for the rows without labels, and mixtures of all rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..._engine.batches import Batch, Batches, TrainingData
from ...meta import weighted_mean
from ...meta.models import per_sample_loss
from ...networks.batch_norm import batch_statistics
from ...networks.precision import logits_of
from .mixing import mixup, prior_penalty, sharpen, squared_errors
from .unlabeled import SemiSupervisedNet

__all__ = ["MixMatchNet", "Mixtures"]


class Mixtures(tuple):
    """A pair (X, y) of mixed views (2m, ...) and their targets (2m, n_classes), distributions.

    Attributes
    ----------
    labeled : Batch
        The n rows with labels. Their views are the first n of each half.
    sample_weight : Tensor of shape (2m,) or None
        Mixed sample weights.
    """

    labeled: Batch
    sample_weight: Tensor | None

    def __new__(cls, X, y, labeled: Batch, sample_weight: Tensor | None) -> Mixtures:
        """Create the pair and set the other attributes."""
        mixtures = super().__new__(cls, (X, y))
        mixtures.labeled, mixtures.sample_weight = labeled, sample_weight
        return mixtures


class _MixedBatches:
    """The batches of an epoch; each becomes :class:`Mixtures` when its step begins."""

    def __init__(self, net: MixMatchNet, batches: Batches):
        self.net, self.batches = net, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Mixtures]:
        for batch in self.batches:
            yield self.net.mix(batch)
            self.net.n_mixed_epochs += 1 / len(self)


class MixedLoss:
    """Loss of each mixture: cross-entropy, or squared error for rows without a label.

    The losses are scaled so that their mean over all mixtures is the mean cross-entropy of the
    first n mixtures of each half plus ``unlabeled_weight`` times the mean squared error of the
    others. The net sets the attributes before each step.
    """

    def __init__(self) -> None:
        self.n_labeled = self.n_rows = 1
        self.unlabeled_weight = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return the settings of the last step."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        vars(self).update(state)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the losses (2m,) of logits and targets (2m, n_classes).

        Targets that are classes (n,) get their cross-entropy, on the same scale.
        """
        n, m = self.n_labeled, self.n_rows
        cross_entropies = m / n * per_sample_loss(logits, targets)
        if targets.ndim == 1 or n == m:
            return cross_entropies
        # Fewer rows without labels than a batch count less, in proportion.
        scale = self.unlabeled_weight * m / max(n, m - n)
        is_labeled = torch.arange(len(logits), device=logits.device) % m < n
        return torch.where(is_labeled, cross_entropies, scale * squared_errors(logits, targets))


class MixMatchNet(SemiSupervisedNet):
    """Net with cross-entropy on rows with labels and consistency on rows without (MixMatch).

    Each step takes a batch of rows with labels and a batch of rows without, and makes two views of
    each row. The guessed label of a row without label is the network's probabilities, averaged
    over both views and sharpened. All views are mixed with each other in a random order. One
    forward pass on the mixtures gives the loss

        cross-entropy of the mixtures that are mostly rows with labels
        + ``unlabeled_weight`` * squared error of the other mixtures
        + ``prior_weight`` * KL(class shares of the rows with labels || mean prediction).

    Labels are mixed in proportion to the sample weights of their rows, too, and the loss of a
    mixture is multiplied by the mixture of the weights.

    If there are no rows without labels, the rows with labels are mixed with each other.

    Parameters
    ----------
    module, criterion, **kwargs
        As in ``DeviceNet``. The criterion is used only if a meta model guides it.
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

    The batches that callbacks see are :class:`Mixtures`. A meta model that takes a ``loss``
    receives :attr:`row_losses`, so that it guides the loss of each mixture.

    Attributes
    ----------
    row_losses : callable
        Loss of each mixture.
    n_mixed_epochs : float
        Number of epochs of the ramp so far.

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
        self.row_losses, self.n_mixed_epochs = MixedLoss(), 0.0

    held_names: tuple[str, ...] = (*SemiSupervisedNet.held_names, "n_mixed_epochs", "row_losses")

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Prepare the draws and begin the ramp."""
        super().on_train_begin(net, X=X, y=y, **kwargs)
        self.n_mixed_epochs = 0.0

    def get_iterator(self, dataset: TrainingData, training: bool = False) -> Any:
        """Return the batches; those of training are mixed."""
        batches = super().get_iterator(dataset, training)
        return _MixedBatches(self, batches) if training else batches

    @torch.no_grad()
    def mix(self, batch: Batch) -> Mixtures:
        """Return the mixtures of a batch of n rows with labels and of rows without."""
        source = self.source
        X, weights = source.with_unlabeled(batch)
        views = source.views(X)
        targets = self._targets(views, batch).repeat(2, 1)
        share = source.share() if views.is_floating_point() else 1.0  # codes cannot be mixed
        mixed = partial(mixup, share=share, permutation=source.permutation(len(views)))
        shares = None
        if batch.sample_weight is None:
            targets = mixed(targets)
        else:
            # Cross-entropy is linear in the target, so that each label can be weighted.
            weights = weights.repeat(2)
            shares = mixed(weights)
            weighted = mixed(weights[:, None] * targets) / shares[:, None]
            targets = torch.where(shares[:, None] > 0, weighted, targets)
        loss = self.row_losses
        loss.n_labeled, loss.n_rows = len(batch[1]), len(X)
        loss.unlabeled_weight = self._ramp() * self.unlabeled_weight
        return Mixtures(mixed(views), targets, batch, shares)

    def _targets(self, views: Tensor, batch: Batch) -> Tensor:
        """Return the targets of m rows, (m, n_classes), from their two views (2m, ...)."""
        targets = self.source.one_hot(batch[1])
        n, m = len(targets), len(views) // 2
        if n == m:
            return targets
        guessed = self._predict(self.module_, of_rows(views, slice(n, None)))
        return torch.cat([targets, sharpen(guessed, self.temperature)])  # MixMatch, eqs. (6), (7)

    def _predict(self, module: nn.Module, views: Tensor, *, counts: bool = False) -> Tensor:
        """Return the mean probabilities of a network, (m, n_classes), on two views (2m, ...).

        With `counts`, batch norm normalises by the views, and counts them.
        """
        was_training = module.training
        module.eval()
        with batch_statistics(module) if counts else nullcontext():
            logits = logits_of(module, views)
        module.train(was_training)
        return logits.softmax(dim=1).unflatten(0, (2, -1)).mean(dim=0)

    def loss_of(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Return the loss of mixtures, and the logits of those that are mostly labelled rows."""
        X, y = batch
        logits = self.infer(X)
        if self.criterion_.is_guided:
            loss = self.criterion_(logits, y)
        else:
            loss = weighted_mean(self.row_losses(logits, y), batch.sample_weight)
        if self.prior_weight:
            prior = self.source.class_shares
            penalty = prior_penalty(logits, prior, batch.sample_weight)
            loss = loss + self.prior_weight * penalty
        return loss, logits[: len(batch.labeled[1])]

    def train_step(self, batch: Any, **fit_params):
        """Make one step on mixtures; return the loss, and logits and batch of labelled rows."""
        return {
            **super().train_step(batch, **fit_params),
            "batch": getattr(batch, "labeled", batch),
        }

    def _ramp(self) -> float:
        """Return the share of ``unlabeled_weight`` that counts in this step."""
        return min(self.n_mixed_epochs / self.n_ramp_epochs, 1) if self.n_ramp_epochs else 1.0


def of_rows(views: Tensor, rows: slice) -> Tensor:
    """Select some of m rows in a tensor (2m, ...) that holds two views of them."""
    return views.unflatten(0, (2, -1))[:, rows].flatten(0, 1)

"""One of the two nets of ProMix, and the step that both make on a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..._engine.batches import Batch, TrainingData
from ..._engine.evaluation import evaluate, rows_per_pass
from ..._engine.net import DeviceNet
from ...meta.models import per_sample_loss
from ...networks import WithFeatures
from ..semi_supervised.mixing import mixup
from ..semi_supervised.unlabeled import SemiSupervisedNet
from .debiasing import adjusted, momentum_of, pseudo_labels, updated
from .fmix import fmix, random_mask
from .schedule import Schedule
from .selection import agreed_rows, confident_rows, small_loss_rows

__all__ = ["ProMixNet", "joint_step"]

_TEMPERATURE = 0.5
_LARGEST_SHARE = 0.9  # of the rows of a batch that have a label after guessing


class Seen(NamedTuple):
    """Views of m rows, of which the first n are those of a batch; the others have no label.

    ``weights`` (m,) are sample weights. ``primary`` and ``pseudo``, (m, n_classes), are the logits
    of the weak views by both heads.
    """

    weak: Tensor
    strong: Tensor
    weights: Tensor
    primary: Tensor
    pseudo: Tensor


class ProMixNet(SemiSupervisedNet):
    """One of the two nets of ProMix; :func:`joint_step` trains both on a batch.

    The network has a second linear layer on its penultimate features, the pseudo head ``head_``.
    It learns from the rows without a label, too, and is not used in predictions. The primary head
    is the network's own last layer. It learns from the rows with a label alone.

    Parameters
    ----------
    module, criterion, **kwargs
        As in ``DeviceNet``. The criterion takes distributions as targets.
    n_features, n_classes : int
        Size of the pseudo head.
    schedule : Schedule
        Lengths of the phases.
    small_loss_share : float or None
        Share of the rows that is selected by small losses, in (0, 1]. None: the share of the
        rows whose label is the prediction, anew before each epoch.
    confidence : float
        Rows keep their label if its probability is larger.
    debias : float
        Strength of the adjustment of logits by the running class distributions.
    alpha : float
        Parameter of MixUp's beta distribution. 0: rows are not combined, by FMix neither.
    unlabeled : Tensor of shape (m,) or None, default=None
        Rows of the training data whose labels are not read, int64.
    corruption_rate : float or None, default=None
        As in :class:`~sknoisy.methods.semi_supervised.MixMatchNet`.
    generator : torch.Generator
        Generator on the CPU of all draws except the order of the rows with labels and the training
        data's own augmentation.

    Attributes
    ----------
    head_ : nn.Linear
        The pseudo head.
    small_loss_share_ : float or None
        The share in the last epoch; None if it was not given and training ended in the warm-up.
    """

    _selected: Tensor | None = None
    _seen: Seen | None = None
    _guessed: Tensor | None = None
    _of_labeled: Tensor
    _of_rest: Tensor

    held_names: tuple[str, ...] = (
        *SemiSupervisedNet.held_names,
        "_of_labeled",
        "_of_rest",
        "small_loss_share_",
    )

    def __init__(
        self,
        module,
        criterion,
        *,
        n_features: int,
        n_classes: int,
        schedule: Schedule,
        small_loss_share: float | None,
        confidence: float,
        debias: float,
        alpha: float,
        unlabeled: Tensor | None = None,
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
        self.n_features, self.n_classes, self.schedule = n_features, n_classes, schedule
        self.small_loss_share, self.confidence, self.debias = small_loss_share, confidence, debias

    def initialize_module(self):
        """Build the network and the pseudo head; the optimiser trains both."""
        super().initialize_module()
        dtype = next(self.module_.parameters()).dtype
        self.head_ = nn.Linear(self.n_features, self.n_classes, dtype=dtype)
        return self

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Prepare the draws; the running class distributions begin as uniform."""
        super().on_train_begin(net, X=X, y=y, **kwargs)
        n_steps = self.schedule.max_epochs * len(self.get_iterator(X, training=True))
        self._momentum = momentum_of(n_steps)
        uniform = torch.full_like(self.source.class_shares, 1 / self.n_classes)
        self._of_labeled = self._of_rest = uniform
        self.small_loss_share_ = self.small_loss_share

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Drop what only training needs."""
        super().on_train_end(net, X=X, y=y, **kwargs)
        for name in _ONLY_IN_TRAINING:
            self.__dict__.pop(name, None)

    def __getstate__(self):
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name not in _ONLY_IN_TRAINING}

    # --- selection --------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Number of the epoch, from 0."""
        return len(self.history) - 1

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Select rows by their losses, after the warm-up."""
        super().on_epoch_begin(net, dataset_train, dataset_valid, **kwargs)
        if not self.schedule.is_warmup(self.epoch):
            self._selected = self._select(dataset_train)

    def _select(self, data: TrainingData) -> Tensor:
        """Return a mask of all rows: those of small loss within their class, and trusted ones."""
        rows = torch.arange(len(data), device=data.device) if data.active is None else data.active
        if data.sample_weight is not None:
            rows = rows[data.sample_weight[rows] > 0]
        selected = torch.zeros(len(data), dtype=torch.bool, device=data.device)
        if len(rows):
            parts = evaluate(self, data, rows, rows_per_pass(self))
            logits = torch.cat([logits for _, logits, _ in parts])
            targets = data.targets[rows]
            share = self.small_loss_share
            if share is None:
                n_agreeing = int((logits.argmax(dim=1) == targets).sum())
                share = max(n_agreeing, 1) / len(rows)
            self.small_loss_share_ = share
            losses = per_sample_loss(logits, targets)
            selected[rows] = small_loss_rows(losses, targets, share, len(targets.unique()))
        return selected if data.trusted is None else selected | data.trusted

    # --- the step ---------------------------------------------------------------------------

    def see(self, weak: Tensor, strong: Tensor, weights: Tensor) -> Tensor:
        """Make the forward pass on the weak views; return their probabilities, detached."""
        self._set_training(True)
        primary, pseudo = self._heads(weak)
        self._seen = Seen(weak, strong, weights.to(primary), primary, pseudo)
        return primary.detach().softmax(dim=1)

    def guess(self, own: Tensor, of_peer: Tensor, batch: Batch) -> None:
        """Choose the rows of a batch whose label is guessed, by the probabilities of both nets."""
        n = len(batch[1])
        own, of_peer = own[:n], of_peer[:n]
        keeps = self._keeps_label(own, batch)
        self._guessed = agreed_rows(own, of_peer, keeps, self.confidence, _LARGEST_SHARE)

    def loss_of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch and the logits of its weak views."""
        if self._seen is None:
            return DeviceNet.loss_of(self, batch)
        seen, guessed, n = self._seen, self._guessed, len(batch[1])
        self._seen = self._guessed = None
        self.criterion_.batch = None  # that of the warm-up; the targets hold the weights
        logits = seen.primary.detach()
        p = logits.softmax(dim=1)
        labels, has_label = batch[1], self._keeps_label(p[:n], batch)
        if guessed is not None:
            debiased = adjusted(logits[:n], self._of_labeled, -self.debias)
            labels = torch.where(guessed, debiased.argmax(dim=1), labels)
            has_label = has_label | guessed
        labeled = has_label.nonzero()[:, 0]
        rest = torch.cat([~has_label, has_label.new_ones(len(p) - n)]).nonzero()[:, 0]
        loss = self._loss(seen, labeled, labels[labeled], rest)
        momentum, weights = self._momentum, seen.weights
        self._of_labeled = updated(self._of_labeled, p[labeled], weights[labeled], momentum)
        self._of_rest = updated(self._of_rest, p[rest], weights[rest], momentum)
        return loss, seen.primary[:n]

    def _keeps_label(self, p: Tensor, batch: Batch) -> Tensor:
        """Return a mask of the rows of a batch that keep their given label."""
        assert self._selected is not None
        return self._selected[batch.rows] | confident_rows(p, batch[1], self.confidence)

    def _loss(self, seen: Seen, labeled: Tensor, labels: Tensor, rest: Tensor) -> Tensor:
        """Return the sum of the losses of both heads; `labeled` and `rest` are row numbers."""
        ramp = self.schedule.consistency_weight(self.epoch)
        of_rest = self.schedule.weight_of_unlabeled(self.epoch) if len(rest) else 0.0
        weights = seen.weights[:, None]
        # Cross-entropy is linear in the target, so that each label in a mixture can be weighted.
        targets = weights[labeled] * self.source.one_hot(labels)
        views = [(seen.strong[labeled], targets)]
        for _ in range(2):  # the heads have mixtures of their own: first those of the primary head
            views += self._mixtures(seen.weak[labeled], targets)
        if of_rest:
            guesses = pseudo_labels(seen.primary[rest], self._of_rest, self.debias, _TEMPERATURE)
            views.append((seen.strong[rest], weights[rest] * guesses))
        primary, pseudo = self._second_pass([X for X, _ in views])

        loss, n_mixtures = 0 * seen.primary.sum(), (len(views) - 1) // 2
        all_targets = [target for _, target in views]
        of_heads = (seen.primary, primary, 1), (seen.pseudo, pseudo, 1 + n_mixtures)
        for weak, outputs, start in of_heads if len(labeled) else ():
            loss = loss + self._cross_entropy(weak[labeled], targets, self._of_labeled)
            for view in (0, *range(start, start + n_mixtures)):
                error = self._cross_entropy(outputs[view], all_targets[view], self._of_labeled)
                loss = loss + ramp * error
        if of_rest:
            error = self._cross_entropy(seen.pseudo[rest], all_targets[-1], self._of_rest)
            again = self._cross_entropy(pseudo[-1], all_targets[-1], self._of_rest)
            loss = loss + of_rest * (error + ramp * again)
        return loss

    def _cross_entropy(self, logits: Tensor, targets: Tensor, distribution: Tensor) -> Tensor:
        return self.criterion_(adjusted(logits, distribution, self.debias), targets)

    def _heads(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the primary and of the pseudo head."""
        features, logits = WithFeatures(self.module_)(X)
        return logits, self.head_(features)

    def _second_pass(self, views: list[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return the logits of several tensors by the primary and by the pseudo head."""
        sizes = [len(X) for X in views]
        X = torch.cat(views)
        if len(X) == 1:  # batch norm needs two rows
            X = X.expand(2, *X.shape[1:])
            sizes = [1, 1]
        primary, pseudo = self._heads(X)
        return primary.split(sizes), pseudo.split(sizes)

    def _mixtures(self, X: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the mixtures of rows and their targets: by MixUp and, of images, by FMix."""
        if not self.alpha or not X.is_floating_point():
            return []
        share, permutation = self.source.share(), self.source.permutation(len(X))
        mixtures = [(mixup(X, share, permutation), mixup(targets, share, permutation))]
        if X.ndim == 4:
            share = torch.rand((), generator=self.generator).item()
            permutation = self.source.permutation(len(X))
            mask = random_mask(X.shape[2], X.shape[3], share, self.generator)
            mixtures.append((fmix(X, mask, permutation), mixup(targets, share, permutation)))
        return mixtures


_ONLY_IN_TRAINING = ("_selected", "_seen", "_guessed", "_of_labeled", "_of_rest")


def joint_step(nets: Sequence[Any], batch: Batch) -> list[dict[str, Any]]:
    """Make one step of both nets on the same views of a batch."""
    first = nets[0]
    source, schedule, epoch = first.source, first.schedule, first.epoch
    if schedule.is_warmup(epoch):
        weak = source.weak(batch[0])
        batch = Batch(weak, batch[1], batch.rows, batch.sample_weight, batch.trusted)
        return [net.train_step(batch) for net in nets]
    X, weights = batch[0], batch.sample_weight
    if schedule.weight_of_unlabeled(epoch):
        X, weights = source.with_unlabeled(batch)
    elif weights is None:
        weights = X.new_ones(len(X))
    views = source.weak(X), source.strong(X), weights
    seen = [net.see(*views) for net in nets]
    if schedule.guesses(epoch):
        for net, own, of_peer in zip(nets, seen, reversed(seen), strict=True):
            net.guess(own, of_peer, batch)
    return [net.train_step(batch) for net in nets]

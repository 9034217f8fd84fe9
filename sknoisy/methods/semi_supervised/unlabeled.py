"""The base of the nets that also read rows without labels, and the source of their batches."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..._engine.augment import Augmentation
from ..._engine.batches import Batch, Batches, EndlessBatches, TrainingData, row_order
from ..._engine.held_state import held_state, hold_state
from ..._engine.net import DeviceNet
from ..._engine.views import FeatureCorruption, TwoViews
from ...networks import Dropout, WithFeatures
from ...networks.precision import logits_of
from .mixing import mixing_share

__all__ = ["SemiSupervisedNet", "Source", "count_penultimate"]

# Measured on the digits: corruption of a tenth of the columns gains up to four points for a
# network without dropout. It costs up to one with dropout, by which the views differ anyway.
_CORRUPTION_RATE = 0.1
_DROPOUT = (Dropout, nn.Dropout, nn.Dropout1d, nn.AlphaDropout, nn.FeatureAlphaDropout)


class SemiSupervisedNet(DeviceNet):
    """Base of the nets that learn from rows with labels and from rows without.

    The net is fitted with the rows with labels, ``data.only(labelled)``. Each batch of them is
    joined by as many rows without labels, or by all of those if they are fewer. Two views are made
    of each row. A subclass defines the loss, :meth:`loss_of`, and documents the parameters.
    """

    #: Rows without labels per row with a label in a step.
    unlabeled_ratio = 1

    held_names: tuple[str, ...] = ("generator", "_source")
    _source: Source | None = None

    def __init__(
        self,
        module,
        criterion,
        *,
        unlabeled: Tensor | None,
        alpha: float,
        corruption_rate: float | None,
        generator: torch.Generator,
        **kwargs,
    ):
        super().__init__(module, criterion, **kwargs)
        # On the CPU: skorch does not map it there when a pickle is read without CUDA.
        self.unlabeled = None if unlabeled is None else unlabeled.cpu()
        self.alpha, self.corruption_rate, self.generator = alpha, corruption_rate, generator

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Prepare the draws of the training."""
        super().on_train_begin(net, X=X, y=y, **kwargs)
        self._source = Source(self, self.get_dataset(X))

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Drop what only training needs."""
        super().on_train_end(net, X=X, y=y, **kwargs)
        self._source = None

    def __getstate__(self):
        return {**super().__getstate__(), "_source": None}

    def get_iterator(self, dataset: TrainingData, training: bool = False):
        """Return batches without augmentation; each step makes its own views."""
        plain = copy.copy(dataset)
        plain.augment = None
        return Batches(plain, self.batch_size, self.order if training else None)

    @torch.no_grad()
    def count_classes(self, X: Tensor) -> int:
        """Return the number of logits per row."""
        self._set_training(False)
        return logits_of(self.module_, X).shape[1]

    @property
    def source(self) -> Source:
        """The source of rows and draws; only during training."""
        assert self._source is not None
        return self._source

    def loss_of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch, and logits (n, n_classes) recorded for its rows."""
        raise NotImplementedError


class Source:
    """Source of the rows without labels, the views, the permutations and the shares of a training.

    The active rows of the data are those with labels. ``class_shares`` (n_classes,) are their
    weighted class shares; all are zero if no such row has any weight.
    """

    def __init__(self, net: SemiSupervisedNet, data: TrainingData):
        self.data, self.alpha, self.generator = data, net.alpha, net.generator
        seeds = torch.randint(2**62, (2,), generator=net.generator).tolist()
        self._random = np.random.default_rng(seeds[0])
        self._views_generator = torch.Generator(data.device).manual_seed(seeds[1])
        first = data.take(torch.arange(min(2, len(data)), device=data.device))[0]
        augment = _augmentation(data, net.corruption_rate, net.module_, is_table=first.ndim == 2)
        self._weak, self._strong = augment, data.strong_augment or augment
        self._views = TwoViews(augment, augment)
        self._batch_size = net.unlabeled_ratio * net.batch_size
        self.set_unlabeled(net.unlabeled)
        dtype = first.dtype if first.is_floating_point() else None
        self._one_hot = torch.eye(net.count_classes(first), dtype=dtype, device=data.device)
        self.class_shares = self._class_shares()

    def _class_shares(self) -> Tensor:
        labeled = slice(None) if self.data.active is None else self.data.active
        weights = self.data.sample_weight
        one_hot = self.one_hot(self.data.targets[labeled])
        sums = (one_hot if weights is None else one_hot * weights[labeled, None]).sum(dim=0)
        return F.normalize(sums, p=1, dim=0)

    def one_hot(self, targets: Tensor) -> Tensor:
        """Return targets (n,) as distributions (n, n_classes)."""
        return self._one_hot[targets]

    def set_unlabeled(self, rows: Tensor | None) -> None:
        """Set the rows without labels, int64; None: there are none."""
        self._unlabeled = None
        if rows is not None and len(rows):
            index = rows.to(self.data.rows.index_device)
            self._unlabeled = EndlessBatches(index, self._batch_size, self.generator)

    def with_unlabeled(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the rows of a batch followed by rows without labels, and the weights of all."""
        X, weights = batch[0], batch.sample_weight
        if self._unlabeled is not None:
            others = self.next_unlabeled()
            X = torch.cat([X, others[0]])
            if weights is not None and others.sample_weight is not None:
                weights = torch.cat([weights, others.sample_weight])
        return X, X.new_ones(len(X)) if weights is None else weights

    def next_unlabeled(self) -> Batch:
        """Return the next rows without labels, not augmented."""
        assert self._unlabeled is not None
        return self.data.take(next(self._unlabeled))

    def views(self, X: Tensor) -> Tensor:
        """Return two views of m rows, (2m, ...): all first views, then all second views."""
        return self._views(X, self._draws())

    def weak(self, X: Tensor) -> Tensor:
        """Return one view of each row, by the augmentation of the data."""
        return X if self._weak is None else self._weak(X, self._draws())

    def strong(self, X: Tensor) -> Tensor:
        """Return one strong view of each row."""
        return X if self._strong is None else self._strong(X, self._draws())

    def state_dict(self) -> dict[str, Any]:
        """Return the state between two steps; the generator of the net is not a part."""
        queue = None if self._unlabeled is None else self._unlabeled.state_dict()
        return {**held_state(self, "_random", "_views_generator"), "queue": queue}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        queue = state.pop("queue")
        hold_state(self, state)
        if queue is not None and self._unlabeled is not None:  # else they are set in each epoch
            self._unlabeled.load_state_dict(queue)

    def _draws(self) -> torch.Generator:
        own = None if self.data.augment is None else self.data.generator
        return self._views_generator if own is None else own

    def permutation(self, n: int) -> Tensor:
        """Draw a random order of n rows."""
        return row_order(n, self.generator, self.data.device)

    def share(self) -> float:
        """Draw a share for MixUp."""
        return mixing_share(self.alpha, self._random)


def _augmentation(
    data: TrainingData, rate: float | None, module: nn.Module, *, is_table: bool
) -> Augmentation | None:
    """Return the augmentation of the data or, for tables without one, feature corruption."""
    if rate is None:
        rate = 0.0 if _has_dropout(module) else _CORRUPTION_RATE
    if data.augment is None and is_table and rate > 0:
        weights = data.sample_weight
        counted = None if weights is None else weights.nonzero()[:, 0]
        return FeatureCorruption(data.rows, rate, counted)
    return data.augment


def _has_dropout(module: nn.Module) -> bool:
    return any(isinstance(part, _DROPOUT) and part.p > 0 for part in module.modules())


@torch.no_grad()
def count_penultimate(module: nn.Module, data: TrainingData) -> int:
    """Return the number of penultimate features of a module."""
    X, _ = data.take(torch.arange(min(2, len(data)), device=data.device))
    features, _ = WithFeatures(module).eval()(X)
    return features.shape[1]

"""Training data and its batches."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..meta.collectives import Ranks
from .augment import Augmentation
from .rows import ArrayRows, Rows

__all__ = [
    "Batch",
    "Batches",
    "EndlessBatches",
    "TrainingData",
    "bounded_weights",
    "row_order",
]

_LARGEST_RMS = 2.0  # that of weights on a quarter of the rows


def bounded_weights(sample_weight: Tensor) -> Tensor:
    """Return the weights of a batch, scaled down if their root mean square exceeds 2.

    By the Cauchy-Schwarz inequality, the gradient of a weighted mean of losses is at most as long
    as the root mean square of the weights times that of the lengths of the rows' gradients. A
    batch with a few large weights thus makes no longer a step than a batch of which a quarter of
    the rows counts. Without the bound, the large weights of a rare class lead to infinite losses.

    Parameters
    ----------
    sample_weight : Tensor of shape (n,)
        Non-negative weights of mean 1 over the training data.

    Returns
    -------
    bounded : Tensor of shape (n,)
        The weights divided by ``max(1, rms / 2)``.
    """
    return sample_weight / (sample_weight.square().mean().sqrt() / _LARGEST_RMS).clamp(min=1)


class Batch(tuple):
    """A pair (X, y) with the row numbers, sample weights and trust flags of its rows.

    It unpacks as skorch expects: ``X, y = batch``. Where several processes train together, X holds
    the rows of this process alone; everything else is that of all rows.

    Attributes
    ----------
    rows : Tensor of shape (n,)
        Positions of the rows in the training data, int64.
    sample_weight : Tensor of shape (n,) or None
        The user's weights, of mean 1 over the training data, by :func:`bounded_weights`.
    trusted : Tensor of shape (n,) or None
        True for trusted rows.
    """

    rows: Tensor
    sample_weight: Tensor | None
    trusted: Tensor | None

    def __new__(cls, X, y, rows, sample_weight=None, trusted=None) -> Batch:
        """Create the pair and set the other attributes."""
        batch = super().__new__(cls, (X, y))
        batch.rows, batch.sample_weight, batch.trusted = rows, sample_weight, trusted
        return batch

    def only(self, index: Tensor) -> Batch:
        """Return the batch of some rows, given by int64 positions or a bool mask of shape (n,)."""
        X, y = self
        return Batch(
            X[index],
            y[index],
            self.rows[index],
            None if self.sample_weight is None else self.sample_weight[index],
            None if self.trusted is None else self.trusted[index],
        )


class TrainingData(Dataset):
    """Rows with encoded labels, sample weights and trust flags.

    Parameters
    ----------
    rows : Rows
        The input.
    targets : Tensor of shape (n,)
        Encoded labels to learn, int64, on the device.
    sample_weight : Tensor of shape (n,) or None
        Non-negative weights of mean 1.
    trusted : Tensor of shape (n,) or None
        True for trusted rows, bool.
    augment : callable or None
        ``augment(X, generator)`` on whole batches of X on the device.
    generator : torch.Generator or None
        Source of the augmentation's draws, on the device.
    given : Tensor of shape (n,) or None
        Encoded given labels if they differ from the targets. None: the targets are the given
        labels.

    Attributes
    ----------
    active : Tensor of shape (m,) or None
        Rows that make up an epoch, int64; None: all rows. Set by :meth:`only`.
    groups : ndarray of shape (n,) or None
        Codes of the groups that folds of rows may not divide, int64; None unless set.
    strong_augment : callable or None
        A second augmentation, which changes rows more; None unless set.
    unlabeled : Tensor of shape (m,) or None
        Rows without a label, int64, on the device; None unless set. Their targets mean nothing.
    """

    active: Tensor | None = None
    groups: NDArray[np.int64] | None = None
    strong_augment: Augmentation | None = None
    unlabeled: Tensor | None = None

    def __init__(
        self,
        rows: Rows,
        targets: Tensor,
        sample_weight: Tensor | None = None,
        trusted: Tensor | None = None,
        augment: Augmentation | None = None,
        generator: torch.Generator | None = None,
        given: Tensor | None = None,
    ):
        self.rows, self.targets = rows, targets
        self.given = targets if given is None else given
        self.sample_weight, self.trusted = sample_weight, trusted
        self.augment, self.generator = augment, generator

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def device(self) -> torch.device:
        """Device of the batches."""
        return self.targets.device

    @property
    def counts(self) -> Tensor:
        """True for each row that has a label and a positive weight, bool of shape (n,)."""
        counts = torch.ones_like(self.targets, dtype=torch.bool)
        if self.sample_weight is not None:
            counts = self.sample_weight > 0
        if self.unlabeled is not None:
            counts = counts.index_fill(0, self.unlabeled, False)
        return counts

    @property
    def is_table(self) -> bool:
        """Whether a row is a vector of columns, not an image or another array."""
        return self.rows.take(torch.arange(1, device=self.rows.index_device)).ndim == 2

    @property
    def weighted_rows(self) -> Tensor:
        """Rows of positive weight, with a label or without, int64."""
        if self.sample_weight is None:
            return torch.arange(len(self), device=self.device)
        return self.sample_weight.nonzero()[:, 0]

    @property
    def effective_share(self) -> float:
        """Effective number of rows by their weights, (sum w)^2 / sum w^2, as a share of all."""
        weights = self.sample_weight
        return 1.0 if weights is None else (weights.mean() ** 2 / weights.square().mean()).item()

    def only(self, rows: Tensor | None) -> TrainingData:
        """Return the same data with epochs restricted to some rows (int64, on the device).

        None stands for all rows. The returned data share their tensors with this object; their
        length and row numbers are those of all rows.
        """
        part = copy.copy(self)
        part.active = rows
        return part

    def take(self, index: Tensor, augment: bool = False, own: slice | None = None) -> Batch:
        """Return the batch of the rows at `index`, augmented on request.

        `index` is int64, on the device of the data or of ``rows.index_device``. If `own` is
        given, X holds this part of the rows only.
        """
        X = self.rows.take(index if own is None else index[own])
        index = index.to(self.device, non_blocking=True)
        if augment and self.augment is not None:
            assert self.generator is not None
            X = self.augment(X, self.generator)
        return Batch(
            X,
            self.targets[index],
            index,
            None if self.sample_weight is None else bounded_weights(self.sample_weight[index]),
            None if self.trusted is None else self.trusted[index],
        )


class Batches(Dataset):
    """The batches of an epoch over the active rows; each iteration is a new epoch.

    Rows on the device are selected by index. In training, rows of an array that is not on the
    device are loaded by a DataLoader. `generator`, on the CPU, shuffles the rows; without it, they
    come in order and are not augmented. A single left-over row is added to the batch before it,
    because batch norm cannot compute statistics of one row.

    With `ranks`, each batch holds the rows of X that are the share of this process. Left-over rows
    that would give a process less than two are added to the batch before.
    """

    def __init__(
        self,
        data: TrainingData,
        batch_size: int,
        generator: torch.Generator | None = None,
        ranks: Ranks | None = None,
    ):
        self.data, self.generator, self.ranks = data, generator, ranks
        self._least = 2 if ranks is None else 2 * ranks.n
        self.batch_size = min(int(batch_size), max(len(data), 2))  # torch takes no larger integers

    def __len__(self) -> int:
        full, tail = divmod(self._n_rows(), self.batch_size)
        return max(full + (tail >= self._least), 1)

    def _n_rows(self) -> int:
        return len(self.data if self.data.active is None else self.data.active)

    def index(self) -> Iterator[Tensor]:
        """Yield the index tensors of one epoch."""
        order = self._order()
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        for start in starts:
            last = start == starts[-1]
            yield order[start:] if last else order[start : start + self.batch_size]

    def _order(self) -> Tensor:
        """Return the rows of one epoch in their order."""
        rows, active = self.data.rows, self.data.active
        if self.generator is not None and rows.windows is not None and len(rows.windows) > 1:
            ascending = None if active is None else active.cpu().sort().values.numpy()
            return rows.windows.order(ascending, self.generator)
        order = row_order(self._n_rows(), self.generator, rows.index_device)
        return order if active is None else active.to(order.device)[order]

    def __iter__(self) -> Iterator[Batch]:
        if self.generator is not None and isinstance(self.data.rows, ArrayRows):
            loader = DataLoader(
                self,
                batch_size=None,
                sampler=_Order(self),
                collate_fn=_as_it_is,
                generator=torch.Generator(),  # else each epoch would draw from the global one
            )
            return iter(loader)
        return self._select()

    def _select(self) -> Iterator[Batch]:
        for index in self.index():
            yield self[index]

    def __getitem__(self, index: Tensor) -> Batch:
        """Return the batch of the rows at `index`, for a DataLoader, too."""
        own = None if self.ranks is None else self.ranks.share(len(index))
        return self.data.take(index, augment=self.generator is not None, own=own)


class _Order(Sampler):
    """A sampler that yields index tensors, so that one batch is one item of the data set."""

    def __init__(self, batches: Batches):
        self.batches = batches

    def __iter__(self) -> Iterator[Tensor]:
        return self.batches.index()

    def __len__(self) -> int:
        return len(self.batches)


def _as_it_is(batch: Any) -> Any:
    return batch


def row_order(n: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Return the numbers 0 to n - 1 on a device, shuffled by `generator` on the CPU if given.

    A GPU gets the same order as the CPU, and the CPU does not wait for the copy.
    """
    if generator is None:
        return torch.arange(n, device=device)
    order = torch.randperm(n, generator=generator, pin_memory=device.type == "cuda")
    return order.to(device, non_blocking=True)


class EndlessBatches:
    """An endless iterator over shuffled batches of a fixed set of rows, given by `index` (m,).

    The rows are shuffled again, by `generator` on the CPU, when all batches have been used. All
    batches are full: left-over rows are skipped until the next shuffle. If m is less than
    `batch_size`, a batch has m rows.

    If the positive weights `weight` (m,) of the rows are not all equal, each batch is drawn by
    them, without replacement.
    """

    def __init__(
        self,
        index: Tensor,
        batch_size: int,
        generator: torch.Generator,
        weight: Tensor | None = None,
    ):
        self.index, self.generator = index, generator
        self.weight = None if weight is None or (weight == weight[0]).all() else weight.cpu()
        self.batch_size = min(int(batch_size), len(index))
        self._queue: list[Tensor] = []

    def __next__(self) -> Tensor:
        if self.weight is not None:
            drawn = torch.multinomial(self.weight, self.batch_size, generator=self.generator)
            return self.index[drawn.to(self.index.device)]
        if not self._queue:
            order = row_order(len(self.index), self.generator, self.index.device)
            shuffled = self.index[order]
            n_full = len(shuffled) // self.batch_size * self.batch_size
            self._queue = list(shuffled[:n_full].split(self.batch_size))
        return self._queue.pop()

    def state_dict(self) -> dict[str, list[Tensor]]:
        """Return the batches that are left of the last shuffle; the generator is not a part."""
        return {"queue": self._queue}

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._queue = [batch.to(self.index.device) for batch in state["queue"]]

"""Evaluation of a net on rows of its data, for sknoisy's own net and for a stock skorch net."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from skorch.utils import to_device, to_tensor
from torch import Tensor, nn
from torch.utils.data import Subset, default_collate

from ..networks import WithFeatures
from .batches import TrainingData
from .rows import ArrayRows
from .wording import in_words

__all__ = [
    "copied_state",
    "draw_rows",
    "evaluate",
    "keep_rows",
    "outputs_of",
    "rows_of_X",
    "rows_per_pass",
    "take",
]

_MAX_ROWS = 2**31 - 1


def take(
    net, dataset, index: Tensor, augment: bool = False, own: slice | None = None
) -> tuple[Tensor, Tensor]:
    """Return rows of a training set as a pair (X, y) on the net's device.

    `own` is the share of a :class:`TrainingData` that a rank takes, as in its ``take``.
    """
    if isinstance(dataset, TrainingData):
        X, y = dataset.take(index, augment=augment, own=own)
        return X, y
    X, y = default_collate([dataset[int(i)] for i in index])
    return to_device(to_tensor(X, net.device), net.device), to_tensor(y, net.device)


def keep_rows(dataset, index: Tensor, owner: Hashable) -> None:
    """Keep rows that are taken often in memory, if the training set reads them from a file."""
    rows = getattr(dataset, "rows", None)
    if isinstance(rows, ArrayRows):
        rows.keep(index, owner)


def rows_of_X(dataset, X=None) -> tuple[np.ndarray, int]:
    """Return the row of X for each row of a training set, and the number of rows of X.

    X is what ``fit`` received. A skorch net with a ``train_split`` trains on a ``Subset`` of it.
    """
    rows = np.arange(len(dataset))
    while isinstance(dataset, Subset) and dataset is not X:
        rows = np.asarray(dataset.indices)[rows]
        dataset = dataset.dataset
    return rows, len(dataset)


def draw_rows(
    dataset, rows, random_state: np.random.RandomState, X=None, name: str = "rows"
) -> np.ndarray:
    """Return positions in a training set: of given rows of X, of a mask, or drawn at random.

    `X` is what ``fit`` received, `rows` the parameter called `name`. An int is the number of rows
    to draw. ValueError is raised if `rows` are not rows of X, or not in the training set.
    """
    if isinstance(rows, (int, np.integer)):
        n_trained = len(dataset)
        return np.sort(random_state.choice(n_trained, min(int(rows), n_trained), replace=False))
    trained, n_rows = rows_of_X(dataset, X)
    index = _row_numbers(rows, n_rows, name)
    positions = np.full(n_rows, -1)
    positions[trained] = np.arange(len(trained))
    held_out = index[positions[index] < 0]
    if len(held_out):
        raise ValueError(
            f"{name} holds {in_words('row', held_out)} of X, which the train_split of the net "
            "took for validation. Pass train_split=None to the net, a split that leaves these "
            "rows in training, or other rows."
        )
    return positions[index]


def _row_numbers(rows, n_rows: int, name: str) -> np.ndarray:
    """Return the int64 row numbers of an array of them, or of a mask."""
    index = np.asarray(rows)
    if index.dtype == bool:
        if index.shape != (n_rows,):
            raise ValueError(
                f"{name} is a mask of shape {index.shape}, but X has {n_rows} rows. Pass one "
                "value for each row."
            )
        index = index.nonzero()[0]
    if not index.size:
        raise ValueError(f"{name} is empty; pass at least one row of the training set.")
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be row numbers or a mask, got {index.dtype} of shape {index.shape}."
        )
    unknown = index[(index < 0) | (index >= n_rows)]
    if len(unknown):
        raise ValueError(
            f"{name} holds {in_words('row', unknown)}, but the {n_rows} rows of X have the "
            f"numbers 0 to {n_rows - 1}."
        )
    return index.astype(np.int64)


def rows_per_pass(net) -> int:
    """Return the inference batch size: four training batches, as no graph is kept.

    On a GPU they are eight: a pass of a small network takes as long for twice the rows.
    """
    factor = 8 if str(net.device).startswith("cuda") else 4
    return min(factor * max(int(net.batch_size), 25), _MAX_ROWS)


def evaluate(
    net, dataset, index: Tensor, batch_size: int, module: nn.Module | None = None
) -> Iterator[tuple]:
    """Yield (features, logits, targets) of batches of rows, in eval mode, without augmentation.

    They are those of another `module` if it is given, on the rows of the net.
    """
    parts = index.split(min(int(batch_size), max(len(index), 1)))
    return _passes(
        net.module_ if module is None else module, (take(net, dataset, part) for part in parts)
    )


def outputs_of(
    module: nn.Module, data: TrainingData, rows: Tensor, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Return features and logits of rows, in eval mode; any module will do, also without a net."""
    index = rows.to(data.rows.index_device)
    parts = _passes(module, (data.take(part) for part in index.split(batch_size)))
    features, logits, _ = zip(*parts, strict=True)
    return torch.cat(features), torch.cat(logits)


@torch.no_grad()
def _passes(module: nn.Module, batches: Iterable) -> Iterator[tuple]:
    network = WithFeatures(module)
    training = module.training
    module.eval()
    try:
        for X, y in batches:
            yield *network(X), y
    finally:
        module.train(training)


def copied_state(module: nn.Module) -> dict[str, Any]:
    """Return a copy of a module's state dict, on the devices of the module."""
    return copy.deepcopy(module.state_dict())

"""Evaluation of a net on rows of its data, for sknoisy's own net and for a stock skorch net."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from skorch.utils import to_device, to_tensor
from torch import Tensor, nn
from torch.utils.data import default_collate

from ..networks import WithFeatures
from .batches import TrainingData

__all__ = ["cpu_state", "draw_rows", "evaluate", "outputs_of", "rows_per_pass", "take"]

_MAX_ROWS = 2**31 - 1


def take(net, dataset, index: Tensor, augment: bool = False) -> tuple[Tensor, Tensor]:
    """Return rows of a training set as a pair (X, y) on the net's device."""
    if isinstance(dataset, TrainingData):
        X, y = dataset.take(index, augment=augment)
        return X, y
    X, y = default_collate([dataset[int(i)] for i in index])
    return to_device(to_tensor(X, net.device), net.device), to_tensor(y, net.device)


def draw_rows(n_rows: int, rows, random_state: np.random.RandomState) -> np.ndarray:
    """Return row indices: those given, those of a mask, or `rows` many drawn at random."""
    if isinstance(rows, (int, np.integer)):
        return np.sort(random_state.choice(n_rows, min(int(rows), n_rows), replace=False))
    index = np.asarray(rows)
    if index.dtype == bool:
        if index.shape != (n_rows,):
            raise ValueError(f"A mask of rows must have shape ({n_rows},), got {index.shape}.")
        index = index.nonzero()[0]
    if not len(index):
        raise ValueError("rows is empty; pass at least one row of the training set.")
    return index.astype(np.int64)


def rows_per_pass(net) -> int:
    """Return the inference batch size: four training batches, as no graph is kept."""
    return min(4 * max(int(net.batch_size), 25), _MAX_ROWS)


def evaluate(net, dataset, index: Tensor, batch_size: int) -> Iterator[tuple]:
    """Yield (features, logits, targets) of batches of rows, in eval mode, without augmentation."""
    parts = index.split(min(int(batch_size), max(len(index), 1)))
    return _passes(net.module_, (take(net, dataset, part) for part in parts))


def outputs_of(
    module: nn.Module, data: TrainingData, rows: Tensor, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Return features and logits of rows, in eval mode; any module will do, also without a net."""
    parts = _passes(module, (data.take(part) for part in rows.split(batch_size)))
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


def cpu_state(module) -> dict[str, Tensor]:
    """Return a copy of a module's state dict on the CPU."""
    return {
        name: tensor.detach().to("cpu", copy=True) for name, tensor in module.state_dict().items()
    }

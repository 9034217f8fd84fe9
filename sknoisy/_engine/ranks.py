"""One fit on all processes of ``torch.distributed``: checks before it, and the nets' share in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import nn

from ..meta.collectives import Ranks, current_ranks
from .batches import TrainingData
from .net import DeviceNet

__all__ = ["agree", "ranks_of", "trained_on_ranks"]

_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

# Parameters that may differ between the ranks.
_OWN = {"checkpoint", "device", "random_state", "verbose"}


def ranks_of(estimator: Any, can_use_ranks: bool) -> Ranks | None:
    """Return the processes that fit an estimator together; None if there is one.

    NotImplementedError is raised if there are several and the estimator cannot use them.
    """
    ranks = current_ranks()
    if ranks is not None and not can_use_ranks:
        raise _not_implemented(type(estimator).__name__, ranks.n)
    return ranks


def agree(
    ranks: Ranks | None,
    random_state: np.random.RandomState,
    estimator: Any,
    shape: tuple[int, ...],
    *arrays: np.ndarray | None,
) -> None:
    """Check that all ranks fit the same estimator to the same rows; take the state of rank 0.

    ValueError is raised if parameters, the shape of X, labels, weights or masks differ.
    """
    if ranks is None:
        return
    parameters = {
        name: value
        for name, value in estimator.get_params(deep=False).items()
        if name not in _OWN and isinstance(value, (bool, int, float, str, type(None)))
    }
    digest = hashlib.sha256(repr((type(estimator).__name__, parameters, shape)).encode())
    for array in arrays:
        digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    if len(set(ranks.of_all(digest.hexdigest()))) > 1:
        raise ValueError(
            f"torch.distributed runs {ranks.n} processes, which called fit with different rows, "
            "labels, weights, masks or parameters. Pass the same to all of them: each takes its "
            "share of every batch. For fits of their own, do not initialise torch.distributed."
        )
    random_state.set_state(ranks.of_first(random_state.get_state()))


@contextmanager
def trained_on_ranks(
    estimator: Any, nets: Sequence[DeviceNet], joint_step: Callable | None, data: TrainingData
) -> Iterator[None]:
    """Let all ranks train a net within the context; nothing changes if there is one process.

    NotImplementedError is raised if several nets are trained, or one by a step of its own, and
    ValueError if the network has batch norm, or if there are too few rows in a batch.
    """
    ranks = current_ranks()
    if ranks is None:
        yield
        return
    if len(nets) > 1 or joint_step is not None or type(nets[0]) is not DeviceNet:
        raise _not_implemented(type(estimator).__name__, ranks.n)
    net = nets[0]
    _check_batch_norm(net.module, ranks)
    n_rows = len(data if data.active is None else data.active)
    if min(net.batch_size, n_rows) < 2 * ranks.n:
        raise ValueError(
            f"batch_size={net.batch_size} with {n_rows} rows is too small for {ranks.n} processes, "
            "which need 2 rows of each batch. Raise it, or start fewer processes."
        )
    if data.generator is not None:  # of the augmentation
        data.generator.manual_seed(data.generator.initial_seed() + ranks.rank)
    net.ranks = ranks
    try:
        yield
    finally:
        net.ranks = None
        ranks.join_streams()


def _check_batch_norm(module: nn.Module, ranks: Ranks) -> None:
    found = [type(part).__name__ for part in module.modules() if isinstance(part, _BATCH_NORM)]
    if found:
        raise ValueError(
            f"{type(module).__name__} contains {found[0]}, which would compute statistics of the "
            f"share of each of the {ranks.n} processes. Pass a module with another normalisation, "
            "such as nn.GroupNorm or nn.LayerNorm, or fit in one process."
        )


def _not_implemented(name: str, n: int) -> NotImplementedError:
    return NotImplementedError(
        f"{name} trains several networks, in rounds or by a step of its own, which works in one "
        f"process, but torch.distributed runs {n}. Fit it in one process: do not initialise "
        "torch.distributed, or leave its group before."
    )

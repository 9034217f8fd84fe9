"""One fit on all processes of ``torch.distributed``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
from torch import nn

from ..meta.collectives import Ranks, current_ranks
from ..meta.shared_batch_norm import SharedBatchNorm
from .batches import TrainingData
from .net import DeviceNet

__all__ = ["agree", "ranks_of", "trained_on_ranks"]

_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

# Parameters that may differ between the ranks.
_OWN = {"device", "random_state", "verbose"}

# Parameters by which one process would go another way than the others.
_OF_ONE_PROCESS = ("checkpoint", "max_time")


def ranks_of(estimator: Any, can_use_ranks: bool) -> Ranks | None:
    """Return the processes that fit an estimator together; None if there is one.

    NotImplementedError is raised if there are several and the estimator cannot use them, or has a
    checkpoint or a limit of time.
    """
    ranks = current_ranks()
    if ranks is None:
        return None
    if not can_use_ranks:
        raise _not_implemented(type(estimator).__name__, ranks.n)
    for name in _OF_ONE_PROCESS:
        value = getattr(estimator, name, None)
        if value is not None:
            raise NotImplementedError(
                f"{name}={value!r} is for fits in one process, but torch.distributed runs "
                f"{ranks.n}. Pass {name}=None."
            )
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
    ValueError if the network has a SyncBatchNorm, or if there are too few rows in a batch.
    """
    ranks = current_ranks()
    if ranks is None:
        yield
        return
    if len(nets) > 1 or joint_step is not None or type(nets[0]) is not DeviceNet:
        raise _not_implemented(type(estimator).__name__, ranks.n)
    net = nets[0]
    if any(isinstance(part, nn.SyncBatchNorm) for part in net.module.modules()):
        raise ValueError(
            f"{type(net.module).__name__} contains SyncBatchNorm, which has no forward-mode "
            "derivative. Pass BatchNorm instead: fit computes its statistics over all processes."
        )
    n_rows = len(data if data.active is None else data.active)
    if min(net.batch_size, n_rows) < 2 * ranks.n:
        raise ValueError(
            f"batch_size={net.batch_size} with {n_rows} rows is too small for {ranks.n} "
            "processes, which need 2 rows of each batch. Raise it, or start fewer processes."
        )
    if data.generator is not None:  # of the augmentation
        data.generator.manual_seed(data.generator.initial_seed() + ranks.rank)
    has_batch_norm = any(isinstance(part, _BATCH_NORM) for part in net.module.modules())
    net.ranks = ranks
    try:
        with SharedBatchNorm(ranks) if has_batch_norm else nullcontext():
            yield
    finally:
        net.ranks = None
        ranks.join_streams()


def _not_implemented(name: str, n: int) -> NotImplementedError:
    return NotImplementedError(
        f"{name} trains several networks, in rounds or by a step of its own, and does so in one "
        f"process only, but torch.distributed runs {n}. Fit it in one process, or after "
        "torch.distributed.destroy_process_group()."
    )

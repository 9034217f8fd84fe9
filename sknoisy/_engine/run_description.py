"""Description of a fit by texts that are equal if another process makes the same fit."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from .batches import TrainingData
from .streams import Stream

__all__ = ["describe_run", "digest_of_training"]

_HASH_ROWS = 4096  # rows read at a time
_NOT_COMPARED = {
    "callbacks",
    "checkpoint",
    "device",
    "max_time",
    "random_state",
    "verbose",
    "warm_start",
}
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def describe_run(
    estimator: Any, device: torch.device, rng: np.random.RandomState, given: dict[str, Any]
) -> dict[str, str]:
    """Describe what must be equal for a run to go on.

    Parameters
    ----------
    estimator : estimator
        Its parameters are described, except ``callbacks``, ``max_time`` and those that do not
        affect the result.
    device : torch.device
        Only its type is described.
    rng : RandomState
        Described if ``random_state`` is an instance.
    given : dict
        Arrays, CSR matrices, streams, modules or None, by name.

    Returns
    -------
    run : dict of str
        Descriptions by name.
    """
    params = estimator.get_params(deep=False).items()
    is_instance = isinstance(estimator.random_state, np.random.RandomState)
    return {
        "method": type(estimator).__name__,
        **{name: _describe(value) for name, value in params if name not in _NOT_COMPARED},
        "random_state": _describe(rng if is_instance else estimator.random_state),
        "device": device.type,
        "torch": str(torch.__version__),
        "sknoisy": sys.modules[__name__.partition(".")[0]].__version__,
        **{name: _describe_given(value) for name, value in given.items()},
    }


def digest_of_training(data: TrainingData) -> str:
    """Return a digest of the rows, labels and weights of a training, without their input."""
    return _digest(data.targets, data.active, data.sample_weight)


def _describe_given(value: Any) -> str:
    if scipy.sparse.issparse(value):
        return _digest(str(value.shape), value.data, value.indices, value.indptr)
    if isinstance(value, Stream):
        # Windows decide the order of the rows, and thus the batches.
        windows = [] if value.windows is None else [value.windows.starts, value.windows.n_blocks]
        return _digest(str(value.shape), *windows, *_blocks(value))
    if isinstance(value, np.ndarray) and value.dtype != object:
        return _digest(str(value.shape), *_blocks(value))
    return _describe(value)


def _blocks(rows: np.ndarray | Stream) -> Iterator[np.ndarray]:
    return (rows[start : start + _HASH_ROWS] for start in range(0, len(rows), _HASH_ROWS))


def _describe(value: Any, around: tuple[int, ...] = ()) -> str:
    """Return a text that is the same in every process, so without memory addresses.

    `around` are the ids of the objects that hold the value: one of them is described by its type.
    """
    if id(value) in around:
        return type(value).__qualname__
    inner = partial(_describe, around=(*around, id(value)))
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, nn.Module):
        return f"{type(value).__name__} {_digest(str(value), *value.state_dict().values())}"
    if isinstance(value, np.ndarray) and value.dtype == object:
        return _digest(*map(inner, value.ravel()))
    if isinstance(value, (Tensor, np.ndarray)):
        return _digest(value)
    if isinstance(value, np.random.RandomState):
        return f"RandomState {_digest(*value.get_state(legacy=True))}"
    if isinstance(value, np.random.Generator):
        return f"Generator of {inner(value.bit_generator.state)}"
    if isinstance(value, torch.Generator):
        return f"Generator {_digest(value.get_state())}"
    if isinstance(value, dict):
        entries = (f"{key!r}: {inner(value[key])}" for key in sorted(value, key=str))
        return f"{{{', '.join(entries)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(inner, value))}]"
    if isinstance(value, (set, frozenset)):
        return f"{{{', '.join(sorted(map(inner, value)))}}}"
    if isinstance(value, partial):
        return f"partial of {inner([value.func, value.args, value.keywords])}"
    if isinstance(value, BaseEstimator) and not isinstance(value, type):
        of_fit = f" {inner(value.encoder_)}" if hasattr(value, "encoder_") else ""
        return f"{type(value).__name__} of {inner(value.get_params(deep=False))}{of_fit}"
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    text = repr(value)
    if not _ADDRESS.search(text):
        return text
    return f"{inner(type(value))} of {inner(object.__getstate__(value))}"


def _digest(*parts: Any) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, Tensor):
            part = part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        if isinstance(part, np.ndarray):
            digest.update(str(part.dtype).encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(str(part).encode())
    return digest.hexdigest()

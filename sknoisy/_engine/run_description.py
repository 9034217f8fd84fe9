"""Description of a fit by texts that are equal if another process makes the same fit."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from .batches import TrainingData

__all__ = ["describe_run", "digest_of_training"]

_HASH_ROWS = 4096  # rows read at a time
_NOT_COMPARED = {"callbacks", "checkpoint", "device", "random_state", "verbose", "warm_start"}


def describe_run(
    estimator: Any, device: torch.device, rng: np.random.RandomState, given: dict[str, Any]
) -> dict[str, str]:
    """Describe what must be equal for a run to go on.

    Parameters
    ----------
    estimator : estimator
        Its parameters are described, except ``callbacks`` and those that do not affect the
        result.
    device : torch.device
        Only its type is described.
    rng : RandomState
        Described if ``random_state`` is an instance.
    given : dict
        Arrays, CSR matrices, modules or None, by name.

    Returns
    -------
    run : dict of str
        Descriptions by name.
    """
    params = estimator.get_params(deep=False).items()
    random_state = _describe(estimator.random_state)
    if isinstance(estimator.random_state, np.random.RandomState):
        random_state = f"RandomState {_digest(rng.get_state(legacy=True))}"
    return {
        "method": type(estimator).__name__,
        **{name: _describe(value) for name, value in params if name not in _NOT_COMPARED},
        "random_state": random_state,
        "device": device.type,
        "torch": str(torch.__version__),
        **{name: _describe_given(value) for name, value in given.items()},
    }


def digest_of_training(data: TrainingData) -> str:
    """Return a digest of the rows, labels and weights of a training, without their input."""
    return _digest(data.targets, data.active, data.sample_weight)


def _describe_given(value: Any) -> str:
    if scipy.sparse.issparse(value):
        return _digest(str(value.shape), value.data, value.indices, value.indptr)
    if isinstance(value, np.ndarray) and value.dtype != object:
        blocks = (value[i : i + _HASH_ROWS] for i in range(0, len(value), _HASH_ROWS))
        return _digest(str(value.shape), *blocks)
    return _describe(value)


def _describe(value: Any) -> str:
    """Return a text that is the same in every process, so without memory addresses."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, nn.Module):
        return f"{type(value).__name__} {_digest(str(value), *value.state_dict().values())}"
    if isinstance(value, np.ndarray) and value.dtype == object:
        return _digest(*map(_describe, value.ravel()))
    if isinstance(value, (Tensor, np.ndarray)):
        return _digest(value)
    if isinstance(value, dict):
        return str({key: _describe(value[key]) for key in sorted(value, key=str)})
    if isinstance(value, (list, tuple)):
        return str([_describe(entry) for entry in value])
    if isinstance(value, partial):
        return f"partial of {_describe([value.func, value.args, value.keywords])}"
    if isinstance(value, BaseEstimator) and not isinstance(value, type):
        of_fit = f" {_describe(value.encoder_)}" if hasattr(value, "encoder_") else ""
        return f"{type(value).__name__} of {_describe(value.get_params(deep=False))}{of_fit}"
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if type(value).__repr__ is object.__repr__:
        return f"{_describe(type(value))} of {_describe(vars(value))}"
    return repr(value)


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

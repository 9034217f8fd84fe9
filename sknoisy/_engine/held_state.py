"""State of objects as tensors and plain values, which a file can hold without code."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["held_state", "hold_state", "packed"]

_PLAIN = (bool, int, float, str)


def held_state(owner: Any, *names: str) -> dict[str, Any]:
    """Return the values of some attributes as tensors and plain values.

    An attribute may be None, a number, a text, a tensor, an array, a generator of torch or NumPy,
    an object with ``state_dict`` and ``load_state_dict``, such as a module or an optimiser, or a
    list, a tuple or a dict of them. TypeError is raised for anything else.
    """
    return {name: packed(getattr(owner, name)) for name in names}


def hold_state(owner: Any, state: dict[str, Any], device: Any = "cpu") -> None:
    """Set the attributes that :func:`held_state` returned.

    Generators and objects with ``load_state_dict`` must be there, and are changed in place. A
    tensor goes to the device of the one that it replaces, else to `device`.
    """
    for name, value in state.items():
        setattr(owner, name, _unpacked(value, getattr(owner, name, None), device))


def packed(value: Any) -> Any:
    """Return a value as tensors and plain values."""
    if value is None or isinstance(value, _PLAIN):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, np.ndarray):
        return {"ndarray": torch.tensor(value)}
    if isinstance(value, torch.Generator):
        return {"object": value.get_state()}
    if isinstance(value, np.random.Generator):  # its integers have 128 bits
        return {"object": json.dumps(value.bit_generator.state)}
    if hasattr(value, "load_state_dict"):
        return {"object": value.state_dict()}
    if isinstance(value, list):
        return [packed(entry) for entry in value]
    if isinstance(value, tuple):
        return {"tuple": [packed(entry) for entry in value]}
    if isinstance(value, dict):
        return {"dict": {key: packed(entry) for key, entry in value.items()}}
    raise TypeError(f"a checkpoint cannot hold an object of the type {type(value).__name__}")


def _unpacked(value: Any, current: Any, device: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to(current.device if isinstance(current, Tensor) else device)
    if isinstance(value, list):
        return [_unpacked(entry, None, device) for entry in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "ndarray":
        return content.numpy()
    if kind == "tuple":
        return tuple(_unpacked(entry, None, device) for entry in content)
    if kind == "dict":
        return {key: _unpacked(entry, None, device) for key, entry in content.items()}
    if isinstance(current, torch.Generator):
        current.set_state(content)
    elif isinstance(current, np.random.Generator):
        current.bit_generator.state = json.loads(content)
    else:
        current.load_state_dict(content)
    return current

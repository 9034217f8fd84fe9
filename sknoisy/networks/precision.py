"""Mixed precision: the forward pass of a network in bfloat16, everything around it in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["full_precision", "logits_of", "precision_of", "set_precision"]

_ATTRIBUTE = "autocast_dtype"


def set_precision(module: nn.Module, precision: str) -> None:
    """Set the precision in which :func:`logits_of` runs a module.

    It is a plain attribute of the module, which copies and pickles keep. Parameters, buffers and
    the keys of the state dict stay as they are.

    Parameters
    ----------
    module : nn.Module
        The network.
    precision : {"float32", "bfloat16"}
        "float32" leaves the module to itself.
    """
    if precision == "bfloat16":
        setattr(module, _ATTRIBUTE, torch.bfloat16)
    elif hasattr(module, _ATTRIBUTE):
        delattr(module, _ATTRIBUTE)


def precision_of(module: nn.Module) -> AbstractContextManager:
    """Return a context in which a module runs in its precision."""
    dtype = getattr(module, _ATTRIBUTE, None)
    if dtype is None:
        return nullcontext()
    return torch.autocast(next(module.parameters()).device.type, dtype=dtype)


def logits_of(module: nn.Module, x: Any) -> Tensor:
    """Return the output of a module in float32, computed in the module's precision.

    Every pass of a network in this library goes through this function, or through
    :class:`WithFeatures`, which does the same.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sknoisy.networks.precision import logits_of, set_precision
    >>> module, x = nn.Linear(1, 1, bias=False), torch.tensor([[1.0 + 2**-10]])
    >>> _ = nn.init.ones_(module.weight)
    >>> logits_of(module, x).item() == 1.0
    False
    >>> set_precision(module, "bfloat16")
    >>> logits_of(module, x).item() == 1.0, logits_of(module, x).dtype
    (True, torch.float32)
    """
    with precision_of(module):
        return full_precision(module(x))


def full_precision(tensor: Tensor) -> Tensor:
    """Return a tensor of half precision in float32, any other unchanged."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor

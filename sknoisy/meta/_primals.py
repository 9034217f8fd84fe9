"""Outputs of linear maps, kept from one pass and used again in forward mode.

A dual number goes through a convolution by three convolutions: of the value, of the input's
tangent, and with the weight's tangent. The first was already computed when the batch went through
the network; keeping it saves a third of the forward-mode pass, and no memory while the graph of
that pass lives, which holds the same tensors.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["Primals", "RecordPrimals", "ReusePrimals"]

Primals = list[tuple[Tensor, int]]

_LINEAR_MAPS = {torch.conv1d, torch.conv2d, torch.conv3d, F.linear}


class RecordPrimals(TorchFunctionMode):
    """Inside, keep the outputs of convolutions and linear layers in the order of their calls.

    Attributes
    ----------
    outputs : list of (Tensor, int)
        Detached; they share memory with the pass. The number is their version, which any
        operation in place raises.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outputs: Primals = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if func in _LINEAR_MAPS:
            self.outputs.append((output.detach(), output._version))
        return output


class ReusePrimals(TorchFunctionMode):
    """Inside a dual level, give convolutions and linear layers their recorded values.

    Values that were overwritten since, by an activation in place say, are computed again.

    Parameters
    ----------
    outputs : list of (Tensor, int)
        Of a :class:`RecordPrimals` around the same pass: same parameters, input and random state.
    """

    def __init__(self, outputs: Primals):
        super().__init__()
        self._outputs = iter(outputs)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in _LINEAR_MAPS:
            value, version = next(self._outputs)
            if value._version == version:
                return _dual_linear_map(func, value, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _dual_linear_map(
    func: Any, value: Tensor, input: Tensor, weight: Tensor, bias=None, *args, **kwargs
) -> Tensor:
    x, x_tangent = forward_ad.unpack_dual(input)
    w, w_tangent = forward_ad.unpack_dual(weight)
    b_tangent = None if bias is None else forward_ad.unpack_dual(bias).tangent
    tangents = []
    if x_tangent is not None:
        tangents.append(func(x_tangent, w, None, *args, **kwargs))
    if w_tangent is not None:
        tangents.append(func(x, w_tangent, b_tangent, *args, **kwargs))
    elif b_tangent is not None:
        # A linear layer's units are the last axis, channels stand before the kernel's axes.
        tangents.append(b_tangent.view(-1, *[1] * (w.ndim - 2)).expand_as(value))
    if not tangents:
        return value
    total = tangents[0] if len(tangents) == 1 else tangents[0].add_(tangents[1])
    return forward_ad.make_dual(value, total)

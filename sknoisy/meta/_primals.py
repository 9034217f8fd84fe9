"""Cheaper rules for dual numbers: values kept from an earlier pass, batch norm in closed form.

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

__all__ = ["DualPass", "Primals", "RecordPrimals"]

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


class DualPass(TorchFunctionMode):
    """Inside a dual level, convolutions, linear layers and batch norm by cheaper rules.

    Recorded values of linear maps are used again; those that were overwritten since, by an
    activation in place say, are computed anew. Batch norm has its derivative in closed form, where
    torch composes it from twice as many passes over the batch.

    Parameters
    ----------
    outputs : list of (Tensor, int) or None
        Of a :class:`RecordPrimals` around the same pass: same parameters, input and random state.
    """

    def __init__(self, outputs: Primals | None):
        super().__init__()
        self._outputs = None if outputs is None else iter(outputs)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in _LINEAR_MAPS and self._outputs is not None:
            value, version = next(self._outputs)
            if value._version == version:
                return _dual_linear_map(func, value, *args, **kwargs)
        if func is F.batch_norm:
            return _dual_batch_norm(*args, **kwargs)
        return func(*args, **kwargs)


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


def _dual_batch_norm(
    input: Tensor,
    running_mean,
    running_var,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
) -> Tensor:
    x, x_tangent = forward_ad.unpack_dual(input)
    if not training or weight is None or bias is None or x_tangent is None:
        return F.batch_norm(
            input, running_mean, running_var, weight, bias, training, momentum, eps
        )
    w, w_tangent = forward_ad.unpack_dual(weight)
    b, b_tangent = forward_ad.unpack_dual(bias)
    axes, shape = [0, *range(2, x.ndim)], (1, -1, *[1] * (x.ndim - 2))
    n = x.numel() // x.shape[1]
    centred = x - (x.sum(axes) / n).view(shape)
    buffer = centred * centred
    inverse_std = (buffer.sum(axes) / n + eps).rsqrt()
    torch.mul(centred, x_tangent, out=buffer)
    slope = buffer.sum(axes) / n * inverse_std  # mean of normalised x times its tangent
    gain = w * inverse_std
    # tangent = gain * (xdot - mean xdot - xhat * slope) + wdot * xhat + bdot
    of_centred = -gain * slope * inverse_std
    constant = -gain * (x_tangent.sum(axes) / n)
    if w_tangent is not None:
        of_centred = of_centred + w_tangent * inverse_std
    if b_tangent is not None:
        constant = constant + b_tangent
    torch.addcmul(constant.view(shape), centred, of_centred.view(shape), out=buffer)
    buffer.addcmul_(x_tangent, gain.view(shape))
    value = torch.addcmul(b.view(shape), centred, gain.view(shape))
    return forward_ad.make_dual(value, buffer)

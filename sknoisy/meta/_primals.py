"""Cheaper rules for dual numbers: values kept from an earlier pass, batch norm in closed form.

A dual number goes through a convolution by three convolutions: of the value, of the input's
tangent, and with the weight's tangent. The first was already computed when the batch went through
the network; keeping it saves a third of the forward-mode pass. The values of linear maps and ReLUs
need no memory while the graph of that pass lives, which holds the same tensors. Where a ReLU alone
takes a batch norm's output, the two are one step, and below the first tangent it costs nothing.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["DualPass", "Primals", "RecordPrimals"]

_LINEAR_MAPS = {torch.conv1d, torch.conv2d, torch.conv3d, F.linear}
_RELUS = {F.relu, torch.relu, Tensor.relu}
_RECORDED = {*_LINEAR_MAPS, *_RELUS, F.batch_norm}


@dataclass
class Primal:
    """What one call of a recorded function leaves for the forward-mode pass.

    Attributes
    ----------
    output : Tensor or None
        Detached output, which shares its memory with the pass; of a batch norm, the output of the
        ReLU that took it, None if there is no such.
    version : int
        That of the output, which any operation in place raises.
    statistics : tuple of Tensor or None
        Mean of a batch norm's batch and the inverse of its standard deviation, shape (channels,).
    """

    output: Tensor | None = None
    version: int = 0
    statistics: tuple[Tensor, Tensor] | None = None

    def keep(self, output: Tensor) -> None:
        """Note an output."""
        self.output, self.version = output.detach(), output._version

    @property
    def value(self) -> Tensor | None:
        """The output, None if it was overwritten since, by an activation in place say."""
        intact = self.output is not None and self.output._version == self.version
        return self.output if intact else None


Primals = list[Primal]


class RecordPrimals(TorchFunctionMode):
    """Inside, keep what :class:`DualPass` uses again, in the order of the calls.

    Attributes
    ----------
    outputs : list of Primal
        One for each call of a linear map, a batch norm or a ReLU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outputs: Primals = []
        self._norm: tuple[Primal, Any] | None = None  # of the last call, if that was a batch norm
        self._activated: tuple[Primal, Any, Tensor] | None = None  # a ReLU took its output

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self._settle()
        norm, self._norm = self._norm, None
        output = func(*args, **(kwargs or {}))
        if func not in _RECORDED:
            return output
        primal = Primal()
        self.outputs.append(primal)
        if func is F.batch_norm:
            primal.statistics = _saved_statistics(output)
            self._norm = primal, weakref.ref(output)
            return output
        primal.keep(output)
        if func in _RELUS and norm is not None and args and norm[1]() is args[0]:
            self._activated = (*norm, output)
        return output

    def __exit__(self, *exception):
        self._settle()
        return super().__exit__(*exception)

    def _settle(self) -> None:
        """Join batch norm and ReLU if nobody else can have taken the former's output."""
        if self._activated is not None:
            primal, normed, activated = self._activated
            if normed() is None or normed() is activated:  # it is gone, or was overwritten
                primal.keep(activated)
            self._activated = None


def _saved_statistics(normed: Tensor) -> tuple[Tensor, Tensor] | None:
    """What a batch norm keeps for its backward pass."""
    node: Any = normed.grad_fn
    mean = getattr(node, "_saved_result1", None)
    if mean is None or mean.shape != normed.shape[1:2] or mean.dtype != normed.dtype:
        return None  # no gradient, evaluation mode, or mixed precision
    return mean, node._saved_result2


class DualPass(TorchFunctionMode):
    """Inside a dual level, linear maps, batch norm and ReLU by cheaper rules.

    Recorded values are used again, unless they were overwritten since. Batch norm has its
    derivative in closed form, where torch composes it from twice as many passes over the batch.

    Parameters
    ----------
    outputs : list of Primal or None
        Of a :class:`RecordPrimals` around the same pass: same parameters, input and random state.
    """

    def __init__(self, outputs: Primals | None):
        super().__init__()
        self._outputs = None if outputs is None else iter(outputs)
        self._activated: Tensor | None = None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        activated, self._activated = self._activated, None
        if func not in _RECORDED:
            return func(*args, **kwargs)
        primal = Primal() if self._outputs is None else next(self._outputs)
        if func is F.batch_norm:
            return self._batch_norm(primal, *args, **kwargs)
        if activated is not None and args and args[0] is activated:
            return activated
        value = primal.value
        if value is None:
            return func(*args, **kwargs)
        if func in _RELUS:
            return _dual_relu(value, *args, **kwargs)
        return _dual_linear_map(func, value, *args, **kwargs)

    def _batch_norm(
        self,
        primal: Primal,
        input: Tensor,
        running_mean,
        running_var,
        weight=None,
        bias=None,
        training=False,
        momentum=0.1,
        eps=1e-5,
    ) -> Tensor:
        """Batch norm, and the ReLU that alone takes its output where there is one."""
        activated = primal.value
        norm = (running_mean, running_var, weight, bias, training, momentum, eps)
        if not any(_tangent(t) is not None for t in (input, weight, bias)):
            output = F.batch_norm(input, *norm) if activated is None else activated
        elif not training or weight is None or bias is None:
            return F.batch_norm(input, *norm)
        else:
            output = _dual_batch_norm(input, weight, bias, primal.statistics, eps, activated)
        self._activated = None if activated is None else output
        return output


def _tangent(input: Tensor | None) -> Tensor | None:
    return None if input is None else forward_ad.unpack_dual(input).tangent


def _dual_linear_map(
    func: Any, value: Tensor, input: Tensor, weight: Tensor, bias=None, *args, **kwargs
) -> Tensor:
    x, x_tangent = forward_ad.unpack_dual(input)
    w, w_tangent = forward_ad.unpack_dual(weight)
    b_tangent = _tangent(bias)
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


def _dual_relu(value: Tensor, input: Tensor, inplace: bool = False) -> Tensor:
    if inplace:  # the input must change, too
        return F.relu(input, inplace=True)
    tangent = _tangent(input)
    if tangent is None:
        return value
    return forward_ad.make_dual(value, torch.ops.aten.threshold_backward(tangent, value, 0))


def _dual_batch_norm(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    statistics: tuple[Tensor, Tensor] | None,
    eps: float,
    activated: Tensor | None,
) -> Tensor:
    """Batch norm; and ReLU, if the output of that is given."""
    x, x_tangent = forward_ad.unpack_dual(input)
    w, w_tangent = forward_ad.unpack_dual(weight)
    b, b_tangent = forward_ad.unpack_dual(bias)
    mean, inverse_std = _statistics(x, eps) if statistics is None else statistics
    gain = w * inverse_std
    # tangent = gain * (xdot - mean xdot - xhat * mean(xhat xdot)) + wdot * xhat + bdot
    of_centred, constant = torch.zeros_like(gain), torch.zeros_like(gain)
    if x_tangent is not None:
        n = x.numel() // len(mean)
        mean_tangent = _sum(x_tangent) / n
        covariance = _sum(x * x_tangent) / n - mean * mean_tangent
        of_centred, constant = -gain * inverse_std.square() * covariance, -gain * mean_tangent
    if w_tangent is not None:
        of_centred = of_centred + w_tangent * inverse_std
    if b_tangent is not None:
        constant = constant + b_tangent
    tangent = _scale_centred(x, mean, of_centred, constant)
    if x_tangent is not None:
        tangent.addcmul_(x_tangent, gain.view(1, -1, *[1] * (x.ndim - 2)))
    if activated is None:
        return forward_ad.make_dual(_scale_centred(x, mean, gain, b), tangent)
    torch.ops.aten.threshold_backward.grad_input(tangent, activated, 0, grad_input=tangent)
    return forward_ad.make_dual(activated, tangent)


def _statistics(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Mean and inverse standard deviation of each channel."""
    n = x.numel() // x.shape[1]
    mean = _sum(x) / n
    centred = x - mean.view(1, -1, *[1] * (x.ndim - 2))
    return mean, (_sum(centred.square_()) / n + eps).rsqrt()


def _scale_centred(x: Tensor, mean: Tensor, factor: Tensor, constant: Tensor) -> Tensor:
    """Factor * (x - mean) + constant for each channel: one pass of batch norm."""
    return torch.batch_norm(
        x, factor, constant, mean, torch.ones_like(mean), False, 0.0, 0.0, False
    )


def _sum(x: Tensor) -> Tensor:
    """Sum of each channel; along the contiguous axes first, which is faster."""
    return (x.flatten(2).sum(dim=2) if x.ndim > 2 else x).sum(dim=0)

"""Faster forward-mode rules: values reused from an earlier pass, batch norm in closed form.

The convolution of a dual number consists of three convolutions: that of the value, that of the
input's tangent, and that with the weight's tangent. The first one was already computed in the
network's own pass over the batch; reusing its value saves a third of the forward-mode pass. The
values of linear maps and ReLUs need no extra memory while the graph of that pass exists, because
the graph holds the same tensors. If only a ReLU uses the output of a batch norm, the two are
computed in one step, which costs nothing below the first tangent.
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
    """Values that one call of a recorded function provides for the forward-mode pass.

    ``output`` is detached and shares its memory with the pass; ``version`` is its version counter,
    which every in-place operation increases. For a batch norm, the output is that of the ReLU that
    alone uses the batch norm's output, or None, and ``statistics`` are the batch mean and the
    inverse standard deviation, of shape (channels,) each.
    """

    output: Tensor | None = None
    version: int = 0
    statistics: tuple[Tensor, Tensor] | None = None

    def keep(self, output: Tensor) -> None:
        """Store an output and its version."""
        self.output, self.version = output.detach(), output._version

    @property
    def value(self) -> Tensor | None:
        """The output; None if it was overwritten, for example by an in-place activation."""
        intact = self.output is not None and self.output._version == self.version
        return self.output if intact else None


Primals = list[Primal]


class RecordPrimals(TorchFunctionMode):
    """Mode that records the values that :class:`DualPass` reuses, in the order of the calls.

    ``outputs`` has one entry for each call of a linear map, a batch norm or a ReLU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outputs: Primals = []
        self._norm: tuple[Primal, Any] | None = None  # the last call, if it was a batch norm
        self._activated: tuple[Primal, Any, Tensor] | None = None  # and the ReLU of its output

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
        """Merge batch norm and ReLU if nothing else can use the output of the batch norm."""
        if self._activated is not None:
            primal, normed, activated = self._activated
            if normed() is None or normed() is activated:  # freed or overwritten
                primal.keep(activated)
            self._activated = None


def _saved_statistics(normed: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the mean and inverse standard deviation that a batch norm saved for backward."""
    node: Any = normed.grad_fn
    mean = getattr(node, "_saved_result1", None)
    if mean is None or mean.shape != normed.shape[1:2] or mean.dtype != normed.dtype:
        return None  # no gradient, evaluation mode, or mixed precision
    return mean, node._saved_result2


class DualPass(TorchFunctionMode):
    """Mode with faster rules for linear maps, batch norm and ReLU inside a dual level.

    The derivative of batch norm is computed in closed form; torch composes it from twice as many
    passes over the batch. `outputs` are those of a :class:`RecordPrimals` around the same pass,
    with the same parameters, input and random state. They are reused unless they were overwritten.
    If `own_batch_norm` is False, the statistics are not those of this batch alone, and batch norm
    is left to the mode outside.
    """

    def __init__(self, outputs: Primals | None, own_batch_norm: bool = True):
        super().__init__()
        self._own_batch_norm = own_batch_norm
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
        """Return the output of batch norm, or of the ReLU that alone uses that output."""
        activated = primal.value
        norm = (running_mean, running_var, weight, bias, training, momentum, eps)
        if not any(_tangent(t) is not None for t in (input, weight, bias)):
            output = F.batch_norm(input, *norm) if activated is None else activated
        elif not (training and self._own_batch_norm) or weight is None or bias is None:
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
        # The units of a linear layer are the last axis; channels precede the axes of the kernel.
        bias = b_tangent.to(value.dtype).view(-1, *[1] * (w.ndim - 2))
        tangents.append(bias.expand_as(value))
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
    """Return the dual output of batch norm; of the ReLU after it if `activated` is given."""
    x, x_tangent = forward_ad.unpack_dual(input)
    w, w_tangent = forward_ad.unpack_dual(weight)
    b, b_tangent = forward_ad.unpack_dual(bias)
    x = x.to(w.dtype)  # autocast leaves the weights and the statistics in full precision
    x_tangent = None if x_tangent is None else x_tangent.to(w.dtype)
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
    tangent = tangent.to(input.dtype)
    if activated is None:
        value = _scale_centred(x, mean, gain, b).to(input.dtype)
        return forward_ad.make_dual(value, tangent)
    torch.ops.aten.threshold_backward.grad_input(tangent, activated, 0, grad_input=tangent)
    return forward_ad.make_dual(activated, tangent)


def _statistics(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return the mean and inverse standard deviation of each channel."""
    n = x.numel() // x.shape[1]
    mean = _sum(x) / n
    centred = x - mean.view(1, -1, *[1] * (x.ndim - 2))
    return mean, (_sum(centred.square_()) / n + eps).rsqrt()


def _scale_centred(x: Tensor, mean: Tensor, factor: Tensor, constant: Tensor) -> Tensor:
    """Return factor * (x - mean) + constant for each channel, by one pass of batch norm."""
    return torch.batch_norm(
        x, factor, constant, mean, torch.ones_like(mean), False, 0.0, 0.0, False
    )


def _sum(x: Tensor) -> Tensor:
    """Return the sum of each channel; the contiguous axes come first, which is faster."""
    return (x.flatten(2).sum(dim=2) if x.ndim > 2 else x).sum(dim=0)

"""Batch norm over the rows of all ranks, with its derivatives in reverse and forward mode."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from .collectives import Ranks

__all__ = ["SharedBatchNorm"]


class SharedBatchNorm(TorchFunctionMode):
    """Mode in which batch norm in training computes the statistics of the rows of all ranks.

    ``nn.SyncBatchNorm`` does the same, but not on CPUs and without a forward-mode derivative.

    Parameters
    ----------
    ranks : Ranks
        The processes; each passes at least one row.
    """

    def __init__(self, ranks: Ranks):
        super().__init__()
        self.ranks = ranks

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.batch_norm:
            return self._batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _batch_norm(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return F.batch_norm(
                input, running_mean, running_var, weight, bias, training, momentum, eps
            )
        x = input if weight is None else input.to(weight.dtype)  # under autocast, x is short
        n_rows, mean, variance = self._statistics(x)
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                unbiased = variance.detach() * (n_rows / (n_rows - 1))
                running_mean.lerp_(mean.detach().to(running_mean.dtype), momentum)
                running_var.lerp_(unbiased.to(running_var.dtype), momentum)
        shape = (1, -1, *[1] * (x.ndim - 2))
        gain = (variance + eps).rsqrt()
        output = (x - mean.view(shape)) * (gain if weight is None else gain * weight).view(shape)
        return (output if bias is None else output + bias.view(shape)).to(input.dtype)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return number of values, mean and variance of each channel, over all ranks."""
        variance, mean = torch.var_mean(x, dim=[0, *range(2, x.ndim)], correction=0)
        n_own = x.numel() // x.shape[1]
        own = torch.stack([torch.full_like(mean, n_own), mean, variance])
        n, means, variances = _Stack.apply(own, self.ranks).unbind(dim=1)  # (n_ranks, channels)
        n_rows = n.sum(dim=0)
        mean = (n * means).sum(dim=0) / n_rows
        return n_rows, mean, (n * (variances + (means - mean) ** 2)).sum(dim=0) / n_rows


class _Stack(torch.autograd.Function):
    """Tensors of all ranks, stacked; each rank's loss may depend on all of them."""

    @staticmethod
    def forward(own: Tensor, ranks: Ranks) -> Tensor:
        return ranks.stack(own)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.ranks = inputs[1]

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return ctx.ranks.sum(slopes)[0][ctx.ranks.rank], None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return ctx.ranks.stack(tangents[0])

"""The frozen networks of a fitted classifier."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..networks import WithFeatures
from ..networks.precision import logits_of
from .rows import Rows

__all__ = ["Members"]

_BLOCK_ROWS = 16_384  # rows whose outputs are kept at a time, beside the result


class Members:
    """The networks that predict: copies in eval mode, whose parameters require no gradient.

    They share no memory with `module`, which can be trained further, but the `states` get their
    tensors. No method writes to them, so threads can call the methods at the same time. A pickle
    holds them on the CPU; they return to their device when it is loaded, if the machine has one.

    Parameters
    ----------
    module : nn.Module
        The trained module.
    states : sequence of dict
        State dict of each network, in the order of ``networks``.
    device : torch.device
        Device of the module.
    rows_per_pass : int
        Inference batch size.
    """

    def __init__(
        self, module: nn.Module, states: Sequence[dict], device: torch.device, rows_per_pass: int
    ):
        self.networks = [_frozen(module, state) for state in states]
        self.device = device
        self.rows_per_pass = rows_per_pass
        self._of_thread = threading.local()

    def logits(self, rows: Rows) -> Tensor:
        """Return the mean logits of the networks, float64 on the CPU."""
        return self._evaluate(self._logits, _mean, rows)

    def proba(self, rows: Rows) -> Tensor:
        """Return the softmax of the mean logits, float64 on the CPU."""
        return self._evaluate(self._logits, lambda logits: _mean(logits).softmax(dim=1), rows)

    def features(self, rows: Rows) -> Tensor:
        """Return the penultimate features of the first network, float64 on the CPU."""
        # WithFeatures sets hooks, and a hook on the network would run in other threads, too.
        if not hasattr(self._of_thread, "network"):
            self._of_thread.network = WithFeatures(_with_the_same_tensors(self.networks[0]))
        return self._evaluate(self._of_thread.network, lambda outputs: outputs[0], rows)

    def _logits(self, X: Tensor) -> list[Tensor]:
        return [logits_of(network, X) for network in self.networks]

    @torch.no_grad()
    def _evaluate(
        self,
        function: Callable[[Tensor], Sequence[Tensor]],
        summary: Callable[[list[Tensor]], Tensor],
        rows: Rows,
    ) -> Tensor:
        """Return a summary of a function's outputs for all rows, float64 on the CPU.

        The outputs themselves are kept for a block of rows at a time, on the device until its end.
        """
        result = None
        index = torch.arange(len(rows), device=rows.index_device)
        passes = max(_BLOCK_ROWS // self.rows_per_pass, 1)
        start = 0
        for block in index.split(passes * self.rows_per_pass):
            parts = [function(rows.take(part)) for part in block.split(self.rows_per_pass)]
            outputs = [torch.cat(of_passes).cpu() for of_passes in zip(*parts, strict=True)]
            _check_finite(outputs, start)
            values = summary([output.double() for output in outputs])
            if result is None:
                result = values.new_empty((len(rows), values.shape[1]))
            result[start : start + len(block)] = values
            start += len(block)
        assert result is not None
        return result

    def __getstate__(self) -> dict[str, Any]:
        state = vars(self).copy()
        del state["_of_thread"]
        if self.device.type != "cpu":
            state["networks"] = [copy.deepcopy(network).cpu() for network in self.networks]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _of_thread=threading.local())
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError):  # torch raises either
            self.device = torch.device("cpu")
        self.networks = [network.to(self.device) for network in self.networks]


def _frozen(module: nn.Module, state: dict) -> nn.Module:
    """Return a copy of a module at a state, in eval mode and without gradients."""
    # Torch does not copy tensors with a graph, such as those that a module keeps of its last pass.
    memo = {
        id(value): value.detach().clone()
        for part in module.modules()
        for value in vars(part).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    network = copy.deepcopy(module, memo).eval().requires_grad_(False)
    network.load_state_dict(state)
    state.update(network.state_dict())  # a callback may keep this dict: one copy is enough
    return network


def _with_the_same_tensors(network: nn.Module) -> nn.Module:
    """Return a copy of a network that shares its parameters and buffers."""
    tensors = [*network.parameters(), *network.buffers()]
    return copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})


def _mean(logits: list[Tensor]) -> Tensor:
    return torch.stack(logits).mean(dim=0)


def _check_finite(outputs: Sequence[Tensor], start: int) -> None:
    """Raise ValueError if an output of a block of rows, the first of which is `start`, is not."""
    bad = torch.stack([~output.isfinite().all(dim=1) for output in outputs]).any(dim=0).nonzero()
    if len(bad):
        raise ValueError(
            f"The network's output for row {start + int(bad[0])} of X is not finite: its values "
            "are too large for float32, or too far from those of fit."
        )

"""Count the passes of image networks, in rows, by hooks on their first convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

# A backward pass computes the gradient of the input and that of the weights of each layer.
_BACKWARD_COST = 2


@dataclass
class Passes:
    """Number of rows that went through a network, forward and backward."""

    forward: int = 0
    backward: int = 0

    def steps(self, n_rows: int) -> float:
        """Return the passes in units of a plain step (forward and backward) on `n_rows` rows."""
        cost = self.forward + _BACKWARD_COST * self.backward
        return cost / ((1 + _BACKWARD_COST) * n_rows)


@contextmanager
def counted_passes(n_channels: int = 3) -> Iterator[Passes]:
    """Count the passes of all networks whose first layer is a convolution of the images.

    Parameters
    ----------
    n_channels : int, default=3
        Channels of the images: a convolution of so many is taken for a first layer.
    """
    passes = Passes()

    def count(module: nn.Module, args: tuple, output: Tensor) -> None:
        if not isinstance(module, nn.Conv2d) or module.in_channels != n_channels:
            return
        passes.forward += len(output)
        if output.requires_grad:
            output.register_hook(count_backward)

    def count_backward(gradient: Tensor) -> None:
        passes.backward += len(gradient)

    with register_module_forward_hook(count):
        yield passes

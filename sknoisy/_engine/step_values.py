"""Scalars of the steps of an epoch."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["StepValues"]


class StepValues:
    """Scalars of the steps of an epoch, read from the device at its end.

    Those of a CPU are kept as floats. Tensors would lie between the rows of the batches: no batch
    would fit into the memory that the one before it left, and an epoch would take as much memory
    as its rows.
    """

    def __init__(self) -> None:
        self._values: list[float | Tensor] = []

    def __len__(self) -> int:
        return len(self._values)

    def append(self, value: Tensor) -> None:
        """Keep a scalar, without its graph."""
        self._values.append(value.item() if value.device.type == "cpu" else value.detach())

    def tensor(self) -> Tensor:
        """Return the scalars, float64 on the CPU, shape (n_steps,)."""
        on_device = [value for value in self._values if isinstance(value, Tensor)]
        values = torch.stack(on_device).tolist() if on_device else self._values
        return torch.tensor(values, dtype=torch.float64)

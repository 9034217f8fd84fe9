"""Scalars of the steps of an epoch."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["StepValues"]

_CAPACITY = 256


class StepValues:
    """Scalars of the steps of an epoch, which stay on their device until its end.

    They are kept in one tensor. Tensors of their own would lie between the rows of the batches: no
    batch would fit into the memory that the one before it left, and an epoch would take as much
    memory as its rows.
    """

    def __init__(self) -> None:
        self._values: Tensor | None = None
        self._n_values = 0

    def __len__(self) -> int:
        return self._n_values

    def append(self, value: Tensor) -> None:
        """Keep a scalar, without its graph."""
        if self._values is None:
            self._values = value.detach().new_empty(_CAPACITY)
        elif len(self) == len(self._values):
            self._values = torch.cat([self._values, torch.empty_like(self._values)])
        self._values[len(self)] = value.detach()
        self._n_values += 1

    def tensor(self) -> Tensor:
        """Return the scalars, float64 on the CPU, shape (n_steps,)."""
        if self._values is None:
            return torch.empty(0, dtype=torch.float64)
        return self._values[: len(self)].cpu().double()

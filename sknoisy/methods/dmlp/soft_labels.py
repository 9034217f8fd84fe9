"""The labels that are learned: soft labels of all rows, by chunks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["LabelState", "one_hot", "to_simplex"]

_LEAST = 1e-6
_SMOOTHING = 0.1  # logits of a row that is certain would be infinite, and their slope zero
# As released.
_ADAM: dict[str, Any] = {"betas": (0.5, 0.999), "weight_decay": 3e-4}


def one_hot(classes: Tensor, n_classes: int, dtype: torch.dtype) -> Tensor:
    """Rows of the unit matrix."""
    return torch.eye(n_classes, dtype=dtype, device=classes.device)[classes]


def to_simplex(outputs: Tensor, least: float = _LEAST) -> Tensor:
    """Regression outputs as probabilities: clipped from below, then rescaled."""
    clipped = outputs.clamp(min=least)
    return clipped / clipped.sum(dim=1, keepdim=True).clamp(min=_LEAST)


class LabelState:
    """Soft labels of one view as parameters of an optimiser, one for each chunk.

    Parameters
    ----------
    labels : Tensor of shape (n, c)
        Labels at the start.
    chunks : list of Tensor
        Rows that are learned, by chunks; all others stay as they are.
    param : {"softmax", "raw"}
        Keep logits, or the labels themselves.
    optimizer : {"sgd", "adam"}
        Plain gradient descent, or Adam as released.
    rates : list of float
        Learning rate of each chunk.
    """

    def __init__(
        self,
        labels: Tensor,
        chunks: list[Tensor],
        param: str,
        optimizer: str,
        rates: list[float],
    ):
        self.param, self.chunks = param, chunks
        self._labels = labels.clone()
        self.values = [self._encode(labels[rows]) for rows in chunks]
        self._optimizers: list[torch.optim.Optimizer] = []
        for values, rate in zip(self.values, rates, strict=True):
            if optimizer == "sgd":
                self._optimizers.append(torch.optim.SGD([values], lr=rate))
            else:
                self._optimizers.append(torch.optim.Adam([values], lr=rate, **_ADAM))

    def of_chunk(self, k: int) -> Tensor:
        """φ(Y) of one chunk."""
        return self.values[k].softmax(dim=1) if self.param == "softmax" else self.values[k]

    def of_fixed(self, rows: Tensor) -> Tensor:
        """Labels of rows that are in no chunk."""
        return self._labels[rows]

    def all(self) -> Tensor:
        """φ(Y) of all rows."""
        labels = self._labels.clone()
        for k, rows in enumerate(self.chunks):
            labels[rows] = self.of_chunk(k)
        return labels

    def step(self, k: int, gradient: Tensor) -> None:
        """Descend along the gradient by φ(Y)."""
        if self.param == "softmax":  # its Jacobian
            labels = self.of_chunk(k)
            gradient = labels * (gradient - (gradient * labels).sum(dim=1, keepdim=True))
        self.values[k].grad = gradient
        self._optimizers[k].step()

    def write(self, labels: Tensor) -> None:
        """Hold these labels from now on; an optimiser's moments are kept."""
        self._labels = labels.clone()
        for values, rows in zip(self.values, self.chunks, strict=True):
            values.copy_(self._encode(labels[rows]))

    def _encode(self, labels: Tensor) -> Tensor:
        if self.param == "raw":
            return labels.clone()
        # No more than lifts the least probability to its bound: labels that are held stay.
        labels, uniform = to_simplex(labels), 1 / labels.shape[1]
        lowest = labels.amin(dim=1, keepdim=True)
        share = (_SMOOTHING * uniform - lowest) / (uniform - lowest).clamp(min=_LEAST)
        share = share.clamp(min=0)
        return ((1 - share) * labels + share * uniform).log()

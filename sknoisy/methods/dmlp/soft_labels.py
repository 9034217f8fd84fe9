"""The labels that are learned: soft labels of all rows, in chunks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["LabelState", "one_hot", "to_simplex"]

_LEAST = 1e-6
_SMOOTHING = 0.1  # a certain label would have infinite logits and a gradient of zero
# Settings of the released code.
_ADAM: dict[str, Any] = {"betas": (0.5, 0.999), "weight_decay": 3e-4}


def one_hot(classes: Tensor, n_classes: int, dtype: torch.dtype) -> Tensor:
    """Return one-hot rows, of shape (n, n_classes)."""
    return torch.eye(n_classes, dtype=dtype, device=classes.device)[classes]


def to_simplex(outputs: Tensor, least: float = _LEAST) -> Tensor:
    """Turn regression outputs into probabilities: clip them from below, then normalise rows."""
    clipped = outputs.clamp(min=least)
    return clipped / clipped.sum(dim=1, keepdim=True).clamp(min=_LEAST)


class LabelState:
    """Soft labels (n, c) of one view, each chunk being the parameter of an optimiser of its own.

    `chunks` holds the indices of the rows to learn; the labels of all other rows are constant.
    With the `param` "softmax" the parameters are logits, with "raw" the labels themselves. The
    optimiser "sgd" is plain gradient descent, "adam" has the settings of the released code.
    `rates` holds the learning rate of each chunk.
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
        is_fixed = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
        for rows in chunks:
            is_fixed[rows] = False
        self._fixed = is_fixed.nonzero()[:, 0]
        self._constant = labels[self._fixed]
        self.values = [self._encode(labels[rows]) for rows in chunks]
        self._optimizers: list[torch.optim.Optimizer] = []
        for values, rate in zip(self.values, rates, strict=True):
            if optimizer == "sgd":
                self._optimizers.append(torch.optim.SGD([values], lr=rate))
            else:
                self._optimizers.append(torch.optim.Adam([values], lr=rate, **_ADAM))

    def of_chunk(self, k: int) -> Tensor:
        """Return φ(Y) of one chunk."""
        return self.values[k].softmax(dim=1) if self.param == "softmax" else self.values[k]

    def of_fixed(self, rows: Tensor) -> Tensor:
        """Return the labels of rows that are in no chunk."""
        return self._constant[torch.searchsorted(self._fixed, rows)]

    def all(self) -> Tensor:
        """Return φ(Y) of all rows."""
        n_rows = len(self._fixed) + sum(map(len, self.chunks))
        labels = self._constant.new_empty(n_rows, self._constant.shape[1])
        labels[self._fixed] = self._constant
        for k, rows in enumerate(self.chunks):
            labels[rows] = self.of_chunk(k)
        return labels

    def step(self, k: int, gradient: Tensor) -> None:
        """Make one step on chunk k, given the gradient with respect to φ(Y)."""
        if self.param == "softmax":  # multiply by the Jacobian
            labels = self.of_chunk(k)
            gradient = labels * (gradient - (gradient * labels).sum(dim=1, keepdim=True))
        self.values[k].grad = gradient
        self._optimizers[k].step()
        self.values[k].grad = None  # as large as the labels

    def write(self, labels: Tensor) -> None:
        """Replace all labels; the moments of the optimisers are kept."""
        self._constant = labels[self._fixed]
        for values, rows in zip(self.values, self.chunks, strict=True):
            values.copy_(self._encode(labels[rows]))

    def _encode(self, labels: Tensor) -> Tensor:
        if self.param == "raw":
            return labels.clone()
        # The smallest smoothing that lifts the least probability to its bound. It is 0 for labels
        # that were smoothed before, so they do not change.
        labels, uniform = to_simplex(labels), 1 / labels.shape[1]
        lowest = labels.amin(dim=1, keepdim=True)
        share = (_SMOOTHING * uniform - lowest) / (uniform - lowest).clamp(min=_LEAST)
        share = share.clamp(min=0)
        return ((1 - share) * labels + share * uniform).log()

"""The labels that are learned: soft labels of all rows, by chunks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..._engine.validation import encode_labels

__all__ = [
    "LabelState",
    "keep_classes",
    "labels_in_type_of",
    "one_hot",
    "to_simplex",
    "write_back",
]

_LEAST = 1e-6
_SMOOTHING = 0.1  # logits of a row that is certain would be infinite, and their slope zero
# As released.
_ADAM: dict[str, Any] = {"betas": (0.5, 0.999), "weight_decay": 3e-4}


def one_hot(classes: Tensor, n_classes: int, dtype: torch.dtype) -> Tensor:
    """Rows of the unit matrix."""
    return torch.eye(n_classes, dtype=dtype, device=classes.device)[classes]


def labels_in_type_of(y: Any, classes: np.ndarray, labels: np.ndarray) -> Any:
    """Labels as entries of y, which keeps its dtype, and a series its index and name.

    Parameters
    ----------
    y : array-like of shape (n,)
        Holds each class at least once.
    classes : ndarray of shape (n_classes,)
        Sorted.
    labels : ndarray of shape (n,)
        New labels.
    """
    _, encoded = encode_labels(y, len(labels), "")
    first = np.unique(encoded, return_index=True)[1]
    source = first[np.searchsorted(classes, labels)]
    if hasattr(y, "iloc") and y.ndim == 1:
        return y.iloc[source].set_axis(y.index)
    if type(y).__module__.partition(".")[0] == "polars":
        return y[source]
    return np.asarray(y).reshape(-1)[source]


def to_simplex(outputs: Tensor, least: float = _LEAST) -> Tensor:
    """Regression outputs as probabilities: clipped from below, then rescaled."""
    clipped = outputs.clamp(min=least)
    return clipped / clipped.sum(dim=1, keepdim=True).clamp(min=_LEAST)


def keep_classes(distribution: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Soft labels under which every given class is the most probable one of some row.

    Parameters
    ----------
    distribution : ndarray of shape (n, c)
        Soft labels; changed in place.
    given : ndarray of int of shape (n,)
        Given classes.
    """
    for _ in range(distribution.shape[1]):  # a row that is taken may have been another's last
        lost = np.setdiff1d(given, distribution.argmax(axis=1))
        for label in lost:
            own = np.flatnonzero(given == label)
            row = own[distribution[own, label].argmax()]
            distribution[row] *= 0.4
            distribution[row, label] += 0.6
    return distribution


def write_back(
    labels: list[Tensor], outputs: list[Tensor], momentum: float, *, swap: bool
) -> list[Tensor]:
    r"""The auxiliary correction's write-back of all views.

    .. math:: Y_v \leftarrow (1 - \eta_E) Y_v + \eta_E C_{v'}(F_{v'})

    Parameters
    ----------
    labels, outputs : list of Tensor of shape (n, c)
        Of each view.
    momentum : float
        η_E in [0, 1].
    swap : bool
        Each view learns from the one before it; else from itself.
    """
    sources = [*outputs[-1:], *outputs[:-1]] if swap else outputs
    if momentum == 1:
        return [source.clone() for source in sources]
    return [
        (1 - momentum) * own + momentum * source
        for own, source in zip(labels, sources, strict=True)
    ]


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

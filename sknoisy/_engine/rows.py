"""Rows of X as the network wants them: float32 on the device, standardised, a batch at a time.

Three stores with one method, ``take(index)``. Which of them holds X is decided in one place,
:func:`make_rows`: dense tables and images that fit live on the device as tensors; sparse matrices
stay sparse and memory maps stay on the disk until a batch is taken.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from .scaling import InputScaling

__all__ = ["ArrayRows", "Rows", "SparseRows", "TensorRows", "fits_in_memory", "make_rows"]

_CONVERT_ROWS = 65_536  # rows converted at a time: no second float64 copy of a large table


class Rows(Protocol):
    """What a store of rows can do."""

    def __len__(self) -> int: ...

    def take(self, index: Tensor) -> Tensor:
        """The rows of the given index, float32, on the device; images as (n, C, H, W)."""
        ...


class TensorRows:
    """Rows that live on the device.

    Parameters
    ----------
    tensor : Tensor of shape (n, ...)
        Final float32 rows, or uint8 images (n, C, H, W) that are scaled when they are taken.
    scaling : InputScaling or None
        Applied to each taken batch; None if the tensor is final.
    """

    def __init__(self, tensor: Tensor, scaling: InputScaling | None = None):
        self.tensor, self.scaling = tensor, scaling

    def __len__(self) -> int:
        return len(self.tensor)

    def take(self, index: Tensor) -> Tensor:
        """Select rows on the device."""
        rows = self.tensor[index]
        return rows if self.scaling is None else self.scaling.apply(rows)


class ArrayRows:
    """Rows of a numpy array that stays where it is, a memory map for one.

    Parameters
    ----------
    array : ndarray of shape (n, ...)
        Any numeric dtype.
    scaling : InputScaling
        Applied to each taken batch on the device.
    device : torch.device
        Where batches go.
    """

    def __init__(self, array: np.ndarray, scaling: InputScaling, device: torch.device):
        self.array, self.scaling, self.device = array, scaling, device

    def __len__(self) -> int:
        return len(self.array)

    def take(self, index: Tensor) -> Tensor:
        """Read rows, in the order of the file for the sake of the disk, and move them."""
        positions = index.cpu().numpy()
        order = np.argsort(positions, kind="stable")
        rows = np.empty((len(positions), *self.array.shape[1:]), dtype=self.array.dtype)
        rows[order] = self.array[positions[order]]
        return self.scaling.apply(self.scaling.to_tensor(rows).to(self.device))


class SparseRows:
    """Rows of a CSR matrix, made dense a batch at a time.

    Parameters
    ----------
    matrix : scipy.sparse CSR matrix or array of shape (n, d)
        Stays on the CPU.
    scaling : InputScaling
        Applied to each taken batch on the device.
    device : torch.device
        Where batches go.
    """

    def __init__(self, matrix, scaling: InputScaling, device: torch.device):
        self.matrix, self.scaling, self.device = matrix, scaling, device

    def __len__(self) -> int:
        return self.matrix.shape[0]

    def take(self, index: Tensor) -> Tensor:
        """Select rows, make them dense and move them."""
        dense = self.matrix[index.cpu().numpy()].toarray()
        return self.scaling.apply(self.scaling.to_tensor(dense).to(self.device))


def fits_in_memory(X, device: torch.device) -> bool:
    """Whether X is to live on the device as one tensor.

    Memory maps and sparse matrices stay where they are; on a GPU, so does what would take more
    than half of its free memory.
    """
    if scipy.sparse.issparse(X) or _is_memory_mapped(X):
        return False
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return X.size * (1 if X.dtype == np.uint8 else 4) < free / 2


def _is_memory_mapped(array: object) -> bool:
    """Whether an array, or what it is a view of, is a ``numpy.memmap``."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False


def make_rows(X, scaling: InputScaling, device: torch.device, *, in_memory: bool) -> Rows:
    """The store that suits X.

    Parameters
    ----------
    X : ndarray of shape (n, d), (n, H, W, C) or (n, C, H, W), or CSR matrix of shape (n, d)
        Validated input.
    scaling : InputScaling
        Fitted on the training rows.
    device : torch.device
        Where batches go.
    in_memory : bool
        Put all rows on the device. Ignored for sparse matrices.

    Returns
    -------
    rows : Rows
    """
    if scipy.sparse.issparse(X):
        return SparseRows(X, scaling, device)
    if not in_memory:
        return ArrayRows(X, scaling, device)
    if X.dtype == np.uint8 and X.ndim == 4:  # a quarter of the memory, scaled when taken
        return TensorRows(scaling.to_tensor(X).to(device), scaling)
    parts = [
        scaling.apply(scaling.to_tensor(X[start : start + _CONVERT_ROWS])).to(device)
        for start in range(0, len(X), _CONVERT_ROWS)
    ]
    return TensorRows(parts[0] if len(parts) == 1 else torch.cat(parts))

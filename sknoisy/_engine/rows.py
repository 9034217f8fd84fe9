"""Stores of the rows of X, which return scaled batches on the device.

There are three stores with one method, ``take(index)``. :func:`make_rows` chooses between them:
dense tables, images and reduced sparse rows that fit are kept on the device as tensors; other
sparse matrices stay sparse; memory maps, Parquet files and data sets are read when a batch is
taken.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from .imputation import is_memory_mapped
from .scaling import InputScaling
from .streams import Stream, Windows

__all__ = ["ArrayRows", "Rows", "SparseRows", "TensorRows", "fits_in_memory", "make_rows"]

_COPIED_BYTES = 2**25  # of an array on a CPU that may lie in memory twice


class Rows(Protocol):
    """Interface of a store of rows.

    Attributes
    ----------
    index_device : torch.device
        Device where ``take`` reads the index: a GPU does not wait for an index that is there.
    windows : Windows or None
        Order in which the rows can be read fast, if not in any.
    """

    @property
    def index_device(self) -> torch.device: ...

    @property
    def windows(self) -> Windows | None: ...

    def __len__(self) -> int: ...

    def take(self, index: Tensor) -> Tensor:
        """Return rows on the device as float32, or int64 if the scaling keeps integers.

        Images have the shape (n, C, H, W).
        """
        ...


class TensorRows:
    """Rows (n, ...) that are kept on the device as one tensor.

    They are scaled float32 rows, int64 rows for a network of the user's own, or uint8 images
    (n, C, H, W) with a scaling that is applied to each batch.
    """

    windows = None

    def __init__(self, tensor: Tensor, scaling: InputScaling | None = None):
        self.tensor, self.scaling = tensor, scaling
        self.index_device = tensor.device

    def __len__(self) -> int:
        return len(self.tensor)

    def take(self, index: Tensor) -> Tensor:
        """Select rows on the device."""
        rows = self.tensor[index]
        return rows if self.scaling is None else self.scaling.apply(rows)


class ArrayRows:
    """Rows of an array that is not copied as a whole, or of a stream; scaled on the device."""

    def __init__(self, array: np.ndarray | Stream, scaling: InputScaling, device: torch.device):
        self.array, self.scaling, self.device = array, scaling, device
        self.index_device = torch.device("cpu")
        self.windows = array.windows if isinstance(array, Stream) else None
        self._is_in_file = isinstance(array, Stream) or is_memory_mapped(array)
        self._kept: dict[Hashable, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.array)

    def take(self, index: Tensor) -> Tensor:
        """Read rows, of a file in its order, which is faster, and move them to the device."""
        positions = index.cpu().numpy()
        rows = self._kept_rows(positions)
        if rows is None:
            rows = self._in_order(positions) if self._is_in_file else self.array[positions]
        return self.scaling.apply(self.scaling.to_tensor(rows).to(self.device))

    def _in_order(self, positions: np.ndarray) -> np.ndarray:
        order = np.argsort(positions, kind="stable")
        rows = np.empty((len(positions), *self.array.shape[1:]), dtype=self.array.dtype)
        rows[order] = self.array[positions[order]]
        return rows

    def keep(self, index: Tensor, owner: Hashable) -> None:
        """Keep rows of a stream in memory, for an owner, who takes them again and again.

        They replace those that were kept for the owner before.
        """
        if isinstance(self.array, Stream):
            positions = np.unique(index.cpu().numpy())
            self._kept[owner] = positions, self.array[positions]

    def _kept_rows(self, positions: np.ndarray) -> np.ndarray | None:
        """Return rows that are all kept for one owner."""
        for numbers, rows in self._kept.values():
            found = np.searchsorted(numbers, positions).clip(max=len(numbers) - 1)
            if (numbers[found] == positions).all():
                return rows[found]
        return None


class SparseRows:
    """Rows of a CSR matrix on the CPU; each batch is made dense, or reduced, and scaled."""

    windows = None

    def __init__(self, matrix, scaling: InputScaling, device: torch.device):
        self.matrix, self.scaling, self.device = matrix, scaling, device
        self.index_device = torch.device("cpu")

    def __len__(self) -> int:
        return self.matrix.shape[0]

    def take(self, index: Tensor) -> Tensor:
        """Select rows, make them dense or reduce them, and move them to the device."""
        rows = self.scaling.to_tensor(self.matrix[index.cpu().numpy()])
        return self.scaling.apply(rows.to(self.device))


def fits_in_memory(X, device: torch.device, scaling: InputScaling | None = None) -> bool:
    """Return whether X can be kept on the device as one tensor.

    It is False for memory maps and streams, for sparse matrices that the fitted `scaling` does not
    reduce, and on a GPU for rows that would take more than half of its free memory. On a CPU the
    tensor would be a second copy of an array: it is False for one of more than 32 MiB if its
    entries lie row by row, so that scaling each batch costs little.
    """
    reduction = None if scaling is None else scaling.reduction_
    if (
        isinstance(X, Stream)
        or is_memory_mapped(X)
        or (scipy.sparse.issparse(X) and reduction is None)
    ):
        return False
    if reduction is not None:
        n_bytes = X.shape[0] * len(reduction.mean_) * 4
    else:
        n_bytes = X.size * {"u1": 1, "i8": 8}.get(X.dtype.str[1:], 4)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return n_bytes < free / 2
    is_second = device.type == "cpu" and reduction is None and X.flags.c_contiguous
    return n_bytes <= _COPIED_BYTES or not is_second


def make_rows(X, scaling: InputScaling, device: torch.device, *, in_memory: bool) -> Rows:
    """Return the store for validated X: an array (n, ...) or a CSR matrix (n, d).

    `scaling` was fitted on the training rows. If `in_memory` is True, all rows are put on the
    device, except those of sparse matrices that are not reduced.
    """
    if scipy.sparse.issparse(X) and (scaling.reduction_ is None or not in_memory):
        return SparseRows(X, scaling, device)
    if not in_memory:
        return ArrayRows(X, scaling, device)
    if X.dtype == np.uint8 and X.ndim > 3:  # a quarter of the memory; scaled when taken
        return TensorRows(scaling.to_tensor(X).to(device), scaling)
    return TensorRows(scaling.to_rows(X, device))

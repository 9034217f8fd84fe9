"""Memorisation and forgetting difficulty of rows, from one bit per row and epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["LearningDynamics", "count_dynamics", "segment_dynamics"]

_BLOCK_ENTRIES = 2**24  # bits that are unpacked at a time

Bits = NDArray[np.uint8]
Floats = NDArray[np.float64]


class LearningDynamics(NamedTuple):
    """Memorisation and forgetting difficulty of rows.

    Attributes
    ----------
    memorization : ndarray of shape (n,), float64
        Memorisation difficulty M, in epochs.
    forgetting : ndarray of shape (n,), float64
        Forgetting difficulty G, in epochs.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.methods.mild import LearningDynamics
    >>> LearningDynamics(np.array([1.5, 4]), np.array([1.5, 0])).score.tolist()
    [0.0, 4.0]
    """

    memorization: Floats
    forgetting: Floats

    @property
    def score(self) -> Floats:
        """``M - G``, shape (n,): low where the label is memorised early and not forgotten."""
        return self.memorization - self.forgetting


def count_dynamics(bits: ArrayLike, n_rows: int) -> LearningDynamics:
    """Count the epochs in which each row is misclassified, and those in which it is memorised.

    M is the number of zeros in the row's sequence and G the number of ones, so that the score is
    the number of epochs minus twice the number of ones. MILD's released code uses this metric.

    Parameters
    ----------
    bits : array-like of shape (n_epochs, ceil(n_rows / 8)), uint8
        1 where the prediction was the given label, as
        :class:`~sknoisy.callbacks.RecordDynamics` records it:
        ``np.packbits(is_right, axis=1)`` of a boolean (n_epochs, n_rows).
    n_rows : int
        Number of rows; further bits of the last byte are ignored.

    Returns
    -------
    dynamics : LearningDynamics
        Named tuple of ``memorization`` and ``forgetting``, with the property ``score``.

    Raises
    ------
    ValueError
        If bits is not such an array, has no epoch, or does not fit n_rows.

    References
    ----------
    C. Hu et al., MILD: Modeling the Instance Learning Dynamics for Learning with Noisy Labels,
    IJCAI 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.methods.mild import count_dynamics
    >>> sequences = [[0, 0, 1, 1, 0, 1], [1, 1, 1, 1, 1, 1]]  # one line per row
    >>> bits = np.packbits(np.transpose(sequences), axis=1)
    >>> count_dynamics(bits, n_rows=2).score.tolist()
    [0.0, -6.0]
    """
    return _by_blocks(_count, bits, n_rows)


def segment_dynamics(bits: ArrayLike, n_rows: int) -> LearningDynamics:
    """Return the mean lengths of the runs in which each row is misclassified and memorised.

    M is the mean length of the maximal blocks of zeros in the row's sequence, G that of the blocks
    of ones; it is 0 if there is no such block. The first and the last block count with the length
    that was recorded.

    Parameters
    ----------
    bits : array-like of shape (n_epochs, ceil(n_rows / 8)), uint8
        As in :func:`count_dynamics`.
    n_rows : int
        Number of rows.

    Returns
    -------
    dynamics : LearningDynamics
        Named tuple of ``memorization`` and ``forgetting``, with the property ``score``.

    Raises
    ------
    ValueError
        If bits is not such an array, has no epoch, or does not fit n_rows.

    References
    ----------
    C. Hu et al., MILD: Modeling the Instance Learning Dynamics for Learning with Noisy Labels,
    IJCAI 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.methods.mild import segment_dynamics
    >>> sequences = [[0, 0, 0, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1, 1, 1]]  # one line per row
    >>> bits = np.packbits(np.transpose(sequences), axis=1)
    >>> segment_dynamics(bits, n_rows=2).score.tolist()
    [-2.0, -8.0]
    """
    return _by_blocks(_segments, bits, n_rows)


def _by_blocks(
    metric: Callable[[Bits], tuple[Floats, Floats]], bits: ArrayLike, n_rows: int
) -> LearningDynamics:
    parts = [metric(block) for block in _blocks(_check_bits(bits, n_rows), n_rows)]
    memorization, forgetting = (np.concatenate(part) for part in zip(*parts, strict=True))
    return LearningDynamics(memorization, forgetting)


def _check_bits(bits: ArrayLike, n_rows: int) -> Bits:
    array = np.asarray(bits)
    if array.dtype != np.uint8 or array.ndim != 2 or not len(array):
        raise ValueError(
            "bits must be uint8 of shape (n_epochs, ceil(n_rows / 8)) with at least one epoch, "
            f"got {array.dtype} of shape {array.shape}. Pack a boolean (n_epochs, n_rows) with "
            "np.packbits(is_right, axis=1)."
        )
    if n_rows < 1 or array.shape[1] != -(-n_rows // 8):
        raise ValueError(
            f"bits has {array.shape[1]} bytes per epoch, which hold up to {8 * array.shape[1]} "
            f"rows; got n_rows={n_rows}."
        )
    return array


def _blocks(bits: Bits, n_rows: int) -> Iterator[Bits]:
    """Yield unpacked bits of shape (n_epochs, n_rows_of_block), block by block."""
    n_bytes = max(_BLOCK_ENTRIES // (8 * len(bits)), 1)
    for start in range(0, bits.shape[1], n_bytes):
        count = min(8 * n_bytes, n_rows - 8 * start)
        yield np.unpackbits(bits[:, start : start + n_bytes], axis=1, count=count)


def _count(block: Bits) -> tuple[Floats, Floats]:
    ones = block.sum(axis=0, dtype=np.float64)
    return len(block) - ones, ones


def _segments(block: Bits) -> tuple[Floats, Floats]:
    zeros, ones = _count(block)
    n_changes = (block[1:] != block[:-1]).sum(axis=0)
    # Runs alternate. Of all n_changes + 1 runs, half are of the first run's kind, rounded up.
    n_ones = (n_changes + 1 + block[0]) // 2
    n_zeros = n_changes + 1 - n_ones
    return zeros / np.maximum(n_zeros, 1), ones / np.maximum(n_ones, 1)

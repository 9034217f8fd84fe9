"""Class-imbalanced versions of a data set."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import column_or_1d, indexable
from sklearn.utils.multiclass import check_classification_targets

from .._compat import safe_indexing
from ..noise.streams import own_generator


class LongTailed(NamedTuple):
    """Part of a data set whose class sizes fall exponentially.

    Attributes
    ----------
    X, y : of the types that were passed
        Kept rows and their labels; sparse matrices become CSR, lists stay lists.
    indices : ndarray of shape (n_kept,), int64
        Indices of the kept rows, ascending.

    Examples
    --------
    >>> from sknoisy.datasets import make_long_tailed
    >>> part = make_long_tailed(["one", "two", "six"], [7, 8, 9], imbalance_factor=1)
    >>> part.X, part.y, part.indices
    (['one', 'two', 'six'], [7, 8, 9], array([0, 1, 2]))
    """

    X: Any
    y: Any
    indices: NDArray[np.int64]


def make_long_tailed(
    X: Any, y: Any, imbalance_factor: float, *, random_state: Any = None
) -> LongTailed:
    r"""Drop rows so that class sizes fall exponentially from the first class to the last.

    With classes i = 0, ..., c - 1 in the order of the labels, :math:`n_i \mu^i` of the
    :math:`n_i` rows of class i are kept, rounded, and at least one, where
    :math:`\mu = \text{imbalance\_factor}^{-1 / (c - 1)}`. If all classes have the same size,
    `imbalance_factor` is the ratio of the largest kept class to the smallest.

    Parameters
    ----------
    X : array-like, sparse matrix or frame of shape (n_samples, ...)
        Rows. Not modified.
    y : array-like of shape (n_samples,)
        Labels of any type. Not modified. Make the tail first and add label noise afterwards;
        otherwise the noisy classes get the tail.
    imbalance_factor : float
        Imbalance factor of at least 1; 1 keeps every row. Benchmarks use 10, 20, 50, 100 and 200.
    random_state : int, Generator, RandomState or None, default=None
        Source of the draws.

    Returns
    -------
    part : LongTailed
        Named tuple ``(X, y, indices)``. The order of the rows is kept.

    Raises
    ------
    ValueError
        If `imbalance_factor` is below 1 or not finite, lengths differ, or y is empty or holds no
        class labels.

    References
    ----------
    Y. Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019, section 5.
    Y. Xu et al., Faster Meta Update Strategy for Noise-Robust Deep Learning, CVPR 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.datasets import make_long_tailed
    >>> X, y, _ = make_long_tailed(np.eye(300), np.arange(300) % 3, 100, random_state=0)
    >>> X.shape, np.bincount(y)
    ((111, 300), array([100,  10,   1]))
    """
    if not 1 <= imbalance_factor < np.inf:
        raise ValueError(f"imbalance_factor must be at least 1, got {imbalance_factor!r}.")
    X, y = indexable(X, y)
    labels = column_or_1d(y)
    if len(labels) == 0:
        raise ValueError("y is empty: there is no row to keep.")
    check_classification_targets(labels)
    codes = np.unique(labels, return_inverse=True)[1]
    sizes = np.bincount(codes)
    shares = imbalance_factor ** -np.linspace(0, 1, len(sizes))  # mu ** i
    rng = own_generator(random_state, "make_long_tailed")
    kept = [
        rng.choice(np.flatnonzero(codes == i), max(round(share * size), 1), replace=False)
        for i, (size, share) in enumerate(zip(sizes, shares, strict=True))
    ]
    indices = np.sort(np.concatenate(kept)).astype(np.int64)
    return LongTailed(safe_indexing(X, indices), safe_indexing(y, indices), indices)

"""Rows far from all others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .distances import Features, mean_distances

__all__ = ["outlier_scores"]

_FAR = 2.7  # times the median distance
_MAX_PRODUCTS = 5 * 10**10  # of the distances to the reference rows: some 10 s on one core
_LEAST_REFERENCES = 1000


def outlier_scores(
    features: Features, n_neighbors: int = 10
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return how typical each row is, and which rows are far from all others.

    With d_i the mean distance to the nearest other rows and m its median, the score is
    exp(-d_i / m), and rows with d_i > 2.7 m are outliers. If m is 0, since most rows have
    identical ones, the score is 1 where d_i is 0 and else 0, and the median of the positive
    distances decides which rows are outliers.

    All rows are compared if this takes at most 5 * 10^10 products, as for 31,000 rows of 50
    columns. Of more rows, some are drawn as references: 10,000 of 100,000 rows of 50 columns, and
    at least 1,000. A small group of rows then needs more members to be no group of outliers.

    Parameters
    ----------
    features : ndarray or ScaledRows of shape (n, d), float32
        Rows as points, as of :func:`~sknoisy.audit.distances.distance_features`.
    n_neighbors : int, default=10
        Number of nearest other rows; at most n - 1 are used.

    Returns
    -------
    scores : ndarray of shape (n,), float64
        From 0, far from all rows, to 1. A single row has score 1.
    is_outlier : ndarray of shape (n,), bool
        Rows far from all others.

    References
    ----------
    J. Kuan and J. Mueller, "Back to the basics: revisiting out-of-distribution detection
    baselines", ICML workshop on principles of distribution shift, 2022, for the score. The flag is
    this library's own.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.audit.distances import distance_features
    >>> from sknoisy.audit.outliers import outlier_scores
    >>> features = distance_features(np.append(np.arange(20.0), 90)[:, None])
    >>> scores, is_outlier = outlier_scores(features, n_neighbors=2)
    >>> np.flatnonzero(is_outlier)
    array([20])
    """
    n_rows, n_columns = features.shape
    if n_rows < 2:
        return np.ones(n_rows), np.zeros(n_rows, dtype=bool)
    n_references = max(_MAX_PRODUCTS // (n_rows * n_columns), _LEAST_REFERENCES)
    references = np.arange(n_rows)
    if n_references < n_rows:
        drawn = np.random.RandomState(0).choice(n_rows, n_references, replace=False)
        references = np.sort(drawn)
    n_neighbors = min(n_neighbors, len(references) - 1)
    distances = mean_distances(features, references, n_neighbors)
    median = np.median(distances)
    if median > 0:
        return np.exp(-distances / median), distances > _FAR * median
    is_far = distances > 0
    limit = _FAR * np.median(distances[is_far]) if is_far.any() else 0.0
    return np.where(is_far, 0.0, 1.0), distances > limit

"""Scores on the support of a Weibull distribution."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, column_or_1d

__all__ = ["shift_scores"]


def shift_scores(scores: ArrayLike) -> NDArray[np.float64]:
    """Shift scores so that none is negative: the smallest becomes 0, if it is not positive.

    A threshold for shifted scores belongs to shifted scores; for the scores themselves it is
    larger by their minimum.

    Parameters
    ----------
    scores : array-like of shape (n,)
        Finite.

    Returns
    -------
    shifted : ndarray of shape (n,), float64
        ``scores - min(scores)``, or the scores themselves if all are positive.

    Raises
    ------
    ValueError
        If there is no score, or one is NaN or infinite.

    Examples
    --------
    >>> from sknoisy.mixture import shift_scores
    >>> shift_scores([-4, 0, 2]).tolist()
    [0.0, 4.0, 6.0]
    >>> shift_scores([1, 2]).tolist()
    [1.0, 2.0]
    """
    column = column_or_1d(scores, input_name="scores")
    values = check_array(column, ensure_2d=False, dtype=np.float64, input_name="scores")
    return values - min(values.min(), 0.0)

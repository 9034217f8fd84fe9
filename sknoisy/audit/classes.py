"""The health of the labels of each class, and classes whose labels are confused.

All counts come from the calibrated confident joint, an array Q of shape (n_classes, n_classes):
Q[k, j] is the estimated number of rows of given class k whose true class is j. Its rows sum to the
numbers of given labels. It is not rounded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClassHealth", "OverlappingPairs", "class_health", "label_health", "overlapping_pairs"]

Counts = NDArray[np.float64]


class ClassHealth(NamedTuple):
    """Estimated errors of each class, arrays of shape (n_classes,).

    Attributes
    ----------
    n_given : float64
        Number of rows with this given label.
    n_true : float64
        Estimated number of rows that are of this class.
    n_wrong : float64
        Estimated number of rows with this given label that are of another class.
    n_missed : float64
        Estimated number of rows of this class that have another given label.
    noise : float64
        Share of the rows with this given label that are of another class; NaN without a row.
    inverse_noise : float64
        Share of the rows of this class that have another given label; NaN without a row.
    """

    n_given: Counts
    n_true: Counts
    n_wrong: Counts
    n_missed: Counts
    noise: Counts
    inverse_noise: Counts


class OverlappingPairs(NamedTuple):
    """Pairs of classes, most confused first, arrays of shape (n_pairs,).

    Attributes
    ----------
    first, second : intp
        Codes of the two classes; the first is the smaller.
    n_rows : float64
        Estimated number of rows of one of them with the given label of the other.
    share : float64
        The same as a share of all rows.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    n_rows: Counts
    share: Counts


def label_health(joint: Counts) -> float:
    """Return the estimated share of right labels.

    Parameters
    ----------
    joint : ndarray of shape (n_classes, n_classes), float64
        The calibrated confident joint in rows.

    Returns
    -------
    health : float
        From 0 to 1.

    References
    ----------
    C. Northcutt, L. Jiang and I. Chuang, "Confident learning: estimating uncertainty in dataset
    labels", JAIR 70, 2021, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.audit.classes import label_health
    >>> label_health(np.array([[40.0, 10.0], [0.0, 50.0]]))
    0.9
    """
    return float(joint.trace() / joint.sum())


def class_health(joint: Counts) -> ClassHealth:
    """Return the estimated errors of each class.

    Parameters
    ----------
    joint : ndarray of shape (n_classes, n_classes), float64
        The calibrated confident joint in rows, given classes by true classes.

    Returns
    -------
    health : ClassHealth
        Numbers and shares by class, in the order of the joint.

    References
    ----------
    C. Northcutt, L. Jiang and I. Chuang, "Confident learning: estimating uncertainty in dataset
    labels", JAIR 70, 2021, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.audit.classes import class_health
    >>> health = class_health(np.array([[40.0, 10.0], [0.0, 50.0]]))
    >>> health.noise, health.inverse_noise.round(3)
    (array([0.2, 0. ]), array([0.   , 0.167]))
    """
    right, n_given, n_true = joint.diagonal(), joint.sum(axis=1), joint.sum(axis=0)
    n_wrong, n_missed = n_given - right, n_true - right
    noise, inverse = (
        np.divide(errors, sizes, out=np.full(len(joint), np.nan), where=sizes > 0)
        for errors, sizes in ((n_wrong, n_given), (n_missed, n_true))
    )
    return ClassHealth(n_given, n_true, n_wrong, n_missed, noise, inverse)


def overlapping_pairs(joint: Counts) -> OverlappingPairs:
    """Return the pairs of classes whose labels are confused, most confused first.

    Parameters
    ----------
    joint : ndarray of shape (n_classes, n_classes), float64
        The calibrated confident joint in rows, given classes by true classes.

    Returns
    -------
    pairs : OverlappingPairs
        Pairs that are confused at least once. Of equal ones, those of the first classes are first.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.audit.classes import overlapping_pairs
    >>> joint = np.array([[40.0, 10.0, 0.0], [5.0, 20.0, 0.0], [0.0, 3.0, 22.0]])
    >>> pairs = overlapping_pairs(joint)
    >>> list(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.n_rows.tolist()))
    [(0, 1, 15.0), (1, 2, 3.0)]
    """
    n_rows = np.triu(joint + joint.T, 1)
    first, second = np.nonzero(n_rows)
    order = np.argsort(-n_rows[first, second], kind="stable")
    first, second = first[order], second[order]
    counts = n_rows[first, second]
    return OverlappingPairs(first, second, counts, counts / joint.sum())

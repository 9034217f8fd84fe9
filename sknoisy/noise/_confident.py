"""Confident learning: counts of given and true classes from class probabilities.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
Journal of Artificial Intelligence Research 70, 2021, equations (1) to (3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._labels import Codes, Matrix
from .probabilities import Probabilities, pieces

_TOLERANCE = 1e-6  # a probability this far below its threshold still counts as confident


def class_thresholds(codes: Codes, proba: Probabilities, n_classes: int) -> NDArray[np.float64]:
    """Return the mean probability of each class over the rows that are given that class.

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        Given classes, 0 ... n_classes - 1.
    proba : ndarray or csr_array of shape (n, n_classes)
        Class probabilities of the same rows.
    n_classes : int
        Number of classes.

    Returns
    -------
    thresholds : ndarray of shape (n_classes,), float64
        Thresholds of equation (2). NaN for a class without rows: no row is confident for it.
    """
    sums = np.zeros(n_classes)
    for rows, piece in pieces(proba):
        given = codes[rows]
        sums += np.bincount(given, piece[np.arange(len(given)), given], n_classes)
    counts = np.bincount(codes, minlength=n_classes)
    return np.divide(sums, counts, out=np.full(n_classes, np.nan), where=counts > 0)


def confident_classes(proba: Probabilities, thresholds: NDArray[np.float64]) -> Codes:
    """Return the class that each row is confident for, -1 if there is none.

    A row is confident for the classes whose thresholds it reaches. Of several, the most probable
    one is taken; of equally probable ones, the first.
    """
    found = np.empty(proba.shape[0], dtype=np.intp)
    for rows, piece in pieces(proba):
        reached = piece >= thresholds - _TOLERANCE
        best = np.where(reached, piece, -1).argmax(axis=1)
        found[rows] = np.where(reached.any(axis=1), best, -1)
    return found


def confident_joint(codes: Codes, proba: Probabilities, n_classes: int) -> NDArray[np.int64]:
    """Count the confident rows by given and true class, equation (1).

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        Given classes, 0 ... n_classes - 1.
    proba : ndarray or csr_array of shape (n, n_classes)
        Class probabilities of the same rows.
    n_classes : int
        Number of classes.

    Returns
    -------
    joint : ndarray of shape (n_classes, n_classes), int64
        Counts. Given classes are rows, true ones columns. A row of `proba` that reaches several
        thresholds counts for the most probable of these classes, as in the paper; cleanlab takes
        the most probable of all classes. A row that reaches none is not counted.
    """
    true = confident_classes(proba, class_thresholds(codes, proba, n_classes))
    return pair_counts(codes[true >= 0], true[true >= 0], n_classes)


def calibrated_joint(codes: Codes, proba: Probabilities, n_classes: int) -> Matrix:
    """Estimate how many rows have each given and true class, equation (3) times n.

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        Given classes, 0 ... n_classes - 1.
    proba : ndarray or csr_array of shape (n, n_classes)
        Class probabilities of the same rows.
    n_classes : int
        Number of classes.

    Returns
    -------
    joint : ndarray of shape (n_classes, n_classes), float64
        Numbers of rows, not rounded. Given classes are rows, true ones columns. A row of the
        matrix sums to the number of rows that are given the class.
    """
    counts = confident_joint(codes, proba, n_classes)
    return calibrate(counts, np.bincount(codes, minlength=n_classes))


def calibrate(joint: NDArray[np.integer], given: NDArray[np.integer]) -> Matrix:
    """Scale the rows of a joint to the numbers of rows that are given each class.

    A zero on the diagonal counts as one: no class is taken to have wrong labels alone.
    """
    counts = joint.astype(np.float64)
    diagonal = np.einsum("...ii->...i", counts)
    diagonal[diagonal == 0] = 1
    return counts * (given / counts.sum(axis=-1))[..., None]


def pair_counts(rows: Codes, columns: Codes, n_classes: int) -> NDArray[np.int64]:
    """Count the pairs of two codes in a matrix of shape (n_classes, n_classes)."""
    cells = rows * n_classes + columns
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)

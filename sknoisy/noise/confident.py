"""Confident learning: counts of given and true classes from class probabilities.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
Journal of Artificial Intelligence Research 70, 2021, equations (1) to (3).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ._labels import Codes, Matrix
from .probabilities import Probabilities, given_probability, pieces

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
    every_row_once = np.ones((1, len(codes)), dtype=np.uint8)
    return _thresholds(codes, proba, n_classes, every_row_once)[0]


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
    every_row_once = np.ones((1, len(codes)), dtype=np.uint8)
    return next(confident_joints(codes, proba, n_classes, every_row_once))


def calibrated_joint(codes: Codes, proba: Probabilities, n_classes: int) -> Matrix:
    """Estimate how many rows have each given and true class, equation (3) times n.

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        Given classes, 0 ... n_classes - 1; -1 marks a row that is not counted.
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
    counted = codes >= 0
    once = counted.astype(np.uint8)[None]
    counts = next(confident_joints(codes.clip(min=0), proba, n_classes, once))
    return calibrate(counts, np.bincount(codes[counted], minlength=n_classes))


def calibrate(joint: NDArray[np.int64], given: NDArray[np.integer]) -> Matrix:
    """Scale the rows of a confident joint to the numbers of rows that are given each class.

    A zero on the diagonal counts as one: no class is taken to have wrong labels alone.
    """
    counts = joint.astype(np.float64)
    diagonal = np.einsum("ii->i", counts)
    diagonal[diagonal == 0] = 1
    return counts * (given / counts.sum(axis=1))[:, None]


def confident_joints(
    codes: Codes, proba: Probabilities, n_classes: int, repeats: NDArray[np.uint8]
) -> Iterator[NDArray[np.int64]]:
    """Yield the confident joint of each resample, in two passes over the probabilities.

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        Given classes, 0 ... n_classes - 1.
    proba : ndarray or csr_array of shape (n, n_classes)
        Class probabilities of the same rows.
    n_classes : int
        Number of classes.
    repeats : ndarray of shape (n_resamples, n), uint8
        How often each resample holds each row.
    """
    thresholds = _thresholds(codes, proba, n_classes, repeats) - _TOLERANCE
    rows, classes, values = _candidates(proba, thresholds)
    for limits, counts in zip(thresholds, repeats, strict=True):
        reached = np.flatnonzero(values >= limits[classes])
        # The candidates of a row begin with the most probable one.
        is_first = np.diff(rows[reached], prepend=-1) > 0
        reached = reached[is_first]
        counted = rows[reached]
        cells = codes[counted] * n_classes + classes[reached]
        totals = np.bincount(cells, counts[counted], n_classes**2)
        yield totals.astype(np.int64).reshape(n_classes, n_classes)


def _thresholds(
    codes: Codes, proba: Probabilities, n_classes: int, repeats: NDArray[np.uint8]
) -> Matrix:
    """Return the thresholds of each resample, shape (n_resamples, n_classes)."""
    own = given_probability(codes, proba)
    sums = np.stack([np.bincount(codes, own * counts, n_classes) for counts in repeats])
    sizes = np.stack([np.bincount(codes, counts, n_classes) for counts in repeats])
    return np.divide(sums, sizes, out=np.full(sums.shape, np.nan), where=sizes > 0)


def _candidates(
    proba: Probabilities, thresholds: Matrix
) -> tuple[Codes, Codes, NDArray[np.float64]]:
    """Return rows, classes and probabilities that may count under one of several thresholds.

    These are the classes that reach their lowest threshold and are not less probable than one that
    reaches its highest: about one class of each row, so little memory. They are sorted by row, the
    most probable class first, and equally probable ones in their order.
    """
    lowest, highest = np.fmin.reduce(thresholds), thresholds.max(axis=0)
    found = []
    for rows, piece in pieces(proba):
        surest = np.where(piece >= highest, piece, -1).max(axis=1, keepdims=True)
        row, column = np.nonzero((piece >= lowest) & (piece >= surest))
        value = piece[row, column]
        order = np.lexsort((-value, row))  # a stable sort
        found.append((row[order] + rows.start, column[order], value[order]))
    row, column, value = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return row, column, value

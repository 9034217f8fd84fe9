"""Transition matrices from class probabilities: "argmax", "confident", "anchor" and "dual".

Each function yields, for each resample of the rows, the transition matrix and the shares of the
true classes. ``repeats[b, i]`` says how often resample b holds row i.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import nnls

from ._estimation import to_transition
from ._labels import Codes, Matrix
from .confident import calibrate, confident_joints
from .probabilities import Probabilities, dense, pieces

Repeats: TypeAlias = NDArray[np.uint8]
Estimates: TypeAlias = Iterator[tuple[Matrix, NDArray[np.float64]]]

# An anchor is the row at this share of the rows of its class, the most probable first. The most
# probable row itself is an extreme of hundreds of errors of the classifier.
_ANCHOR_SHARE = 0.1
_COLUMN_ENTRIES = 2**23


def argmax_estimates(
    codes: Codes, proba: Probabilities, n_classes: int, repeats: Repeats
) -> Estimates:
    """Take the most probable class for the true one, and count."""
    predicted = np.empty(len(codes), dtype=np.intp)
    for rows, piece in pieces(proba):
        predicted[rows] = piece.argmax(axis=1)
    cells = predicted * n_classes + codes
    for counts in repeats:
        totals = np.bincount(cells, counts, n_classes**2).astype(np.float64)
        totals = totals.reshape(n_classes, n_classes)
        yield to_transition(totals), totals.sum(axis=1) / totals.sum()


def confident_estimates(
    codes: Codes, proba: Probabilities, n_classes: int, repeats: Repeats
) -> Estimates:
    """Count the rows that are confident for a class (Northcutt et al. 2021)."""
    joints = confident_joints(codes, proba, n_classes, repeats)
    for joint, counts in zip(joints, repeats, strict=True):
        totals = calibrate(joint, np.bincount(codes, counts, n_classes)).T
        yield to_transition(totals), totals.sum(axis=1) / totals.sum()


def anchor_estimates(
    codes: Codes,
    proba: Probabilities,
    n_classes: int,
    repeats: Repeats,
    *,
    share: float = _ANCHOR_SHARE,
) -> Estimates:
    """Take the probabilities of one sure row of each class (Patrini et al. 2017).

    With ``share=0`` this is the row where the class is most probable, as in equation (12).
    """
    sizes = np.bincount(codes, minlength=n_classes)
    # Twice as many rows as wanted and 50: no resample leaves out more than half of them.
    sure = _surest_rows(proba, 2 * _ranks(share, sizes) + 50)
    for counts in repeats:
        given = np.bincount(codes, counts, n_classes)
        anchors, has_anchor = _anchors(sure, _ranks(share, given), counts)
        of_anchors = dense(proba[anchors]).astype(np.float64)
        transition = to_transition(of_anchors * has_anchor[:, None])
        yield transition, _true_shares(transition, given)


def dual_estimates(
    codes: Codes, proba: Probabilities, n_classes: int, repeats: Repeats
) -> Estimates:
    """Multiply the matrix of the most probable rows with that of the counts (Yao et al. 2020)."""
    to_predicted = anchor_estimates(codes, proba, n_classes, repeats, share=0)
    to_given = argmax_estimates(codes, proba, n_classes, repeats)
    for (first, _), (second, _), counts in zip(to_predicted, to_given, repeats, strict=True):
        transition = first @ second
        yield transition, _true_shares(transition, np.bincount(codes, counts, n_classes))


def _ranks(share: float, sizes: NDArray[Any]) -> NDArray[np.int64]:
    """Return how many rows of each class, at least one, are the share of its size."""
    return np.maximum(1, np.round(share * sizes)).astype(np.int64)


def _surest_rows(proba: Probabilities, n_rows: NDArray[np.int64]) -> list[Codes]:
    """Return, for each class, the rows where it is most probable, the surest first.

    Rows of probability 0 are left out; of equal rows the first come first.
    """
    columns = proba.tocsc() if sparse.issparse(proba) else proba
    n, n_classes = proba.shape
    step = max(_COLUMN_ENTRIES // n, 1)
    found = []
    for start in range(0, n_classes, step):
        block = dense(columns[:, start : start + step])
        for column, wanted in zip(block.T, n_rows[start : start + step], strict=True):
            size = min(int(wanted), int(np.count_nonzero(column)))
            if size == 0:
                found.append(np.zeros(0, dtype=np.intp))
                continue
            values = np.ascontiguousarray(column)
            limit = np.partition(values, n - size)[n - size]
            above, equal = np.flatnonzero(values > limit), np.flatnonzero(values == limit)
            above = above[np.argsort(-values[above], kind="stable")]
            found.append(np.concatenate([above, equal[: size - len(above)]]))
    return found


def _anchors(
    sure: list[Codes], ranks: NDArray[np.int64], counts: NDArray[np.uint8]
) -> tuple[Codes, NDArray[np.bool_]]:
    """Return the row at each rank in one resample, and whether the class has any."""
    anchors, has_anchor = np.zeros(len(sure), dtype=np.intp), np.zeros(len(sure), dtype=bool)
    for k, (rows, rank) in enumerate(zip(sure, ranks, strict=True)):
        total = np.cumsum(counts[rows], dtype=np.int64)
        if len(rows) and total[-1]:
            anchors[k] = rows[np.searchsorted(total, min(rank, total[-1]))]
            has_anchor[k] = True
    return anchors, has_anchor


def _true_shares(transition: Matrix, given: NDArray[Any]) -> NDArray[np.float64]:
    """Return the shares of true classes whose noisy labels come closest to the given ones."""
    shares, _ = nnls(transition.T, given / given.sum())
    return shares / shares.sum()

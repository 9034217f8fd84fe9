"""The sizes of the classes before and after cleaning.

Networks and forests predict a rare class too seldom. A cleaner that follows them takes its right
labels for wrong ones, and the class shrinks.
"""

from __future__ import annotations

import numpy as np

from .._engine.indexing import row_blocks
from ..exceptions import ShrunkenClassWarning, warn_user

__all__ = ["separations", "shrunken_classes", "spare_rare_classes", "warn_of_shrunken_classes"]

_MAX_NAMED = 10
_BLOCK_ROWS = 8192  # rows whose probabilities are copied at a time
# A class is rare below this part of the mean size. Unless it is expected to lose half of its rows,
# its rows leave it only with this probability of another class.
_RARE, _EXPECTED, _SURE = 0.5, 0.5, 0.998


def shrunken_classes(
    given: np.ndarray, left: np.ndarray, n_classes: int, least: float = 0.5
) -> np.ndarray:
    """Return the classes that have lost more than half of their rows.

    If rows were dropped, this is compared with all rows: a class has shrunk if its share of the
    rows is less than half of what it was.

    Parameters
    ----------
    given, left : ndarray of int of shape (n,), (n_left,)
        Encoded labels before and after cleaning.
    n_classes : int
        Number of classes.
    least : float, default=0.5
        The part of its rows that a class must keep.
    """
    before, after = (np.bincount(labels, minlength=n_classes) for labels in (given, left))
    return np.flatnonzero(after * len(given) < least * before * len(left))


def spare_rare_classes(
    distribution: np.ndarray, given: np.ndarray, counted: np.ndarray
) -> np.ndarray:
    """Let rows leave a rare class only if another class is nearly certain.

    All learners predict a rare class too seldom, and a few wrong labels among many right ones
    weigh more in it. A class is rare if it has less than half of the mean number of rows.
    Of a row that is given as one, and that another class has with a probability of at most 0.998,
    the given label becomes the most probable one. Classes whose probabilities sum up to less than
    half of their given rows are not spared: most of their labels are wrong.

    Parameters
    ----------
    distribution : ndarray of shape (n, n_classes)
        Probabilities of the true class.
    given : ndarray of int of shape (n,)
        Encoded given labels.
    counted : ndarray of bool of shape (n,)
        True for the rows that make up the size of a class; no other row is changed.

    Returns
    -------
    distribution : ndarray of shape (n, n_classes)
        A copy with the raised probabilities.
    """
    n_classes = distribution.shape[1]
    sizes = np.bincount(given[counted], minlength=n_classes)
    of_counted = distribution if counted.all() else distribution[counted]
    expected = of_counted.sum(axis=0, dtype=np.float64)
    is_rare = (sizes < _RARE * sizes.sum() / n_classes) & (expected >= _EXPECTED * sizes)
    spared, most = distribution.copy(), distribution.max(axis=1)
    rows = np.flatnonzero(is_rare[given] & (most <= _SURE) & counted)
    spared[rows, given[rows]] = np.nextafter(most[rows], np.inf)
    raised = spared[rows]
    spared[rows] = raised / raised.sum(axis=1, keepdims=True)
    return spared


def separations(
    proba: np.ndarray, given: np.ndarray, lost: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Return how well the rows that each class loses are separated from the rows of other classes.

    A class may lose rows because their labels are wrong, or because the class is so rare that it
    is never the most probable one. In the first case, the rows have the same probability of the
    class as the rows of other classes; in the second one, they have a higher probability. The
    result is the area under the ROC curve, 0.5 and 1 in the ideal cases. Rows are compared with
    those that have the same most probable other class.

    Parameters
    ----------
    proba : ndarray of shape (n, n_classes)
        Predicted probabilities.
    given : ndarray of int of shape (n,)
        Encoded given labels.
    lost : ndarray of bool of shape (n,)
        True for the rows that their classes lose, at least one of each class in `labels`.
    labels : ndarray of int of shape (n_labels,)
        The classes.

    Returns
    -------
    areas : ndarray of shape (n_labels,)
    """
    first, second = np.empty((2, len(proba)), dtype=np.intp)
    for block in row_blocks(len(proba), _BLOCK_ROWS):
        others = proba[block].copy()
        first[block] = others.argmax(axis=1)
        np.put_along_axis(others, first[block, None], -1, axis=1)
        second[block] = others.argmax(axis=1)
    areas = np.zeros(len(labels))
    for i, label in enumerate(labels):
        own, nearest = proba[:, label], np.where(first == label, second, first)
        is_other, is_lost = given != label, lost & (given == label)
        for k in np.unique(nearest[is_lost]):
            rows = np.sort(own[is_other & (nearest == k)])
            values = own[is_lost & (nearest == k)]
            if len(rows):
                ranks = [np.searchsorted(rows, values, side).sum() for side in ("left", "right")]
                areas[i] += sum(ranks) / (2 * len(rows))
            else:
                areas[i] += 0.5 * len(values)
        areas[i] /= is_lost.sum()
    return areas


def warn_of_shrunken_classes(
    cleaner: str, given: np.ndarray, left: np.ndarray, classes: np.ndarray
) -> None:
    """Warn about the classes that have lost more than half of their rows.

    `given` and `left` are encoded labels before and after cleaning, as in
    :func:`shrunken_classes`.
    """
    shrunken = shrunken_classes(given, left, len(classes))
    if not len(shrunken):
        return
    before, after = (np.bincount(labels, minlength=len(classes)) for labels in (given, left))
    named = ", ".join(
        f"{classes.tolist()[k]!r} ({after[k]} of {before[k]} rows)" for k in shrunken[:_MAX_NAMED]
    )
    more = len(shrunken) - _MAX_NAMED
    warn_user(
        f"{cleaner} left less than half of these classes: {named}"
        f"{f' and {more} more' if more > 0 else ''}. If their labels are right, trust some of "
        "these rows by clean_mask.",
        ShrunkenClassWarning,
    )

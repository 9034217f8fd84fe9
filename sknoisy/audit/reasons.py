"""Why a row is in the audit's list: one sentence from fixed templates."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["MIN_ROWS", "Judged", "reasons"]

MIN_ROWS = 8  # of a class that is judged
_UNCLEAR = 0.4  # score from which a flagged row is unclear rather than wrong


class Judged(IntEnum):
    """Whether the label of a row was judged and, if not, why."""

    YES = 0
    NO_LABEL = 1
    RARE_CLASS = 2
    NOT_LEFT_OUT = 3


_NOT_JUDGED = {
    Judged.NO_LABEL: "No label.",
    Judged.RARE_CLASS: f"Fewer than {MIN_ROWS} rows of this class: not judged.",
    Judged.NOT_LEFT_OUT: "Its group holds all other rows of this class: not judged.",
}


def reasons(
    names: Sequence[str],
    index: NDArray,
    given: NDArray[np.integer],
    suggested: NDArray[np.integer],
    score: NDArray[np.floating],
    probability: NDArray[np.floating],
    suggested_probability: NDArray[np.floating],
    flagged: NDArray[np.bool_],
    judged: NDArray[np.integer],
    contradicts: NDArray[np.integer],
    is_outlier: NDArray[np.bool_],
) -> list[str]:
    """Return a reason for each row; an empty one where nothing is to be said.

    Parameters
    ----------
    names : sequence of str
        Names of the classes.
    index : ndarray of shape (n,)
        Names of the rows.
    given, suggested : ndarray of int of shape (n,)
        Codes of given and suggested labels; the given one is -1 where there is none.
    score, probability, suggested_probability : ndarray of float of shape (n,)
        Score, probability of the given and of the suggested label.
    flagged : ndarray of bool of shape (n,)
        True for suspects.
    judged : ndarray of int of shape (n,)
        A :class:`Judged` for each row.
    contradicts : ndarray of int of shape (n,)
        Position of an identical row with another label, or -1.
    is_outlier : ndarray of bool of shape (n,)
        True for rows far from all others.
    """
    found = [""] * len(given)
    for row in np.flatnonzero(flagged | (judged > 0) | (contradicts >= 0) | is_outlier):
        parts = []
        if judged[row]:
            parts.append(_NOT_JUDGED[Judged(judged[row])])
        elif flagged[row]:
            own, other = names[given[row]], names[suggested[row]]
            if given[row] == suggested[row]:
                parts.append(f"The model gives only {_percent(probability[row])} to “{own}”.")
            elif score[row] >= _UNCLEAR:
                parts.append(f"Unclear between “{own}” and “{other}”.")
            else:
                parts.append(
                    f"The model expects “{other}” ({_percent(suggested_probability[row])}) and "
                    f"gives {_percent(probability[row])} to “{own}”."
                )
        if contradicts[row] >= 0:
            twin = contradicts[row]
            parts.append(
                f"Identical to row {index[twin]}, which is labelled “{names[given[twin]]}”."
            )
        if is_outlier[row]:
            parts.append("Far from all rows: perhaps none of the classes.")
        found[row] = " ".join(parts)
    return found


def _percent(probability: float) -> str:
    return f"{100 * probability:.0f} %"

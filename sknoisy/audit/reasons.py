"""Why a row is in the audit's list: one sentence from fixed templates."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["MIN_ROWS", "Judged", "reasons"]

LabelAudit: TypeAlias = Any  # the class in result.py, which imports this module

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


def reasons(audit: LabelAudit, rows: NDArray[np.integer]) -> list[str]:
    """Return a reason for each of these rows; it is empty for rows that no check found.

    Parameters
    ----------
    audit : LabelAudit
        The audit.
    rows : ndarray of int
        Positions of the rows.
    """
    names, given, suggested = audit.names, audit.given_codes, audit.suggested_codes
    flagged, judged, contradicts = audit.flagged, audit.judged, audit.contradicts
    found = [""] * len(rows)
    is_named = flagged[rows] | (judged[rows] > 0) | (contradicts[rows] >= 0)
    for place in np.flatnonzero(is_named | audit.is_outlier[rows]):
        row = rows[place]
        parts = []
        if judged[row]:
            parts.append(_NOT_JUDGED[Judged(judged[row])])
        elif flagged[row]:
            own, other = names[given[row]], names[suggested[row]]
            probability = _percent(audit.probability[row])
            if given[row] == suggested[row]:
                parts.append(f"The model gives only {probability} to “{own}”.")
            elif audit.score[row] >= _UNCLEAR:
                parts.append(f"Unclear between “{own}” and “{other}”.")
            else:
                parts.append(
                    f"The model expects “{other}” ({_percent(audit.suggested_probability[row])}) "
                    f"and gives {probability} to “{own}”."
                )
        if contradicts[row] >= 0:
            twin = contradicts[row]
            parts.append(
                f"Identical to row {audit.index[twin]}, which is labelled “{names[given[twin]]}”."
            )
        if audit.is_outlier[row]:
            parts.append("Far from all rows: perhaps none of the classes.")
        found[place] = " ".join(parts)
    return found


def _percent(probability: float) -> str:
    return f"{100 * probability:.0f} %"

"""Which rows a round of selection keeps, by their scores."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from ..._engine.indexing import rows_of_classes
from ...mixture import WeibullMixture, shift_scores

__all__ = ["Choice", "Criteria", "choose_rows"]

_LEAST_ROWS = 5  # as many as the mixture has parameters

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Criteria(NamedTuple):
    """Parameters of :class:`~sknoisy.CleanSampleSelector` that decide about rows."""

    threshold: str
    stopping: bool
    min_memorized: float
    min_per_class: int


class Choice(NamedTuple):
    """What the scores of a round say.

    Attributes
    ----------
    keep : ndarray of shape (n,), bool
        False where the row is to be dropped.
    reason : str or None
        Why this is the last round, if it is.
    threshold : float
        Where the mixture draws the line, on the scale of the scores; NaN without a mixture.
    mixture : WeibullMixture or None
        Fitted to the shifted scores.
    n_spared : int
        Rows that are kept for the sake of their class alone.
    """

    keep: Mask
    reason: str | None
    threshold: float = np.nan
    mixture: WeibullMixture | None = None
    n_spared: int = 0


def choose_rows(
    scores: Floats,
    memorized: Floats,
    codes: NDArray[np.intp],
    trusted: Mask,
    criteria: Criteria,
    random_state: Any,
) -> Choice:
    """Keep the rows up to the scale of the mixture's noisy component.

    Parameters
    ----------
    scores : ndarray of shape (n,), float64
        ``M - G`` of each row, in epochs.
    memorized : ndarray of shape (n,), float64
        Share of the epochs in which the given label was predicted.
    codes : ndarray of shape (n,), int
        Encoded given labels.
    trusted : ndarray of shape (n,), bool
        Rows that are kept in any case.
    criteria : Criteria
        What decides.
    random_state : int
        Of the mixture.

    Returns
    -------
    choice : Choice
    """
    mixture, trouble = _mixture_of(scores, random_state)
    if mixture is None:
        return Choice(np.ones(len(scores), bool), trouble)
    limit = float(mixture.scales_[-1, 0])
    if criteria.threshold == "consistent":  # the released code forgets that scores were shifted
        limit += min(float(scores.min()), 0.0)
    is_last = criteria.stopping and limit < 0
    wanted = trusted | (memorized >= criteria.min_memorized if is_last else scores <= limit)
    keep = _with_every_class(wanted, scores, codes, criteria.min_per_class)
    if is_last:
        reason: str | None = "rows at the threshold are memorised in most epochs"
    else:
        reason = "no row lies above the threshold" if keep.all() else None
    return Choice(keep, reason, limit, mixture, int(keep.sum() - wanted.sum()))


def _mixture_of(scores: Floats, random_state: Any) -> tuple[WeibullMixture | None, str | None]:
    """The mixture, or None and the reason why there is none."""
    if len(scores) < _LEAST_ROWS:
        return None, f"{len(scores)} rows are fewer than the mixture's {_LEAST_ROWS} parameters"
    if np.ptp(scores) == 0:
        return None, f"all scores are {scores[0]:g}"
    mixture = WeibullMixture(2, random_state=random_state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the reason says so
        mixture.fit(shift_scores(scores)[:, None])
    if not mixture.converged_:
        return None, f"the mixture did not converge in {mixture.max_iter} iterations"
    return mixture, None


def _with_every_class(
    keep: Mask, scores: Floats, codes: NDArray[np.intp], min_per_class: int
) -> Mask:
    """The same with the rows of lowest score of each class."""
    keep = keep.copy()
    for rows in rows_of_classes(codes, scores):
        keep[rows[:min_per_class]] = True
    return keep

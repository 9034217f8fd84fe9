"""The threshold of a round: the larger scale of a Weibull mixture of the scores."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from ..._engine.indexing import rows_of_classes
from ...mixture import WeibullMixture, shift_scores

__all__ = ["Criteria", "KeptRows", "keep_rows"]

_MIN_ROWS = 5  # as many as the mixture has parameters

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Criteria(NamedTuple):
    """The parameters of :class:`~sknoisy.CleanSampleSelector` that decide which rows are kept."""

    threshold: str
    stopping: bool
    min_memorized: float
    min_per_class: int


class KeptRows(NamedTuple):
    """The rows that a round keeps, and the mixture that decided it.

    Attributes
    ----------
    mask : ndarray of shape (n,), bool
        False where the row is dropped.
    reason : str or None
        Why this is the last round; None if it is not.
    threshold : float
        Threshold of the mixture, on the scale of the scores; NaN without a mixture.
    mixture : WeibullMixture or None
        Fitted to the shifted scores.
    n_spared : int
        Number of rows that are kept only because their class has few others.
    """

    mask: Mask
    reason: str | None
    threshold: float = np.nan
    mixture: WeibullMixture | None = None
    n_spared: int = 0


def keep_rows(
    scores: Floats,
    memorized: Floats,
    codes: NDArray[np.intp],
    trusted: Mask,
    criteria: Criteria,
    random_state: Any,
) -> KeptRows:
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
        Parameters of the selector.
    random_state : int
        Seed of the mixture.

    Returns
    -------
    kept : KeptRows
        All rows, and the reason, if no mixture can be fitted.
    """
    mixture, trouble = _fit_mixture(scores, random_state)
    if mixture is None:
        return KeptRows(np.ones(len(scores), bool), trouble)
    limit = float(mixture.scales_[-1, 0])  # alpha_2
    if criteria.threshold == "consistent":  # the released code leaves the shift out
        limit += min(float(scores.min()), 0.0)
    is_last = criteria.stopping and limit < 0
    wanted = trusted | (memorized >= criteria.min_memorized if is_last else scores <= limit)
    mask = _with_every_class(wanted, scores, codes, criteria.min_per_class)
    if is_last:
        reason: str | None = "rows at the threshold are memorised in most epochs"
    else:
        reason = "no row lies above the threshold" if mask.all() else None
    return KeptRows(mask, reason, limit, mixture, int(mask.sum() - wanted.sum()))


def _fit_mixture(scores: Floats, random_state: Any) -> tuple[WeibullMixture | None, str | None]:
    """Return the mixture of the shifted scores, or None and the reason why there is none."""
    if len(scores) < _MIN_ROWS:
        return None, f"{len(scores)} rows are fewer than the mixture's {_MIN_ROWS} parameters"
    if np.ptp(scores) == 0:
        return None, f"all scores are {scores[0]:g}"
    mixture = WeibullMixture(2, random_state=random_state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the reason is returned instead
        mixture.fit(shift_scores(scores)[:, None])
    if not mixture.converged_:
        return None, f"the mixture did not converge in {mixture.max_iter} iterations"
    return mixture, None


def _with_every_class(
    wanted: Mask, scores: Floats, codes: NDArray[np.intp], min_per_class: int
) -> Mask:
    """Add the rows of lowest score of each class."""
    mask = wanted.copy()
    for rows in rows_of_classes(codes, scores):
        mask[rows[:min_per_class]] = True
    return mask

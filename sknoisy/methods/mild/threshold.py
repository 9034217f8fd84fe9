"""The threshold of a round: the larger scale of a Weibull mixture of the scores."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from ..._engine.indexing import rows_of_classes
from ...mixture import WeibullMixture, shift_scores

__all__ = ["NO_ROW", "Criteria", "KeptRows", "keep_rows"]

NO_ROW = "no row lies above the threshold"  # a reason why the rounds end
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
    """The rows that a round keeps, and the mixture of the shifted scores that decided it.

    `mask` (n,) is False where the row is dropped. `reason` is the reason why this is the last
    round, None if it is not. The threshold is on the scale of the scores, NaN without a mixture.
    `n_spared` rows are kept only because their class has few others.
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
    """Keep the rows up to the scale of the mixture's noisy component, and all trusted rows.

    All arrays have the shape (n,): the scores ``M - G`` in epochs, the share of the epochs in
    which the given label was predicted, and the encoded given labels. If no mixture can be fitted,
    all rows are kept, and the reason is returned with them.
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
        reason = NO_ROW if mask.all() else None
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

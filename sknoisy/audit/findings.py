"""From class probabilities to the findings of an audit."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from time import perf_counter
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from ..noise._confident import calibrated_joint
from ..noise.probabilities import Probabilities
from .annotators import crowdlab, majority_vote
from .classes import label_health, overlaps
from .flags import flag_rows
from .labels import GivenLabels
from .neighbors import identical_rows, near_duplicates, outlier_scores
from .reasons import MIN_ROWS, Judged
from .result import LabelAudit
from .scores import normalized_margin, suggestions
from .share import count_transition, estimate_share
from .sources import Judgement, columns_of
from .units import identical_objects, join_units

__all__ = ["Inputs", "find"]


class Inputs:
    """What the user passed, validated, and what follows from it.

    Parameters
    ----------
    rows : ndarray, CSR matrix or None
        Rows of numbers (n, d) or images, None if there are none.
    X : object
        The rows as the user passed them.
    given : GivenLabels
        Labels.
    trusted : ndarray of bool of shape (n,) or None
        True for trusted labels.
    groups : ndarray of int64 of shape (n,) or None
        Codes of groups.
    y : object
        The labels as the user passed them.

    Raises
    ------
    ValueError
        If a row without a label is trusted.
    """

    def __init__(
        self,
        rows: Any,
        X: Any,
        given: GivenLabels,
        trusted: NDArray[np.bool_] | None,
        groups: NDArray[np.int64] | None,
        y: Any,
    ):
        self.rows, self.X, self.given, self.groups = rows, X, given, groups
        n_rows = len(given.codes)
        self.codes: NDArray[np.int64] = (
            given.codes if given.annotators is None else votes(given.codes, len(given.classes))
        )
        self.trusted = np.zeros(n_rows, dtype=bool) if trusted is None else trusted
        both = np.flatnonzero(self.trusted & (self.codes < 0))
        if len(both):
            raise ValueError(
                f"clean_mask trusts {len(both)} rows without a label, the first is row {both[0]}: "
                "set it to False there."
            )
        self.index = index_of(X, y, n_rows)
        self.columns: NDArray[np.float32] | None = None

    @cached_property
    def identical(self) -> NDArray[np.integer] | None:
        """Codes of sets of identical rows, (n,); None if rows cannot be compared."""
        if self.rows is not None:
            return identical_rows(self.rows)
        return None if self.X is None else identical_objects(self.X)

    @cached_property
    def units(self) -> NDArray[np.int64] | None:
        """Codes of the rows that belong together, (n,); None if each is alone."""
        return join_units(self.identical, self.groups)


def index_of(X: Any, y: Any, n_rows: int) -> NDArray:
    """Return the row labels of a pandas X or else y, or 0, ..., n_rows - 1."""
    for container in (X, y):
        native = nw.from_native(container, allow_series=True, pass_through=True)
        index = nw.maybe_get_index(native) if isinstance(native, (nw.DataFrame, nw.Series)) else None
        if index is not None:
            return index.to_numpy()
    return np.arange(n_rows)


def find(
    inputs: Inputs,
    judgement: Judgement,
    *,
    threshold: str | float,
    checks: Iterable[str],
    names: tuple[str, ...],
    seed: int,
    start: float,
) -> LabelAudit:
    """Return the audit of labels by these probabilities.

    `names` are those of the classes, `start` is the time at which the audit began.
    """
    annotators = None
    if inputs.given.annotators is not None:
        annotators = crowdlab(inputs.given.codes, judgement.proba)
        judgement = judgement._replace(proba=annotators.posterior)
    codes, proba, trusted = inputs.codes, judgement.proba, inputs.trusted
    n_classes = len(names)
    judged = judged_rows(codes, n_classes, judgement.unseen, trusted)
    best = suggestions(codes, proba)
    suggested = np.where(trusted, codes, best.codes)
    score = np.where(trusted, 1.0, normalized_margin(codes, proba))
    labeled = np.flatnonzero(codes >= 0)
    joint = calibrated_joint(codes[labeled], _rows_of(proba, labeled), n_classes)
    flagged = flag_rows(
        codes, proba, score, threshold, trusted | (judged != Judged.YES), joint=joint
    )
    counted = np.flatnonzero((judged == Judged.YES) & ~trusted)
    share = estimate_share(codes, suggested, judgement.held_out, counted, len(labeled), seed)
    if inputs.columns is None and inputs.rows is not None and len({*checks}) > 1:
        inputs.columns = columns_of(inputs.rows, seed=seed, device="cpu")
    outlier_score, is_outlier, twin, contradicts = _neighbors(inputs, checks)
    return LabelAudit(
        labels=inputs.given.classes,
        index=inputs.index,
        given_codes=codes.astype(np.int32),
        suggested_codes=suggested.astype(np.int32),
        score=score,
        probability=best.given_probability,
        suggested_probability=np.where(trusted, best.given_probability, best.probability),
        flagged=flagged,
        outlier_score=outlier_score,
        is_outlier=is_outlier,
        twin=twin,
        contradicts=contradicts,
        judged=judged,
        noise_rate=share.noise_rate,
        is_clear=share.is_clear,
        transition=count_transition(codes[counted], suggested[counted], n_classes),
        classes=label_health(joint),
        pairs=overlaps(joint),
        accuracy=share.accuracy,
        annotators=annotators,
        origin=judgement.origin,
        notes=tuple(_notes(inputs, judgement, judged, checks)),
        names=names,
        seed=seed,
        seconds=perf_counter() - start,
    )


def _rows_of(proba: Probabilities, rows: NDArray[np.intp]) -> Probabilities:
    """Return these rows, and no copy if they are all."""
    return proba if len(rows) == proba.shape[0] else proba[rows]


def judged_rows(
    codes: NDArray[np.integer],
    n_classes: int,
    unseen: NDArray[np.bool_],
    trusted: NDArray[np.bool_],
) -> NDArray[np.int8]:
    """Return a :class:`Judged` for each row, int8 of shape (n,)."""
    labeled = codes >= 0
    is_rare = np.bincount(codes[labeled], minlength=n_classes) < MIN_ROWS
    judged = np.zeros(len(codes), dtype=np.int8)
    judged[~unseen & ~trusted] = Judged.NOT_LEFT_OUT
    judged[labeled & is_rare[codes] & ~trusted] = Judged.RARE_CLASS
    judged[~labeled] = Judged.NO_LABEL
    return judged


def _neighbors(
    inputs: Inputs, checks: Iterable[str]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Return outlier scores and flags, the first twin of each row, and a contradicting row."""
    n_rows = len(inputs.codes)
    score, is_outlier = np.full(n_rows, np.nan), np.zeros(n_rows, dtype=bool)
    sets = inputs.identical
    if inputs.columns is not None and n_rows > 1:
        if "outlier" in checks:
            score, is_outlier = outlier_scores(inputs.columns)
        if "duplicate" in checks:
            sets = near_duplicates(inputs.columns)
    alone = np.full(n_rows, -1, dtype=np.int64)
    twin = alone if sets is None else first_twins(sets)
    if inputs.identical is None:
        return score, is_outlier, twin, alone
    return score, is_outlier, twin, contradicting_rows(inputs.identical, inputs.codes)


def first_twins(sets: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the position of the first row of each row's set; -1 for that row and outside sets.

    `sets` holds the code of each row's set, -1 for rows in none.
    """
    twin = np.full(len(sets), -1, dtype=np.int64)
    rows = np.flatnonzero(sets >= 0)
    _, first, of_row = np.unique(sets[rows], return_index=True, return_inverse=True)
    twin[rows] = rows[first[of_row]]
    twin[rows[first]] = -1
    return twin


def contradicting_rows(
    sets: NDArray[np.integer], codes: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Return the position of the first row of each row's set with another label, or -1.

    Rows without a label, of code -1, contradict nothing.
    """
    found = np.full(len(sets), -1, dtype=np.int64)
    rows = np.flatnonzero(codes >= 0)
    _, first, of_row = np.unique(sets[rows], return_index=True, return_inverse=True)
    leader = rows[first[of_row]]
    others = codes[rows] != codes[leader]
    found[rows[others]] = leader[others]
    # Rows with the label of the first one meet the first row that has another.
    second = np.full(len(first), -1, dtype=np.int64)
    second[of_row[others][::-1]] = rows[others][::-1]
    found[rows[~others]] = second[of_row[~others]]
    return found


def _notes(
    inputs: Inputs, judgement: Judgement, judged: NDArray[np.int8], checks: Iterable[str]
) -> Iterable[str]:
    """Yield sentences on what was left out, and why."""
    counts = np.bincount(judged, minlength=len(Judged))
    if counts[Judged.NO_LABEL]:
        yield f"{counts[Judged.NO_LABEL]} rows have no label; they have a suggestion."
    if counts[Judged.RARE_CLASS]:
        yield (
            f"{counts[Judged.RARE_CLASS]} rows were not judged: their classes have fewer than "
            f"{MIN_ROWS} rows."
        )
    if counts[Judged.NOT_LEFT_OUT]:
        yield (
            f"{counts[Judged.NOT_LEFT_OUT]} rows were not judged: their groups hold all other "
            "rows of a class."
        )
    if inputs.trusted.any():
        yield f"{inputs.trusted.sum()} rows are trusted."
    if inputs.columns is None and {"outlier", "duplicate"} & {*checks}:
        yield "Outliers and near duplicates were not looked for: there are no rows of numbers."

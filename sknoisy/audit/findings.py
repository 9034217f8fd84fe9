"""From class probabilities to the findings of an audit."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from numbers import Integral
from time import perf_counter
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from ..noise.confident import calibrated_joint
from .annotators import majority_vote
from .classes import class_health, overlapping_pairs
from .crowdlab import crowdlab
from .distances import distance_features
from .duplicates import contradictions, duplicate_of, identical_rows, near_duplicates
from .flags import flag_rows
from .labels import GivenLabels
from .outliers import outlier_scores
from .reasons import MIN_ROWS, Judged
from .result import LabelAudit
from .scores import normalized_margin, suggestions
from .share import count_transition, estimate_share
from .sources import Judgement, columns_of
from .units import join_units

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
            given.codes
            if given.annotators is None
            else majority_vote(given.codes, len(given.classes))
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
    def identical(self) -> NDArray[np.intp] | None:
        """First row that is identical to each row, (n,); None if rows cannot be compared."""
        rows = self.X if self.rows is None else self.rows
        if rows is None:
            return None
        try:
            return identical_rows(rows)
        except (TypeError, ValueError):  # rows of different lengths, or without a hash
            return None

    @cached_property
    def units(self) -> NDArray[np.int64] | None:
        """Codes of the rows that belong together, (n,); None if each is alone."""
        return join_units(self.identical, self.groups)


def index_of(X: Any, y: Any, n_rows: int) -> NDArray:
    """Return the row labels of a pandas X or else y, or 0, ..., n_rows - 1."""
    for container in (X, y):
        native = nw.from_native(container, allow_series=True, pass_through=True)
        index = (
            nw.maybe_get_index(native) if isinstance(native, (nw.DataFrame, nw.Series)) else None
        )
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
    random_state: Any,
    start: float,
) -> LabelAudit:
    """Return the audit of labels by these probabilities.

    `names` are those of the classes, `random_state` is the user's, and `start` is the time at
    which the audit began.
    """
    neighbors = _neighbors(inputs, checks, seed)
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
    joint = calibrated_joint(codes, proba, n_classes)
    flagged = flag_rows(
        codes, proba, score, threshold, trusted | (judged != Judged.YES), joint=joint
    )
    counted = np.flatnonzero((judged == Judged.YES) & ~trusted)
    n_trusted = int(trusted.sum())
    suspected = None
    if judgement.held_out is not proba and annotators is None and len(counted):
        suspected = float((suggested != codes)[counted].mean())
    share = estimate_share(
        codes, judgement.held_out, counted, n_trusted, inputs.units, seed, suspected
    )
    return LabelAudit(
        labels=inputs.given.classes,
        index=inputs.index,
        given_codes=codes.astype(np.int32),
        suggested_codes=suggested.astype(np.int32),
        score=score,
        probability=best.given_probability,
        suggested_probability=np.where(trusted, best.given_probability, best.probability),
        flagged=flagged,
        **neighbors._asdict(),
        judged=judged,
        noise_rate=share.noise_rate,
        is_clear=share.is_clear,
        transition=count_transition(codes[counted], suggested[counted], n_classes),
        classes=class_health(joint),
        pairs=overlapping_pairs(joint),
        accuracy=share.accuracy,
        annotators=annotators,
        annotator_names=inputs.given.annotators,
        origin=judgement.origin,
        notes=tuple(_notes(inputs, judgement, judged, checks)),
        names=names,
        seed=int(random_state) if isinstance(random_state, Integral) else None,
        seconds=perf_counter() - start,
    )


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


class Neighbors(NamedTuple):
    """What the rows say of each other, each of shape (n,)."""

    outlier_score: NDArray[np.float64]
    is_outlier: NDArray[np.bool_]
    twin: NDArray[np.integer]
    contradicts: NDArray[np.integer]


def _neighbors(inputs: Inputs, checks: Iterable[str], seed: int) -> Neighbors:
    """Look for outliers, near duplicates and identical rows with other labels."""
    n_rows = len(inputs.codes)
    alone: NDArray[np.intp] = np.full(n_rows, -1, dtype=np.intp)
    score, is_outlier, sets = np.full(n_rows, np.nan), np.zeros(n_rows, dtype=bool), alone
    if inputs.rows is not None and len({*checks}) > 1:
        is_table = inputs.rows.ndim == 2
        rows = inputs.rows if is_table else inputs.columns
        if rows is None:
            rows = columns_of(inputs.rows, seed=seed)[:]
        features = distance_features(rows, scale=is_table)
        if "outlier" in checks:
            score, is_outlier = outlier_scores(features)
        if "duplicate" in checks:
            assert inputs.identical is not None  # rows of numbers can be compared
            sets = near_duplicates(features, inputs.identical)
    if inputs.identical is None:
        return Neighbors(score, is_outlier, alone, alone)
    if not (sets >= 0).any():
        sets = inputs.identical
    return Neighbors(
        score, is_outlier, duplicate_of(sets), contradictions(inputs.codes, inputs.identical)
    )


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
    if inputs.rows is None and len({*checks}) > 1:
        yield "Outliers and near duplicates were not looked for: there are no rows of numbers."

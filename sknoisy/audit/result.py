"""The result of an audit: one entry per row, and what they add up to."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cells import csv_cell, visible
from .classes import ClassHealth, OverlappingPairs
from .crowdlab import CrowdLab
from .files import OutputFiles
from .reasons import Judged, reasons

__all__ = ["Accuracy", "Estimate", "LabelAudit", "column_pieces"]

_PIECE_ROWS = 65_536  # whose columns are made at a time


class Estimate(NamedTuple):
    """An estimated share with its interval.

    Attributes
    ----------
    value : float
        The estimate.
    low, high : float
        Ends of the interval.
    """

    value: float
    low: float
    high: float


class Accuracy(NamedTuple):
    """How well models predict the labels of rows that they have not seen.

    Attributes
    ----------
    given : float
        Share of the given labels that are predicted. Wrong labels lower it.
    corrected : float
        Estimated share of the true labels that are predicted, by a transition matrix from the
        surest rows; NaN if the matrix cannot be inverted well.
    standard_error : float
        Standard error of ``corrected``, for this matrix.
    """

    given: float
    corrected: float
    standard_error: float


@dataclass(frozen=True, eq=False, repr=False)
class LabelAudit:
    """Result of :func:`audit_labels`: which labels look wrong, how many, and why.

    Every array has one entry per audited row, in the order of the rows.

    Attributes
    ----------
    labels : ndarray of shape (n_classes,)
        The classes, sorted.
    index : ndarray of shape (n,)
        Row labels of a pandas X or y, else 0, ..., n - 1.
    given_codes, suggested_codes : ndarray of int32 of shape (n,)
        Positions of the given and of the suggested labels in ``labels``; a row without a label
        has the given code -1.
    score : ndarray of float64 of shape (n,)
        Normalised margin of the given label: 0 is worst, below 0.5 another class is more
        probable. 1 for trusted rows, NaN for rows without a label.
    probability, suggested_probability : ndarray of float64 of shape (n,)
        Probabilities of the given and of the suggested label.
    flagged : ndarray of bool of shape (n,)
        True for suspects: rows whose label looks wrong.
    outlier_score : ndarray of float64 of shape (n,)
        Near 0 for rows far from all others, else up to 1; NaN if the check was not made.
    is_outlier : ndarray of bool of shape (n,)
        True for rows far from all others.
    twin : ndarray of int64 of shape (n,)
        Position of the first row of the same set of identical or nearly identical rows, -1 for
        that row itself and for rows without such a set.
    contradicts : ndarray of int64 of shape (n,)
        Position of an identical row with another given label, or -1.
    judged : ndarray of int8 of shape (n,)
        0 if the label was judged, 1 if there is none, 2 if its class has fewer than 8 rows, 3 if
        no model has left out its group.
    noise_rate : Estimate
        Estimated share of wrong labels, with an interval: ``value``, ``low``, ``high``. It ends at
        the share of labels that held-out models do not predict, so it is wide where classes
        overlap. The value is then too large.
    is_clear : bool
        Whether there is a clear sign of wrong labels. If not, suspects are no more than rows
        between overlapping classes would give.
    transition : ndarray of float64 of shape (n_classes, n_classes)
        Estimated probability of each given label (column) for each true class (row).
    classes : ClassHealth
        Numbers of given and of true labels of each class, and of those that are wrong or missed,
        by the confident joint.
    pairs : OverlappingPairs
        Pairs of classes that are mixed up, the most frequent pair first: codes, numbers of rows.
    accuracy : Accuracy
        Accuracy of models on rows that they have not seen.
    annotators : CrowdLab or None
        Quality of each annotator, of each of their labels, and of their consensus, by CROWDLAB,
        if there were several. The suggested labels are then their consensus with the model.
    annotator_names : tuple of object or None
        Names of the annotators: the columns of a frame, else 0, 1, ...
    origin : str
        Where the probabilities come from.
    notes : tuple of str
        What was left out, and why.
    names : tuple of str
        Names of the classes in reasons and reports.
    seed : int or None
        Seed of the audit, if ``random_state`` was an int.
    seconds : float
        Duration of the audit.

    See Also
    --------
    audit_labels : Audits labels.

    Examples
    --------
    >>> from sknoisy import audit_labels
    >>> from sknoisy.datasets import make_noisy_classification
    >>> X, y, truth = make_noisy_classification(300, 4, class_sep=2, rate=0.2, random_state=0)
    >>> audit = audit_labels(X, y, method="fast", random_state=0)
    >>> worst = audit.suspects(20)
    >>> bool((y[worst] != truth[worst]).mean() > 0.9)
    True
    """

    labels: NDArray
    index: NDArray
    given_codes: NDArray[np.int32]
    suggested_codes: NDArray[np.int32]
    score: NDArray[np.float64]
    probability: NDArray[np.float64]
    suggested_probability: NDArray[np.float64]
    flagged: NDArray[np.bool_]
    outlier_score: NDArray[np.float64]
    is_outlier: NDArray[np.bool_]
    twin: NDArray[np.int64]
    contradicts: NDArray[np.int64]
    judged: NDArray[np.int8]
    noise_rate: Estimate
    is_clear: bool
    transition: NDArray[np.float64]
    classes: ClassHealth
    pairs: OverlappingPairs
    accuracy: Accuracy
    annotators: CrowdLab | None
    annotator_names: tuple[Any, ...] | None
    origin: str
    notes: tuple[str, ...]
    names: tuple[str, ...]
    seed: int | None
    seconds: float

    def __len__(self) -> int:
        return len(self.score)

    def __repr__(self) -> str:
        return f"<LabelAudit of {len(self)} rows: {self.flagged.sum()} suspects>"

    def suspects(self, n: int | None = None) -> NDArray[np.intp]:
        """Return the positions of the suspects, the most doubtful first.

        Parameters
        ----------
        n : int or None, default=None
            Number of rows at most; None: all suspects.

        Returns
        -------
        rows : ndarray of int of shape (at most n,)
            Positions in X and y, by ascending score.
        """
        rows = np.flatnonzero(self.flagged)
        return rows[np.argsort(self.score[rows], kind="stable")][:n]

    def to_dict(self) -> dict[str, NDArray]:
        """Return the columns of the audit by name, each of shape (n,), without pandas.

        The columns are index, given_label, suggested_label, score, probability,
        suggested_probability, flagged, reason, outlier_score and duplicate_of. Labels have the
        type of y; a missing one, and a row that is no duplicate, are None.
        """
        return _columns(self, np.arange(len(self)))

    def reasons(self) -> list[str]:
        """Return a sentence for each row that needs one, and an empty one for each other row."""
        return reasons(self, np.arange(len(self)))

    def frame(self) -> Any:
        """Return the columns of :meth:`to_dict` as a pandas DataFrame; its index is the user's.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "LabelAudit.frame needs pandas: pip install pandas, or call to_dict()."
            ) from error
        columns = self.to_dict()
        return pd.DataFrame(columns, index=pd.Index(columns.pop("index"), name="index"))

    def summary(self) -> str:
        """Return what the audit found in a few lines of text."""
        n_suspects, n_labels = int(self.flagged.sum()), int((self.given_codes >= 0).sum())
        rate, low, high = self.noise_rate
        lines = [f"{len(self)} rows, {n_labels} labels of {len(self.labels)} classes."]
        if self.is_clear:
            lines.append(
                f"About {_share(rate)} of the labels look wrong (between {_share(low)} and "
                f"{_share(high)}); {n_suspects} rows are flagged. They may be right: please check."
            )
        else:
            lines.append(
                f"No clear sign of wrong labels: {n_suspects} rows are flagged, as many as may "
                "come from rows between classes."
            )
        lines += self._pair_in_words()
        n_twins, n_against = int((self.twin >= 0).sum()), int((self.contradicts >= 0).sum())
        lines.append(
            f"{int(self.is_outlier.sum())} outliers, {n_twins} duplicates of earlier rows, "
            f"{n_against} rows with identical rows of another label."
        )
        return "\n".join([*lines, f"Judged by {self.origin}.", *self.notes])

    def _pair_in_words(self) -> list[str]:
        """Return a line about the pair of classes that the suspects mix up most, if any."""
        rows = np.flatnonzero(self.flagged & (self.given_codes != self.suggested_codes))
        if not len(rows):
            return []
        pairs = np.stack([self.given_codes[rows], self.suggested_codes[rows]])
        found, counts = np.unique(pairs, axis=1, return_counts=True)
        most = counts.argmax()
        given, suggested = (visible(self.names[code]) for code in found[:, most])
        return [f"Most often {given} should perhaps be {suggested}: {counts[most]} rows."]

    def to_csv(self, path: str | os.PathLike, *, raw: bool = False) -> None:
        """Write the columns of :meth:`to_dict` to a CSV file in UTF-8, all rows in their order.

        The file appears whole or not at all; an existing one is replaced.

        Parameters
        ----------
        path : str or path
            Name of the file.
        raw : bool, default=False
            Text that a spreadsheet would take for a formula, beginning with ``=``, ``+``, ``-``,
            ``@``, a tab or a carriage return, gets an apostrophe in front. True leaves it out.

        Raises
        ------
        ValueError
            If the path is a link or a folder, or cannot be written to.
        """
        target = Path(path)
        cell = (lambda value: value) if raw else csv_cell
        with (
            OutputFiles([target], [], force=True) as files,
            files.temporary(target).open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.writer(file)
            for number, columns in enumerate(column_pieces(self)):
                if not number:
                    writer.writerow(columns)
                for row in zip(*(column.tolist() for column in columns.values()), strict=True):
                    writer.writerow("" if value != value else cell(value) for value in row)

    def to_html(self, path: str | os.PathLike, **options: Any) -> None:
        """Write a report for readers who do not program to one HTML file.

        Parameters
        ----------
        path : str or path
            Name of the file; an existing one is replaced.
        **options : object
            Options of ``sknoisy.audit.report.render_report``.

        Raises
        ------
        ValueError
            If the path is a link or a folder, or cannot be written to.
        """
        from .report import render_report

        target = Path(path)
        with OutputFiles([target], [], force=True) as files:
            files.write_text(target, render_report(self, **options))

    @property
    def n_unjudged(self) -> int:
        """Number of rows with a label that was not judged."""
        return int((self.judged > Judged.NO_LABEL).sum())


def column_pieces(audit: LabelAudit) -> Iterator[dict[str, NDArray]]:
    """Yield the columns of :meth:`LabelAudit.to_dict` of some rows at a time, at least once."""
    for start in range(0, max(len(audit), 1), _PIECE_ROWS):
        yield _columns(audit, np.arange(start, min(start + _PIECE_ROWS, len(audit))))


def _columns(audit: LabelAudit, rows: NDArray[np.intp]) -> dict[str, NDArray]:
    """Return the columns of :meth:`LabelAudit.to_dict` of these rows."""
    given_codes, twins = audit.given_codes[rows], audit.twin[rows]
    given = audit.labels[given_codes]
    if (audit.given_codes < 0).any():
        given = given.astype(object)
        given[given_codes < 0] = None
    duplicate_of = np.full(len(rows), None, dtype=object)
    duplicate_of[twins >= 0] = audit.index[twins[twins >= 0]]
    return {
        "index": audit.index[rows],
        "given_label": given,
        "suggested_label": audit.labels[audit.suggested_codes[rows]],
        "score": audit.score[rows],
        "probability": audit.probability[rows],
        "suggested_probability": audit.suggested_probability[rows],
        "flagged": audit.flagged[rows],
        "reason": np.array(reasons(audit, rows), dtype=object),
        "outlier_score": audit.outlier_score[rows],
        "duplicate_of": duplicate_of,
    }


def _share(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.0095 else f"{100 * share:.1f} %"

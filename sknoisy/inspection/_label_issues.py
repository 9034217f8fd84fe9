"""Display of the scores of an audit, or of its most suspect rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from ..noise.probabilities import pieces
from ._drawing import HIGH_COLOR, LOW_COLOR, name_ticks, new_axes
from ._given_losses import check_rows

__all__ = ["LabelIssuesDisplay"]

_COLUMNS = (
    "index",
    "given_label",
    "suggested_label",
    "score",
    "probability",
    "suggested_probability",
    "flagged",
)
_KINDS = ("scores", "rows")
_MARGIN = 0.5  # below it, another class is more probable than the given one
_MAX_CHARACTERS = 24  # of a label on the axis


class LabelIssuesDisplay:
    """Histogram of the scores of an audit, or its most suspect rows.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create and draw the display, and
    :meth:`plot` to draw it, or to draw it again. ``kind="scores"`` draws a histogram of the
    scores, with suspects hatched, and the threshold. Two humps mean that the flags can be trusted,
    one hump that they cannot. ``kind="rows"`` draws the rows of lowest score, the worst at the
    top, with the probabilities of their given and suggested labels.

    Rows without a score, which have no given label, are left out.

    Parameters
    ----------
    columns : mapping of str to array-like of shape (n_samples,)
        The columns ``index``, ``given_label``, ``suggested_label``, ``score``, ``probability``,
        ``suggested_probability`` and ``flagged`` of an audit; others are ignored.
    threshold : float or None, default=None
        Score below which labels are suspect. None: a score that separates the flagged rows from
        the others, 0.5 if it does. If none does, as when each class has its own threshold, there
        is no line.
    bins : int, default=40
        Number of bars from 0 to 1.

    Attributes
    ----------
    columns : dict of str to ndarray
        The columns above, of the rows with a score.
    threshold : float or None
        As above.
    bins : int
        As above.
    ax_ : matplotlib Axes
        Axes of the drawing.
    figure_ : matplotlib Figure
        Figure of the axes.
    bars_ : tuple of two matplotlib BarContainers
        Other rows and suspects, for ``kind="scores"``.
    threshold_line_ : matplotlib Line2D or None
        The threshold, for ``kind="scores"``.
    points_ : tuple of two matplotlib PathCollections
        Probabilities of the given and of the suggested labels, for ``kind="rows"``.

    Raises
    ------
    ValueError
        If a column is missing, their lengths differ, no row has a score, or bins is less than 1.

    See Also
    --------
    LossHistogramDisplay : Losses instead of scores, with a mixture.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from sknoisy.inspection import LabelIssuesDisplay
    >>> proba = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7]]
    >>> y = ["ham", "ham", "ham", "spam"]
    >>> display = LabelIssuesDisplay.from_predictions(y, proba)
    >>> display.columns["score"].round(2).tolist(), display.columns["flagged"].tolist()
    ([0.9, 0.8, 0.1, 0.7], [False, False, True, False])
    >>> display = display.plot(kind="rows", n_rows=1)
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['2: ham → spam']
    """

    def __init__(
        self,
        *,
        columns: Mapping[str, ArrayLike],
        threshold: float | None = None,
        bins: int = 40,
    ):
        missing = [name for name in _COLUMNS if name not in columns]
        if missing:
            raise ValueError(f"columns lack {missing}. Pass to_dict() of an audit.")
        if bins < 1:
            raise ValueError(f"bins={bins} must be at least 1.")
        kept = {name: np.asarray(columns[name]) for name in _COLUMNS}
        check_consistent_length(*kept.values())
        has_score = np.isfinite(kept["score"])
        if not has_score.any():
            raise ValueError("No row has a score, so there is nothing to draw.")
        self.columns = {name: values[has_score] for name, values in kept.items()}
        self.threshold = self._separating() if threshold is None else float(threshold)
        self.bins = bins

    def _separating(self) -> float | None:
        score, flagged = self.columns["score"], self.columns["flagged"].astype(bool)
        below = score[flagged].max(initial=-np.inf)
        above = score[~flagged].min(initial=np.inf)
        if below < _MARGIN <= above:
            return _MARGIN
        is_between = below < above and np.isfinite([below, above]).all()
        return float((below + above) / 2) if is_between else None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        kind: str = "scores",
        n_rows: int = 20,
        threshold: float | None = None,
        bins: int = 40,
        ax: Any = None,
    ) -> LabelIssuesDisplay:
        """Create and draw the display of an audit.

        Parameters
        ----------
        estimator : object
            Result of an audit, with ``to_dict()``, or a fitted auditor, with ``audit_``.
        kind, n_rows
            Parameters of :meth:`plot`.
        threshold, bins
            Parameters of the class.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None: those of a new figure.

        Returns
        -------
        display : LabelIssuesDisplay
            The display.

        Raises
        ------
        NotFittedError
            If an auditor is not fitted.
        TypeError
            If the estimator is neither an audit nor an auditor.
        ValueError
            If columns are missing or a parameter is out of its range.
        """
        audit = estimator
        if not hasattr(audit, "to_dict"):
            if hasattr(estimator, "fit"):
                check_is_fitted(estimator)
            audit = getattr(estimator, "audit_", None)
        if audit is None:
            raise TypeError(
                f"{type(estimator).__name__} is no audit. Pass the result of audit_labels, a "
                "fitted LabelAuditor, or given labels and probabilities to from_predictions."
            )
        display = cls(columns=audit.to_dict(), threshold=threshold, bins=bins)
        return display.plot(ax, kind=kind, n_rows=n_rows)

    @classmethod
    def from_predictions(
        cls,
        y: ArrayLike,
        proba: Any,
        *,
        classes: Sequence[Any] | None = None,
        kind: str = "scores",
        n_rows: int = 20,
        threshold: float = 0.5,
        bins: int = 40,
        ax: Any = None,
    ) -> LabelIssuesDisplay:
        """Create and draw the display of given labels and class probabilities.

        The score is the normalised margin: half of 1 plus the probability of the given label minus
        the largest of another. Below 0.5 another class is more probable.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            Given labels.
        proba : array-like or sparse of shape (n_samples, n_classes)
            Class probabilities of rows that the model was not trained on.
        classes : sequence of labels or None, default=None
            Classes in the order of the columns. None: those in y, sorted.
        kind, n_rows
            Parameters of :meth:`plot`.
        threshold : float, default=0.5
            Score below which labels are suspect.
        bins : int, default=40
            Number of bars from 0 to 1.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None: those of a new figure.

        Returns
        -------
        display : LabelIssuesDisplay
            The display.

        Raises
        ------
        ValueError
            If the arrays do not fit each other or a parameter is out of its range.

        References
        ----------
        J. Kuan and J. Mueller, Model-agnostic label quality scoring to detect real-world label
        errors, ICML 2022 DataPerf workshop.
        """
        codes, order, checked = check_rows(y, proba, classes)
        given, suggested_proba, margin = np.empty((3, len(codes)))
        suggested = np.empty(len(codes), dtype=np.intp)
        for rows, piece in pieces(checked):
            numbers = np.arange(len(piece))
            suggested[rows] = piece.argmax(axis=1)
            suggested_proba[rows] = piece[numbers, suggested[rows]]
            given[rows] = piece[numbers, codes[rows]]
            others = piece.copy()
            others[numbers, codes[rows]] = -np.inf
            margin[rows] = given[rows] - others.max(axis=1)
        score = (margin + 1) / 2
        columns = {
            "index": np.arange(len(codes)),
            "given_label": order[codes],
            "suggested_label": order[suggested],
            "score": score,
            "probability": given,
            "suggested_probability": suggested_proba,
            "flagged": score < threshold,
        }
        display = cls(columns=columns, threshold=threshold, bins=bins)
        return display.plot(ax, kind=kind, n_rows=n_rows)

    def plot(
        self, ax: Any = None, *, kind: str = "scores", n_rows: int = 20
    ) -> LabelIssuesDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None: those of a new figure.
        kind : {"scores", "rows"}, default="scores"
            "scores": a histogram of the scores. "rows": the rows of lowest score.
        n_rows : int, default=20
            Number of rows to draw, for ``kind="rows"``.

        Returns
        -------
        display : LabelIssuesDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If kind is not known or n_rows is less than 1.
        """
        if kind not in _KINDS:
            raise ValueError(f"kind={kind!r} must be one of {', '.join(map(repr, _KINDS))}.")
        if n_rows < 1:
            raise ValueError(f"n_rows={n_rows} must be at least 1.")
        if kind == "rows":
            self._plot_rows(ax, n_rows)
        else:
            self._plot_scores(ax)
        return self

    def _plot_scores(self, ax: Any) -> None:
        ax = new_axes(self, ax)
        score, flagged = self.columns["score"], self.columns["flagged"].astype(bool)
        edges = np.linspace(0, 1, self.bins + 1)
        others, suspects = (np.histogram(score[of], edges)[0] for of in (~flagged, flagged))
        shared: dict[str, Any] = {"width": np.diff(edges), "align": "edge", "edgecolor": "white"}
        self.bars_ = (
            ax.bar(
                edges[:-1], others, color=LOW_COLOR, label=f"{(~flagged).sum():,} others", **shared
            ),
            ax.bar(
                edges[:-1],
                suspects,
                bottom=others,
                color=HIGH_COLOR,
                hatch="///",
                label=f"{flagged.sum():,} suspects",
                **shared,
            ),
        )
        self.threshold_line_ = None
        if self.threshold is not None:
            self.threshold_line_ = ax.axvline(
                self.threshold,
                color="black",
                linestyle="--",
                label=f"threshold {self.threshold:.2f}",
            )
        tallest = (others + suspects).max()
        ax.set(xlabel="score of the given label (0: worst)", ylabel="rows")
        ax.set(xlim=(0, 1), ylim=(0, 1.05 * tallest))
        ax.legend()

    def _plot_rows(self, ax: Any, n_rows: int) -> None:
        worst = np.argsort(self.columns["score"], kind="stable")[:n_rows]
        rows = {name: values[worst] for name, values in self.columns.items()}
        ax = new_axes(self, ax, figsize=(6.4, 1.4 + 0.26 * len(worst)))
        height = np.arange(len(worst))
        given, suggested = rows["probability"], rows["suggested_probability"]
        ax.hlines(height, given, suggested, color="0.7", zorder=1)
        self.points_ = (
            ax.scatter(given, height, color=HIGH_COLOR, marker="o", label="given label"),
            ax.scatter(suggested, height, color=LOW_COLOR, marker="D", label="suggested label"),
        )
        names = [
            f"{index}: {_short(old)} → {_short(new)}"
            for index, old, new in zip(
                rows["index"], rows["given_label"], rows["suggested_label"], strict=True
            )
        ]
        name_ticks(ax.set_yticks, height, names)
        ax.invert_yaxis()
        ax.set(xlabel="probability", ylabel="row: given → suggested label", xlim=(-0.03, 1.03))
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)


def _short(label: Any) -> str:
    text = str(label)
    return text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 1]}…"

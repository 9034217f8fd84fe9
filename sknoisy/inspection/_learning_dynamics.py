"""Display of the scores of a selection round, the mixture fitted to them and the threshold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from .._compat import check_weights, column_or_1d
from ..mixture import WeibullMixture
from ._drawing import draw_bars, new_axes

__all__ = ["LearningDynamicsDisplay"]

_N_POINTS = 1000  # per curve
_HEADROOM = 1.2  # highest point of the curves over the tallest bar; densities may be infinite at 0

Floats = NDArray[np.float64]


class LearningDynamicsDisplay:
    """Histogram of the scores of a selection round, with the mixture fitted to them.

    Use :meth:`from_estimator` or :meth:`from_scores` to create and draw the display, and
    :meth:`plot` to draw it again. Rows whose given label is memorised early and not forgotten have
    low scores. The height of a bar is its number of rows. The curves are densities, multiplied by
    the number of rows and the width of a bar, so that both share one scale.

    If the scores are integers, all bars cover the same number of possible scores: a metric that
    counts epochs yields only every second integer.

    Parameters
    ----------
    scores : array-like of shape (n_distinct,)
        Scores M - G, in epochs.
    counts : array-like of shape (n_distinct,) or None, default=None
        Number of rows with each score. None: one.
    mixture : WeibullMixture or None, default=None
        Mixture fitted to the scores after :func:`~sknoisy.mixture.shift_scores`. None: no curves.
    threshold : float or None, default=None
        Score above which rows are dropped. None: the threshold of
        :class:`~sknoisy.CleanSampleSelector`, which is the scale parameter of the mixture's last
        component, shifted back; no line without a mixture. NaN: no line.
    bins : int, default=50
        Maximum number of bars.

    Attributes
    ----------
    scores : ndarray of shape (n_distinct,), float64
        As above.
    counts : ndarray of shape (n_distinct,), float64
        As above.
    mixture : WeibullMixture or None
        As above.
    threshold : float
        As above; NaN: none.
    bins : int
        As above.
    ax_ : matplotlib Axes
        Axes of the drawing.
    figure_ : matplotlib Figure
        Figure of the axes.
    bars_ : matplotlib BarContainer
        The histogram.
    lines_ : list of matplotlib Line2D
        The mixture, and its components by ascending scale; empty without a mixture.
    threshold_line_ : matplotlib Line2D or None
        The threshold.

    Raises
    ------
    ValueError
        If there is no score, a score is not finite, a count is negative, all counts are 0, the
        numbers of counts and scores differ, the mixture was fitted to several columns, or bins is
        less than 1.
    TypeError
        If the mixture is not a WeibullMixture.
    NotFittedError
        If the mixture is not fitted.

    See Also
    --------
    sknoisy.CleanSampleSelector : Selects rows by such scores.
    sknoisy.callbacks.RecordDynamics : Records the bits from which scores are computed.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from sknoisy.inspection import LearningDynamicsDisplay
    >>> from sknoisy.mixture import WeibullMixture, shift_scores
    >>> scores = [-8, -8, -8, -6, -6, -4, 4, 6, 6, 8]  # of eight epochs
    >>> mixture = WeibullMixture(random_state=0).fit(shift_scores(scores)[:, None])
    >>> display = LearningDynamicsDisplay.from_scores(scores, mixture=mixture)
    >>> [int(bar.get_height()) for bar in display.bars_]
    [3, 2, 1, 0, 0, 0, 1, 2, 1]
    >>> 4 < display.threshold < 8
    True
    """

    def __init__(
        self,
        *,
        scores: ArrayLike,
        counts: ArrayLike | None = None,
        mixture: WeibullMixture | None = None,
        threshold: float | None = None,
        bins: int = 50,
    ):
        column = column_or_1d(scores, input_name="scores")
        self.scores = check_array(column, ensure_2d=False, dtype=np.float64, input_name="scores")
        self.counts = _check_counts(counts, self.scores)
        if bins < 1:
            raise ValueError(f"bins={bins} must be at least 1.")
        _check_mixture(mixture)
        if threshold is None:
            threshold = math.nan if mixture is None else mixture.scales_[-1, 0] + self._shift
        self.mixture, self.threshold, self.bins = mixture, float(threshold), bins

    @property
    def _shift(self) -> float:
        """Difference between the scores and the shifted scores."""
        return min(self.scores.min(), 0.0)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        round_index: int = -1,
        bins: int = 50,
        ax: Any = None,
        **bar_kw: Any,
    ) -> LearningDynamicsDisplay:
        """Create and draw the display of one round of a fitted selection.

        Parameters
        ----------
        estimator : object
            Fitted :class:`~sknoisy.CleanSampleSelector`, or a fitted
            :class:`~sknoisy.MILDClassifier` or :class:`~sknoisy.PurifiedClassifier` that uses one.
        round_index : int, default=-1
            Index into ``rounds_``: 0 is the first round, -1 the last.
        bins : int, default=50
            Maximum number of bars.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None: those of a new figure.
        **bar_kw
            Arguments of :meth:`matplotlib.axes.Axes.bar`.

        Returns
        -------
        display : LearningDynamicsDisplay
            The display; without curves and line if the round had no mixture. In a round that the
            selector's ``stopping`` made the last one, the threshold is negative, and rows were
            dropped by ``min_memorized`` instead.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            If the estimator does not select by learning dynamics, or has no such round.
        """
        check_is_fitted(estimator)
        rounds = _rounds_of(estimator)
        if not -len(rounds) <= round_index < len(rounds):
            raise ValueError(
                f"round_index={round_index}, but rounds_ has {len(rounds)} entries. Pass a number "
                f"from {-len(rounds)} to {len(rounds) - 1}."
            )
        record = rounds[round_index]
        return cls.from_scores(
            record["scores"],
            record["counts"],
            mixture=record["mixture"],
            threshold=record["threshold"],
            bins=bins,
            ax=ax,
            **bar_kw,
        )

    @classmethod
    def from_scores(
        cls,
        scores: ArrayLike,
        counts: ArrayLike | None = None,
        *,
        mixture: WeibullMixture | None = None,
        threshold: float | None = None,
        bins: int = 50,
        ax: Any = None,
        **bar_kw: Any,
    ) -> LearningDynamicsDisplay:
        """Create and draw the display of given scores, such as those of a stock skorch net.

        Parameters
        ----------
        scores, counts, mixture, threshold, bins
            Parameters of the class.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None: those of a new figure.
        **bar_kw
            Arguments of :meth:`matplotlib.axes.Axes.bar`.

        Returns
        -------
        display : LearningDynamicsDisplay
            The display.

        Raises
        ------
        ValueError, TypeError, NotFittedError
            If the arguments cannot be used; see the class.
        """
        display = cls(
            scores=scores, counts=counts, mixture=mixture, threshold=threshold, bins=bins
        )
        return display.plot(ax, **bar_kw)

    def plot(self, ax: Any = None, **bar_kw: Any) -> LearningDynamicsDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None: those of a new figure.
        **bar_kw
            Arguments of :meth:`matplotlib.axes.Axes.bar`.

        Returns
        -------
        display : LearningDynamicsDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = new_axes(self, ax)
        edges = _edges(self.scores, self.bins)
        heights, _ = np.histogram(self.scores, edges, weights=self.counts)
        self.bars_ = draw_bars(ax, edges, heights, f"{self.counts.sum():,g} rows", bar_kw)
        self.lines_ = [] if self.mixture is None else self._plot_curves(ax, edges)
        self._limit_height(ax, heights.max())
        self.threshold_line_ = self._plot_threshold(ax)
        ax.set(xlabel="score, in epochs", ylabel="rows")
        ax.legend()
        return self

    def _plot_curves(self, ax: Any, edges: Floats) -> list:
        mixture: Any = self.mixture
        # Zeros were fitted as zero_value_; below that, the density may be infinite.
        shifted = np.linspace(mixture.zero_value_[0], edges[-1] - self._shift, _N_POINTS)
        scale = self.counts.sum() * (edges[1] - edges[0])
        density = scale * np.exp(mixture.score_samples(shifted[:, None]))
        parts = density[:, None] * mixture.predict_proba(shifted[:, None])
        x = shifted + self._shift
        lines = ax.plot(x, density, color="black", label="mixture")
        for number, (part, share) in enumerate(zip(parts.T, mixture.weights_, strict=True)):
            label = f"component {number + 1}, {share:.0%}"
            lines += ax.plot(x, part, "--", color=f"C{number}", label=label)
        return lines

    def _limit_height(self, ax: Any, tallest: float) -> None:
        """Cut curves that are much higher than the bars."""
        if any(line.get_ydata().max() > _HEADROOM * tallest for line in self.lines_):
            ax.set_ylim(0, _HEADROOM * tallest)

    def _plot_threshold(self, ax: Any) -> Any:
        if math.isnan(self.threshold):
            return None
        label = f"threshold {self.threshold:.1f}"
        return ax.axvline(self.threshold, color="C3", label=label)


def _check_counts(counts: ArrayLike | None, scores: Floats) -> Floats:
    if counts is None:
        return np.ones(len(scores))
    n_counts = len(column_or_1d(counts, input_name="counts"))
    if n_counts != len(scores):
        raise ValueError(
            f"There are {n_counts} counts, but {len(scores)} scores. Pass one count per score."
        )
    checked = check_weights(counts, scores, dtype=np.float64)
    if checked.min() < 0:
        raise ValueError(
            f"counts must be numbers of rows, got values from {checked.min():g} to "
            f"{checked.max():g}. Leave them out to count each score once."
        )
    return checked


def _check_mixture(mixture: Any) -> None:
    if mixture is None:
        return
    if not isinstance(mixture, WeibullMixture):
        raise TypeError(
            f"mixture is a {type(mixture).__name__}. Pass a WeibullMixture, fitted to "
            "shift_scores(scores)[:, None], or None."
        )
    check_is_fitted(mixture)
    if mixture.n_features_in_ != 1:
        raise ValueError(
            f"mixture was fitted to {mixture.n_features_in_} columns. Fit it to scores alone: "
            "shift_scores(scores)[:, None]."
        )


def _rounds_of(estimator: Any) -> list[dict[str, Any]]:
    """Return the ``rounds_`` of an estimator, or of its selector or cleaner."""
    holders = (getattr(estimator, name, estimator) for name in ("selector_", "cleaner_"))
    for holder in holders:
        if hasattr(holder, "rounds_"):
            return _check_rounds(holder.rounds_)
    raise ValueError(
        f"This {type(estimator).__name__} has no rounds_: it does not select rows by their "
        "learning dynamics. Pass a CleanSampleSelector, or a MILDClassifier whose selector is one."
    )


def _check_rounds(rounds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not rounds:
        raise ValueError("rounds_ is empty: fit was interrupted in the first round. Fit again.")
    return rounds


def _edges(scores: Floats, bins: int) -> Floats:
    """Return the edges of at most ``bins`` bars of equal width."""
    low, high = scores.min(), scores.max()
    if np.any(scores % 1):
        return np.linspace(low, high, bins + 1) if high > low else np.r_[low - 0.5, low + 0.5]
    step = 1 if np.any((scores - low) % 2) else 2
    width = step * math.ceil(((high - low) / step + 1) / bins)
    n_bars = math.ceil((high - low + step) / width)
    return low - step / 2 + width * np.arange(n_bars + 1)

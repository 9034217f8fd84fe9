"""Display of the losses of the rows, with a mixture fitted to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from .._compat import column_or_1d
from ..mixture import LossMixture, loss_mixture
from ._drawing import HIGH_COLOR, LOW_COLOR, draw_bars, new_axes
from ._given_losses import given_losses

__all__ = ["LossHistogramDisplay"]

_N_POINTS = 1000  # per curve
_HEADROOM = 1.2  # highest point of the curves over the tallest bar


class LossHistogramDisplay:
    """Histogram of the losses of given labels, with the two components of a mixture.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create and draw the display, and
    :meth:`plot` to draw it, or to draw it again. Networks learn right labels first, so right
    labels have small losses. Two humps mean that losses can tell right from wrong labels, one hump
    that they cannot. The curves are densities, multiplied by the number of rows and the width of a
    bar.

    Parameters
    ----------
    losses : array-like of shape (n_samples,)
        Losses of the rows.
    mixture : LossMixture, {"gaussian", "beta"} or None, default=None
        Result of :func:`~sknoisy.mixture.loss_mixture` for these losses, or the kind of the
        mixture to fit to them. None: no curves.
    bins : int, default=50
        Number of bars.

    Attributes
    ----------
    losses : ndarray of shape (n_samples,), float64
        As above.
    mixture : LossMixture or None
        As above, fitted.
    bins : int
        As above.
    ax_ : matplotlib Axes
        Axes of the drawing.
    figure_ : matplotlib Figure
        Figure of the axes.
    bars_ : matplotlib BarContainer
        The histogram.
    lines_ : list of matplotlib Line2D
        The lower component, the upper one and their sum; empty without a mixture, or if it did
        not separate the rows.

    Raises
    ------
    ValueError
        If there is no loss, a loss is not finite, bins is less than 1, or the kind is not known.
    TypeError
        If the mixture is neither a kind nor a LossMixture.

    Warns
    -----
    MixtureWarning
        If a mixture is fitted here and does not separate the rows.

    See Also
    --------
    sknoisy.mixture.loss_mixture : Fits the mixture.
    LearningDynamicsDisplay : Scores of learning dynamics, with their mixture.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from sknoisy.inspection import LossHistogramDisplay
    >>> losses = [0.1, 0.2, 0.1, 0.3, 4.0, 5.0, 4.5]
    >>> display = LossHistogramDisplay(losses=losses, mixture="gaussian", bins=5).plot()
    >>> [int(bar.get_height()) for bar in display.bars_]
    [4, 0, 0, 1, 2]
    >>> [line.get_label() for line in display.lines_]
    ['low losses, 57%', 'high losses, 43%', 'mixture']
    """

    def __init__(
        self, *, losses: ArrayLike, mixture: LossMixture | str | None = None, bins: int = 50
    ):
        column = column_or_1d(losses, input_name="losses")
        self.losses = check_array(column, ensure_2d=False, dtype=np.float64, input_name="losses")
        if bins < 1:
            raise ValueError(f"bins={bins} must be at least 1.")
        if isinstance(mixture, str):
            mixture = loss_mixture(self.losses, kind=mixture, random_state=0)
        if mixture is not None and not isinstance(mixture, LossMixture):
            raise TypeError(
                f"mixture is a {type(mixture).__name__}. Pass 'gaussian', 'beta', None, or the "
                "result of loss_mixture(losses)."
            )
        self.mixture, self.bins = mixture, bins

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        mixture: LossMixture | str | None = None,
        bins: int = 50,
        ax: Any = None,
        **bar_kw: Any,
    ) -> LossHistogramDisplay:
        """Create and draw the display of the losses under a fitted classifier.

        Parameters
        ----------
        estimator : classifier
            Fitted, with ``predict_proba``.
        X : array-like of shape (n_samples, n_features), or what the estimator takes
            Rows. A classifier that has learned their labels by heart has small losses for all.
        y : array-like of shape (n_samples,)
            Given labels.
        mixture, bins
            Parameters of the class.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None: those of a new figure.
        **bar_kw
            Arguments of :meth:`matplotlib.axes.Axes.bar`.

        Returns
        -------
        display : LossHistogramDisplay
            The display of the cross-entropies.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError, TypeError
            If the arguments cannot be used; see the class.
        """
        return cls.from_predictions(
            y,
            estimator.predict_proba(X),
            classes=estimator.classes_,
            mixture=mixture,
            bins=bins,
            ax=ax,
            **bar_kw,
        )

    @classmethod
    def from_predictions(
        cls,
        y: ArrayLike,
        proba: Any,
        *,
        classes: Sequence[Any] | None = None,
        mixture: LossMixture | str | None = None,
        bins: int = 50,
        ax: Any = None,
        **bar_kw: Any,
    ) -> LossHistogramDisplay:
        """Create and draw the display of given labels and class probabilities.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            Given labels.
        proba : array-like or sparse of shape (n_samples, n_classes)
            Class probabilities.
        classes : sequence of labels or None, default=None
            Classes in the order of the columns. None: those in y, sorted.
        mixture, bins
            Parameters of the class.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None: those of a new figure.
        **bar_kw
            Arguments of :meth:`matplotlib.axes.Axes.bar`.

        Returns
        -------
        display : LossHistogramDisplay
            The display of the cross-entropies.

        Raises
        ------
        ValueError, TypeError
            If the arguments cannot be used; see the class.
        """
        display = cls(losses=given_losses(y, proba, classes), mixture=mixture, bins=bins)
        return display.plot(ax, **bar_kw)

    def plot(self, ax: Any = None, **bar_kw: Any) -> LossHistogramDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None: those of a new figure.
        **bar_kw
            Arguments of :meth:`matplotlib.axes.Axes.bar`.

        Returns
        -------
        display : LossHistogramDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = new_axes(self, ax)
        heights, edges = np.histogram(self.losses, self.bins)
        self.bars_ = draw_bars(ax, edges, heights, f"{len(self.losses):,} rows", bar_kw)
        has_curves = self.mixture is not None and self.mixture.mixture is not None
        self.lines_ = self._plot_curves(ax, edges) if has_curves else []
        if any(line.get_ydata().max() > _HEADROOM * heights.max() for line in self.lines_):
            ax.set_ylim(0, _HEADROOM * heights.max())
        ax.set(xlabel="loss of the given label", ylabel="rows")
        ax.legend()
        return self

    def _plot_curves(self, ax: Any, edges: Any) -> list:
        fitted: Any = self.mixture
        low, high = fitted.loss_range
        x = np.linspace(low, high, _N_POINTS)
        scaled = ((x - low) / (high - low))[:, None]  # the mixture was fitted on [0, 1]
        scale = len(self.losses) * (edges[1] - edges[0]) / (high - low)
        density = scale * np.exp(fitted.mixture.score_samples(scaled))
        parts = density[:, None] * fitted.mixture.predict_proba(scaled)
        lines = []
        looks = (
            (fitted.lower, "low", LOW_COLOR, "--"),
            (1 - fitted.lower, "high", HIGH_COLOR, "-."),
        )
        for number, name, color, style in looks:
            label = f"{name} losses, {fitted.mixture.weights_[number]:.0%}"
            lines += ax.plot(x, parts[:, number], style, color=color, label=label)
        # Behind the components, which it equals wherever one of them has nearly all rows.
        return lines + ax.plot(x, density, color="0.5", linewidth=4, zorder=1.5, label="mixture")

"""Display of learned sample weights against losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import check_is_fitted

from .._compat import column_or_1d
from ._drawing import HIGH_COLOR, LOW_COLOR, new_axes
from ._given_losses import given_losses

__all__ = ["SampleWeightDisplay"]

_N_GROUPS = 10  # of as many rows each, for the line of medians


class SampleWeightDisplay:
    """Weight of each training row against the loss of its given label.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create and draw the display, and
    :meth:`plot` to draw it, or to draw it again. Each point is a row. The line joins the medians
    of ten groups of rows by ascending loss. A meta-learning classifier that has found the wrong
    labels gives small weights to large losses: the line falls.

    Parameters
    ----------
    losses : array-like of shape (n_samples,)
        Losses of the rows.
    sample_weight : array-like of shape (n_samples,)
        Weights of the rows.

    Attributes
    ----------
    losses : ndarray of shape (n_samples,), float64
        As above.
    sample_weight : ndarray of shape (n_samples,), float64
        As above.
    ax_ : matplotlib Axes
        Axes of the drawing.
    figure_ : matplotlib Figure
        Figure of the axes.
    points_ : matplotlib PathCollection
        The rows.
    line_ : matplotlib Line2D
        The medians.

    Raises
    ------
    ValueError
        If the arrays differ in length, are empty, or hold a number that is not finite.

    See Also
    --------
    sknoisy.MetaWeightNetClassifier : Learns the weights as a function of the loss.
    sknoisy.L2RClassifier : Learns the weights row by row.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from sknoisy.inspection import SampleWeightDisplay
    >>> proba = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7]]
    >>> display = SampleWeightDisplay.from_predictions([0, 0, 0, 1], proba, [1, 0.9, 0.1, 0.8])
    >>> display.losses.round(2).tolist()
    [0.11, 0.22, 2.3, 0.36]
    >>> display.points_.get_offsets().shape
    (4, 2)
    """

    def __init__(self, *, losses: ArrayLike, sample_weight: ArrayLike):
        check_consistent_length(losses, sample_weight)
        self.losses = _finite(losses, "losses")
        self.sample_weight = _finite(sample_weight, "sample_weight")

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: ArrayLike, *, ax: Any = None, **scatter_kw: Any
    ) -> SampleWeightDisplay:
        """Create and draw the display of a fitted meta-learning classifier.

        Parameters
        ----------
        estimator : classifier
            Fitted, with ``sample_weight_``, such as a :class:`~sknoisy.CLIDMUClassifier`,
            :class:`~sknoisy.MetaWeightNetClassifier` or :class:`~sknoisy.L2RClassifier`.
        X : array-like of shape (n_samples, n_features), or what the estimator takes
            The rows of ``fit``, in the same order.
        y : array-like of shape (n_samples,)
            The given labels of ``fit``.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None: those of a new figure.
        **scatter_kw
            Arguments of :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        display : SampleWeightDisplay
            The display. Losses are cross-entropies after training. Each classifier documents its
            weights under ``sample_weight_``.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            If the estimator has no weights, or X has not as many rows.
        """
        check_is_fitted(estimator)
        if not hasattr(estimator, "sample_weight_"):
            raise ValueError(
                f"This {type(estimator).__name__} has no sample_weight_: it learns no weights, or "
                "its training ended in the warm-up. Pass a meta-learning classifier, such as a "
                "MetaWeightNetClassifier."
            )
        proba, weights = estimator.predict_proba(X), estimator.sample_weight_
        if len(proba) != len(weights):
            raise ValueError(
                f"X has {len(proba)} rows, but fit had {len(weights)}, and each has a weight. "
                "Pass X and y of fit."
            )
        losses = given_losses(y, proba, estimator.classes_)
        return cls(losses=losses, sample_weight=weights).plot(ax, **scatter_kw)

    @classmethod
    def from_predictions(
        cls,
        y: ArrayLike,
        proba: Any,
        sample_weight: ArrayLike,
        *,
        classes: Sequence[Any] | None = None,
        ax: Any = None,
        **scatter_kw: Any,
    ) -> SampleWeightDisplay:
        """Create and draw the display of given labels, class probabilities and weights.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            Given labels.
        proba : array-like or sparse of shape (n_samples, n_classes)
            Class probabilities.
        sample_weight : array-like of shape (n_samples,)
            Weights of the rows.
        classes : sequence of labels or None, default=None
            Classes in the order of the columns of proba. None: those in y, sorted.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None: those of a new figure.
        **scatter_kw
            Arguments of :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        display : SampleWeightDisplay
            The display.

        Raises
        ------
        ValueError
            If the arrays do not fit each other.
        """
        display = cls(losses=given_losses(y, proba, classes), sample_weight=sample_weight)
        return display.plot(ax, **scatter_kw)

    def plot(self, ax: Any = None, **scatter_kw: Any) -> SampleWeightDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None: those of a new figure.
        **scatter_kw
            Arguments of :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        display : SampleWeightDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = new_axes(self, ax)
        settings: dict[str, Any] = {
            "s": 12,
            "alpha": 0.4,
            "color": LOW_COLOR,
            "linewidth": 0,
            "label": f"{len(self.losses):,} rows",
            **scatter_kw,
        }
        self.points_ = ax.scatter(self.losses, self.sample_weight, **settings)
        groups = np.array_split(np.argsort(self.losses, kind="stable"), _N_GROUPS)
        medians = [
            (np.median(self.losses[rows]), np.median(self.sample_weight[rows]))
            for rows in groups
            if len(rows)
        ]
        (self.line_,) = ax.plot(
            *zip(*medians, strict=True), "o-", color=HIGH_COLOR, label="medians of tenths by loss"
        )
        ax.set(xlabel="loss of the given label", ylabel="sample weight")
        ax.legend()
        return self


def _finite(values: ArrayLike, name: str) -> Any:
    column = column_or_1d(values, input_name=name)
    return check_array(column, ensure_2d=False, dtype=np.float64, input_name=name)

"""Display of a transition matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.preprocessing import normalize
from sklearn.utils.validation import check_is_fitted

from ..noise import estimate_transition
from ..noise.checks import check_transition
from ._drawing import name_ticks, new_axes

__all__ = ["TransitionMatrixDisplay"]

_MAX_NUMBERS = 20  # classes up to which cells hold numbers
_MAX_NAMES = 50  # classes up to which each has a name on the axes


class TransitionMatrixDisplay:
    """Heat map of the probabilities of the given labels, by true class.

    Use :meth:`from_estimator` or :meth:`from_predictions` to create and draw the display, and
    :meth:`plot` to draw it, or to draw it again. Each row is a true class and each column a given
    one. Off the diagonal are the wrong labels. Up to 20 classes, each cell holds its percentage.

    Parameters
    ----------
    transition : array-like of shape (n_classes, n_classes)
        ``transition[i, j]`` is the probability of given class j for true class i.
    display_labels : sequence of length n_classes or None, default=None
        Names of the classes. None: their numbers, from 0.

    Attributes
    ----------
    transition : ndarray of shape (n_classes, n_classes), float64
        As above.
    display_labels : list of str
        As above.
    ax_ : matplotlib Axes
        Axes of the drawing.
    figure_ : matplotlib Figure
        Figure of the axes.
    im_ : matplotlib AxesImage
        The heat map.
    text_ : ndarray of shape (n_classes, n_classes) of matplotlib Text, or None
        Percentages in the cells; None above 20 classes.

    Raises
    ------
    ValueError
        If the matrix is not square, a row does not sum to 1, or the number of names differs.

    See Also
    --------
    sknoisy.noise.estimate_transition : Counts pairs of true and given labels.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from sknoisy.inspection import TransitionMatrixDisplay
    >>> display = TransitionMatrixDisplay.from_predictions(
    ...     ["ham", "ham", "spam", "spam"], ["ham", "ham", "spam", "ham"]
    ... )
    >>> [text.get_text() for text in display.text_.ravel()]
    ['100', '0', '50', '50']
    """

    def __init__(self, *, transition: ArrayLike, display_labels: Sequence[Any] | None = None):
        matrix = np.atleast_2d(np.asarray(transition, dtype=np.float64))
        self.transition = check_transition(matrix, len(matrix)).copy()
        names = range(len(matrix)) if display_labels is None else display_labels
        self.display_labels = [str(name) for name in names]
        if len(self.display_labels) != len(matrix):
            raise ValueError(
                f"The transition matrix has {len(matrix)} rows, but there are "
                f"{len(self.display_labels)} display_labels. Pass one name per class."
            )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        display_labels: Sequence[Any] | None = None,
        ax: Any = None,
        **im_kw: Any,
    ) -> TransitionMatrixDisplay:
        """Create and draw the display of a fitted estimator.

        Parameters
        ----------
        estimator : object
            Fitted, with ``transition_`` and ``classes_``, such as a
            :class:`~sknoisy.NoisyLabelClassifier` or :class:`~sknoisy.LabelPurifier`.
        display_labels : sequence of length n_classes or None, default=None
            Names of the classes. None: ``classes_``.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None: those of a new figure.
        **im_kw
            Arguments of :meth:`matplotlib.axes.Axes.imshow`.

        Returns
        -------
        display : TransitionMatrixDisplay
            The display. Rows of the matrix are scaled to sum 1.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            If the estimator has no transition matrix.
        """
        check_is_fitted(estimator)
        if not hasattr(estimator, "transition_"):
            raise ValueError(
                f"This {type(estimator).__name__} has no transition_. Pass a "
                "NoisyLabelClassifier or a LabelPurifier, or count true and given labels by "
                "from_predictions."
            )
        names = estimator.classes_ if display_labels is None else display_labels
        # In single precision, rows sum to 1 only roughly.
        shares = normalize(estimator.transition_, norm="l1")
        display = cls(transition=shares, display_labels=names)
        return display.plot(ax, **im_kw)

    @classmethod
    def from_predictions(
        cls,
        y_clean: ArrayLike,
        y_given: ArrayLike,
        *,
        classes: Sequence[Any] | None = None,
        display_labels: Sequence[Any] | None = None,
        ax: Any = None,
        **im_kw: Any,
    ) -> TransitionMatrixDisplay:
        """Create and draw the display of counted pairs of labels.

        Parameters
        ----------
        y_clean : array-like of shape (n_samples,)
            True labels, or predictions for rows that the model was not trained on.
        y_given : array-like of shape (n_samples,)
            Given labels of the same rows.
        classes : sequence of labels or None, default=None
            Classes in the order of the drawing. None: all that occur, sorted.
        display_labels : sequence of length n_classes or None, default=None
            Names of the classes. None: the classes.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None: those of a new figure.
        **im_kw
            Arguments of :meth:`matplotlib.axes.Axes.imshow`.

        Returns
        -------
        display : TransitionMatrixDisplay
            The display. A class that y_clean lacks has a row of the identity.

        Raises
        ------
        ValueError
            If the two differ in length or hold labels outside `classes`.
        """
        if classes is None:
            classes = sorted({*np.unique(y_clean).tolist(), *np.unique(y_given).tolist()})
        transition = estimate_transition(y_clean, y_given, classes=classes)
        names = classes if display_labels is None else display_labels
        return cls(transition=transition, display_labels=names).plot(ax, **im_kw)

    def plot(self, ax: Any = None, **im_kw: Any) -> TransitionMatrixDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None: those of a new figure.
        **im_kw
            Arguments of :meth:`matplotlib.axes.Axes.imshow`.

        Returns
        -------
        display : TransitionMatrixDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        n_classes = len(self.transition)
        side = 2.2 + 0.42 * min(max(n_classes, 6), _MAX_NUMBERS)
        ax = new_axes(self, ax, figsize=(side + 0.8, side))
        settings = {"cmap": "Blues", "interpolation": "nearest", **im_kw, "vmin": 0, "vmax": 1}
        self.im_ = ax.imshow(self.transition, **settings)
        self.text_ = self._plot_numbers(ax) if n_classes <= _MAX_NUMBERS else None
        if n_classes <= _MAX_NAMES:
            places = range(n_classes)
            name_ticks(ax.set_xticks, places, self.display_labels)
            name_ticks(ax.set_yticks, places, self.display_labels)
            if max(map(len, self.display_labels)) > 3:
                ax.tick_params(axis="x", rotation=90)
        ax.set(xlabel="given label", ylabel="true label")
        ax.figure.colorbar(self.im_, ax=ax, label="share of the true class")
        return self

    def _plot_numbers(self, ax: Any) -> Any:
        texts = np.empty(self.transition.shape, dtype=object)
        for (row, column), share in np.ndenumerate(self.transition):
            red, green, blue, _ = self.im_.cmap(self.im_.norm(share))
            is_dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            texts[row, column] = ax.text(
                column,
                row,
                f"{100 * share:.0f}",
                ha="center",
                va="center",
                color="white" if is_dark else "black",
            )
        return texts

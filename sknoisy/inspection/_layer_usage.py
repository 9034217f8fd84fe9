"""Display of the layers that carried the meta gradient in each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from ._drawing import new_axes

__all__ = ["LayerUsageDisplay"]


class LayerUsageDisplay:
    """Heat map of the layers that carried the meta gradient in each epoch.

    Use :meth:`from_estimator` or :meth:`from_usage` to create and draw the display, and
    :meth:`plot` to draw it again. Each column is an epoch of the meta update and each row a layer,
    with the first layer at the bottom. The colour is the share of steps in which the layer was
    active.

    Parameters
    ----------
    layer_names : sequence of str of length n_layers
        Names of the layers, from the first to the last.
    layer_usage : array-like of shape (n_epochs, n_layers)
        Share of the epoch's steps in which each layer was active, in [0, 1].
    first_epoch : int, default=1
        Number of the first epoch.

    Attributes
    ----------
    layer_names : tuple of str
        As above.
    layer_usage : ndarray of shape (n_epochs, n_layers), float64
        As above.
    first_epoch : int
        As above.
    ax_ : matplotlib Axes
        Axes of the drawing.
    figure_ : matplotlib Figure
        Figure of the axes.
    im_ : matplotlib AxesImage
        The heat map.

    Raises
    ------
    ValueError
        If there is no epoch, a share lies outside [0, 1], or the number of names differs from that
        of the columns.

    See Also
    --------
    sknoisy.FaMUSClassifier : Classifier that samples the layers.
    sknoisy.meta.LayerSampledGradient : Gradient strategy that samples the layers.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from sknoisy.inspection import LayerUsageDisplay
    >>> usage = [[0.5, 0.9, 1.0], [0.1, 0.8, 1.0]]
    >>> display = LayerUsageDisplay.from_usage(["conv", "fc.weight", "fc.bias"], usage)
    >>> display.im_.get_array().shape
    (3, 2)
    """

    def __init__(
        self, *, layer_names: Sequence[str], layer_usage: ArrayLike, first_epoch: int = 1
    ):
        usage = check_array(layer_usage, dtype=np.float64, input_name="layer_usage")
        if len(layer_names) != usage.shape[1]:
            raise ValueError(
                f"layer_usage has {usage.shape[1]} columns, but there are {len(layer_names)} "
                "layer_names. Pass one name per column."
            )
        if usage.min() < 0 or usage.max() > 1:
            raise ValueError(
                "layer_usage must hold shares in [0, 1], got values from "
                f"{usage.min():g} to {usage.max():g}."
            )
        self.layer_names = tuple(layer_names)
        self.layer_usage = usage
        self.first_epoch = first_epoch

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None, **im_kw: Any) -> LayerUsageDisplay:
        """Create and draw the display of a fitted classifier.

        Parameters
        ----------
        estimator : classifier
            Fitted, with ``layer_names_`` and ``layer_usage_``: a
            :class:`~sknoisy.FaMUSClassifier`, or another method with ``gradient="famus"``.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None: those of a new figure.
        **im_kw
            Arguments of :meth:`matplotlib.axes.Axes.imshow`.

        Returns
        -------
        display : LayerUsageDisplay
            The display. Epochs are counted as in ``history_``: the first one follows the warm-up.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            If the estimator sampled no layers.
        """
        check_is_fitted(estimator)
        if not hasattr(estimator, "layer_usage_"):
            raise ValueError(
                f"This {type(estimator).__name__} has no layer_usage_: it samples no layers, or "
                "its training ended in the warm-up. Pass a FaMUSClassifier, or a meta-learning "
                'classifier with gradient="famus".'
            )
        return cls.from_usage(
            estimator.layer_names_,
            estimator.layer_usage_,
            first_epoch=estimator.n_warmup_epochs_ + 1,
            ax=ax,
            **im_kw,
        )

    @classmethod
    def from_usage(
        cls,
        layer_names: Sequence[str],
        layer_usage: ArrayLike,
        *,
        first_epoch: int = 1,
        ax: Any = None,
        **im_kw: Any,
    ) -> LayerUsageDisplay:
        """Create and draw the display of given shares, such as those of a stock skorch net.

        Parameters
        ----------
        layer_names, layer_usage, first_epoch
            Parameters of the class.
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None: those of a new figure.
        **im_kw
            Arguments of :meth:`matplotlib.axes.Axes.imshow`.

        Returns
        -------
        display : LayerUsageDisplay
            The display.

        Raises
        ------
        ValueError
            If the arrays do not fit each other; see the class.
        """
        display = cls(layer_names=layer_names, layer_usage=layer_usage, first_epoch=first_epoch)
        return display.plot(ax, **im_kw)

    def plot(self, ax: Any = None, **im_kw: Any) -> LayerUsageDisplay:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw into; None: those of a new figure.
        **im_kw
            Arguments of :meth:`matplotlib.axes.Axes.imshow`.

        Returns
        -------
        display : LayerUsageDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        n_epochs, n_layers = self.layer_usage.shape
        ax = new_axes(self, ax, figsize=(6.4, 1.2 + 0.24 * n_layers))
        first, last = self.first_epoch, self.first_epoch + n_epochs - 1
        settings: dict[str, Any] = {
            "vmin": 0,
            "vmax": 1,
            "aspect": "auto",
            "interpolation": "nearest",
            **im_kw,
            "origin": "lower",  # the first layer at the bottom
            "extent": (first - 0.5, last + 0.5, -0.5, n_layers - 0.5),
        }
        self.im_ = ax.imshow(self.layer_usage.T, **settings)
        ax.set_yticks(range(n_layers), self.layer_names)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set(xlabel="epoch", ylabel="active layer")
        ax.figure.colorbar(self.im_, ax=ax, label="share of steps")
        return self

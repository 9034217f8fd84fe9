"""Size and regularisation of the default network, by rows, columns and classes."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MLPSettings", "mlp_settings"]


class MLPSettings(NamedTuple):
    """Settings of the default MLP, as returned by :func:`mlp_settings`.

    Attributes
    ----------
    hidden : tuple of int
        Widths of the hidden layers.
    dropout : float
        Dropout probability of the hidden layers.
    input_dropout : float
        Dropout probability of the input.
    weight_decay : float
        L2 penalty of the optimiser.

    Examples
    --------
    >>> from sknoisy.networks import MLP, mlp_settings
    >>> settings = mlp_settings(n_rows=1000, n_columns=60, n_classes=10)._replace(hidden=(64,))
    >>> arguments = settings._asdict()
    >>> weight_decay = arguments.pop("weight_decay")
    >>> MLP(60, 10, **arguments).fc.in_features, weight_decay
    (64, 0.0005)
    """

    hidden: tuple[int, ...]
    dropout: float
    input_dropout: float
    weight_decay: float


def mlp_settings(n_rows: int, n_columns: int, n_classes: int) -> MLPSettings:
    """Return width, dropout and weight decay of the MLP for a table.

    The MLP has two hidden layers of 128 units, or of ``n_classes`` units if there are more
    classes. Dropout keeps the network from memorising wrong labels before a weighting network can
    separate them, but costs accuracy on small tables:

    - fewer than 800 rows and at most 100 columns: no dropout;
    - otherwise: 0.3 in the hidden layers, and ``min(0.7, n_columns / 300)`` in the input. A table
      of few columns loses too much with each of them; wide tables with wrong labels gain by it.

    Weight decay is 5e-4, and 1e-3 for more than 100 columns.

    Parameters
    ----------
    n_rows, n_columns, n_classes : int
        Size of the training data.

    Returns
    -------
    settings : MLPSettings
        Named tuple of ``hidden``, ``dropout``, ``input_dropout`` and ``weight_decay``.

    Examples
    --------
    >>> from sknoisy.networks import mlp_settings
    >>> mlp_settings(n_rows=1000, n_columns=60, n_classes=10)
    MLPSettings(hidden=(128, 128), dropout=0.3, input_dropout=0.2, weight_decay=0.0005)
    >>> mlp_settings(n_rows=200, n_columns=60, n_classes=10).dropout
    0.0
    """
    width = max(128, n_classes)
    is_wide = n_columns > 100
    weight_decay = 1e-3 if is_wide else 5e-4
    if n_rows < 800 and not is_wide:
        return MLPSettings((width, width), 0.0, 0.0, weight_decay)
    return MLPSettings((width, width), 0.3, min(0.7, n_columns / 300), weight_decay)

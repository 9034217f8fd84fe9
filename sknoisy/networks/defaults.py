"""The network of an estimator that is given none: rules on rows, columns and classes."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MLPSettings", "mlp_settings"]


class MLPSettings(NamedTuple):
    """Settings of the default MLP.

    Attributes
    ----------
    hidden : tuple of int
        Widths of the hidden layers.
    dropout : float
        Dropout of the hidden layers.
    input_dropout : float
        Dropout of the input.
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
    """Width, dropout and weight decay of the MLP for a table.

    Two hidden layers of 128 units, wider where there are more classes than that. Dropout keeps
    the network from memorising wrong labels before the weighting network can tell them apart, and
    costs accuracy where there is little to learn from:

    - fewer than 800 rows and at most 100 columns: none;
    - else 0.3 in the hidden layers, and in the input 1/300 for each column up to 0.3: a table of
      few columns loses too much with one of them.

    Weight decay is 5e-4, and 1e-3 for more than 100 columns, where a network can memorise every
    row by a few of them.

    Parameters
    ----------
    n_rows, n_columns, n_classes : int
        Size of the training data.

    Returns
    -------
    settings : MLPSettings

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
    return MLPSettings((width, width), 0.3, min(0.3, n_columns / 300), weight_decay)

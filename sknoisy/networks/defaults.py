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
    """

    hidden: tuple[int, ...]
    dropout: float
    input_dropout: float
    weight_decay: float


def mlp_settings(n_rows: int, n_columns: int, n_classes: int) -> MLPSettings:
    """Width, dropout and weight decay of the MLP for a table.

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
    >>> mlp_settings(n_rows=1000, n_columns=64, n_classes=10).hidden
    (128, 128)
    """
    dropout = 0.3 if n_columns > 100 else 0.0 if n_rows < 800 else 0.15
    return MLPSettings((128, 128), dropout, dropout, 5e-4)

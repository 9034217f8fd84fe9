"""Mixtures that tell right labels from wrong ones by what the network makes of the rows.

:func:`split_by_loss` fits two Gaussians to per-sample losses and returns a :class:`LossSplit`.
"""

from ._loss_mixture import LossSplit, split_by_loss

__all__ = ["LossSplit", "split_by_loss"]

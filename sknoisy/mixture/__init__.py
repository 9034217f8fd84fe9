"""Mixtures that tell right labels from wrong ones by what the network makes of the rows.

==========================  ===================================================================
:func:`split_by_loss`       fits two Gaussians to per-sample losses, returns :class:`LossSplit`
:class:`WeibullMixture`     a density of scores that count epochs
:func:`shift_scores`        makes such scores non-negative first
==========================  ===================================================================
"""

from ._loss_mixture import LossSplit, split_by_loss
from ._shift import shift_scores
from ._weibull import WeibullMixture

__all__ = ["LossSplit", "WeibullMixture", "shift_scores", "split_by_loss"]

"""Mixture models that separate right labels from wrong ones by scores of the rows.

==========================  ===================================================================
:func:`split_by_loss`       splits rows by a mixture of their losses, see :class:`LossSplit`
:func:`loss_mixture`        fits two Gaussians or two betas to losses, see :class:`LossMixture`
:class:`BetaMixture`        density of scores between two bounds
:class:`WeibullMixture`     density of non-negative scores, such as counts of epochs
:func:`shift_scores`        shifts scores so that they are non-negative
==========================  ===================================================================
"""

from ._beta import BetaMixture
from ._loss_posterior import LossMixture, loss_mixture
from ._weibull import WeibullMixture, shift_scores
from .loss_split import LossSplit, split_by_loss

__all__ = [
    "BetaMixture",
    "LossMixture",
    "LossSplit",
    "WeibullMixture",
    "loss_mixture",
    "shift_scores",
    "split_by_loss",
]

"""Mixtures that tell right labels from wrong ones by what the network makes of the rows.

==========================  ===================================================================
:func:`split_by_loss`       splits the rows by a mixture of their losses: :class:`LossSplit`
:func:`loss_mixture`        that mixture, two Gaussians or two betas: :class:`LossMixture`
:class:`BetaMixture`        a density of scores between two bounds
:class:`WeibullMixture`     a density of scores that count epochs
:func:`shift_scores`        makes such scores non-negative first
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

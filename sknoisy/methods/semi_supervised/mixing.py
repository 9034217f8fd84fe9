"""Sharpening, MixUp and the losses on rows without labels: functions of tensors alone."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["mixing_share", "mixup", "prior_penalty", "sharpen", "squared_error"]


def sharpen(probabilities: Tensor, temperature: float) -> Tensor:
    """Make distributions more certain: powers ``1 / temperature``, normalised.

    Parameters
    ----------
    probabilities : Tensor of shape (n, n_classes)
        Rows sum to one.
    temperature : float
        Positive; 1 changes nothing, towards 0 a row becomes one-hot at its largest entry.

    Returns
    -------
    Tensor of shape (n, n_classes)
        Rows sum to one.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.methods.semi_supervised.mixing import sharpen
    >>> sharpen(torch.tensor([[0.75, 0.25]]), 0.5)
    tensor([[0.9000, 0.1000]])
    """
    # MixMatch, eq. (7), as a softmax of logarithms: powers would underflow at low temperatures.
    return torch.softmax(probabilities.log() / temperature, dim=1)


def mixing_share(alpha: float, random: np.random.Generator) -> float:
    """Share of a row in its mixture: the larger part of a draw from Beta(alpha, alpha).

    Parameters
    ----------
    alpha : float
        Not negative; 0 mixes nothing, and draws nothing.
    random : numpy.random.Generator

    Returns
    -------
    share : float
        In [1/2, 1].
    """
    if alpha == 0:
        return 1.0
    share = random.beta(alpha, alpha)
    return max(share, 1 - share)  # MixMatch, eqs. (8) and (9)


def mixup(values: Tensor, share: float, permutation: Tensor) -> Tensor:
    """Mixtures of rows with other rows.

    Parameters
    ----------
    values : Tensor of shape (n, ...)
        Inputs, targets or what else belongs to a row.
    share : float
        Of the row itself; the row ``permutation`` names has the rest.
    permutation : Tensor of shape (n,), int64

    Returns
    -------
    Tensor of shape (n, ...)

    Examples
    --------
    >>> import torch
    >>> from sknoisy.methods.semi_supervised.mixing import mixup
    >>> mixup(torch.tensor([0.0, 10.0]), 0.75, torch.tensor([1, 0]))
    tensor([2.5000, 7.5000])
    """
    return torch.lerp(values[permutation], values, share)  # MixMatch, eqs. (10) and (11)


def squared_error(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean square of predicted probability minus target, over rows and classes.

    Parameters
    ----------
    logits : Tensor of shape (n, n_classes)
    targets : Tensor of shape (n, n_classes)
        Rows sum to one.
    weights : Tensor of shape (n,) or None, default=None
        Factors of the rows.

    Returns
    -------
    loss : Tensor of shape ()
    """
    errors = (logits.softmax(dim=1) - targets).square().mean(dim=1)
    return (errors if weights is None else errors * weights).mean()


def prior_penalty(logits: Tensor, prior: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the mean prediction from a prior, KL(prior || mean).

    Parameters
    ----------
    logits : Tensor of shape (n, n_classes)
    prior : Tensor of shape (n_classes,)
        Sums to one; entries may be zero.

    Returns
    -------
    loss : Tensor of shape ()
        Not negative; 0 where the mean prediction is the prior.
    """
    log_mean = F.log_softmax(logits, dim=1).logsumexp(dim=0) - math.log(len(logits))
    return (torch.xlogy(prior, prior) - prior * log_mean).sum()

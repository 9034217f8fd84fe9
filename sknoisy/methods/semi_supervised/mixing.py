"""Sharpening, MixUp and the losses on rows without labels, as functions of tensors."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["mixing_share", "mixup", "prior_penalty", "sharpen", "squared_error"]


def sharpen(probabilities: Tensor, temperature: float) -> Tensor:
    """Sharpen distributions: raise them to the power ``1 / temperature`` and normalise.

    Parameters
    ----------
    probabilities : Tensor of shape (n, n_classes)
        Distributions; rows sum to one.
    temperature : float
        Positive; 1 changes nothing. Towards 0, a row becomes one-hot at its largest entry.

    Returns
    -------
    sharpened : Tensor of shape (n, n_classes)
        Rows sum to one.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.methods.semi_supervised.mixing import sharpen
    >>> sharpen(torch.tensor([[0.75, 0.25]]), 0.5)
    tensor([[0.9000, 0.1000]])
    """
    # MixMatch, eq. (7), as a softmax of logarithms; powers underflow at low temperatures.
    return torch.softmax(probabilities.log() / temperature, dim=1)


def mixing_share(alpha: float, random: np.random.Generator) -> float:
    """Draw the share of a row in its mixture: the larger part of a draw from Beta(alpha, alpha).

    Parameters
    ----------
    alpha : float
        Not negative. 0: the share is 1, and nothing is drawn.
    random : numpy.random.Generator
        Generator of the draw.

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
    """Mix rows with other rows.

    Parameters
    ----------
    values : Tensor of shape (n, ...)
        One entry per row, such as inputs or targets.
    share : float
        Share of the row itself.
    permutation : Tensor of shape (n,), int64
        The other row of each mixture.

    Returns
    -------
    mixtures : Tensor of shape (n, ...)
        ``share * values + (1 - share) * values[permutation]``.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.methods.semi_supervised.mixing import mixup
    >>> mixup(torch.tensor([0.0, 10.0]), 0.75, torch.tensor([1, 0]))
    tensor([2.5000, 7.5000])
    """
    return torch.lerp(values[permutation], values, share)  # MixMatch, eqs. (10) and (11)


def squared_error(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean squared error of the predicted probabilities, over rows and classes.

    Parameters
    ----------
    logits : Tensor of shape (n, n_classes)
        Outputs of the network.
    targets : Tensor of shape (n, n_classes)
        Distributions; rows sum to one.
    weights : Tensor of shape (n,) or None, default=None
        Factors of the rows; None: 1.

    Returns
    -------
    loss : Tensor of shape ()
        Mean over all n rows, whatever the weights.
    """
    errors = (logits.softmax(dim=1) - targets).square().mean(dim=1)
    return (errors if weights is None else errors * weights).mean()


def prior_penalty(logits: Tensor, prior: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence KL(prior || mean prediction).

    Parameters
    ----------
    logits : Tensor of shape (n, n_classes)
        Outputs of the network.
    prior : Tensor of shape (n_classes,)
        Class shares; they sum to one, and entries may be zero.

    Returns
    -------
    loss : Tensor of shape ()
        Not negative; 0 if the mean prediction is the prior.
    """
    log_mean = F.log_softmax(logits, dim=1).logsumexp(dim=0) - math.log(len(logits))
    return (torch.xlogy(prior, prior) - prior * log_mean).sum()

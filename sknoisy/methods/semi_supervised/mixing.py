"""Sharpening, MixUp and the losses on rows without labels, as functions of tensors."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["mixing_share", "mixup", "prior_penalty", "sharpen", "squared_errors"]


def sharpen(probabilities: Tensor, temperature: float) -> Tensor:
    """Raise distributions (n, n_classes) to the power ``1 / temperature`` and normalise them.

    A temperature of 1 changes nothing. Towards 0, a row becomes one-hot at its largest entry.
    """
    # MixMatch, eq. (7), as a softmax of logarithms; powers underflow at low temperatures.
    return torch.softmax(probabilities.log() / temperature, dim=1)


def mixing_share(alpha: float, random: np.random.Generator) -> float:
    """Draw the share of a row in its mixture: the larger part of a draw from Beta(alpha, alpha).

    The share is in [1/2, 1]. With ``alpha=0`` it is 1, and nothing is drawn.
    """
    if alpha == 0:
        return 1.0
    share = random.beta(alpha, alpha)
    return max(share, 1 - share)  # MixMatch, eqs. (8) and (9)


def mixup(values: Tensor, share: float, permutation: Tensor) -> Tensor:
    """Return ``share * values + (1 - share) * values[permutation]``, of shape (n, ...)."""
    if share == 1:
        return values
    return torch.lerp(values[permutation], values, share)  # MixMatch, eqs. (10) and (11)


def squared_errors(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the squared error of the predicted probabilities of each row, the mean over classes.

    Logits and targets have the shape (n, n_classes).
    """
    return (logits.softmax(dim=1) - targets).square().mean(dim=1)


def prior_penalty(logits: Tensor, prior: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the Kullback-Leibler divergence KL(prior || mean prediction).

    The prior (n_classes,) sums to one and may have entries of zero. The mean over the rows is
    weighted if there are weights (n,).
    """
    log_p = F.log_softmax(logits, dim=1)
    if weights is None:
        log_mean = log_p.logsumexp(dim=0) - math.log(len(logits))
    else:
        weights = weights.clamp(min=torch.finfo(weights.dtype).tiny)
        log_mean = (log_p + (weights / weights.sum()).log()[:, None]).logsumexp(dim=0)
    return (torch.xlogy(prior, prior) - prior * log_mean).sum()

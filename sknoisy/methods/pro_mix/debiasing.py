"""Running class distributions, and the adjustment of logits by them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["adjusted", "momentum_of", "pseudo_labels", "updated"]

# In the published training, a share of 1e-5 of the uniform start is left after the last of
# 115,245 steps with a momentum of 0.9999.
_DECAY = 115245 * 1e-4


def momentum_of(n_steps: int) -> float:
    """Return the momentum of the running distributions in a training of so many steps.

    It is 0.9999 for the length of the published training. In a shorter one, the distributions
    forget as much from the first to the last step.
    """
    return max(1 - _DECAY / n_steps, 0.0)


def adjusted(logits: Tensor, distribution: Tensor, strength: float) -> Tensor:
    """Return logits (n, n_classes) plus `strength` times the logarithm of a distribution.

    Frequent classes are trained with a margin in their favour, and so do not dominate the logits.
    """
    return logits + strength * distribution.log()


def pseudo_labels(
    logits: Tensor, distribution: Tensor, strength: float, temperature: float
) -> Tensor:
    """Return sharpened probabilities (n, n_classes) of logits that the distribution does not bias.

    The logarithm of the distribution is subtracted; no gradient flows into the result.
    """
    debiased = adjusted(logits.detach(), distribution, -strength)
    return torch.softmax(debiased / temperature, dim=1)


def updated(
    distribution: Tensor, probabilities: Tensor, weights: Tensor, momentum: float
) -> Tensor:
    """Return a running distribution (n_classes,) moved to the weighted mean of probabilities.

    Without any row, or without any weight, it stays.
    """
    total = weights.sum()
    mean = weights @ probabilities / total
    return torch.where(total > 0, torch.lerp(mean, distribution, momentum), distribution)

"""Selection of the rows whose labels are used, as functions of tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["agreed_rows", "confident_rows", "small_loss_rows"]


def small_loss_rows(losses: Tensor, targets: Tensor, share: float, n_classes: int) -> Tensor:
    """Return a mask of the rows of smallest loss within each given class (class-wise selection).

    Each class gets the same quota, ``ceil(share * n / n_classes)`` rows, or all of its rows if it
    has fewer, but at least one: this is what balances the classes.

    Parameters
    ----------
    losses : Tensor of shape (n,)
        Loss of each row; only the order matters. Rows of equal loss are taken in their order.
    targets : Tensor of shape (n,)
        Given labels, int64.
    share : float
        Share of the rows to select, in (0, 1].
    n_classes : int
        Number of classes.
    """
    # Small tolerance: a product such as 0.7 * 10 may exceed the whole number by rounding.
    quota = max(1, math.ceil(share * len(losses) / n_classes - 1e-9))
    # Rank of each row within its class: sort by loss, then stably by class.
    order = losses.argsort(stable=True)
    order = order[targets[order].argsort(stable=True)]
    counts = torch.bincount(targets, minlength=n_classes)
    starts = counts.cumsum(0) - counts
    rank = torch.arange(len(losses), device=losses.device) - starts[targets[order]]
    selected = torch.zeros_like(targets, dtype=torch.bool)
    selected[order] = rank < quota
    return selected


def confident_rows(probabilities: Tensor, targets: Tensor, threshold: float) -> Tensor:
    """Return a mask of the rows whose given label has a probability above the threshold.

    Above a threshold of 1/2, the label is the most probable one (matched high confidence).
    """
    return probabilities.gather(1, targets[:, None])[:, 0] > threshold


def agreed_rows(
    first: Tensor, second: Tensor, selected: Tensor, threshold: float, max_share: float
) -> Tensor:
    """Return a mask of the rows that get a guessed label, since both networks agree on it.

    Both networks give the same class a probability above the threshold, and the row is not
    selected. If there are more such rows than there is room for, those of largest confidence are
    taken.

    Parameters
    ----------
    first, second : Tensor of shape (n, n_classes)
        Probabilities of both networks.
    selected : Tensor of bool of shape (n,)
        Rows that keep their given label.
    threshold : float
        Least confidence of either network.
    max_share : float
        There is room until ``int(max_share * n)`` rows have a label.
    """
    (confidence, label), (of_second, label_of_second) = first.max(dim=1), second.max(dim=1)
    is_candidate = (label == label_of_second) & ~selected
    is_candidate &= torch.minimum(confidence, of_second) > threshold
    score = torch.where(is_candidate, (confidence + of_second) / 2, -1.0)
    rank = score.argsort(descending=True, stable=True).argsort()
    return is_candidate & (rank < int(max_share * len(score)) - selected.sum())

"""Synthetic labels of a batch, taken over from near neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["transfer_labels"]


def transfer_labels(
    features: Tensor,
    labels: Tensor,
    n_sets: int,
    share: float = 0.5,
    n_neighbors: int = 10,
    *,
    donors: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Synthetic labels of a batch: some rows take over the label of a near neighbour.

    Parameters
    ----------
    features : Tensor of shape (k, d)
        Rows of the batch in the space of the neighbourhood.
    labels : Tensor of shape (k,)
        Encoded given labels, int64.
    n_sets : int
        Number M of label sets, drawn independently.
    share : float, default=0.5
        Of the rows of each set, floor(share * k) draw a neighbour; its label may be their own.
    n_neighbors : int, default=10
        Neighbours to draw from, at most all others: the nearest by Euclidean distance, the row
        itself excluded by its index.
    donors : Tensor of shape (k,) or None, default=None
        True where a row may hand on its label; None: all may.
    generator : torch.Generator or None, default=None
        Of the CPU; None: torch's own.

    Returns
    -------
    label_sets : Tensor of shape (n_sets, k), int64

    Examples
    --------
    >>> import torch
    >>> from sknoisy.methods.mlnt import transfer_labels
    >>> features, labels = torch.tensor([[0.0], [0.1], [5.0], [5.1]]), torch.tensor([0, 1, 2, 2])
    >>> transfer_labels(features, labels, 2, share=1.0, n_neighbors=1)
    tensor([[1, 0, 2, 2],
            [1, 0, 2, 2]])
    """
    k, device = len(labels), labels.device
    n_drawn = int(share * k + 1e-9)  # 0.29 * 100 is 28.999...
    order = torch.rand(n_sets, k, generator=generator).argsort(dim=1)
    uniform = torch.rand(n_sets, k, generator=generator)
    n_neighbors = min(n_neighbors, k - 1)
    if not n_drawn or n_neighbors < 1:
        return labels.expand(n_sets, k).clone()
    distances = torch.cdist(
        features, features, compute_mode="donot_use_mm_for_euclid_dist"
    ).fill_diagonal_(torch.inf)
    if donors is not None:
        distances[:, ~donors] = torch.inf
    nearest = distances.topk(n_neighbors, largest=False)
    n_found = nearest.values.isfinite().sum(dim=1)
    ranks = (uniform.to(device) * n_found).long()
    neighbor = nearest.indices.gather(1, ranks.T).T
    is_drawn = torch.zeros(n_sets, k, dtype=torch.bool).scatter_(1, order[:, :n_drawn], True)
    return torch.where(is_drawn.to(device) & (n_found > 0), labels[neighbor], labels)

"""Synthetic labels of a batch, taken over from near neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real

import torch
from torch import Tensor

from ..._compat import Interval, StrOptions, validate_parameter_constraints

__all__ = ["LabelTransfer", "label_transfer", "transfer_labels"]


@dataclass(frozen=True, eq=False)
class LabelTransfer:
    """Settings of the synthetic labels, for :class:`~sknoisy.MLNTClassifier`.

    Parameters
    ----------
    share : float, default=0.5
        Share of the rows of a batch that draw a neighbour's label, in [0, 1].
    n_neighbors : int, default=10
        Number of neighbours to draw from, at most all other rows of the batch.
    n_pretrain_epochs : "auto" or int, default="auto"
        Epochs of plain cross-entropy of the network whose penultimate features define the
        neighbours. "auto": a third of ``max_epochs``. 0: the rows themselves define them.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    transfer_labels : The synthetic labels of one batch.

    Examples
    --------
    >>> from sknoisy import MLNTClassifier
    >>> from sknoisy.methods.mlnt import LabelTransfer
    >>> clf = MLNTClassifier(transfer=LabelTransfer(share=0.3))
    >>> clf.transfer
    LabelTransfer(share=0.3, n_neighbors=10, n_pretrain_epochs='auto')
    """

    share: float = 0.5
    n_neighbors: int = 10
    n_pretrain_epochs: str | int = "auto"

    def __post_init__(self) -> None:
        constraints = {
            "share": [Interval(Real, 0, 1, closed="both")],
            "n_neighbors": [Interval(Integral, 1, None, closed="left")],
            "n_pretrain_epochs": [
                StrOptions({"auto"}),
                Interval(Integral, 0, None, closed="left"),
            ],
        }
        validate_parameter_constraints(constraints, vars(self), type(self).__name__)

    def pretrain_epochs(self, max_epochs: int) -> int:
        """Return the number of epochs of pretraining."""
        if self.n_pretrain_epochs == "auto":
            return max(max_epochs // 3, 1)
        return int(self.n_pretrain_epochs)


def label_transfer(transfer: str | LabelTransfer) -> LabelTransfer:
    """Return the settings that the parameter ``transfer`` stands for."""
    if isinstance(transfer, LabelTransfer):
        return transfer
    return {"features": LabelTransfer(), "rows": LabelTransfer(n_pretrain_epochs=0)}[transfer]


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
    """Return synthetic labels of a batch: some rows take over the label of a near neighbour.

    Parameters
    ----------
    features : Tensor of shape (k, d)
        Points whose distances define the neighbours, one for each row of the batch.
    labels : Tensor of shape (k,)
        Encoded given labels, int64.
    n_sets : int
        Number M of label sets, drawn independently.
    share : float, default=0.5
        In each set, floor(share * k) rows draw a neighbour. Its label may equal their own.
    n_neighbors : int, default=10
        Number of neighbours to draw from, at most all other rows: the nearest ones by Euclidean
        distance. A row is not its own neighbour; it is excluded by its index.
    donors : Tensor of shape (k,) or None, default=None
        True for rows whose label may be transferred. None: all rows may.
    generator : torch.Generator or None, default=None
        Generator of the draws, best on the device of the labels. None: torch's global one.

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
    source = device if generator is None else generator.device
    order = torch.rand(n_sets, k, generator=generator, device=source).to(device).argsort(dim=1)
    uniform = torch.rand(n_sets, k, generator=generator, device=source).to(device)
    n_neighbors = min(n_neighbors, k - 1)
    if not n_drawn or n_neighbors < 1:
        return labels.expand(n_sets, k).clone()
    distances = torch.cdist(
        features, features, compute_mode="donot_use_mm_for_euclid_dist"
    ).fill_diagonal_(torch.inf)
    if donors is not None:
        distances.masked_fill_(~donors, torch.inf)
    nearest = distances.topk(n_neighbors, largest=False)
    n_found = nearest.values.isfinite().sum(dim=1)
    ranks = (uniform * n_found).long()
    neighbor = nearest.indices.gather(1, ranks.T).T
    is_drawn = torch.zeros_like(order, dtype=torch.bool).scatter_(1, order[:, :n_drawn], True)
    return torch.where(is_drawn & (n_found > 0), labels[neighbor], labels)

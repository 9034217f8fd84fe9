"""Meta objectives: losses of the network after a virtual step, on the rows of the meta batch.

A meta objective is a callable ``objective(features, logits, targets)`` that returns a scalar. The
meta gradient contains the derivative of the training loss of each sample along the gradient of the
objective with respect to the network's parameters.

Its attribute ``reads_labels`` is True if it reads the targets: the meta set must then hold rows
whose labels are trusted or pseudo-clean.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["CLIDObjective", "CrossEntropyObjective", "MAEObjective", "cross_layer_divergence"]

_LOG_FLOOR = 1e-7  # added inside the logarithm of the feature graph, as in the released code


def cross_layer_divergence(
    features: Tensor,
    proba: Tensor,
    temperature: float = 0.5,
    rows: slice = slice(None),
) -> Tensor:
    """Return the cross-entropy of each row of the prediction graph against the feature graph.

    Parameters
    ----------
    features : Tensor of shape (n, d)
        Penultimate features.
    proba : Tensor of shape (n, n_classes)
        Predicted class probabilities, rows on the simplex.
    temperature : float, default=0.5
        Divides the cosine similarities of the feature graph.
    rows : slice, default=slice(None)
        Rows of the graphs to compute; the memory needed is proportional to ``len(rows) * n``.

    Returns
    -------
    divergence : Tensor of shape (len(rows),)
        Divergence of each row; the mean over all rows is CLID. Gradients flow to `proba` only: the
        feature graph and the row sums of the prediction graph are held constant.
    """
    with torch.no_grad():
        f = F.normalize(features, dim=1)
        # S, the feature graph. Negative similarities are set to the logit 0, of weight exp(0).
        similarity = (f[rows] @ f.T / temperature).clamp_(min=0)
        cost = similarity.softmax(dim=1).add_(_LOG_FLOOR).log_().neg_()
    # W, the prediction graph; its row sums are held constant.
    q = F.normalize(proba, dim=1)
    graph = q[rows] @ q.T
    return (graph * cost).sum(dim=1) / graph.detach().sum(dim=1)


class CLIDObjective:
    """Cross-layer information divergence of an unlabelled meta batch.

    Clean training keeps the neighbourhood structure of the penultimate features consistent with
    that of the predictions; CLID is the cross-entropy between the two row-normalised similarity
    graphs. Targets are ignored.

    Parameters
    ----------
    temperature : float, default=0.5
        Temperature of the feature graph.

    References
    ----------
    CLID-MU: Cross-Layer Information Divergence Based Meta Update Strategy for Learning with Noisy
    Labels, KDD 2025, arXiv:2507.11807.

    Examples
    --------
    >>> import math, torch
    >>> from sknoisy.meta import CLIDObjective
    >>> same = torch.ones(4, 3)
    >>> objective = CLIDObjective(temperature=0.2)
    >>> objective
    CLIDObjective(temperature=0.2)
    >>> value = objective(features=same, logits=same)
    >>> math.isclose(value.item(), math.log(4), rel_tol=1e-5)
    True
    """

    reads_labels = False

    def __init__(self, temperature: float = 0.5):
        self.temperature = temperature

    def __repr__(self) -> str:
        return f"CLIDObjective(temperature={self.temperature!r})"

    def __call__(self, features: Tensor, logits: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the CLID of the batch, a scalar."""
        return cross_layer_divergence(features, logits.softmax(dim=1), self.temperature).mean()


class CrossEntropyObjective:
    """Mean cross-entropy on meta rows whose labels are trusted.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.meta import CrossEntropyObjective
    >>> objective = CrossEntropyObjective()
    >>> round(objective(None, torch.zeros(2, 4), torch.tensor([0, 3])).item(), 4)  # log 4
    1.3863
    """

    reads_labels = True

    def __call__(self, features: Tensor | None, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy, a scalar."""
        return F.cross_entropy(logits, targets)


class MAEObjective:
    """Mean of ``1 - p_y`` on meta rows, bounded so that a wrong label has little effect.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.meta import MAEObjective
    >>> round(MAEObjective()(None, torch.zeros(2, 4), torch.tensor([0, 3])).item(), 4)
    0.75
    """

    reads_labels = True

    def __call__(self, features: Tensor | None, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean absolute error of the given class, a scalar."""
        return 1 - logits.softmax(dim=1).gather(1, targets[:, None]).mean()

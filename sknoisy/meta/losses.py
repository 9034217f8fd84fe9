"""Per-sample training losses other than the cross-entropy."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LDAMLoss"]


class LDAMLoss(nn.Module):
    r"""Per-row cross-entropy with a margin that is wider for rarer classes.

    .. math:: \ell_i = \mathrm{CE}(s (z_i - \Delta_{y_i} e_{y_i}), y_i), \quad
        \Delta_c = \Delta_{\max} (n_{\min} / n_c)^{1/4}

    (equations 12 and 13). The paper also normalises features and weights of the last layer, so
    that logits are cosines in [-1, 1], and uses the scale s = 30. Here, logits are not normalised,
    and the default scale is 1. The paper's deferred re-weighting, which turns on class weights
    late in training, is not part of this loss.

    Parameters
    ----------
    class_counts : sequence of float of length n_classes
        Number of training rows of each class, positive.
    max_margin : float, default=0.5
        Margin of the rarest class, at least 0; 0 gives plain cross-entropy.
    scale : float, default=1.0
        Positive factor of the logits, applied after the margin.

    Attributes
    ----------
    margins : Tensor of shape (n_classes,), float32
        The margin of each class.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    References
    ----------
    K. Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, NeurIPS
    2019.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.meta import LDAMLoss
    >>> loss = LDAMLoss([160, 10])
    >>> loss.margins  # (160 / 10) ** (1 / 4) = 2
    tensor([0.2500, 0.5000])
    >>> loss(torch.zeros(2, 2), torch.tensor([0, 1]))  # log(1 + exp(margin))
    tensor([0.8259, 0.9741])
    """

    margins: Tensor

    def __init__(self, class_counts, max_margin: float = 0.5, scale: float = 1.0):
        super().__init__()
        counts = torch.as_tensor(class_counts, dtype=torch.float64)
        if counts.ndim != 1 or not len(counts) or not ((counts > 0) & counts.isfinite()).all():
            raise ValueError(
                "class_counts must be one positive number per class, got "
                f"{class_counts!r}. Leave out classes without rows."
            )
        if not 0 <= max_margin < float("inf"):
            raise ValueError(f"max_margin must be finite and at least 0, got {max_margin!r}.")
        if not 0 < scale < float("inf"):
            raise ValueError(f"scale must be finite and positive, got {scale!r}.")
        margins = max_margin * (counts.min() / counts) ** 0.25
        self.register_buffer("margins", margins.float())
        self.scale = scale

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each row, (n,), for logits (n, n_classes) and int64 targets (n,)."""
        given = F.one_hot(targets, logits.shape[1])
        logits = logits - given * self.margins.to(logits)
        return F.cross_entropy(self.scale * logits, targets, reduction="none")

"""The criterion through which a meta model's guidance reaches the training loss."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..meta import MetaModel

__all__ = ["PerSampleCrossEntropy"]


class PerSampleCrossEntropy(nn.CrossEntropyLoss):
    """Cross-entropy that a meta model can guide for one batch.

    Without guidance it is the mean cross-entropy of the batch, each row times its
    ``sample_weight`` if there is one. It is a ``CrossEntropyLoss``, so that a stock
    ``skorch.NeuralNetClassifier`` applies the softmax in ``predict_proba``.

    Attributes
    ----------
    sample_weight : Tensor of shape (n,) or None
        The user's weights of the rows of the coming batch.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.callbacks import PerSampleCrossEntropy
    >>> from sknoisy.meta import WNet
    >>> criterion = PerSampleCrossEntropy()
    >>> logits, y = torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0])
    >>> round(criterion(logits, y).item(), 4)
    1.1269
    >>> criterion.guide(WNet(), torch.tensor([1.0, 0.0]))  # only the first row counts
    >>> round(criterion(logits, y).item(), 4)
    0.1269
    """

    def __init__(self) -> None:
        super().__init__()
        self.sample_weight: Tensor | None = None
        self._guide: tuple[MetaModel, Tensor] | None = None

    def guide(self, meta_model: MetaModel, guidance: Tensor) -> None:
        """Use ``meta_model``'s loss under ``guidance`` until :meth:`release`."""
        # A tuple keeps the meta model out of this module's parameters.
        self._guide = (meta_model, guidance)

    def release(self) -> None:
        """Go back to the mean cross-entropy."""
        self._guide = None
        self.sample_weight = None

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of a batch of logits (n, n_classes) and targets (n,)."""
        if self._guide is not None:
            meta_model, guidance = self._guide
            return meta_model.training_loss(input, target, guidance)
        if self.sample_weight is None:
            return F.cross_entropy(input, target)
        return (F.cross_entropy(input, target, reduction="none") * self.sample_weight).mean()

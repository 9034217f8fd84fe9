"""The training criterion: per-row losses, sample weights and the guidance of a meta model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ..meta import BatchOutputs, MetaModel, weighted_mean
from ..meta.models import per_sample_loss
from ..networks.precision import full_precision

__all__ = ["PerSampleCrossEntropy", "cross_entropy"]


def cross_entropy(batch: BatchOutputs) -> Tensor:
    """Return the cross-entropy of each row, shape (n,)."""
    return per_sample_loss(batch.logits, batch.targets)


class PerSampleCrossEntropy(nn.CrossEntropyLoss):
    """Weighted mean of a per-row loss, which a meta model can guide for one batch.

    It subclasses ``CrossEntropyLoss``, so that a stock ``skorch.NeuralNetClassifier`` applies the
    softmax in ``predict_proba``.

    Parameters
    ----------
    row_loss : callable or None, default=None
        ``row_loss(batch)`` is called with a :class:`~sknoisy.meta.BatchOutputs` and returns the
        loss of each row, shape (n,). It may be a module with buffers, such as a memory of the
        rows. None: cross-entropy.

    Attributes
    ----------
    batch : tuple or None
        The next batch, (X, y). Its attributes ``rows``, ``sample_weight`` and ``trusted`` are
        read if it has them.

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

    def __init__(self, row_loss: Callable[[BatchOutputs], Tensor] | None = None) -> None:
        super().__init__()
        self.row_loss = cross_entropy if row_loss is None else row_loss
        self.batch: Any = None
        self._guide: tuple[MetaModel, Tensor, BatchOutputs | None] | None = None

    def guide(
        self, meta_model: MetaModel, guidance: Tensor, outputs: BatchOutputs | None = None
    ) -> None:
        """Use the loss of `meta_model` under `guidance` until :meth:`release` is called.

        Parameters
        ----------
        meta_model : MetaModel
            Its ``training_loss`` replaces the mean of the row losses.
        guidance : Tensor of shape (n, ...)
            Output of `meta_model` for the batch.
        outputs : BatchOutputs or None, default=None
            Input of `meta_model`, with weights, trust flags and row numbers. None: those of the
            attribute ``batch`` are used.
        """
        # A tuple keeps the meta model out of this module's parameters.
        self._guide = (meta_model, guidance, outputs)

    @property
    def is_guided(self) -> bool:
        """Whether a meta model guides the next loss."""
        return self._guide is not None

    def release(self) -> None:
        """Use the weighted mean of the row losses again, and drop the batch."""
        self._guide = self.batch = None

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of logits (n, n_classes) and targets (n,)."""
        input = full_precision(input)
        batch = self._outputs(input, target)
        if self._guide is not None:
            meta_model, guidance, outputs = self._guide
            return meta_model.training_loss(input, guidance, outputs or batch)
        return weighted_mean(self.row_loss(batch), batch.sample_weight)

    def _outputs(self, logits: Tensor, targets: Tensor) -> BatchOutputs:
        own = {name: getattr(self.batch, name, None) for name in _OF_BATCH}
        return BatchOutputs(logits, None, targets, **own)


_OF_BATCH = ("sample_weight", "trusted", "rows")

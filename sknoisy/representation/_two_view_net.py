"""The skorch net that trains an encoder."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from .._engine.batches import TrainingData
from .._engine.net import DeviceNet

__all__ = ["Criterion", "RepresentationNet"]


class Criterion(nn.Module):
    """A loss without targets, with the signature that skorch expects.

    Parameters
    ----------
    loss : callable
        ``loss(output, temperature)``, where output is what the module returns for a batch.
    temperature : float
        Temperature of the loss.
    """

    def __init__(self, loss: Callable[[Tensor, float], Tensor], temperature: float):
        super().__init__()
        self.loss, self.temperature = loss, temperature

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss; the target is ignored."""
        return self.loss(output, self.temperature)


class RepresentationNet(DeviceNet):
    """A ``DeviceNet`` that keeps the encoder only."""

    def get_dataset(self, X, y=None):
        """Return the training data unchanged."""
        if not isinstance(X, TrainingData):
            raise TypeError(
                f"{type(self).__name__} reads the transformer's own training data, got "
                f"{type(X).__name__}. Call transform of the transformer."
            )
        return X

    def keep(self, encoder: nn.Module) -> None:
        """Replace the trained module by its encoder, and drop the optimiser's state."""
        self.module, self.module_ = type(encoder), encoder  # an instance would be pickled twice
        # Schedulers also hold the optimiser, which holds the parameters of the whole module.
        self.optimizer_.state.clear()
        self.optimizer_.param_groups.clear()

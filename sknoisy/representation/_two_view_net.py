"""The skorch net that trains an encoder."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from .._engine.batches import TrainingData
from .._engine.net import DeviceNet

__all__ = ["Criterion", "RepresentationNet"]


class Criterion(nn.Module):
    """A loss without targets, as skorch calls it.

    Parameters
    ----------
    loss : callable
        ``loss(output, temperature)`` of what the module returns for a batch.
    temperature : float
    """

    def __init__(self, loss: Callable[[Tensor, float], Tensor], temperature: float):
        super().__init__()
        self.loss, self.temperature = loss, temperature

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss; the target means nothing."""
        return self.loss(output, self.temperature)


class RepresentationNet(DeviceNet):
    """A ``DeviceNet`` that may start in the middle, and end as an encoder.

    Attributes
    ----------
    epochs_left : int or None
        Epochs of the next training; None: ``max_epochs``. A callback may set it at its begin.
    """

    epochs_left: int | None = None

    def get_dataset(self, X, y=None):
        """Training data come as they are."""
        if not isinstance(X, TrainingData):
            raise TypeError(
                f"{type(self).__name__} reads the transformer's own training data, got "
                f"{type(X).__name__}. Call transform of the transformer."
            )
        return X

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Train for the epochs that are left."""
        return super().fit_loop(X, y, epochs=self.epochs_left, **fit_params)

    def keep(self, encoder: nn.Module) -> None:
        """Hold the encoder instead of the module that it was trained in, and nothing more."""
        self.module, self.module_ = type(encoder), encoder  # an instance would be pickled twice
        # Schedulers hold the optimiser, too, and it holds the parameters of the whole module.
        self.optimizer_.state.clear()
        self.optimizer_.param_groups.clear()

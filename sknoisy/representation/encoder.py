"""The network that is trained: an encoder under a projection head, which is dropped after fit."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .._engine.construction import build_module, placed
from ..networks import MLPSettings
from ..networks.heads import classifier_name, count_features

__all__ = ["Projected", "build_encoder"]

# Bahri et al. (2022), section 4: four hidden layers of 256 units.
_MLP = MLPSettings((256, 256, 256, 256), dropout=0.0, input_dropout=0.0, weight_decay=0.0)


class Projected(nn.Module):
    """An encoder under a projection head of one hidden layer, as wide as the features.

    Parameters
    ----------
    encoder : nn.Module
        Maps n rows to features (n, n_features).
    n_features : int
        Number of features.
    projection_dim : int
        Number of columns of the output.
    """

    def __init__(self, encoder: nn.Module, n_features: int, projection_dim: int):
        super().__init__()
        self.encoder, self.n_features = encoder, n_features
        self.head = nn.Sequential(
            nn.Linear(n_features, n_features), nn.ReLU(), nn.Linear(n_features, projection_dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the projections of n rows, of shape (n, projection_dim)."""
        return self.head(self.encoder(x))


def build_encoder(encoder: Any, encoder_params: dict | None, example: Tensor) -> tuple:
    """Build a new encoder on the device of `example`, and count its features.

    Parameters
    ----------
    encoder : None, nn.Module class, factory or instance
        None: an MLP for tables, the small PreAct ResNet for images. If the module has timm's
        ``get_classifier``, its last layer is removed. An instance is deep-copied.
    encoder_params : dict or None
        Arguments of the class or factory.
    example : Tensor of shape (2, ...)
        Two scaled rows.

    Returns
    -------
    module : nn.Module
        The encoder, in training mode.
    n_features : int
        Number of its features.

    Raises
    ------
    ValueError
        If `encoder_params` are given for an instance, or the features are not of shape (n, d).
    TypeError
        If the class or factory returns no module, or the module returns no tensor.
    """
    if encoder_params and isinstance(encoder, nn.Module):
        raise ValueError(
            f"encoder_params={encoder_params!r} cannot be applied to an instance of "
            f"{type(encoder).__name__}: pass the class as encoder instead."
        )
    module = build_module(encoder, encoder_params, tuple(example.shape[1:]), 1, _MLP)
    classifier = classifier_name(module)
    if classifier is not None:
        module.set_submodule(classifier, nn.Identity())
    module = placed(module, example)
    n_features = count_features(module, example)
    return module.train(), n_features

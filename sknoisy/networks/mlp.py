"""Multilayer perceptron, the default network for tables."""

from collections.abc import Sequence

from torch import Tensor, nn

from .dropout import Dropout

__all__ = ["MLP"]


class MLP(nn.Module):
    """Multilayer perceptron with ReLU activations and dropout.

    Weights are initialised as in :class:`torch.nn.Linear`.

    Parameters
    ----------
    n_features : int
        Number of columns of the input.
    n_classes : int
        Number of logits.
    hidden : sequence of int, default=(128, 128)
        Widths of the hidden layers; empty for a linear model.
    dropout : float, default=0.0
        Probability with which each hidden unit is zeroed in training.
    input_dropout : float, default=0.0
        Probability with which each entry of the input is zeroed in training.

    Raises
    ------
    ValueError
        If a dropout probability lies outside [0, 1).

    Attributes
    ----------
    fc : torch.nn.Linear
        The last layer; its input are the penultimate features.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.networks import MLP
    >>> network = MLP(4, 3, hidden=(16, 8))
    >>> x = torch.zeros(5, 4)
    >>> network(x).shape
    torch.Size([5, 3])
    >>> network.forward_features(x).shape
    torch.Size([5, 8])
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        *,
        hidden: Sequence[int] = (128, 128),
        dropout: float = 0.0,
        input_dropout: float = 0.0,
    ):
        super().__init__()
        self.n_features = n_features
        layers: list[nn.Module] = [Dropout(input_dropout)]
        width = n_features
        for next_width in hidden:
            layers += [nn.Linear(width, next_width), nn.ReLU(), Dropout(dropout)]
            width = next_width
        self.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(width, n_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute the penultimate features, of shape (n_samples, hidden[-1]).

        ValueError is raised unless `x` has the shape (n_samples, n_features).
        """
        if x.ndim != 2 or x.shape[1] != self.n_features:
            raise ValueError(
                f"MLP expects input of shape (n_samples, {self.n_features}), got "
                f"{tuple(x.shape)}; flatten the samples or pass a module made for their shape."
            )
        return self.layers(x)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Map the output of `forward_features` to logits of shape (n_samples, n_classes).

        With `pre_logits`, return the input unchanged: it is the penultimate features.
        """
        return features if pre_logits else self.fc(features)

    def get_classifier(self) -> nn.Linear:
        """Return the last layer, `fc`."""
        return self.fc

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, of shape (n_samples, n_classes), of `x` (n_samples, n_features)."""
        return self.forward_head(self.forward_features(x))

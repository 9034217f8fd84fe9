"""Which rows count in the running statistics of batch norm, by which a network predicts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["batch_statistics", "kept_statistics"]

_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def _layers(module: nn.Module) -> list:
    return [part for part in module.modules() if isinstance(part, _BATCH_NORM)]


@contextmanager
def batch_statistics(module: nn.Module) -> Iterator[None]:
    """Within the context, batch norm normalises by the batch, whose statistics count.

    All other layers keep their mode.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.networks.batch_norm import batch_statistics
    >>> layer, x = torch.nn.BatchNorm1d(1, momentum=0.5).eval(), torch.full((4, 1), 2.0)
    >>> with batch_statistics(layer):
    ...     layer(x).mean().item()
    0.0
    >>> layer.running_mean.item(), layer.training
    (1.0, False)
    """
    modes = [(layer, layer.training) for layer in _layers(module)]
    for layer, _ in modes:
        layer.train()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.train(training)


@contextmanager
def kept_statistics(module: nn.Module) -> Iterator[None]:
    """Within the context, batch norm leaves its running statistics as they are.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.networks.batch_norm import kept_statistics
    >>> layer, x = torch.nn.BatchNorm1d(1), torch.full((4, 1), 2.0)
    >>> with kept_statistics(layer):
    ...     layer(x).mean().item()
    0.0
    >>> layer.running_mean.item()
    0.0
    """
    momenta = [(layer, layer.momentum) for layer in _layers(module)]
    for layer, _ in momenta:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in momenta:
            layer.momentum = momentum

"""The last layer of a network: find it, take it away, put a new one in its place."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["classifier_name", "count_features", "with_new_head"]


def classifier_name(module: nn.Module) -> str | None:
    """Return the name of the layer that timm's ``get_classifier`` returns, None without one.

    It is a linear layer, or an identity in its place.
    """
    get_classifier: Any = getattr(module, "get_classifier", None)
    classifier = None if get_classifier is None else get_classifier()
    if not isinstance(classifier, (nn.Linear, nn.Identity)):
        return None
    names = [name for name, part in module.named_modules() if part is classifier]
    return names[0] or None


def with_new_head(encoder: nn.Module, example: Tensor, n_classes: int) -> nn.Module:
    """Return a copy of an encoder with a new linear layer at its end.

    Parameters
    ----------
    encoder : nn.Module
        Returns features (n, d). If it has timm's ``get_classifier``, that layer is replaced: the
        result has the names of the whole network. Any other encoder becomes the part ``encoder``
        of a :class:`torch.nn.Sequential`, before the new part ``fc``.
    example : Tensor of shape (n, ...)
        Some rows.
    n_classes : int
        Number of logits.

    Raises
    ------
    ValueError
        If the encoder fails on the rows, or does not return features of shape (n, d).
    TypeError
        If it returns no tensor.
    """
    module = copy.deepcopy(encoder).to(example.device, torch.float32).eval()
    name = classifier_name(module)
    if name is not None:
        module.set_submodule(name, nn.Identity())
    try:
        n_features = count_features(module, example)
    except RuntimeError as error:
        raise ValueError(
            f"{type(encoder).__name__} does not take rows of shape {tuple(example.shape[1:])}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    head = nn.Linear(n_features, n_classes, device=example.device)
    if name is None:
        return nn.Sequential(OrderedDict(encoder=module, fc=head))
    module.set_submodule(name, head)
    return module


@torch.no_grad()
def count_features(encoder: nn.Module, example: Tensor) -> int:
    """Return the number of features that an encoder returns for each row.

    TypeError is raised if it returns no tensor, ValueError if that is not of the shape (n, d).
    """
    features, name = encoder(example), type(encoder).__name__
    if not isinstance(features, Tensor):
        raise TypeError(
            f"The forward of {name} must return a tensor of features (n, d), got "
            f"{type(features).__name__}."
        )
    if features.ndim != 2 or len(features) != len(example):
        raise ValueError(
            f"{name} returned shape {tuple(features.shape)} for {len(example)} rows: an encoder "
            f"must return features of shape ({len(example)}, d). End it with a pooling layer or "
            "torch.nn.Flatten."
        )
    return features.shape[1]

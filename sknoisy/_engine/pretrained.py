"""The parameter ``pretrained``: a representation, an encoder or a state from which nets start."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from torch import Tensor, nn

from ..networks import WithFeatures
from ..networks.heads import classifier_name
from .scaling import InputScaling

__all__ = ["check_pretrained", "check_same_rows", "encoder_of", "load_state", "scaling_of"]

_SHOWN = 6  # layers that a message lists


def _unwrapped(pretrained: Any) -> Any:
    return pretrained.estimator if isinstance(pretrained, FrozenEstimator) else pretrained


def encoder_of(pretrained: Any) -> nn.Module | None:
    """Return the encoder of a fitted representation, or the module itself; None of a state."""
    pretrained = _unwrapped(pretrained)
    if isinstance(pretrained, BaseEstimator):
        return pretrained.encoder_
    return pretrained if isinstance(pretrained, nn.Module) else None


def scaling_of(pretrained: Any) -> InputScaling | None:
    """Return a copy of the scaling that a representation was fitted with; None of the others."""
    pretrained = _unwrapped(pretrained)
    if not isinstance(pretrained, BaseEstimator):
        return None
    return copy.deepcopy(pretrained._scaling)


def check_pretrained(pretrained: Any, module: Any, module_params: Any) -> None:
    """Check the parameter before any work.

    NotFittedError is raised if a representation is not fitted, ValueError if the estimator has no
    encoder, or if an encoder is passed beside a network, TypeError if it is of another type.
    """
    estimator = _unwrapped(pretrained)
    name = type(estimator).__name__
    if estimator is not None and not isinstance(estimator, (BaseEstimator, nn.Module, Mapping)):
        raise TypeError(
            f"pretrained={estimator!r} is of the type {name}. Pass a fitted SimCLR, MoCo or "
            "SCARF, an instance and not a class, a module that returns features, or a state dict."
        )
    if isinstance(estimator, BaseEstimator) and not hasattr(estimator, "encoder_"):
        if hasattr(type(estimator), "encoder_"):
            raise NotFittedError(
                f"pretrained={name}() is not fitted: call its fit on X first. A copy of a "
                "classifier, such as cross-validation makes, has a copy of it that is not fitted: "
                "there, pass pretrained=sklearn.frozen.FrozenEstimator(representation)."
            )
        raise ValueError(
            f"pretrained={name} has no encoder. Pass a fitted SimCLR, MoCo or SCARF, a module "
            "that returns features, or a state dict."
        )
    is_state = isinstance(pretrained, Mapping)
    if pretrained is not None and not is_state and (module is not None or module_params):
        other = "module" if module is not None else "module_params"
        raise ValueError(
            f"pretrained={name} is an encoder and sets the network, and so does {other}. Pass one "
            "of them, or the state dict of a network as pretrained beside its module."
        )


def check_same_rows(pretrained: Any, estimator: Any, X) -> None:
    """Raise ValueError if X has another shape or unit than the rows of a representation."""
    fitted = _unwrapped(pretrained)
    if not isinstance(fitted, BaseEstimator):
        return
    for attribute in ("image_shape_", "n_features_in_"):
        ours, theirs = getattr(estimator, attribute), getattr(fitted, attribute)
        if ours != theirs:
            raise ValueError(
                f"pretrained={type(fitted).__name__} was fitted on rows with {attribute}="
                f"{theirs}, but X has {ours}: fit it on rows such as those of X."
            )
    fitted._scaling.check_unit(X)


def load_state(module: nn.Module, state: Mapping[str, Any], example: Tensor) -> None:
    """Load a state dict into a module; only layers of its head may be missing.

    ValueError is raised if other entries are missing, unknown, of another shape or no tensors.
    """
    own, head = module.state_dict(), _head(module, example)
    missing = [name for name in own if name not in state and not name.startswith(f"{head}.")]
    unknown = [str(name) for name in state if name not in own]
    wrong = [
        f"{name} {_shape(value)} instead of {_shape(own[name])}"
        for name, value in state.items()
        if name in own and _shape(value) != _shape(own[name])
    ]
    found = {"lacks": missing, "has unknown": unknown, "has other shapes:": wrong}
    troubles = [f"{what} {_listed(names)}" for what, names in found.items() if names]
    if troubles:
        raise ValueError(
            f"The state dict in pretrained does not fit {type(module).__name__}: it "
            f"{'; it '.join(troubles)}. Pass the module and module_params that it comes from; "
            f"only the layer {head!r} may be missing."
        )
    module.load_state_dict(dict(state), strict=False)


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def _listed(names: list[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


@torch.no_grad()
def _head(module: nn.Module, example: Tensor) -> str | None:
    """Return the name of the layer that computes the logits: timm's, or the last linear one."""
    name = classifier_name(module)
    return WithFeatures(module).last_linear(example) if name is None else name

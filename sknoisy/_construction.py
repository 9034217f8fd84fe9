"""From constructor parameters to torch objects."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from skorch.callbacks import LRScheduler
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from .networks import MLP, MLPSettings, PreActResNet

__all__ = [
    "build_module",
    "build_scheduler",
    "check_logits",
    "optimizer_class",
    "optimizer_settings",
    "resolve_device",
    "seeded",
]

_OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's global generators at ``seed`` inside, as they were before outside."""
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def resolve_device(device: str | torch.device) -> torch.device:
    """The torch device; "auto" is a CUDA GPU if there is one.

    Raises
    ------
    ValueError
        If torch does not know the device or cannot use it here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if str(device).startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r} was asked for, but torch {torch.__version__} sees no CUDA device. "
            'Pass device="auto" or "cpu", or install a CUDA build of torch.'
        )
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch raises either
        raise ValueError(
            f"device={device!r} cannot be used: {str(error).splitlines()[0]}. Pass "
            'device="auto", "cpu" or "cuda".'
        ) from error


def optimizer_class(optimizer: str | Callable) -> Any:
    """The torch optimiser behind a name."""
    return _OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer


def optimizer_settings(optimizer: str | Callable, weight_decay: float) -> dict[str, float]:
    """What an optimiser is given unless the user says otherwise; some take no weight decay."""
    settings = {"weight_decay": weight_decay}
    if optimizer == "sgd":
        settings["momentum"] = 0.9
    known = inspect.signature(optimizer_class(optimizer)).parameters
    return {name: value for name, value in settings.items() if name in known}


def build_scheduler(lr_schedule: str | Callable, lr: float, max_epochs: int) -> list[tuple]:
    """The skorch callback of a learning-rate schedule, as a list of none or one."""
    if lr_schedule == "constant":
        return []
    if lr_schedule == "cosine":  # to a fiftieth, as the published 0.05 to 0.001
        policy: Any = LRScheduler(CosineAnnealingLR, T_max=max_epochs, eta_min=lr / 50)
    else:
        policy = LRScheduler(partial(_call_schedule, lr_schedule))
    return [("lr_schedule", policy)]


def _call_schedule(lr_schedule: Any, optimizer: torch.optim.Optimizer, last_epoch: int):
    """Call a user's schedule with the optimiser alone, where skorch adds ``last_epoch``."""
    return lr_schedule(optimizer)


def build_module(
    module: Any,
    module_params: dict | None,
    shape: tuple[int, ...],
    n_classes: int,
    settings: MLPSettings,
) -> nn.Module:
    """A fresh module for rows of the given shape.

    Parameters
    ----------
    module : None, nn.Module class, factory or instance
        None: an MLP for tables, the small PreAct ResNet for images. An instance is deep-copied.
    module_params : dict or None
        Arguments of the class or factory. ``n_features``, ``in_channels`` and ``n_classes`` are
        filled in where its signature names them.
    shape : tuple of int
        (d,) or (C, H, W).
    n_classes : int
        Number of classes.
    settings : MLPSettings
        Of the default MLP.

    Returns
    -------
    module : nn.Module
    """
    params = dict(module_params or {})
    if isinstance(module, nn.Module):
        if params:
            raise ValueError(
                f"module_params={params!r} cannot be applied to an instance of "
                f"{type(module).__name__}: pass the class as module instead."
            )
        return copy.deepcopy(module)
    if module is None:
        module = MLP if len(shape) == 1 else PreActResNet
        if len(shape) == 1:
            params = {**settings._asdict(), **params}
            del params["weight_decay"]
        else:
            params = {"depth": "small", **params}
    known = {"n_features": shape[0], "in_channels": shape[0], "n_classes": n_classes}
    named = inspect.signature(module).parameters
    built = module(**{**{k: v for k, v in known.items() if k in named}, **params})
    if not isinstance(built, nn.Module):
        raise TypeError(
            f"module must give an nn.Module, got {type(built).__name__} from {module!r}."
        )
    return built


@torch.no_grad()
def check_logits(module: nn.Module, x: torch.Tensor, n_classes: int) -> None:
    """Check on a few rows, in eval mode, that a module returns logits of the right shape."""
    module.eval()
    logits = module(x)
    name = type(module).__name__
    if not isinstance(logits, torch.Tensor):
        raise TypeError(
            f"The forward of {name} must return a tensor of logits (n, {n_classes}), got "
            f"{type(logits).__name__}."
        )
    if logits.shape != (len(x), n_classes):
        raise ValueError(
            f"{name} returned shape {tuple(logits.shape)} for {len(x)} rows and {n_classes} "
            f"classes: it must return logits of shape ({len(x)}, {n_classes})."
        )

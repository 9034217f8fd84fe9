"""The parameter ``warm_start``: a further fit begins at the networks of the last one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from .scaling import InputScaling

__all__ = [
    "WarmStart",
    "check_module",
    "check_start",
    "load_start",
    "starting_at",
    "warm_start_of",
]


class WarmStart(NamedTuple):
    """What a fit goes on with.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Classes of the last fit.
    scaling : InputScaling
        Its scaling of X.
    modules : list of nn.Module
        Its networks, at their last epoch.
    """

    classes: np.ndarray
    scaling: InputScaling
    modules: list[nn.Module]


def warm_start_of(estimator: Any) -> WarmStart | None:
    """Return what the fit of an estimator goes on with; None: it begins anew."""
    if not (getattr(estimator, "warm_start", False) and estimator.__sklearn_is_fitted__()):
        return None
    modules = [net.module_ for net in estimator.nets_]
    return WarmStart(estimator.classes_, estimator._scaling, modules)


def check_start(start: WarmStart | None, X, classes: np.ndarray) -> None:
    """Raise ValueError if X is in another unit than that of the start, or the classes differ."""
    if start is None:
        return
    start.scaling.check_unit(X)
    if not np.array_equal(start.classes, classes):
        raise ValueError(
            f"warm_start=True goes on with the classes {start.classes.tolist()} of the last fit, "
            f"but y has {classes.tolist()}. Pass rows of the same classes, or warm_start=False."
        )


def check_module(start: WarmStart | None, module: nn.Module) -> None:
    """Raise ValueError if the weights of the start do not fit a new network."""
    if start is None:
        return
    last = start.modules[0]
    before, now = _shapes(last), _shapes(module)
    other = next((name for name in {**before, **now} if before.get(name) != now.get(name)), None)
    if other is not None:
        raise ValueError(
            f"warm_start=True begins at the weights of net_, a {type(last).__name__}, which do "
            f"not fit the new {type(module).__name__}: the shape of {other} was "
            f"{before.get(other, 'none')}, and is {now.get(other, 'none')}. Keep module, "
            "module_params and pretrained as they were, or pass warm_start=False."
        )


def load_start(start: WarmStart | None, nets: Sequence[Any]) -> None:
    """Load the weights of the start into untrained nets; further nets stay as they are."""
    for net, last in zip(nets, [] if start is None else start.modules, strict=False):
        net.module.load_state_dict(last.state_dict())


@contextmanager
def starting_at(estimator: Any, start: WarmStart | None) -> Iterator[None]:
    """Set ``_start`` of an estimator within the context; afterwards, it is None."""
    estimator._start = start
    try:
        yield
    finally:
        estimator._start = None


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes of parameters and buffers by name."""
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}

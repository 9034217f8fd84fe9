"""The parameter ``warm_start``: a further fit begins at the networks of the last one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from .scaling import InputScaling

__all__ = ["WarmStart", "check_start", "load_start", "starting_at", "warm_start_of"]


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


def load_start(start: WarmStart | None, nets: Sequence[Any]) -> None:
    """Load the weights of the start into untrained nets; further nets stay as they are.

    ValueError is raised if a network is of another size.
    """
    for net, last in zip(nets, [] if start is None else start.modules, strict=False):
        own, state = net.module.state_dict(), last.state_dict()
        if _shapes(own) != _shapes(state):
            raise ValueError(
                f"warm_start=True begins at the weights of net_, a {type(last).__name__} of "
                f"{len(state)} tensors, which do not fit the new {type(net.module).__name__} "
                f"of {len(own)}. Keep module, module_params and pretrained as they were, or "
                "pass warm_start=False."
            )
        net.module.load_state_dict(state)


@contextmanager
def starting_at(estimator: Any, start: WarmStart | None) -> Iterator[None]:
    """Set ``_start`` of an estimator within the context; afterwards, it is None."""
    estimator._start = start
    try:
        yield
    finally:
        estimator._start = None


def _shapes(state: dict[str, Tensor]) -> dict[str, Any]:
    return {name: value.shape for name, value in state.items()}

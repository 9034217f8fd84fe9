"""The parameter ``warm_start``: a further fit begins at the networks of the last one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from .scaling import InputScaling

__all__ = ["WarmStart"]


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

    def check(self, X, classes: np.ndarray) -> None:
        """Raise ValueError if X is in another unit, or if the classes are others."""
        self.scaling.check_unit(X)
        if not np.array_equal(self.classes, classes):
            raise ValueError(
                f"warm_start=True goes on with the classes {self.classes.tolist()} of the last "
                f"fit, but y has {classes.tolist()}. Pass rows of the same classes, or "
                "warm_start=False."
            )

    def load_into(self, nets: Sequence[Any]) -> None:
        """Load the weights of the last fit into untrained nets; further nets stay as they are.

        ValueError is raised if a network is of another size.
        """
        for net, last in zip(nets, self.modules, strict=False):
            own, state = net.module.state_dict(), last.state_dict()
            if _shapes(own) != _shapes(state):
                raise ValueError(
                    f"warm_start=True begins at the weights of net_, a {type(last).__name__} of "
                    f"{len(state)} tensors, which do not fit the new {type(net.module).__name__} "
                    f"of {len(own)}. Keep module, module_params and pretrained as they were, or "
                    "pass warm_start=False."
                )
            net.module.load_state_dict(state)


def _shapes(state: dict[str, Tensor]) -> dict[str, Any]:
    return {name: value.shape for name, value in state.items()}

"""The method for the data, and checks of the parameters that belong to it."""

from __future__ import annotations

from inspect import signature
from typing import Any, NamedTuple

import numpy as np

from ..._engine.scaling import is_image
from ...cleaning.bookkeeping import takes_sample_weight
from ...learners.ensemble import Candidate
from ..dmlp.frozen_features import are_columns
from ..registry import METHODS, estimator_class

__all__ = [
    "ENSEMBLE",
    "MethodChoice",
    "check_estimator",
    "check_networks",
    "has_own_network",
    "pick_method",
]

ENSEMBLE = "ensemble"
_FOR_IMAGES = "clid_mu"
_FOR_OTHERS = "famus"  # rows that learners of tables do not take


class MethodChoice(NamedTuple):
    """The method that :class:`NoisyLabelClassifier` picked, and what it estimated.

    Attributes
    ----------
    method : str
        Name of the method.
    reason : str
        Reason for the choice.
    noise_rate : float
        Estimated share of wrong labels.
    candidates : tuple of Candidate
        Learners that the ensemble tried: the ``name`` of each, the ``brier_score`` of its held-out
        probabilities on the given labels, and its ``share`` in the ensemble's predictions, 0 if it
        was not picked. Empty for other methods.
    """

    method: str
    reason: str
    noise_rate: float
    candidates: tuple[Candidate, ...]


def has_own_network(network_params: dict[str, Any] | None) -> bool:
    """Return whether the parameters of the network hold a module."""
    return (network_params or {}).get("module") is not None


def pick_method(
    X: Any, method: str, representation: Any, network_params: dict[str, Any] | None
) -> tuple[str, str]:
    """Return the method for validated rows, and the reason.

    `method`, `representation` and `network_params` are the parameters of the classifier.
    """
    has_columns = X.ndim == 2 or is_image(X) or representation is not None
    if method == ENSEMBLE and not has_columns:
        raise ValueError(
            'method="ensemble" needs a table or images, since its learners take columns; X '
            f'holds rows of shape {X.shape[1:]}. Pass method="auto", or a representation.'
        )
    if method != "auto":
        return method, "it was asked for"
    if representation is not None:
        return ENSEMBLE, "there is a representation"
    if X.ndim == 2:
        return ENSEMBLE, f"X is a table of {X.shape[0]} rows"
    if not is_image(X):
        return _FOR_OTHERS, "X is no table"
    kind = f"X holds images of {X.shape[1:]}"
    if are_columns(X) and not has_own_network(network_params):
        return ENSEMBLE, f"{kind}, whose pixels are columns"
    return _FOR_IMAGES, kind


def check_estimator(
    estimator: Any, representation: Any, method: str, reason: str, weights: np.ndarray | None
) -> None:
    """Raise, before anything is trained, if the user's estimator cannot be used."""
    if method != ENSEMBLE and representation is not None:
        raise ValueError(
            f"representation={representation!r} is for the ensemble, but the method here "
            f"is {method!r}, because {reason}. Pass representation=None, or pass the "
            "classifier of the method a fitted one as pretrained."
        )
    if estimator is None:
        return
    if method != ENSEMBLE:
        raise ValueError(
            f"estimator={estimator!r} learns the labels of the ensemble, but the method "
            f'here is {method!r}, because {reason}. Pass estimator=None, or method="ensemble" '
            "and a table."
        )
    if weights is not None and not takes_sample_weight(estimator):
        raise TypeError(
            f"sample_weight was passed, but {type(estimator).__name__}.fit does not take "
            "it. Leave it out, or pass another estimator."
        )


def check_networks(
    network_params: dict[str, Any], method: str, reason: str, *, has_groups: bool
) -> None:
    """Raise if a network of the method does not take `network_params` or the groups."""
    in_ensemble = method == ENSEMBLE
    name = "clid_mu" if in_ensemble else method
    cls = estimator_class(METHODS[name].estimator)
    known = cls().get_params(deep=False).keys()
    unknown = [name for name in network_params if name not in known]
    if unknown:
        of_ensemble = ", the network of the ensemble," if in_ensemble else ""
        raise TypeError(
            f"network_params has {unknown}, but {cls.__name__}{of_ensemble} has no such "
            f"parameter. Leave it out, or set the method, which is {method!r} because "
            f"{reason}, to one that has it."
        )
    _check_that_networks_are_new(network_params, in_ensemble)
    if has_groups and not in_ensemble and "groups" not in signature(cls.fit).parameters:
        raise TypeError(
            f"groups were passed, but {cls.__name__} leaves no rows out and takes none; "
            f"the method is {method!r} because {reason}. Leave groups out, or pass "
            'method="mild" or "dmlp" or, for a table, "ensemble".'
        )
    network = cls(**network_params)
    network._validate_params()
    network._check_settings()


def _check_that_networks_are_new(network_params: dict[str, Any], in_ensemble: bool) -> None:
    """Raise if `network_params` let a network go on: each fit makes new ones."""
    if network_params.get("warm_start"):
        raise ValueError(
            "network_params has warm_start=True, but each fit makes new networks. Leave it "
            "out, or fit the classifier of the method itself again."
        )
    if in_ensemble and network_params.get("checkpoint") is not None:
        raise ValueError(
            f"network_params has checkpoint={str(network_params['checkpoint'])!r}, but the "
            "ensemble trains several networks, and a checkpoint belongs to one fit. Leave it "
            'out, or pass another method, such as method="clid_mu".'
        )

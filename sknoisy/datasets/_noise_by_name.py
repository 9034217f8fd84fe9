"""Noise models by name, for data sets that are returned with noisy labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from .. import noise as generators

NOISE_MODELS: dict[str, Callable[..., generators.NoisyLabels]] = {
    "symmetric": generators.symmetric,
    "pairflip": generators.pairflip,
    "class_map": generators.class_map,
    "superclass": generators.superclass,
    "random_map": generators.random_map,
    "instance_dependent": generators.instance_dependent,
}

# The argument that a model needs between the labels and the rate.
_SECOND_ARGUMENT = {"class_map": "mapping", "superclass": "groups"}


def corrupt_by_name(
    X: NDArray[Any],
    y: NDArray[Any],
    noise: str | None,
    rate: float,
    options: Mapping[str, Any] | None,
    random_state: Any,
) -> generators.NoisyLabels:
    """Apply the noise model called `noise`; None leaves the labels clean."""
    if noise is None:
        return generators.symmetric(y, 0)
    if noise not in NOISE_MODELS:
        raise ValueError(f"noise={noise!r} must be None or one of {sorted(NOISE_MODELS)}.")
    needed = _SECOND_ARGUMENT.get(noise)
    if needed is not None and needed not in (options or {}):
        raise ValueError(f"noise={noise!r} needs noise_params={{{needed!r}: ...}}.")
    arguments = {"y": y, "rate": rate, "random_state": random_state, **(options or {})}
    if noise == "instance_dependent":
        arguments["X"] = X
    return NOISE_MODELS[noise](**arguments)

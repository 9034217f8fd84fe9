"""Random streams of the generators' own."""

from __future__ import annotations

import zlib
from numbers import Integral
from typing import Any

import numpy as np

__all__ = ["own_generator"]


def own_generator(random_state: Any, key: str) -> np.random.Generator:
    """Return the Generator of a ``random_state``; an integer gives a stream that `key` names.

    Users draw labels from ``default_rng(0)`` and pass ``random_state=0`` on. Plain
    ``default_rng(0)`` would repeat the numbers that made the labels, so that the noise depends on
    them: the integer is spawned with the name of the function.
    """
    if isinstance(random_state, Integral):
        name = zlib.crc32(key.encode())
        random_state = np.random.SeedSequence(int(random_state), spawn_key=(name,))
    if isinstance(random_state, np.random.RandomState):
        from .._compat import generator_of  # here, as it loads torch, which noise does not need

        return generator_of(random_state)
    return np.random.default_rng(random_state)

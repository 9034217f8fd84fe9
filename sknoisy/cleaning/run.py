"""Runs a cleaner inside the ``fit`` of a classifier."""

from __future__ import annotations

import inspect
from typing import Any, Protocol, runtime_checkable

import numpy as np
from sklearn.base import clone

from .._engine.construction import seed_undecided
from .._engine.labels import to_numpy

__all__ = ["SelectsRows", "run_cleaner"]


@runtime_checkable
class SelectsRows(Protocol):
    """Protocol of cleaners that return the indices of the rows they keep, without copies."""

    def select(self, X, y, *, clean_mask=None, groups=None) -> np.ndarray:
        """Fit the cleaner and return the indices of the rows that are kept."""
        ...


def run_cleaner(
    cleaner: Any,
    X,
    y: np.ndarray,
    trusted: np.ndarray | None,
    seed: int,
    groups: np.ndarray | None = None,
) -> tuple[Any, np.ndarray]:
    """Clone a cleaner, run the clone, and return it with the labels that it returned.

    The clone has the random state `seed` if that of the cleaner is None. Trusted rows, a mask (n,)
    or None, are passed as ``clean_mask`` to a cleaner that accepts it, and so are the groups.
    """
    fitted = seed_undecided(clone(cleaner), seed)
    # Cleaners from other libraries accept neither trusted rows nor groups.
    accepted = inspect.signature(fitted.fit_resample).parameters
    metadata = {
        name: value
        for name, value in {"clean_mask": trusted, "groups": groups}.items()
        if value is not None and name in accepted
    }
    if isinstance(fitted, SelectsRows):
        return fitted, y[fitted.select(X, y, **metadata)]
    _, cleaned = fitted.fit_resample(X, y, **metadata)
    return fitted, to_numpy(cleaned, f"y that {type(fitted).__name__} returned")

"""A cleaner that runs inside a classifier."""

from __future__ import annotations

import inspect
from typing import Any, Protocol, runtime_checkable

import numpy as np
from sklearn.base import clone

from .._engine.construction import seed_undecided

__all__ = ["SelectsRows", "run_cleaner"]


@runtime_checkable
class SelectsRows(Protocol):
    """A cleaner that names the rows it keeps, so that nobody has to copy them."""

    def select(self, X, y, clean_mask=None) -> np.ndarray:
        """Fit, and return the indices of the rows that are kept."""
        ...


def run_cleaner(
    cleaner: Any, X, y: np.ndarray, trusted: np.ndarray | None, seed: int
) -> tuple[Any, np.ndarray]:
    """Clone a cleaner, give it this seed where it has none, and run it.

    Parameters
    ----------
    cleaner : estimator with ``fit_resample``
        Left as it is.
    X, y : array or sparse matrix of n rows, ndarray of shape (n,)
        Rows and given labels.
    trusted : ndarray of bool of shape (n,) or None
        Handed on as ``clean_mask`` to a cleaner that takes one.
    seed : int
        Its ``random_state`` where that is None.

    Returns
    -------
    cleaner : estimator
        The fitted clone.
    y : ndarray
        The labels that it returned.
    """
    fitted = seed_undecided(clone(cleaner), seed)
    # A cleaner of somebody else's may know nothing of trusted rows.
    knows = "clean_mask" in inspect.signature(fitted.fit_resample).parameters
    judges = {"clean_mask": trusted} if trusted is not None and knows else {}
    if isinstance(fitted, SelectsRows):
        return fitted, y[fitted.select(X, y, **judges)]
    _, cleaned = fitted.fit_resample(X, y, **judges)
    return fitted, np.asarray(cleaned)

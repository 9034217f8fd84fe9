"""The interface of the learners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

__all__ = ["Build", "Learner"]


class Learner(Protocol):
    """A classifier of soft labels."""

    def fit(self, X: Any, targets: np.ndarray, weights: Any = None, groups: Any = None) -> Any:
        """Learn the soft labels of rows.

        Parameters
        ----------
        X : ndarray of float32 of shape (n, d) in C order, or sparse matrix
            Rows; :class:`~sknoisy.learners.linear.LinearRidge` alone takes sparse ones, and no
            others.
        targets : ndarray of shape (n, n_classes)
            Soft labels; rows sum to 1.
        weights : ndarray of shape (n,) or None, default=None
            Weights of the rows. A row without weight has no effect.
        groups : ndarray of int64 of shape (n,) or None, default=None
            Codes of groups of rows.
        """

    def fit_held_out(
        self, X: Any, targets: np.ndarray, weights: Any = None, groups: Any = None
    ) -> np.ndarray:
        """Learn as by ``fit``, and return the probabilities of the training rows.

        Returns
        -------
        proba : ndarray of shape (n, n_classes)
            Probabilities by models that have not seen the row or, with groups, its group.
        """

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities (n, n_classes) of new rows (n, d)."""


Build = Callable[[], Learner]

"""The validated and encoded input of ``fit``, before anything is on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .scaling import is_image

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    """Validated training input; ``dataclasses.replace`` makes a changed copy.

    Attributes
    ----------
    X : ndarray of shape (n, ...) or CSR matrix of shape (n, d)
        Rows that the user passed.
    given : ndarray of int64 of shape (n,)
        Encoded labels that the user passed.
    targets : ndarray of int64 of shape (n,)
        Encoded labels to learn.
    classes : ndarray of shape (n_classes,)
        Class labels; the codes are positions in this array.
    sample_weight : ndarray of float64 of shape (n,) or None
        Weights of mean 1; None if all are equal.
    trusted : ndarray of bool of shape (n,) or None
        True for trusted rows; None if nowhere.
    device : torch.device
        Device on which networks are trained.
    seed : int
        Seed of the fit.
    active : ndarray of int64 or None, default=None
        Rows that make up an epoch; None: all rows.
    groups : ndarray of int64 of shape (n,) or None, default=None
        Codes of the groups that folds of rows may not divide.
    unlabeled : ndarray of bool of shape (n,) or None, default=None
        True for rows without a label, whose codes mean nothing; None if all rows have one.
    """

    X: Any
    given: np.ndarray
    targets: np.ndarray
    classes: np.ndarray
    sample_weight: np.ndarray | None
    trusted: np.ndarray | None
    device: torch.device
    seed: int
    active: np.ndarray | None = None
    groups: np.ndarray | None = None
    unlabeled: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.given)

    @property
    def is_image(self) -> bool:
        """Whether the rows are images of 1, 3 or 4 channels."""
        return is_image(self.X)

    @property
    def weighted_rows(self) -> np.ndarray:
        """Indices of the rows whose weight is not zero."""
        weights = self.sample_weight
        return np.arange(len(self)) if weights is None else weights.nonzero()[0]

    def scale_weights(self, factors: np.ndarray) -> np.ndarray:
        """Return the sample weights times these factors, rescaled to mean 1."""
        weights = factors if self.sample_weight is None else self.sample_weight * factors
        return weights / weights.mean()

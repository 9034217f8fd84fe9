"""The features that the ensemble of learners gets in place of X."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..._engine.construction import resolve_device
from ..._engine.imputation import Imputation, has_nan, takes_nan
from ..._engine.stopping import part_of_fit
from ..dmlp.frozen_features import build_representation, check_features

__all__ = ["Features"]


class Features:
    """Features of a representation or, if none is learned, the values of each row.

    ``transformer_`` is the fitted representation, or None.
    """

    def __init__(self, representation: Any, seed: int, device: str | torch.device, verbose: int):
        self.representation = representation
        self.seed, self.device, self.verbose = seed, device, verbose

    def fit_transform(self, X: Any) -> Any:
        """Fit the representation and return the features of X, of shape (n, d)."""
        self.transformer_, self._imputation = None, None
        if self.representation is not None:
            device = str(resolve_device(self.device))
            transformer = build_representation(
                self.representation, X, 0, 1, self.seed, device, self.verbose
            )
            if X.ndim == 2 and has_nan(X) and not takes_nan(transformer):
                self._imputation = Imputation().fit(X)
            with part_of_fit("the representation"):
                self.transformer_ = transformer.fit(self._complete(X))
        return self.transform(X)

    def transform(self, X: Any) -> Any:
        """Return the features of rows."""
        if self.transformer_ is not None:
            features = self.transformer_.transform(self._complete(X))
            return check_features(features, X.shape[0], type(self.transformer_).__name__)
        return X if X.ndim == 2 else np.asarray(X).reshape(X.shape[0], -1)

    def _complete(self, X: Any) -> Any:
        return X if self._imputation is None else self._imputation.apply(X)

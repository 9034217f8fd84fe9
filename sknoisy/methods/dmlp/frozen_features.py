"""Frozen features: the default representations, and validation of others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.sparse
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.pipeline import make_pipeline
from torch import Tensor

from ..._engine.construction import seed_undecided
from ..._engine.reduction import is_wide_sparse
from ..._engine.scaling import InputScaling, is_image
from .kernel_features import KernelFeatures

__all__ = [
    "ReducedFeatures",
    "are_columns",
    "build_representation",
    "check_features",
    "split_views",
]

_MOST_PIXELS = 1024  # values of an image that are judged as columns of a table


class ReducedFeatures(TransformerMixin, BaseEstimator):
    """The dense columns to which wide sparse rows are reduced, as for the default network.

    Topics of documents are nearly linear in them: random features of a Gaussian kernel lose most
    of what the smaller components tell.
    """

    def fit(self, X, y=None):
        """Fit the reduction."""
        self._scaling = InputScaling(True).fit(X)
        return self

    def transform(self, X) -> np.ndarray:
        """Return the reduced rows, float32 of shape (n_samples, k)."""
        return self._scaling.to_tensor(X).numpy()


def are_columns(X: Any) -> bool:
    """Return whether the values of a row can serve as columns: not in images of over 1,024."""
    return not is_image(X) or math.prod(X.shape[1:]) <= _MOST_PIXELS


def build_representation(
    representation: Any,
    X: Any,
    n_components: int,
    n_views: int,
    seed: int,
    device: str,
    verbose: int,
) -> Any:
    """Return an unfitted transformer for the parameter ``representation``.

    None stands for :class:`KernelFeatures`, or :class:`ReducedFeatures` if X is wide and sparse; a
    name stands for an encoder. "auto" stands for None, except for images that are not columns
    (:func:`are_columns`): for these it is a kernel map of the features of SimCLR. A transformer is
    cloned. The clone receives `seed` if its own ``random_state`` is None.
    """
    kernel = KernelFeatures(n_components, n_views=n_views, random_state=seed)
    if isinstance(representation, str) and representation == "auto":
        if not are_columns(X):
            simclr = build_representation("simclr", X, 0, 1, seed, device, verbose)
            return make_pipeline(simclr, kernel)
        representation = None
    if representation is None and is_wide_sparse(X):
        return ReducedFeatures()
    if representation is None:
        return kernel
    if isinstance(representation, str):
        from ... import representation as encoders

        known = {"simclr": encoders.SimCLR, "moco": encoders.MoCo, "scarf": encoders.SCARF}
        return known[representation](device=device, verbose=verbose, random_state=seed)
    return seed_undecided(clone(representation), seed)


def check_features(
    features: Any, n_samples: int, name: str, rows: np.ndarray | None = None
) -> np.ndarray:
    """Return the features as a float32 array of shape (n_samples, d).

    `rows` are the row numbers, None for all rows. Raises a ValueError if the features have another
    shape or are not finite.
    """
    if scipy.sparse.issparse(features):
        features = features.toarray()
    features = np.asarray(features)
    if features.ndim != 2 or len(features) != n_samples or features.shape[1] == 0:
        raise ValueError(
            f"representation={name} returned features of shape {features.shape} for {n_samples} "
            f"rows: they must be of shape ({n_samples}, d). Flatten or pool further dimensions in "
            "its transform."
        )
    features = features.astype(np.float32, copy=False)
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        first = int(bad.argmax()) if rows is None else int(rows[bad.argmax()])
        raise ValueError(
            f"representation={name} returned NaN or infinite features for {bad.sum()} rows, the "
            f"first of which is row {first}. Impute or scale X first, or pass another "
            "representation."
        )
    return features


def split_views(features: Tensor, n_views: int, *, kernel: bool) -> list[Tensor]:
    """Return the features of each view.

    The views of a kernel map are its independent draws. Of any other representation, every view
    has all features, centred and scaled to a mean squared length of 1 per row, which is that of
    the kernel map.
    """
    if kernel:
        return list(features.chunk(n_views, dim=1))
    centred = features - features.mean(dim=0)
    length = centred.square().sum(dim=1).mean().sqrt()
    scaled = centred / length.clamp(min=1e-12)
    constant = torch.ones_like(scaled[:, :1])
    return [torch.cat([scaled, constant], dim=1)] * n_views

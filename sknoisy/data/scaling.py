"""Standardisation of the input and the layout of images, fitted once on the training rows."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor

__all__ = ["InputScaling", "channel_axis"]

_FIT_ROWS = 4096  # rows read at a time when a table is fitted
_CHANNELS = (1, 3, 4)


def channel_axis(shape: tuple[int, ...]) -> int:
    """Axis of the channels of images: 3 for (n, H, W, C), 1 for (n, C, H, W).

    Channels are 1, 3 or 4; where both axes would do, the last one is taken.

    Raises
    ------
    ValueError
        If neither axis has 1, 3 or 4 entries.

    Examples
    --------
    >>> from sknoisy.data import channel_axis
    >>> channel_axis((10, 32, 32, 3)), channel_axis((10, 3, 32, 32))
    (3, 1)
    """
    if shape[3] in _CHANNELS:
        return 3
    if shape[1] in _CHANNELS:
        return 1
    raise ValueError(
        f"X of shape {shape} is taken for images, but neither its last axis nor its second one "
        "has 1, 3 or 4 channels. Pass images as (n, H, W, C) or (n, C, H, W)."
    )


class InputScaling:
    """Mean and scale of the columns of a table or of the channels of images.

    Parameters
    ----------
    standardize : bool
        Shift and scale to mean 0 and variance 1. If False, rows pass as they are (uint8 images
        are still divided by 255).

    Attributes
    ----------
    mean_, scale_ : ndarray of float64 or None
        Of shape (d,) or (C,); constant columns have scale 1.
    channel_axis_ : int or None
        1 or 3 for images.
    """

    def __init__(self, standardize: bool = True):
        self.standardize = standardize
        self.mean_: np.ndarray | None = None
        self.scale_: np.ndarray | None = None
        self.channel_axis_: int | None = None

    def fit(self, X) -> InputScaling:
        """Learn mean and scale, a block of rows at a time, in float64.

        Parameters
        ----------
        X : ndarray of shape (n, d), (n, H, W, C) or (n, C, H, W), or CSR matrix
            Training rows; never copied whole.

        Returns
        -------
        self : InputScaling
        """
        self.channel_axis_ = channel_axis(X.shape) if X.ndim == 4 else None
        if not self.standardize:
            return self
        if scipy.sparse.issparse(X):
            scaler = StandardScaler(with_mean=False).fit(X)
            self.mean_, self.scale_ = scaler.mean_, scaler.scale_
            return self
        scaler = StandardScaler()
        for start in range(0, len(X), _FIT_ROWS):
            block = np.asarray(X[start : start + _FIT_ROWS])
            if self.channel_axis_ is not None:
                block = np.moveaxis(block, self.channel_axis_, -1).reshape(
                    -1, X.shape[self.channel_axis_]
                )
            scaler.partial_fit(block.astype(np.float64))
        assert scaler.mean_ is not None
        unit = 255 if self.channel_axis_ is not None and X.dtype == np.uint8 else 1
        self.mean_, self.scale_ = scaler.mean_ / unit, scaler.scale_ / unit
        return self

    def to_tensor(self, rows: np.ndarray) -> Tensor:
        """Rows as a tensor on the CPU, images as (n, C, H, W); never the caller's memory.

        Images of uint8 stay uint8. Everything else is float32, standardised before the cast, so
        that large offsets (time stamps, say) lose no digits.
        """
        if self.channel_axis_ is not None:
            if self.channel_axis_ == 3:
                rows = np.moveaxis(rows, 3, 1)
            dtype = np.uint8 if rows.dtype == np.uint8 else np.float32
            return torch.from_numpy(np.array(rows, dtype=dtype, order="C"))
        if self.mean_ is not None:
            rows = (rows - self.mean_) / self.scale_
        return torch.from_numpy(np.array(rows, dtype=np.float32, order="C"))

    def apply(self, batch: Tensor) -> Tensor:
        """Final float32 rows: images are scaled here, on their device; tables already are."""
        if self.channel_axis_ is None:
            return batch
        images = batch.float() / 255 if batch.dtype == torch.uint8 else batch
        if self.mean_ is None or self.scale_ is None:
            return images
        shape = (1, -1, 1, 1)
        mean = torch.tensor(self.mean_, dtype=torch.float32, device=images.device)
        scale = torch.tensor(self.scale_, dtype=torch.float32, device=images.device)
        return (images - mean.view(shape)) / scale.view(shape)

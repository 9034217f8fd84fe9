"""Standardisation and image layout of the input, fitted on the training rows."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor

__all__ = ["InputScaling", "channel_axis"]

_FIT_ROWS = 4096  # rows read at a time in fit
_CHANNELS = (1, 3, 4)


def channel_axis(shape: tuple[int, ...]) -> int:
    """Return the axis of the channels of images: 3 for (n, H, W, C), 1 for (n, C, H, W).

    Images have 1, 3 or 4 channels. If both axes have such a length, 3 is returned; if neither has,
    ValueError is raised.
    """
    if shape[3] in _CHANNELS:
        return 3
    if shape[1] in _CHANNELS:
        return 1
    raise ValueError(
        f"X of shape {shape} has 4 dimensions, as images have, but neither its last nor its "
        "second axis has 1, 3 or 4 channels. Pass images as (n, H, W, C) or (n, C, H, W)."
    )


class InputScaling:
    """Standardisation of the columns of a table or of the channels of images.

    If `standardize` is False, rows are not changed, except that images are divided by 255 if they
    were fitted as uint8. The training images set the unit of the pixel values, also for images of
    another dtype in ``predict``; see :meth:`check_unit`.

    ``mean_`` and ``scale_``, of shape (d,) or (C,), are the means and standard deviations in the
    unit of X; constant columns have scale 1. Both are None if `standardize` is False.
    ``channel_axis_``, ``dtype_`` and ``range_`` are those of the training images and None for
    tables: the axis is 1 or 3, and the range is that of their values, or (0, 255) if they are
    uint8.
    """

    def __init__(self, standardize: bool = True):
        self.standardize = standardize
        self.mean_: np.ndarray | None = None
        self.scale_: np.ndarray | None = None
        self.channel_axis_: int | None = None
        self.dtype_: np.dtype | None = None
        self.range_: tuple[float, float] | None = None

    def fit(self, X) -> InputScaling:
        """Compute mean and scale in float64, one block of rows at a time."""
        if X.ndim == 4:
            self.channel_axis_ = channel_axis(X.shape)
            self.dtype_ = X.dtype
            self.range_ = (0.0, 255.0) if X.dtype == np.uint8 else _range(X)
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
        self.mean_, self.scale_ = scaler.mean_, scaler.scale_
        return self

    def check_unit(self, X) -> None:
        """Raise ValueError if images may be in another unit than the training images.

        Images of the fitted dtype are accepted, and so are floats if floats were fitted. For any
        other pair of dtypes, both must clearly be in the unit from 0 to 255: all values lie in
        that range, and floats exceed 1.5 somewhere or are all zero. Tables are always accepted.
        """
        if self.dtype_ is None or self.range_ is None or X.dtype == self.dtype_:
            return
        if not (_is_integer(X.dtype) or _is_integer(self.dtype_)):
            return
        given = _range(X)
        if _is_pixels(X.dtype, given) and _is_pixels(self.dtype_, self.range_):
            return
        raise ValueError(
            f"X holds images of {X.dtype} from {given[0]:g} to {given[1]:g}, but images of "
            f"{self.dtype_} from {self.range_[0]:g} to {self.range_[1]:g} were fitted: the "
            f"numbers may not mean the same. Convert X to {self.dtype_}, in the unit of fit."
        )

    def to_tensor(self, rows: np.ndarray) -> Tensor:
        """Return a copy of rows as a tensor on the CPU, images as (n, C, H, W).

        Images of uint8 stay uint8, other images become float32. Tables are standardised before the
        cast to float32, so that large offsets, as in time stamps, lose no digits.
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
        """Return scaled float32 rows; tables are scaled already, images are scaled here."""
        if self.channel_axis_ is None:
            return batch
        images = batch.float()
        if self.mean_ is None or self.scale_ is None:
            return images / 255 if self.dtype_ == np.uint8 else images
        shape = (1, -1, 1, 1)
        mean = torch.tensor(self.mean_, dtype=torch.float32, device=images.device)
        scale = torch.tensor(self.scale_, dtype=torch.float32, device=images.device)
        return (images - mean.view(shape)) / scale.view(shape)


def _range(images: np.ndarray) -> tuple[float, float]:
    return float(images.min()), float(images.max())


def _is_integer(dtype: np.dtype) -> bool:
    return dtype.kind in "iu"


def _is_pixels(dtype: np.dtype, values: tuple[float, float]) -> bool:
    """Return whether values in this range are clearly pixels from 0 to 255, not fractions."""
    low, high = values
    return low >= 0 and high <= 255 and (_is_integer(dtype) or high == 0 or high > 1.5)

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

    The pixel values of fit decide the unit, also for other dtypes in predict: see
    :meth:`check_unit`.

    Parameters
    ----------
    standardize : bool
        Shift and scale to mean 0 and variance 1. If False, rows pass as they are (images are
        still divided by 255 if they were fitted as uint8).

    Attributes
    ----------
    mean_, scale_ : ndarray of float64 or None
        Of shape (d,) or (C,), in the numbers of X; constant columns have scale 1.
    channel_axis_ : int or None
        1 or 3 for images.
    dtype_ : dtype or None
        Of the images that were fitted.
    range_ : tuple of float or None
        Least and largest value of the images that were fitted; (0, 255) of uint8.
    """

    def __init__(self, standardize: bool = True):
        self.standardize = standardize
        self.mean_: np.ndarray | None = None
        self.scale_: np.ndarray | None = None
        self.channel_axis_: int | None = None
        self.dtype_: np.dtype | None = None
        self.range_: tuple[float, float] | None = None

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
        """Refuse images whose numbers may mean other brightnesses than those that were fitted.

        Images of the fitted dtype, and floats where floats were fitted, are taken as they are.
        Any other pair of dtypes is taken for the same numbers if that can only mean 0 to 255:
        those of an integer dtype lie in that range, and those of floats reach beyond 1.5 (or
        hold zeros only).

        Parameters
        ----------
        X : ndarray of shape (n, ...)
            What is to be predicted; tables pass.

        Raises
        ------
        ValueError
            If the numbers of X cannot be compared with those that were fitted.
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
    """Whether numbers of this range are brightnesses from 0 to 255, not fractions or others."""
    low, high = values
    return low >= 0 and high <= 255 and (_is_integer(dtype) or high == 0 or high > 1.5)

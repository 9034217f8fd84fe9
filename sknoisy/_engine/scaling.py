"""Scaling, reduction and image layout of the input, fitted on the training rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from ..exceptions import ConstantColumnWarning, warn_user
from .imputation import Imputation, name_columns
from .indexing import row_blocks
from .pixels import PixelUnit
from .reduction import SparseReduction, is_wide_sparse

__all__ = ["InputScaling", "channel_axis", "is_image", "scaling_for"]

_FIT_ROWS = 4096  # rows read at a time in fit
_CONVERT_ROWS = 8192  # rows converted at a time, in float64
_CHANNELS = (1, 3, 4)
_ROUNDING = 16 * np.finfo(np.float64).eps  # relative: smaller spreads come from rounding


def channel_axis(shape: tuple[int, ...]) -> int | None:
    """Return the axis of the channels of images: 3 for (n, H, W, C), 1 for (n, C, H, W).

    Images have four dimensions, and 1, 3 or 4 channels. If both axes have such a length, 3 is
    returned. None is returned if neither has, or if there are not four dimensions.
    """
    if len(shape) != 4:
        return None
    return next((axis for axis in (3, 1) if shape[axis] in _CHANNELS), None)


def is_image(X) -> bool:
    """Return whether validated rows are images, whose layout and channels are known."""
    return channel_axis(X.shape) is not None


def scaling_for(X, standardize: str | bool, *, own_network: bool) -> InputScaling:
    """Return the unfitted scaling of rows, for the parameter ``standardize``.

    "auto" standardises images, and tables for the default network. A network of the user's own
    gets any other rows as they are.
    """
    by_default = is_image(X) or not own_network
    scaling = InputScaling(by_default if standardize == "auto" else bool(standardize))
    # Sparse counts are no codes.
    is_integer = X.dtype.kind in "iu" and not (is_image(X) or scipy.sparse.issparse(X))
    is_integer &= not (X.ndim > 3 and X.dtype == np.uint8)  # pixels
    scaling.keeps_integers = own_network and is_integer and not scaling.standardize
    return scaling


class InputScaling:
    """Imputation and standardisation of a table, or standardisation of the channels of images.

    If `standardize` is False, rows are not changed, except that missing values are imputed, and
    that images are divided by 255 if they were fitted as uint8. The training images set the unit
    of the pixel values, also for images of another dtype in ``predict``; see :meth:`check_unit`.

    If ``keeps_integers`` is set to True, rows of integers stay integers, as int64.

    Wide sparse rows are not standardised, as this would make the rarest columns the largest ones,
    but reduced: see :class:`SparseReduction`. Narrow ones are treated like a dense table.

    ``mean_`` and ``scale_``, of shape (d + k,) or (C,), are the means and standard deviations of
    the columns that ``imputation_`` returns, or of the channels; both are in their unit. Constant
    columns have scale 1, and the k indicator columns mean 0 and scale 1. Both are None if
    `standardize` is False, or if rows are reduced. ``imputation_`` is None unless tables were
    fitted, ``reduction_`` unless rows are reduced. ``channel_axis_`` is that of images, 1 or 3,
    else None; ``unit_`` is the unit of the pixels of arrays of four or more dimensions, else None.
    """

    def __init__(self, standardize: bool = True):
        self.standardize = standardize
        self.keeps_integers = False
        self.mean_: np.ndarray | None = None
        self.scale_: np.ndarray | None = None
        self.imputation_: Imputation | None = None
        self.reduction_: SparseReduction | None = None
        self.channel_axis_: int | None = None
        self.unit_: PixelUnit | None = None
        self._on_device: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the tensors on devices, which the reader of a pickle may not have."""
        return {**vars(self), "_on_device": {}}

    def fit(self, X, names: Any = None) -> InputScaling:
        """Compute mean and scale in float64, one block of rows at a time.

        `names` are those of the columns, for warnings, or None. ValueError is raised if rows are
        to be standardised that are neither those of a table nor images.
        """
        if self.keeps_integers:
            return self
        self.channel_axis_ = channel_axis(X.shape)
        if self.standardize and X.ndim != 2 and self.channel_axis_ is None:
            raise ValueError(
                f"X of shape {X.shape} cannot be standardised: it is no table, and neither its "
                "last nor its second axis has 1, 3 or 4 channels. Scale it yourself, and pass "
                'standardize="auto" or False.'
            )
        if X.ndim > 3:
            self.unit_ = PixelUnit(X)
        if X.ndim == 2:
            self.imputation_ = Imputation().fit(X, names)
        if self.standardize and is_wide_sparse(X):
            assert self.imputation_ is not None
            self.reduction_ = SparseReduction().fit(self.imputation_.apply(X))
        elif self.standardize:
            self._fit_scale(X, names)
        return self

    def _fit_scale(self, X, names: Any) -> None:
        is_sparse, n_columns = scipy.sparse.issparse(X), X.shape[self.channel_axis_ or 1]
        scaler = StandardScaler(with_mean=not is_sparse)
        step = X.shape[0] if is_sparse else _FIT_ROWS
        for start in range(0, X.shape[0], step):
            block = self._columns(X if is_sparse else X[start : start + step])
            scaler.partial_fit(block[:, :n_columns])
        n_indicators = 0 if self.imputation_ is None else len(self.imputation_.indicators_)
        self.mean_ = np.pad(scaler.mean_, (0, n_indicators))
        self.scale_ = np.pad(scaler.scale_, (0, n_indicators), constant_values=1)
        if self.imputation_ is not None and not is_sparse:
            is_constant = (scaler.scale_ == 1) & (scaler.var_ != 1)
            self._warn_of_narrow_columns(X, np.flatnonzero(is_constant), names)

    def _columns(self, rows):
        """Return repaired columns of a table, or the channels of images, in float64."""
        if self.imputation_ is not None:
            columns = self.imputation_.apply(rows)
            return columns if scipy.sparse.issparse(columns) else columns.astype(np.float64)
        assert self.channel_axis_ is not None
        pixels = np.moveaxis(np.asarray(rows), self.channel_axis_, -1)
        return pixels.reshape(-1, pixels.shape[-1]).astype(np.float64)

    def _warn_of_narrow_columns(self, X, constant: np.ndarray, names: Any) -> None:
        """Warn of columns that are taken for constant although their values differ."""
        low, high = np.full((2, len(constant)), np.nan)
        for start in range(0, len(X) if len(constant) else 0, _FIT_ROWS):
            block = self._columns(X[start : start + _FIT_ROWS])[:, constant]
            low, high = np.fmin(low, block.min(axis=0)), np.fmax(high, block.max(axis=0))
        is_narrow = high - low > _ROUNDING * np.maximum(np.abs(low), np.abs(high))
        if is_narrow.any():
            warn_user(
                f"X varies so little in {name_columns(constant[is_narrow], names)}, beside the "
                "size of its values, that float64 does not resolve it: taken for constant. "
                "Subtract the mean of these values where they come from.",
                ConstantColumnWarning,
            )

    def check_unit(self, X) -> None:
        """Raise ValueError if rows may be in another unit than the training rows.

        Images of the fitted dtype, and floats if floats were fitted, are refused only if one of
        both is clearly in the unit from 0 to 255, and the other clearly from 0 to 1 or
        standardised. For any other pair of dtypes, both must clearly be in the unit from 0 to 255:
        all values lie in that range, and floats exceed 1.5 somewhere or are all zero. Tables and
        series are always accepted, except that integers must stay integers for a network of the
        user's own that was fitted with integers.
        """
        if self.keeps_integers and X.dtype.kind not in "iu":
            raise ValueError(
                f"X holds {X.dtype}, but integers were fitted, which the network gets as they "
                "are: pass X.astype(int)."
            )
        if self.unit_ is not None:
            self.unit_.check(X)

    def to_tensor(self, rows) -> Tensor:
        """Return a copy of rows as a dense tensor on the CPU, images as (n, C, H, W).

        `rows` is an array or a CSR matrix. Pixels of uint8 stay uint8, kept integers become int64,
        and all others float32. Tables are imputed, and standardised or reduced, before the cast to
        float32, so that large offsets, as in time stamps, lose no digits.
        """
        dtype: Any = np.float32
        if self.reduction_ is None and scipy.sparse.issparse(rows):
            rows = rows.toarray()
        if self.keeps_integers:
            dtype = np.int64
            if rows.dtype == np.uint64 and rows.max() > np.iinfo(np.int64).max:
                raise ValueError(f"X holds {rows.max()}, which is too large for int64.")
        elif self.imputation_ is not None:
            rows = self.imputation_.apply(rows)
            if self.reduction_ is not None:
                rows = self.reduction_.transform(rows)
            elif self.mean_ is not None:
                rows = rows - self.mean_
                rows /= self.scale_
        elif self.unit_ is not None:
            rows = np.moveaxis(rows, 3, 1) if self.channel_axis_ == 3 else rows
            dtype = np.uint8 if rows.dtype == np.uint8 else np.float32
        return torch.from_numpy(np.array(rows, dtype=dtype, order="C"))

    def to_rows(self, X, device: torch.device | str = "cpu") -> Tensor:
        """Return all rows on the device, converted by :meth:`to_tensor` and :meth:`apply`.

        They are converted a few at a time, into one tensor: in float64, all of them would take
        several times its memory, and parts to be joined twice.
        """
        first = self.apply(self.to_tensor(X[:1]))
        converted = torch.empty((X.shape[0], *first.shape[1:]), dtype=first.dtype, device=device)
        for rows in row_blocks(X.shape[0], _CONVERT_ROWS):
            converted[rows] = self.apply(self.to_tensor(X[rows]))
        return converted

    def apply(self, batch: Tensor) -> Tensor:
        """Return the rows that the network gets: pixels are scaled here, others are already."""
        if self.unit_ is None:
            return batch
        images = batch.float()
        if self.mean_ is None or self.scale_ is None:
            return images / 255 if self.unit_.dtype == np.uint8 else images
        mean, scale = self._moments(images.device)
        return (images - mean) / scale

    def pixel_range(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return least value and span of the training images, in the unit of the network.

        They are 0 and 255 before the scaling if the images are uint8. Both have the shape
        (1, C, 1, 1), or (1, 1, 1, 1) if all channels are scaled alike. A span of 0 is given as 1.
        """
        assert self.unit_ is not None
        ends = torch.tensor([self.unit_.low, self.unit_.high], device=device).view(2, 1, 1, 1)
        low, high = self.apply(ends).split(1)
        span = high - low
        return low, torch.where(span > 0, span, 1)

    def _moments(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return means and scales of the channels on a device, moved there once."""
        if device not in self._on_device:
            mean, scale = (
                torch.tensor(moment, dtype=torch.float32, device=device).view(1, -1, 1, 1)
                for moment in (self.mean_, self.scale_)
            )
            self._on_device[device] = mean, scale
        return self._on_device[device]

    def to_sparse(self, X):
        """Return a CSR matrix imputed and scaled, but not shifted, so that it stays sparse."""
        if self.imputation_ is not None:
            X = self.imputation_.apply(X)
        return (
            X if self.scale_ is None else (X @ scipy.sparse.diags_array(1 / self.scale_)).tocsr()
        )

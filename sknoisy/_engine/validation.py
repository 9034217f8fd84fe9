"""Input validation for ``fit`` and ``predict``."""

from __future__ import annotations

import numpy as np
import scipy.sparse
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from .._compat import check_feature_names, check_weights
from .scaling import channel_axis

__all__ = ["check_X", "check_sample_weight", "check_total_weight"]


def check_X(estimator, X, *, reset: bool):
    """Return X as a table (n, d), a CSR matrix, or images (n, H, W, C) or (n, C, H, W).

    Sequences of rows are accepted, and memory maps are read in blocks and never copied. The dtype
    is numeric; images of uint8 stay uint8. In ``fit``, where `reset` is True, ``n_features_in_``,
    ``feature_names_in_`` and ``image_shape_`` of the estimator are set. Otherwise, X is compared
    with them.

    ValueError is raised if X does not have 2 or 4 dimensions, is empty, holds NaN or infinity, or
    has another shape than in ``fit``.
    """
    if not hasattr(X, "shape") and (isinstance(X, (list, tuple)) or hasattr(X, "__array__")):
        X = np.asarray(X)
    shape = getattr(X, "shape", None)
    if shape is not None and len(shape) == 4:
        return _check_images(estimator, X, reset=reset)
    if shape is not None and len(shape) == 3:
        raise ValueError(
            f"Found array with dim 3, of shape {tuple(shape)}: X must be a table (n, d) or images "
            "(n, H, W, C) or (n, C, H, W). Give grey images a channel axis, X[..., None]."
        )
    if not reset and estimator.image_shape_ is not None:
        raise ValueError(
            f"X has shape {np.shape(X)}, but {type(estimator).__name__} was fitted on images of "
            f"shape {estimator.image_shape_}."
        )
    X = validate_data(
        estimator,
        X,
        reset=reset,
        accept_sparse="csr",
        dtype="numeric",
        order=None,
        ensure_all_finite=True,
    )
    if reset:
        estimator.image_shape_ = None
    return X.tocsr() if scipy.sparse.issparse(X) else X


def _check_images(estimator, X, *, reset: bool) -> np.ndarray:
    X = check_array(
        X,
        dtype="numeric",
        ensure_all_finite=True,
        allow_nd=True,
        estimator=estimator,
        input_name="X",
    )
    shape = X.shape[1:]
    if reset:
        channel_axis(X.shape)
        check_feature_names(estimator, X, reset=True)  # removes those of an earlier fit
        estimator.image_shape_ = shape
        estimator.n_features_in_ = int(np.prod(shape))
    elif estimator.image_shape_ != shape:
        fitted = (
            "tables"
            if estimator.image_shape_ is None
            else f"images of shape {estimator.image_shape_}"
        )
        raise ValueError(
            f"X holds images of shape {shape}, but {type(estimator).__name__} was fitted on "
            f"{fitted}."
        )
    return X


def check_sample_weight(sample_weight, X) -> np.ndarray | None:
    """Return the weights rescaled to mean 1; None if there are none or all are equal.

    Weights that float32 does not hold beside the others become 0. ValueError is raised if a weight
    is negative or not finite, all are zero, or most of the positive ones become 0.
    """
    if sample_weight is None:
        return None
    weights = check_weights(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if (weights == weights[0]).all():
        return None
    relative = weights / weights.max()  # the sum of the weights may overflow
    relative *= len(relative) / relative.sum()
    relative[relative < np.finfo(np.float32).tiny] = 0
    n_left, n_positive = np.count_nonzero(relative), np.count_nonzero(weights)
    if n_left < n_positive / 2:
        raise ValueError(
            f"sample_weight reaches from {weights[weights > 0].min():g} to {weights.max():g}: "
            f"beside the largest, all but {n_left} of {n_positive} positive weights vanish. Clip "
            "the largest weights, or raise the smallest."
        )
    return relative


def check_total_weight(weights: np.ndarray) -> np.ndarray:
    """Return weights whose size matters; raise a ValueError if float64 does not hold their sum."""
    with np.errstate(over="ignore"):
        total = np.abs(weights).sum()
    if not np.finfo(np.float64).tiny <= total < np.inf:
        raise ValueError(
            f"The sum of sample_weight is {total:g}, which is beyond the range of float64: divide "
            "the weights by their largest."
        )
    return weights

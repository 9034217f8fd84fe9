"""Input validation for ``fit`` and ``predict``."""

from __future__ import annotations

import numpy as np
import scipy.sparse
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d, validate_data

from .._compat import check_feature_names, check_weights, is_pandas_na, is_scalar_nan
from .scaling import channel_axis

__all__ = ["check_X", "check_clean_mask", "check_sample_weight", "encode_labels"]


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


def encode_labels(y, n_samples: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes, and the index of each label of y among them, int64 of shape (n,).

    `name` is that of the estimator, for messages. ValueError is raised if y is None or continuous,
    has missing labels or only one class, or another length than X. TypeError is raised if the
    labels are of several types, or of a type that is not supported.
    """
    if y is None:
        raise ValueError(
            f"This {name} estimator requires y to be passed, but the target y is None."
        )
    if hasattr(y, "to_numpy"):  # else pandas' nullable integers would become floats
        y = y.to_numpy()
    y = column_or_1d(y, warn=True)
    if len(y) != n_samples:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: {[n_samples, len(y)]}. "
            "Pass one label for each row of X."
        )
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError("Input y contains NaN or infinity: every row needs a label.")
    if y.dtype == object:
        y = _from_objects(y)
    if y.dtype.kind not in "biufUO":
        raise TypeError(_unknown_type(y))
    check_classification_targets(y)
    classes, encoded = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"{name} can't be fitted on one class: y holds only {classes.tolist()[0]!r} "
            f"(number of samples={len(y)}). Pass labels of at least 2 classes."
        )
    return classes, encoded.astype(np.int64)


def _from_objects(y: np.ndarray) -> np.ndarray:
    """Return numbers and booleans in their own dtype; strings keep the dtype object."""
    if any(label is None or is_scalar_nan(label) or is_pandas_na(label) for label in y):
        raise ValueError("Input y contains None or NaN: every row needs a label.")
    if len({isinstance(label, str) for label in y}) > 1:
        types = sorted({type(label).__name__ for label in y})
        raise TypeError(f"y mixes labels of the types {types}: convert them to one type.")
    if isinstance(y[0], str):
        return y
    typed = np.array(y.tolist())
    if typed.ndim != 1 or typed.dtype == object:
        raise TypeError(_unknown_type(y))
    return typed


def _unknown_type(y: np.ndarray) -> str:
    return (
        f"y holds labels of the type {type(y[0]).__name__}, such as {y[0]!r}: convert them to "
        "integers, strings or booleans."
    )


def check_sample_weight(sample_weight, X) -> np.ndarray | None:
    """Return the weights rescaled to mean 1; None if there are none or all are equal.

    ValueError is raised if a weight is negative or not finite, or all are zero.
    """
    if sample_weight is None:
        return None
    weights = check_weights(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if (weights == weights[0]).all():
        return None
    return weights * (len(weights) / weights.sum())


def check_clean_mask(clean_mask, encoded: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
    """Return the mask of trusted rows as a boolean array, or None.

    ValueError is raised if the mask is not boolean, has another length than y, or holds no trusted
    row of some class.
    """
    if clean_mask is None:
        return None
    mask = np.array(clean_mask)  # a copy, as torch warns about arrays that are not writable
    if mask.dtype != bool:
        raise ValueError(
            "clean_mask must be boolean, True where the label is trusted; got dtype "
            f"{mask.dtype}. Turn indices into a mask: mask = numpy.zeros(len(y), bool); "
            "mask[indices] = True."
        )
    if mask.shape != encoded.shape:
        raise ValueError(
            f"clean_mask has shape {mask.shape}, y has shape {encoded.shape}: pass one entry per "
            "row of X."
        )
    missing = np.setdiff1d(np.arange(len(classes)), encoded[mask])
    if len(missing):
        raise ValueError(
            f"clean_mask holds no trusted row of class {classes[missing].tolist()}: trust at "
            "least one row of each class, or pass clean_mask=None."
        )
    return mask

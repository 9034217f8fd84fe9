"""Input validation for ``fit`` and ``predict``."""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from numbers import Number

import numpy as np
import scipy.sparse
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data
from torch.utils.data import Dataset

from .._compat import check_feature_names, check_n_features, check_weights
from .containers import check_numbers, from_sequence, from_torch
from .labels import is_missing, to_numpy
from .scaling import channel_axis
from .stream_sources import as_stream
from .streams import Stream

__all__ = [
    "OF_X",
    "check_X",
    "check_sample_weight",
    "check_total_weight",
    "forget_fit",
    "kept_on_error",
    "weights_as_floats",
]

# Attributes that check_X sets.
OF_X = frozenset({"n_features_in_", "feature_names_in_", "image_shape_"})


def check_X(estimator, X, *, reset: bool, any_shape: bool = False, streams: bool = False):
    """Return X as a table (n, d), a CSR matrix, or images (n, H, W, C) or (n, C, H, W).

    Sequences of rows and tensors are accepted, and memory maps are read in blocks and never
    copied. The dtype is numeric; images of uint8 stay uint8. NaN is accepted in tables, where it
    is a missing value. If `any_shape` is True, because a network of the user's own takes the rows,
    arrays (n, ...) of any other shape are returned, too. In ``fit``, where `reset` is True,
    ``n_features_in_``, ``feature_names_in_`` and ``image_shape_`` of the estimator are set.
    Otherwise, X is compared with them. If `streams` is True, Parquet files and data sets are
    returned as a :class:`Stream`, of which only the first rows are read and checked here.

    ValueError is raised if X is not of such a shape, is empty, holds infinity, or NaN outside of
    tables, or has another shape than in ``fit``. ValueError or TypeError is raised if it holds no
    numbers; see :func:`check_numbers` and :func:`from_torch`.
    """
    stream = as_stream(X) if streams or not isinstance(X, Dataset) else None
    if stream is not None:
        return _check_stream(estimator, stream, reset, any_shape, streams)
    X = from_sequence(from_torch(X))
    check_numbers(X, estimator)
    n_dimensions = len(getattr(X, "shape", ()))
    if n_dimensions in (3, 4) or (any_shape and n_dimensions > 4):
        return _check_arrays(estimator, X, reset=reset, any_shape=any_shape)
    if not reset and estimator.image_shape_ is not None:
        raise ValueError(
            f"X has shape {np.shape(X)}, but {type(estimator).__name__} was fitted on "
            f"{_rows_of_shape(estimator.image_shape_)}."
        )
    if scipy.sparse.issparse(X) and X.dtype == np.float16:  # scipy cannot compute with it
        X = X.astype(np.float32)
    X = validate_data(
        estimator,
        X,
        reset=reset,
        accept_sparse="csr",
        dtype="numeric",
        order=None,
        ensure_all_finite="allow-nan",
    )
    if reset:
        estimator.image_shape_ = None
    return X.tocsr() if scipy.sparse.issparse(X) else X


def _check_stream(estimator, X: Stream, reset: bool, any_shape: bool, streams: bool) -> Stream:
    if not streams:
        raise TypeError(
            f"{type(estimator).__name__} reads X as a whole, so it takes neither Parquet files "
            "nor data sets. Pass an array or a memory map, numpy.load(path, mmap_mode='r')."
        )
    if 0 in X.shape[1:]:
        raise ValueError(
            f"Found array with 0 feature(s) in X: rows of the shape {X.shape[1:]} hold no value."
        )
    if not len(X):
        raise ValueError("Found array with 0 sample(s) in X: the file has no rows.")
    head = X.check(estimator)
    if X.ndim != 2:
        check_X(estimator, head, reset=reset, any_shape=any_shape)
        return X
    check_feature_names(estimator, head, reset=reset)
    check_n_features(estimator, head, reset=reset)
    if reset:
        estimator.image_shape_ = None
    elif estimator.image_shape_ is not None:
        raise ValueError(
            f"X has shape {X.shape}, but {type(estimator).__name__} was fitted on "
            f"{_rows_of_shape(estimator.image_shape_)}."
        )
    return X


def _check_arrays(estimator, X, *, reset: bool, any_shape: bool) -> np.ndarray:
    """Return images, or any other rows of more than one dimension if `any_shape` is True."""
    shape, name = tuple(X.shape[1:]), type(estimator).__name__
    if 0 in shape:
        raise ValueError(
            f"X has the shape {tuple(X.shape)}: {_rows_of_shape(shape)} hold no value. Every axis "
            "needs at least one entry."
        )
    if not any_shape and channel_axis((1, *shape)) is None:
        raise ValueError(_describe_shape(tuple(X.shape)))
    X = check_array(
        X,
        dtype="numeric",
        ensure_all_finite=True,
        allow_nd=True,
        estimator=estimator,
        input_name="X",
    )
    if reset:
        check_feature_names(estimator, X, reset=True)  # removes those of an earlier fit
        estimator.image_shape_ = shape
        estimator.n_features_in_ = int(np.prod(shape))
    elif estimator.image_shape_ != shape:
        fitted = estimator.image_shape_
        raise ValueError(
            f"X holds {_rows_of_shape(shape)}, but {name} was fitted on "
            f"{'tables' if fitted is None else _rows_of_shape(fitted)}."
        )
    return X


def _rows_of_shape(shape: tuple[int, ...]) -> str:
    return f"{'images' if channel_axis((1, *shape)) is not None else 'rows'} of shape {shape}"


def _describe_shape(shape: tuple[int, ...]) -> str:
    forms = "a table (n, d) or images (n, H, W, C) or (n, C, H, W)"
    cures = "flatten the rows, X.reshape(len(X), -1), or pass a module that takes such rows"
    if len(shape) == 4:
        return (
            f"X of shape {shape} has 4 dimensions, as images have, but neither its last nor its "
            f"second axis has 1, 3 or 4 channels. Pass {forms}; else {cures}."
        )
    return (
        f"Found array with dim 3, of shape {shape}: X must be {forms}. Give grey images a channel "
        f"axis, X[..., None]; of other data, {cures}."
    )


def forget_fit(estimator, keep: Container[str] = ()) -> None:
    """Remove the fitted attributes, those whose names end in an underscore, except `keep`."""
    for name in [name for name in vars(estimator) if name.endswith("_") and name not in keep]:
        del estimator.__dict__[name]


@contextmanager
def kept_on_error(estimator) -> Iterator[None]:
    """Give an estimator the attributes back that it has now if an error is raised within."""
    attributes = dict(vars(estimator))
    try:
        yield
    except Exception:
        vars(estimator).clear()
        vars(estimator).update(attributes)
        raise


def check_sample_weight(
    sample_weight, X, unlabeled: np.ndarray | None = None
) -> np.ndarray | None:
    """Return the weights rescaled to mean 1; None if there are none or all are equal.

    Weights that float32 does not hold beside the others become 0. ValueError is raised if a weight
    is negative or not finite, all are zero, or most of the positive ones become 0. It is also
    raised if all rows of positive weight are in the mask `unlabeled`, so that no label counts.
    """
    if sample_weight is None:
        return None
    weights = weights_as_floats(sample_weight, X, ensure_non_negative=True)
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
    if unlabeled is not None and not relative[~unlabeled].any():
        raise ValueError(
            f"sample_weight is 0 for all {np.sum(~unlabeled)} rows that have a label, so there is "
            "nothing to learn: give some of them a positive weight."
        )
    return relative


def weights_as_floats(sample_weight, X, *, ensure_non_negative: bool = False) -> np.ndarray:
    """Return the weights of the rows of X as float64, shape (n,); the containers are those of y.

    A number is the weight of every row, and None stands for 1. ValueError is raised if the weights
    are not one finite number for each row, or one is negative although they must not be.
    """
    if not isinstance(sample_weight, (Number, type(None))):
        sample_weight = to_numpy(sample_weight, "sample_weight")
        if sample_weight.dtype.kind not in "biuf":
            sample_weight = _as_floats(sample_weight)
    return check_weights(
        sample_weight, X, dtype=np.float64, ensure_non_negative=ensure_non_negative
    )


def _as_floats(weights: np.ndarray) -> np.ndarray:
    """Return objects that are numbers as float64, None and NA as NaN."""
    floats = []
    for weight in weights.ravel().tolist():
        try:
            floats.append(np.nan if is_missing(weight) else float(weight))
        except (TypeError, ValueError):
            raise ValueError(
                f"sample_weight holds {weight!r}, which is no real number: pass one weight for "
                "each row. Those of balanced classes are "
                "sklearn.utils.class_weight.compute_sample_weight('balanced', y)."
            ) from None
    return np.array(floats).reshape(weights.shape)


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

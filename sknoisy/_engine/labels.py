"""The labels y and the mask of trusted rows: what every ``fit`` takes, and what comes back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import scipy.sparse
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.multiclass import check_classification_targets

from .._compat import is_pandas_na, is_scalar_nan
from ..exceptions import LabelWarning, warn_user
from .stopping import is_part_of_fit
from .suspect_labels import describe_matrix, describe_nested, suspicions

__all__ = [
    "check_clean_mask",
    "check_unlabeled_mask",
    "encode_labels",
    "is_missing",
    "labels_like",
    "mask_of_rows",
    "take_labels",
    "to_numpy",
]

# Booleans before integers, as bool is a subclass of int.
_KINDS: dict[type, Any] = {
    bool: (bool, np.bool_),
    int: (int, np.integer),
    float: (float, np.floating),
    str: str,
}


def encode_labels(
    y, n_samples: int, name: str, unlabeled: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes, and the index of each label of y among them, int64 of shape (n,).

    The user guide lists the containers and dtypes of y. `name` is that of the estimator, for
    messages. Labels of rows in the mask `unlabeled` are not read; their code is 0. A
    :class:`~sknoisy.exceptions.LabelWarning` is issued if a class may be a mark for missing
    labels, or if two classes may be one.

    ValueError is raised if y is None or continuous, has more than one column, missing labels or
    only one class, or another length than X. TypeError is raised if the labels are of several
    types, or of a type that is not supported.
    """
    if y is None:
        raise ValueError(
            f"This {name} estimator requires y to be passed, but the target y is None."
        )
    labels = _column_of(y, warn=True)
    if len(labels) != n_samples:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: "
            f"{[n_samples, len(labels)]}. Pass one label for each row of X."
        )
    if unlabeled is not None:
        codes = np.zeros(n_samples, dtype=np.int64)
        labeled = np.flatnonzero(~unlabeled)
        classes, codes[labeled] = encode_labels(take_labels(y, labeled), len(labeled), name)
        return classes, codes
    labels = _check_labels(labels, is_list=_is_list(y))
    classes, encoded = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"{name} can't be fitted on one class: y holds only {classes.tolist()[0]!r} "
            f"(number of samples={len(labels)}). Pass labels of at least 2 classes."
        )
    if not is_part_of_fit():  # which has warned of the labels already
        for suspicion in suspicions(classes):
            warn_user(suspicion, LabelWarning)
    return classes, encoded.astype(np.int64)


def labels_like(y: Any, classes: np.ndarray, labels: np.ndarray) -> Any:
    """Return other labels in the container and dtype of y; pandas keeps its index and name.

    Each of the sorted `classes` occurs in y, which ``fit`` has accepted.
    """
    given = _check_labels(_column_of(y), is_list=_is_list(y))
    first = np.unique(given, return_index=True)[1]
    found = take_labels(y, first[np.searchsorted(classes, labels)])
    return found.set_axis(y.index) if hasattr(found, "set_axis") else found


def take_labels(y: Any, rows: np.ndarray) -> Any:
    """Return these rows of y, in its container."""
    native = nw.from_native(y, allow_series=True, pass_through=True)
    if isinstance(native, nw.LazyFrame):
        return native.collect()[rows].lazy().to_native()
    if isinstance(native, (nw.Series, nw.DataFrame)):
        return native[rows].to_native()
    if isinstance(y, (list, tuple)):
        chosen = [y[row] for row in rows]
        return chosen if isinstance(y, list) else tuple(chosen)
    if _is_arrow_array(y):
        return y.take(rows)
    return y[rows] if hasattr(y, "take") else np.asarray(y)[rows]


def to_numpy(values: Any, name: str) -> np.ndarray:
    """Return an array, a series, a frame or a list as an ndarray; a frame of one column is 1-D.

    TypeError is raised if there is no way, such as for tensors on a GPU; `name` is for the
    message.
    """
    if np.ma.is_masked(values):
        is_masked, values = np.ma.getmaskarray(values), np.ma.getdata(values).astype(object)
        values[is_masked] = None
    try:
        native = nw.from_native(values, allow_series=True, pass_through=True)
        if isinstance(native, nw.LazyFrame):
            native = native.collect()
        if isinstance(native, nw.DataFrame) and native.shape[1] == 1:
            native = native.get_column(native.columns[0])
        if _is_arrow_array(values):
            return values.to_numpy(zero_copy_only=False)
        if hasattr(native, "to_numpy"):  # np.asarray makes objects of nullable integers
            return native.to_numpy()
        return np.asarray(native)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise TypeError(
            f"{name} of the type {type(values).__name__} cannot be converted to an array: pass a "
            f"numpy array, a list, or a series of pandas or polars. ({reason})"
        ) from error


def _is_list(y: Any) -> bool:
    return isinstance(y, Sequence) and not isinstance(y, (str, bytes))


def _is_arrow_array(values: Any) -> bool:
    arrow = sys.modules.get("pyarrow")  # narwhals knows chunked arrays and tables only
    return arrow is not None and isinstance(values, arrow.Array)


# --- y ------------------------------------------------------------------------------------------


def _column_of(y: Any, *, warn: bool = False) -> np.ndarray:
    """Return y as an array of shape (n,); of a list, it has the dtype object."""
    if scipy.sparse.issparse(y):
        raise ValueError(describe_matrix(y.tocsr()[:1000].toarray(), y.shape, _argmax_of(y)))
    # numpy would turn the numbers of a list into strings where one label is a string.
    labels = np.asarray(y, dtype=object) if _is_list(y) else to_numpy(y, "y")
    if labels.ndim == 0:
        raise TypeError(
            f"y is of the type {type(y).__name__}, which holds no labels in the order of the rows "
            "of X: pass an array, a series or a list."
        )
    if labels.ndim > 1 and labels.shape[1:] != (1,):
        raise ValueError(describe_matrix(labels, labels.shape, _argmax_of(y)))
    if labels.ndim == 2 and warn:
        warn_user(
            "A column-vector y was passed when a 1d array was expected: pass y.ravel().",
            DataConversionWarning,
        )
    return labels.reshape(-1)


def _argmax_of(y: Any) -> str:
    return "y.argmax(axis=1)" if hasattr(y, "argmax") else "numpy.argmax(y, axis=1)"


def _check_labels(labels: np.ndarray, *, is_list: bool) -> np.ndarray:
    """Return labels (n,) in the dtype of their classes, or raise."""
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError("Input y contains NaN or infinity: every row needs a label.")
    if labels.dtype == object:
        labels = _from_objects(labels, is_list)
    if labels.dtype.kind == "T":
        raise TypeError(
            "Unknown label type: y has numpy's StringDType, which the metrics of scikit-learn do "
            "not take: pass y.astype(str)."
        )
    if labels.dtype.kind == "c":
        raise ValueError("Complex data not supported: y holds complex numbers, pass y.real.")
    if labels.dtype.kind not in "biufUO":
        raise TypeError(_unknown_type(labels[0]))
    check_classification_targets(labels)
    return labels


def _from_objects(labels: np.ndarray, is_list: bool) -> np.ndarray:
    """Return an array of strings as it is, and a list in the dtype of its labels."""
    if any(map(is_missing, labels)):
        raise ValueError("Input y contains None or NaN: every row needs a label.")
    types = set(map(type, labels))
    kinds = {_kind_of(label_type) for label_type in types}
    if len(kinds) > 1:
        names = sorted(label_type.__name__ for label_type in types)
        raise TypeError(f"y mixes labels of the types {names}: convert them to one type.")
    kind = kinds.pop()
    if kind in (list, tuple, set, frozenset):
        raise ValueError(describe_nested(labels[0]))
    if kind not in _KINDS:
        raise TypeError(_unknown_type(labels[0]))
    if is_list:
        return _from_list(labels.tolist(), kind)
    if kind is not str:
        raise TypeError(
            f"Unknown label type: y has the dtype object, but holds {kind.__name__} labels, such "
            f"as {labels[0]!r}, which the metrics of scikit-learn do not take: pass "
            f"y.astype({kind.__name__})."
        )
    return labels


def _from_list(labels: list, kind: type) -> np.ndarray:
    typed = np.asarray(labels)
    if kind is int and typed.dtype.kind not in "iu":
        raise ValueError(
            f"y holds integers that 64 bits do not hold, such as {max(labels, key=abs)}: convert "
            "them to strings."
        )
    return typed


def _kind_of(label_type: type) -> type:
    matching = (kind for kind, types in _KINDS.items() if issubclass(label_type, types))
    return next(matching, label_type)


def is_missing(entry: Any) -> bool:
    """Return whether an entry is None, NaN or the NA of pandas."""
    return entry is None or is_scalar_nan(entry) or is_pandas_na(entry)


def _unknown_type(label: Any) -> str:
    return (
        f"y holds labels of the type {type(label).__name__}, such as {label!r}: convert them to "
        "integers, strings or booleans."
    )


# --- trusted rows -------------------------------------------------------------------------------


def check_clean_mask(clean_mask, encoded: np.ndarray, classes: np.ndarray) -> np.ndarray | None:
    """Return the mask of trusted rows as a boolean array, or None if no row is trusted.

    The containers are those of y. ValueError is raised if the mask is not boolean, has missing
    entries or another length than y, or holds no trusted row of some class.
    """
    mask = mask_of_rows(clean_mask, len(encoded), "clean_mask", "the label is trusted")
    if mask is None:
        return None
    missing = np.setdiff1d(np.arange(len(classes)), encoded[mask])
    if len(missing):
        raise ValueError(
            f"clean_mask holds no trusted row of class {classes[missing].tolist()}: trust at "
            "least one row of each class, or pass clean_mask=None."
        )
    return mask


def check_unlabeled_mask(unlabeled_mask, n_samples: int, clean_mask=None) -> np.ndarray | None:
    """Return the mask of rows without a label as a boolean array, or None if all have one.

    The containers are those of y. ValueError is raised if the mask is not boolean, has missing
    entries or another length than X, if no row has a label, or if `clean_mask` trusts the label of
    a row that has none.
    """
    mask = mask_of_rows(unlabeled_mask, n_samples, "unlabeled_mask", "the row has no label")
    if mask is None:
        return None
    if mask.all():
        raise ValueError(
            f"unlabeled_mask is True for all {n_samples} rows: leave rows of at least 2 classes "
            "their labels."
        )
    trusted = mask_of_rows(clean_mask, n_samples, "clean_mask", "the label is trusted")
    both = np.flatnonzero(mask & (trusted if trusted is not None else False))
    if len(both):
        raise ValueError(
            f"{len(both)} rows are in clean_mask and in unlabeled_mask, the first is row "
            f"{both[0]}: a row without a label has none to trust."
        )
    return mask


def mask_of_rows(mask: Any, n_samples: int, name: str, meaning: str) -> np.ndarray | None:
    """Return a mask of rows as a boolean array, or None if it is True nowhere.

    The containers are those of y; `name` and `meaning` of True are for messages. ValueError is
    raised if the mask is not boolean, has missing entries or another length.
    """
    if mask is None:
        return None
    mask = np.array(to_numpy(mask, name))  # torch warns about read-only arrays
    if mask.dtype != bool:
        mask = _from_other_dtype(mask, n_samples, name, meaning)
    if mask.shape != (n_samples,):
        raise ValueError(
            f"{name} has shape {mask.shape}, y has shape {(n_samples,)}: pass one entry per row "
            "of X."
        )
    return mask if mask.any() else None


def _from_other_dtype(mask: np.ndarray, n_samples: int, name: str, meaning: str) -> np.ndarray:
    """Return a mask of Python booleans as an array of them; raise for any other dtype."""
    if mask.dtype.kind in "Of":
        missing = [row for row, entry in enumerate(mask.flat) if is_missing(entry)]
        if missing:
            raise ValueError(
                f"{name} has {len(missing)} missing entries (NA, NaN or None), the first in "
                f"row {missing[0]}: fill them, such as by {name}.fillna(False)."
            )
    if mask.dtype == object and all(isinstance(entry, (bool, np.bool_)) for entry in mask.flat):
        return mask.astype(bool)
    problem = f"{name} must be boolean, True where {meaning}; got dtype {mask.dtype}"
    if mask.dtype.kind in "iuf" and mask.shape == (n_samples,) and np.isin(mask, [0, 1]).all():
        raise ValueError(
            f"{problem}. Its entries are 0 and 1, one for each row, so it looks like a mask: pass "
            f"numpy.asarray({name}).astype(bool)."
        )
    if mask.dtype.kind in "iu":
        raise ValueError(
            f"{problem}. Turn indices into a mask: mask = numpy.zeros(len(y), bool); "
            "mask[indices] = True."
        )
    raise ValueError(f"{problem}. Pass one boolean for each row.")

"""The labels of an audit: one column, or one column for each annotator, with gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from .._engine.labels import encode_labels, is_missing, to_numpy
from .._engine.suspect_labels import describe_matrix
from .annotators import encode_annotations

__all__ = ["GivenLabels", "names_of", "read_labels"]

_MANY = 100  # classes, from which labels may be identifiers


class GivenLabels(NamedTuple):
    """Encoded labels.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The classes, sorted.
    codes : ndarray of int64 of shape (n,) or (n, n_annotators)
        Positions of the labels in the classes; -1 where there is none.
    annotators : tuple of object or None
        Names of the annotators; None for a single column of labels.
    """

    classes: NDArray
    codes: NDArray[np.int64]
    annotators: tuple[Any, ...] | None


def read_labels(y: Any, n_rows: int, name: str) -> GivenLabels:
    """Encode labels; None, NaN and NA are missing. `name` is that of the caller, for messages.

    Raises
    ------
    ValueError, TypeError
        If y is no column of labels and no table of the labels of annotators, if it holds no label
        or only one class, or if its values look like identifiers.
    """
    is_list = isinstance(y, Sequence) and not isinstance(y, str)
    is_other = y is None or scipy.sparse.issparse(y)
    values = None if is_other else np.asarray(y, object) if is_list else to_numpy(y, "y")
    if values is not None and values.ndim == 2 and values.shape[1] > 1:
        given = _of_annotators(y, values, n_rows)
    else:
        missing = None if values is None else _missing(values.reshape(-1))
        if missing is None or len(missing) != n_rows or not missing.any():
            missing = None
        elif missing.all():
            raise ValueError("y holds no label. Pass labels of at least 2 classes.")
        classes, codes = encode_labels(y, n_rows, name, missing)
        if missing is not None:
            codes[missing] = -1
        given = GivenLabels(classes, codes, None)
    n_classes, n_labels = len(given.classes), int((given.codes >= 0).sum())
    if n_classes > _MANY and n_classes > n_labels / 2:
        raise ValueError(
            f"y holds {n_classes} different values in {n_labels} labels, such as "
            f"{given.classes.tolist()[0]!r}: these are identifiers, or numbers to be predicted, "
            "not classes. Pass another column."
        )
    return given


def _of_annotators(y: Any, values: NDArray, n_rows: int) -> GivenLabels:
    """Encode a table of labels, one column for each annotator."""
    if len(values) != n_rows:
        raise ValueError(
            f"y holds labels of {len(values)} rows, but X has {n_rows}: pass one row for each row "
            "of X."
        )
    is_indicator = values.shape[1] > 2 and values.dtype.kind in "biuf"
    if is_indicator and np.isin(values, [0, 1]).all() and (values.sum(axis=1) == 1).all():
        raise ValueError(describe_matrix(values, values.shape, "y.argmax(axis=1)"))
    classes, codes = encode_annotations(y)
    native = nw.from_native(y, pass_through=True)
    columns = native.columns if isinstance(native, nw.DataFrame) else range(values.shape[1])
    return GivenLabels(classes, codes, tuple(columns))


def _missing(values: NDArray) -> NDArray[np.bool_]:
    """Return a mask of None, NaN and NA among values (n,)."""
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype != object:
        return np.zeros(len(values), dtype=bool)
    return np.fromiter(map(is_missing, values), bool, len(values))


def names_of(classes: NDArray, class_names: Any) -> tuple[str, ...]:
    """Return the names of the classes for readers.

    `class_names` is None, a dict from labels to names, which may lack some, or a sequence of one
    name for each of the sorted classes. ValueError is raised if a sequence has another length or
    a dict holds a label that y lacks.
    """
    labels = classes.tolist()
    if class_names is None:
        return tuple(map(str, labels))
    if isinstance(class_names, Mapping):
        unknown = [label for label in class_names if label not in labels]
        if unknown:
            raise ValueError(
                f"class_names holds {unknown[0]!r}, which is no label of y: {labels}."
            )
        return tuple(str(class_names.get(label, label)) for label in labels)
    if len(class_names) != len(labels):
        raise ValueError(
            f"class_names holds {len(class_names)} names, but y has {len(labels)} classes, "
            f"{labels}. Pass one name for each, or a dict from labels to names."
        )
    return tuple(map(str, class_names))

"""Helpers for ``fit_resample``: metadata, kept rows and remaining classes."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.utils import Bunch

from .._compat import is_arraylike, num_samples
from .._engine.indexing import take_rows
from .._engine.label_distribution import prefer_given
from .._engine.labels import to_numpy
from .._engine.validation import check_total_weight, weights_as_floats
from ..exceptions import warn_user

__all__ = [
    "align_columns",
    "check_classes_left",
    "check_known_labels",
    "count_rows",
    "distribution_of",
    "follow_rows",
    "keep_classes",
    "route_by_name",
    "rows_that_are_left",
    "rows_that_count",
    "takes_sample_weight",
]


def route_by_name(cleaner, estimator, metadata: dict[str, Any]) -> Bunch:
    """Route ``clean_mask`` and ``groups`` to the cleaner and ``sample_weight`` to the estimator.

    This is the routing of :class:`~sknoisy.PurifiedClassifier` without metadata routing. It raises
    a TypeError if the cleaner or the estimator does not accept what it would receive.
    """
    to_cleaner = {name: metadata[name] for name in {"clean_mask", "groups"} & set(metadata)}
    to_estimator = {name: metadata[name] for name in {"sample_weight"} & set(metadata)}
    accepted = inspect.signature(cleaner.fit_resample).parameters
    for name in sorted(to_cleaner.keys() - accepted):
        raise TypeError(
            f"{name} was passed, but {type(cleaner).__name__}.fit_resample does not take it. "
            f"Leave it out, or pass a cleaner that accepts {name}, such as LabelPurifier. If it "
            "is meant for the estimator, request it by metadata routing: "
            "sklearn.set_config(enable_metadata_routing=True) and "
            f"estimator.set_fit_request({name}=True)."
        )
    if to_estimator and not takes_sample_weight(estimator):
        raise TypeError(
            f"sample_weight was passed, but {type(estimator).__name__}.fit does not take it. "
            "Leave it out, or pass another estimator. If an ensemble such as BaggingClassifier "
            "passed it, let the ensemble draw rows instead: "
            "sklearn.set_config(enable_metadata_routing=True)."
        )
    return Bunch(cleaner=Bunch(fit_resample=to_cleaner), estimator=Bunch(fit=to_estimator))


def takes_sample_weight(estimator) -> bool:
    """Return whether ``fit`` of an estimator accepts ``sample_weight``."""
    parameters = inspect.signature(estimator.fit).parameters.values()
    return any(p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in parameters)


def count_rows(X) -> int:
    """Return the number of rows of an array, a list, a frame or a sparse matrix.

    Raises a ValueError if it is 0.
    """
    n_samples = num_samples(X)
    if n_samples == 0:
        raise ValueError(
            f"Found array with 0 sample(s) (shape={getattr(X, 'shape', (0,))}) while a minimum of "
            "2 is required: pass rows of at least 2 classes."
        )
    return n_samples


def rows_that_count(weights, encoded: np.ndarray) -> np.ndarray:
    """Return the indices of the rows whose weight is not zero.

    Raises a ValueError if the weights are not one finite number for each row, are all zero, or
    have a sum that float64 does not hold.
    """
    if weights is None:
        return np.arange(len(encoded))
    return np.flatnonzero(check_total_weight(weights_as_floats(weights, encoded)))


def rows_that_are_left(cleaner, n_given: int, n_returned: int) -> np.ndarray | None:
    """Return the indices of the rows that a cleaner kept, or None if they are unknown.

    Raises a ValueError if its ``sample_indices_`` do not match the returned rows.
    """
    left = getattr(cleaner, "sample_indices_", None)
    if left is None:
        return np.arange(n_given) if n_returned == n_given else None
    left = np.asarray(left)
    if left.shape != (n_returned,) or left.dtype.kind not in "iu":
        raise ValueError(
            f"{type(cleaner).__name__} returned {n_returned} rows, but its sample_indices_ have "
            f"shape {left.shape} and dtype {left.dtype}: they must hold one index for each "
            "returned row."
        )
    return left


def follow_rows(
    metadata: dict[str, Any], n_samples: int, rows: np.ndarray | None, cleaner: str
) -> dict[str, Any]:
    """Return the metadata of these rows; values without one entry per row are not changed.

    Raises a ValueError if the rows are unknown and a value has one entry per row.
    """
    aligned = {name for name, value in metadata.items() if _has_rows(value, n_samples)}
    if rows is None:
        if aligned:
            raise ValueError(
                f"{cleaner} returned another number of rows than it was given, and has no "
                f"sample_indices_: {', '.join(sorted(aligned))} cannot follow the rows. Pass no "
                "such metadata, or a cleaner that sets sample_indices_."
            )
        return metadata
    return {
        name: take_rows(value, rows) if name in aligned else value
        for name, value in metadata.items()
    }


def _has_rows(value, n_samples: int) -> bool:
    indexable_ = is_arraylike(value) or scipy.sparse.issparse(value)
    return indexable_ and num_samples(value) == n_samples


def check_classes_left(y, classes: np.ndarray, given: np.ndarray, cleaner: str) -> None:
    """Raise if too few classes are left, and warn about classes that cleaning has removed.

    `y` holds the labels that the cleaner returned, `classes` the classes that ``fit`` received,
    and `given` those that the cleaner received. Fewer than two classes, or one that is not in
    `classes`, raise a ValueError.
    """
    left = np.unique(to_numpy(y, f"y that {cleaner} returned"))
    if len(left) < 2:
        raise ValueError(
            f"{cleaner} left {num_samples(y)} rows, of the classes {left.tolist()}; it was given "
            f"{given.tolist()}. At least 2 classes are needed: let it change or drop less."
        )
    check_known_labels(left, classes, cleaner)
    lost = np.setdiff1d(given, left)
    if len(lost):
        warn_user(
            f"{cleaner} left no row of the classes {lost.tolist()}: the estimator will not "
            "predict them. Let the cleaner change or drop less, or trust some of their rows by "
            "clean_mask if it takes one.",
            UserWarning,
        )


def check_known_labels(labels: np.ndarray, classes: np.ndarray, cleaner: str) -> None:
    """Raise a ValueError if a cleaner returned a label that is not in `classes`."""
    unknown = np.setdiff1d(labels, classes)
    if len(unknown):
        raise ValueError(
            f"{cleaner} returned the labels {unknown.tolist()}, but the classes of y are "
            f"{classes.tolist()}: a cleaner must return labels that are in y."
        )


def keep_classes(distribution: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Change soft labels so that every given class is the most probable class of some row.

    The soft labels (n, c) are changed in place and returned. `given` (n,) holds encoded labels. A
    row whose given label is as probable as any other class keeps it: its probability is raised to
    the next floating-point number.
    """
    labels = prefer_given(distribution, given)
    n_classes = distribution.shape[1]
    is_given = np.bincount(given, minlength=n_classes) > 0
    # A changed row may have been the last of another class.
    while (lost := is_given & (np.bincount(labels, minlength=n_classes) == 0)).any():
        for label in lost.nonzero()[0]:
            candidates = np.flatnonzero(given == label)
            row = candidates[distribution[candidates, label].argmax()]
            distribution[row] *= 0.4
            distribution[row, label] += 0.6
            labels[row] = label
    return distribution


def distribution_of(cleaner, n_samples: int, classes: np.ndarray) -> np.ndarray | None:
    """Return the label distribution (n_samples, n_classes) of a fitted cleaner, None without one.

    Its columns are those of the cleaner's classes; the result has one for each of `classes`.
    """
    distribution: Any = getattr(cleaner, "label_distribution_", None)
    known: Any = getattr(cleaner, "classes_", ())
    if np.shape(distribution) != (n_samples, len(known)):
        return None
    return align_columns(distribution, known, classes, 0.0, type(cleaner).__name__)


def align_columns(
    columns: np.ndarray, known: np.ndarray, classes: np.ndarray, absent: float, estimator: str
) -> np.ndarray:
    """Expand the columns of the known classes to all classes; `absent` fills the others.

    Raises a ValueError if a class is missing and there is not one column for each known class.
    """
    if len(known) == len(classes):
        return columns
    if columns.shape[1:] != (len(known),):
        raise ValueError(
            f"Cleaning has left the classes {known.tolist()} of {classes.tolist()}, but "
            f"{estimator} returned shape {columns.shape}, which does not match them. Let it "
            'return one column for each class, for example by decision_function_shape="ovr".'
        )
    aligned = np.full((len(columns), len(classes)), absent, dtype=columns.dtype)
    aligned[:, np.searchsorted(classes, known)] = columns
    return aligned

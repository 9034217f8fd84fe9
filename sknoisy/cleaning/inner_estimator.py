"""Fits the estimator of a user on the user's labels, or on codes if it takes only these."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone

from .._engine.labels import to_numpy

__all__ = ["encode", "fit_inner"]

# Raised by fit for labels that are not 0, ..., k - 1: by XGBoost, by torch for strings, and by
# torch for an index that no output has.
_OF_LABELS = (ValueError, TypeError, IndexError)


def fit_inner(
    estimator: Any, X: Any, y: Any, classes: np.ndarray, **metadata: Any
) -> tuple[Any, np.ndarray | None]:
    """Fit a clone of an estimator on the labels y, and return it with the classes of its codes.

    Some classifiers, such as XGBoost's, only take the labels 0, ..., k - 1. If ``fit`` raises an
    error that does not occur with these codes, the codes are learned, and the second value holds
    the label of each code. Otherwise it is None: the estimator has learned the labels themselves.

    The keys of ``class_weight`` are always the user's labels. They are replaced by codes along
    with y. Weights of labels that are among `classes`, those of the user, but not in y are left
    out: cleaning has lost these classes, and scikit-learn would refuse the weights.
    """
    labels = to_numpy(y, "y")
    present = np.unique(labels)
    lost = set(classes.tolist()) - set(present.tolist())
    try:
        return _with_class_weights(estimator, lost, {}).fit(X, y, **metadata), None
    except _OF_LABELS as error:
        if np.array_equal(present, np.arange(len(present))):
            raise
        codes = {label: code for code, label in enumerate(present.tolist())}
        coded = _with_class_weights(estimator, lost, codes)
        try:
            return coded.fit(X, encode(labels, present), **metadata), present
        except _OF_LABELS as other:
            if str(other) != str(error):
                error.add_note(f"With the labels 0 to {len(present) - 1}, fit raises: {other}")
        raise  # the labels are not to blame, or not alone


def encode(labels: Any, present: np.ndarray) -> np.ndarray:
    """Return the codes of labels, the positions in the sorted `present`; -1 for other labels."""
    labels = to_numpy(labels, "y")
    codes = np.searchsorted(present, labels).clip(max=len(present) - 1)
    return np.where(present[codes] == labels, codes, -1)


def _with_class_weights(estimator: Any, lost: set, codes: dict) -> Any:
    """Return a clone whose dicts ``class_weight`` lack the lost labels and hold codes, if any."""
    cloned = clone(estimator)
    changed = {}
    for name, weights in cloned.get_params().items():
        if name.split("__")[-1] != "class_weight" or not isinstance(weights, dict):
            continue
        kept = {label: weight for label, weight in weights.items() if label not in lost}
        if codes:  # a label that y never had must not become the code of another one
            kept = {codes.get(label, f"no label: {label}"): w for label, w in kept.items()}
        changed[name] = kept
    return cloned.set_params(**changed)

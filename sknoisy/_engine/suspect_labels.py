"""Messages on targets that are no column of labels, and on labels that may be meant otherwise."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from typing import Any

import numpy as np

__all__ = ["describe_matrix", "describe_nested", "suspicions"]

_MISSING_IN_WORDS = {"", "nan", "NaN", "None", "<NA>"}
_MULTI_LABEL = (
    "these are multi-label targets. Fit one classifier for each column of their indicator matrix, "
    "by sklearn.multioutput.MultiOutputClassifier"
)


def describe_matrix(values: np.ndarray, shape: tuple[int, ...], argmax: str) -> str:
    """Return what targets of several columns are called, and the cure.

    `values` holds the targets of this shape, or the first rows of them. `argmax` is the expression
    for the largest column of each row.
    """
    start = f"y has shape {shape}"
    if values.ndim != 2 or 0 in values.shape:
        return f"{start}: pass one label for each row of X, in an array of shape (n_samples,)."
    if values.dtype == object:
        values = np.array(values.tolist())
    if values.dtype.kind in "biuf" and np.isin(values, [0, 1]).all():
        if (values.sum(axis=1) == 1).all():
            return (
                f"{start} and one 1 in each row: these are one-hot labels. Pass the number of "
                f"each row's class, {argmax}."
            )
        return (
            f"{start} and holds 0 and 1: {_MULTI_LABEL}. If the columns are the answers of "
            "several annotators, pass one label for each row, such as the majority vote."
        )
    if values.dtype.kind == "f" and (values[np.isfinite(values)] % 1).any():
        return (
            f"{start} and holds fractions: these are soft labels, or scores. Pass the most "
            f"probable class of each row, {argmax}; its probability may be the sample_weight."
        )
    return (
        f"{start}: these are the labels of several annotators, or several targets. Pass one label "
        "for each row: the majority vote, pandas.DataFrame(y).mode(axis=1)[0], or another "
        "consensus of the annotators. Fit several targets by "
        "sklearn.multioutput.MultiOutputClassifier."
    )


def describe_nested(label: Any) -> str:
    """Return what targets with a list or a set in each row are called, and the cure."""
    return (
        f"y holds a {type(label).__name__} of labels in each row, such as {label!r}: "
        f"{_MULTI_LABEL}; sklearn.preprocessing.MultiLabelBinarizer makes the matrix."
    )


def suspicions(classes: np.ndarray) -> list[str]:
    """Return messages on classes that may stand for missing labels, or that may be one class."""
    labels = classes.tolist()
    if classes.dtype.kind in "if" and labels[0] == -1 and labels != [-1, 1]:
        return [
            "y holds -1, which is learned as a class like the others. If it marks unlabelled "
            "rows, leave these out: X[y != -1], y[y != -1]."
        ]
    if classes.dtype.kind not in "UO":
        return []
    found = []
    marks = [label for label in labels if label.strip() in _MISSING_IN_WORDS]
    if marks:
        found.append(
            f"y holds {marks}, learned as classes like the others. If they mark missing labels, "
            "leave out their rows."
        )
    groups = defaultdict(list)
    for label in labels:
        groups[unicodedata.normalize("NFC", label).strip().casefold()].append(label)
    alike = [group for group in groups.values() if len(group) > 1]
    if alike:
        found.append(
            f"y holds classes that differ only in case or surrounding blanks, such as {alike[0]}. "
            "Each is learned as a class of its own. If they are one, give them one name, as by "
            "label.strip().lower()."
        )
    return found

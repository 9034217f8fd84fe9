"""Order of the classes in a transition matrix, and the labels in this order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..noise.checks import check_transition, encode

Matrix = NDArray[np.float64]


def check_square(transition: ArrayLike) -> Matrix:
    """Return a stochastic square matrix as float64."""
    matrix = np.atleast_2d(np.asarray(transition, dtype=np.float64))
    return check_transition(matrix, len(matrix)).copy()


def order_of(matrix: Matrix, classes: Iterable[Any] | None, *labels: ArrayLike) -> Any:
    """Return the classes of the matrix: those given, else all that occur in labels, sorted.

    None if neither is given.
    """
    if classes is None:
        if not labels:
            return None
        classes = np.unique(np.concatenate([encode(y)[1] for y in labels]))
    order = np.asarray(list(classes))
    if len(order) != len(matrix):
        raise ValueError(
            f"The transition matrix has {len(matrix)} rows, but there are {len(order)} classes, "
            f"{order.tolist()[:20]}. Pass classes= in the order of the matrix: data may lack one."
        )
    encode(order, order)  # raises if a class occurs twice
    return order


def codes_in(labels: ArrayLike, classes: NDArray[Any], name: str) -> NDArray[np.intp]:
    """Return the codes of labels; `name` is used in errors."""
    try:
        return encode(labels, classes)[0]
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error

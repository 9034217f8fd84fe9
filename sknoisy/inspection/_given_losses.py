"""Cross-entropies of given labels under class probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..noise.checks import encode
from ..noise.probabilities import check_probabilities, given_probability

_LEAST = np.finfo(np.float32).eps  # probabilities of networks are rounded to float32


def check_rows(
    y: ArrayLike, proba: Any, classes: Sequence[Any] | None
) -> tuple[NDArray[np.intp], NDArray[Any], Any]:
    """Return the codes of y, the classes and the checked probabilities."""
    codes, order = encode(y, classes)
    return codes, order, check_probabilities(proba, len(codes), len(order))


def given_losses(y: ArrayLike, proba: Any, classes: Sequence[Any] | None) -> NDArray[np.float64]:
    """Return -log of the probability of each given label, which counts as 1.2e-7 at least."""
    codes, _, checked = check_rows(y, proba, classes)
    return -np.log(np.clip(given_probability(codes, checked), _LEAST, 1))

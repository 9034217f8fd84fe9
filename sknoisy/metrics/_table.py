"""X as the numbers between which a scorer measures distances."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array


def as_table(estimator: Any, X: Any, scorer: str, compares: str) -> NDArray[np.float64]:
    """Return X as a table of numbers; raise an error that names the scorer if it is none."""
    try:
        return check_array(X, dtype=np.float64, input_name="X")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{scorer} compares {compares}, and X is no table of finite numbers for "
            f"{type(estimator).__name__}: {error} Encode X before the search, use clid_scorer "
            "with a network classifier of sknoisy, whose method features it calls, or score by "
            "noise_corrected_accuracy."
        ) from error

"""Ten points of the plane: two of them close, one far from all."""

import numpy as np

POINTS = np.array(
    [
        *([0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0.5]),
        *([1, 1.02], [2, 1], [6, 6], [1, 2], [0, 2]),
    ]
)

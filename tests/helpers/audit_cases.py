"""The twelve rows of three classes whose scores and counts are known by hand."""

import numpy as np

CODES = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 1])
PROBA = np.array(
    [
        [0.8, 0.1, 0.1],
        [0.7, 0.2, 0.1],
        [0.2, 0.7, 0.1],
        [0.5, 0.3, 0.2],
        [0.1, 0.8, 0.1],
        [0.6, 0.3, 0.1],
        [0.2, 0.5, 0.3],
        [0.1, 0.1, 0.8],
        [0.1, 0.6, 0.3],
        [0.05, 0.15, 0.8],
        [0.45, 0.15, 0.4],
        [0.1, 0.3, 0.6],
    ]
)
THRESHOLDS = np.array([PROBA[k == CODES, k].mean() for k in range(3)])
# Rows by given class and the class they are confident for, counted by hand; four rows per class.
JOINT = 4 * np.array([[2 / 3, 1 / 3, 0], [1 / 4, 2 / 4, 1 / 4], [0, 1 / 3, 2 / 3]])

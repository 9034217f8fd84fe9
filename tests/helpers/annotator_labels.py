"""Labels by several annotators: ten rows labelled by three of them, and simulated ones."""

import numpy as np

_ = -1
CODES = np.array(
    [
        *([0, 0, _], [0, 1, 0], [1, 1, _], [2, 2, 1], [_, 0, 0]),
        *([1, _, 2], [2, 2, 2], [_, _, 1], [0, 0, 1], [2, 1, 2]),
    ]
)
PROBA = np.array(
    [
        *([0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6], [0.7, 0.2, 0.1]),
        *([0.1, 0.3, 0.6], [0.05, 0.15, 0.8], [0.3, 0.4, 0.3], [0.4, 0.5, 0.1], [0.2, 0.2, 0.6]),
    ]
)


def simulate(rng, accuracies, n_rows=300, n_classes=4, share=1.0):
    """True classes, and labels by annotators who are right with these probabilities."""
    true = rng.integers(n_classes, size=n_rows)
    shape = (n_rows, len(accuracies))
    wrong = (true[:, None] + rng.integers(1, n_classes, size=shape)) % n_classes
    codes = np.where(rng.random(shape) < accuracies, true[:, None], wrong)
    return true, np.where(rng.random(shape) < share, codes, -1)

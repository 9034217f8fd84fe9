"""Small problems with wrong labels, and fast purifiers."""

import numpy as np

from sknoisy import LabelPurifier


def quick(**parameters):
    """Return a fast purifier with these parameters."""
    settings = {"n_components": 64, "n_epochs": 20, "device": "cpu", "random_state": 0}
    return LabelPurifier(**{**settings, **parameters})


def noisy_blobs(rate=0.3, shift=0, n=180, seed=0):
    """Return X, noisy labels and clean labels of three blobs.

    Wrong labels are drawn from the other classes, or are the class plus ``shift``.
    """
    rng = np.random.default_rng(seed)
    clean = rng.permutation(np.arange(n) % 3)
    X = rng.normal(size=(n, 6))
    X[:, :3] += 3 * np.eye(3)[clean]
    wrong = rng.random(n) < rate
    step = shift or rng.integers(1, 3, size=n)
    return X, np.where(wrong, (clean + step) % 3, clean), clean


def trust(noisy, clean, per_class, seed=0):
    """Return labels of which some of each class are corrected, and the mask of these."""
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(np.flatnonzero(clean == k))[:per_class] for k in np.unique(clean)]
    mask = np.isin(np.arange(len(clean)), np.concatenate(rows))
    return np.where(mask, clean, noisy), mask

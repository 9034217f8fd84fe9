"""The classifiers that judge a virtual step by trusted rows, small, and a problem for them."""

import numpy as np

from sknoisy import (
    FaMUSClassifier,
    L2RClassifier,
    MetaWeightNetClassifier,
    MLCClassifier,
    MSLCClassifier,
    TransitionMLCClassifier,
)

FAMILY = {
    "L2R": L2RClassifier,
    "MW-Net": MetaWeightNetClassifier,
    "MLC": MLCClassifier,
    "MSLC": MSLCClassifier,
    "TransitionMLC": TransitionMLCClassifier,
    "FaMUS": FaMUSClassifier,
}


def small(method, **parameters):
    """A classifier that is fitted in a tenth of a second, with any parameters."""
    settings = {
        "max_epochs": 3,
        "batch_size": 32,
        "meta_batch_size": 16,
        "n_warmup_epochs": 1,
        "random_state": 0,
    }
    if "module" not in parameters:
        settings["module_params"] = {"hidden": (8,)}
    return FAMILY[method](**{**settings, **parameters})


def noisy_blobs(n=120, rate=0.3, seed=0, margin=3.0):
    """X (n, 6), y and a mask of trusted rows, a quarter: three classes, labels wrong at a rate."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(n) % 3)
    X = rng.normal(size=(n, 6))
    X[:, :3] += margin * np.eye(3)[truth]
    trusted = np.arange(n) % 4 == 0
    y = np.where(~trusted & (rng.random(n) < rate), (truth + 1) % 3, truth)
    return X, y, trusted

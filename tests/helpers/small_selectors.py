"""A selector that fits quickly, and three blobs with wrong labels."""

import numpy as np
from purified_problems import noisy_blobs

from sknoisy import CleanSampleSelector

X, GIVEN, CLEAN = noisy_blobs(0.3)
NAMES = np.array(["ape", "bee", "cat"])[GIVEN]
RIGHT = GIVEN == CLEAN


def quick(**parameters):
    """Return a selector with any parameters; by default it runs two rounds on the blobs."""
    settings = {
        "max_epochs": 8,
        "n_rounds": 4,
        "n_folds": 0,
        "batch_size": 32,
        "device": "cpu",
        "random_state": 0,
    }
    if "module" not in parameters:
        settings["module_params"] = {"hidden": (16,)}
    return CleanSampleSelector(**{**settings, **parameters})


def kept(selector):
    """Return the numbers of rows that are left after each round."""
    return [entry["n_kept"] for entry in selector.rounds_]


def record(selector):
    """Return the callback that recorded the last round."""
    return dict(selector.net_.callbacks_)["dynamics"]

"""Features learned without labels beat columns and untrained encoders."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sknoisy.representation import SCARF, MoCo, SimCLR


def neighbour_accuracy(features, y, seed, n_labelled=3):
    """Return the accuracy of nearest neighbours with few labelled rows, over ten draws of them."""
    rng = np.random.default_rng(seed)
    scores = []
    for _ in range(10):
        rows = [rng.choice(np.flatnonzero(y == c), n_labelled, False) for c in np.unique(y)]
        train = np.concatenate(rows)
        test = np.setdiff1d(np.arange(len(y)), train)
        model = make_pipeline(StandardScaler(), KNeighborsClassifier(1))
        scores.append(model.fit(features[train], y[train]).score(features[test], y[test]))
    return np.mean(scores)


def untrained(method, **parameters):
    """Return a transformer whose only epoch hardly changes the weights."""
    return method(lr=1e-12, max_epochs=1, **parameters)


@pytest.mark.parametrize("method", [SCARF, SimCLR])
def test_features_of_redundant_columns_beat_the_columns(method, global_random_seed):
    """Twenty columns depend on a hidden class, and forty are independent noise."""
    rng = np.random.default_rng(global_random_seed)
    y = rng.integers(4, size=600)
    signal = rng.normal(size=(4, 20))[y] + 1.2 * rng.normal(size=(600, 20))
    X = np.hstack([signal, rng.normal(size=(600, 40))])
    seed = {"random_state": global_random_seed}
    features = method(max_epochs=15, **seed).fit_transform(X)
    learned, columns, random = (
        neighbour_accuracy(F, y, global_random_seed)
        for F in (features, X, untrained(method, **seed).fit_transform(X))
    )
    assert learned > columns + 0.08
    assert columns > random


@pytest.mark.parametrize("method", [SimCLR, MoCo])
def test_features_of_images_beat_those_of_an_untrained_encoder(method, global_random_seed):
    digits = load_digits()
    X, y = digits.images[:600, ..., None], digits.target[:600]
    settings = {"augment": "crop+color", "batch_size": 64, "random_state": global_random_seed}
    features = method(max_epochs=12, **settings).fit_transform(X)
    learned, random = (
        neighbour_accuracy(F, y, global_random_seed)
        for F in (features, untrained(method, **settings).fit_transform(X))
    )
    assert learned > random + 0.08

"""The relevance of columns is what shuffled labels do not give."""

import numpy as np
import pytest

from sknoisy.learners.relevance import column_relevance
from sknoisy.noise import symmetric


def three_of_twelve(seed, rate=0.4):
    """Return rows whose first three columns tell the class, and noisy labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=600)
    X = rng.normal(size=(600, 12)).astype(np.float32)
    X[:, :3] += 2 * np.eye(3, dtype=np.float32)[y]
    return X, symmetric(y, rate, random_state=seed).y


@pytest.mark.parametrize("seed", range(3))
def test_columns_that_tell_nothing_have_little_relevance(seed):
    relevance = column_relevance(*three_of_twelve(seed), seed)
    assert relevance.mean() == pytest.approx(1)
    assert relevance[3:].max() < relevance[:3].min() / 2


def test_columns_are_relevant_beside_others_that_tell_nothing_alone():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 6)).astype(np.float32)
    relevance = column_relevance(X, (X[:, 0] * X[:, 1] > 0).astype(int), 0)
    assert relevance[2:].max() < relevance[:2].min()


def test_constant_columns_tell_nothing():
    X = np.zeros((50, 3), dtype=np.float32)
    assert not column_relevance(X, np.arange(50) % 2, 0).any()

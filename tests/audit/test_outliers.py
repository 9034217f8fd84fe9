"""Outliers."""

import numpy as np
import pytest
from compared_rows import outliers_of
from numpy.testing import assert_allclose, assert_array_equal
from plane_points import POINTS
from sklearn.metrics import pairwise_distances

from sknoisy.audit import outliers


@pytest.fixture
def rng(global_random_seed):
    return np.random.default_rng(global_random_seed)


def test_golden_outlier_scores():
    """cleanlab 2.9.0 (OutOfDistribution, k=3, Euclidean) gives these scores."""
    scores, is_outlier = outliers_of(POINTS, 3, scale=False)
    expected = [
        *(0.367879, 0.367879, 0.367879, 0.528353, 0.456753),
        *(0.529471, 0.283292, 0.000651, 0.332603, 0.284789),
    ]
    assert_allclose(scores, expected, atol=5e-7)
    assert np.flatnonzero(is_outlier).tolist() == [7]


def test_scores_follow_from_all_distances(rng):
    X = rng.normal(size=(60, 4))
    X[:8] = X[0]  # more copies than neighbours
    distances = np.sort(pairwise_distances(X), axis=1)[:, 1:6].mean(axis=1)
    scores, is_outlier = outliers_of(X, 5, scale=False)
    assert_allclose(scores, np.exp(-distances / np.median(distances)), rtol=1e-5)
    assert_array_equal(is_outlier, distances > 2.7 * np.median(distances))
    assert_array_equal(scores[:8], 1)


def test_neighbors_are_at_most_all_other_rows():
    expected = outliers_of(POINTS, 9)[0]
    assert_array_equal(outliers_of(POINTS, 50)[0], expected)
    scores, is_outlier = outliers_of(np.ones((1, 2)))
    assert scores.tolist() == [1]
    assert not is_outlier.any()


def test_where_most_rows_have_copies_the_others_are_compared_among_themselves(rng):
    X = np.repeat(np.arange(3.0), 20)[:, None]
    X = np.concatenate([X, 5 + np.arange(15.0)[:, None], [[900.0]]])
    scores, is_outlier = outliers_of(X, 3)
    assert_array_equal(scores, np.arange(76) < 60)
    assert np.flatnonzero(is_outlier).tolist() == [75]


def test_columns_of_any_unit_count_alike(rng):
    X = rng.normal(size=(300, 5))
    X[7] = 6
    scores, is_outlier = outliers_of(X)
    assert is_outlier[7]
    assert scores.argmin() == 7
    other_units = outliers_of(X * [1e-6, 1, 1e6, 1, 1] + [0, 1e5, 0, 0, 0])[0]
    assert_allclose(other_units, scores, rtol=1e-3)


def test_drawn_references_find_the_same_outliers(rng, monkeypatch):
    X = rng.normal(size=(3000, 5))
    X[:5] *= 20
    exact, is_outlier = outliers_of(X)
    monkeypatch.setattr(outliers, "_MAX_PRODUCTS", 1)  # as few references as possible: 1,000
    drawn, is_outlier_too = outliers_of(X)
    assert not np.array_equal(exact, drawn)
    assert set(exact.argsort()[:5]) == set(drawn.argsort()[:5]) == set(range(5))
    assert (is_outlier & is_outlier_too)[:5].all()

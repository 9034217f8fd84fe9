"""Features by which rows are compared."""

import numpy as np
import pytest
from compared_rows import outliers_of, sets_of
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.metrics import pairwise_distances

from sknoisy.audit.distances import distance_features
from sknoisy.audit.duplicates import duplicate_of


@pytest.fixture
def rng(global_random_seed):
    return np.random.default_rng(global_random_seed)


def test_two_categories_differ_as_much_as_two_values_of_a_scaled_column(rng):
    numbers, categories = rng.normal(size=500), rng.integers(4, size=500)
    features = distance_features(np.column_stack([numbers, np.eye(4)[categories]]))
    squares = pairwise_distances(features[:, :1], metric="sqeuclidean")
    assert squares.sum() / (500 * 499) == pytest.approx(2, rel=0.01)
    one, other = categories.argmin(), categories.argmax()
    between = pairwise_distances(features[[one, other], 1:], metric="sqeuclidean")[0, 1]
    assert between == pytest.approx(2)


def test_a_rare_category_is_no_outlier(rng):
    numbers, one_hot = rng.normal(size=(500, 8)), np.eye(2)[(np.arange(500) < 3).astype(int)]
    assert not outliers_of(np.column_stack([numbers, one_hot]))[1][:3].any()
    # Columns of 0 and 2 are scaled as numbers are.
    assert outliers_of(np.column_stack([numbers, 2 * one_hot]))[1][:3].all()


@pytest.mark.parametrize("kind", ["missing", "constant", "empty"])
def test_a_column_that_says_nothing_changes_nothing(rng, kind):
    X = rng.normal(size=(50, 3))
    column = np.full(50, 7.0 if kind == "constant" else np.nan)
    if kind == "missing":
        X[4, 1] = np.nan
        assert distance_features(X).shape == (50, 4)  # with an indicator
        assert np.isfinite(distance_features(X)).all()
    more = np.column_stack([X, column])
    assert_allclose(outliers_of(more)[0], outliers_of(X)[0], rtol=1e-6)


def test_sparse_and_dense_rows_have_the_same_distances(rng):
    X = rng.normal(size=(60, 5)) * (rng.random((60, 5)) < 0.5)
    X[:, 0] = X[:, 0] != 0
    dense, rows = outliers_of(X)[0], outliers_of(sparse.csr_array(X))[0]
    assert_allclose(rows, dense, rtol=1e-5)
    assert_array_equal(sets_of(sparse.csr_array(X)), sets_of(X))


def test_wide_sparse_rows_are_reduced(rng):
    X = sparse.csr_array(rng.random((40, 5000)) * (rng.random((40, 5000)) < 0.01))
    X = sparse.vstack([X, X[:1]], format="csr")
    assert distance_features(X).shape[1] <= 41
    assert duplicate_of(sets_of(X))[40] == 0


def test_images_are_flattened(rng):
    images = rng.integers(0, 256, size=(30, 4, 4, 3), dtype=np.uint8)
    images[9] = images[2]
    sets = sets_of(images, scale=False)
    assert np.flatnonzero(sets >= 0).tolist() == [2, 9]
    expected = outliers_of(images.reshape(30, -1), scale=False)[0]
    assert_array_equal(outliers_of(images, scale=False)[0], expected)


def test_other_values_are_refused():
    with pytest.raises(TypeError, match=r"dtype object: distances need numbers. Encode"):
        distance_features(np.array([["a", 1]], dtype=object))
    with pytest.raises(ValueError, match="X holds infinity"):
        distance_features(np.array([[1.0], [np.inf]]))

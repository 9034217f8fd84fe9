"""Outliers, duplicates and contradictions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import pairwise_distances

from sknoisy.audit import neighbors
from sknoisy.audit.neighbors import (
    contradictions,
    distance_features,
    duplicate_of,
    identical_rows,
    near_duplicates,
    outlier_scores,
)

# Ten points of the plane: two of them close, one far from all.
POINTS = np.array(
    [
        *([0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0.5]),
        *([1, 1.02], [2, 1], [6, 6], [1, 2], [0, 2]),
    ]
)


@pytest.fixture
def rng(global_random_seed):
    return np.random.default_rng(global_random_seed)


# --- outliers -----------------------------------------------------------------------------------


def test_golden_outlier_scores():
    """cleanlab 2.9.0 (OutOfDistribution, k=3, Euclidean) gives these scores."""
    scores, is_outlier = outlier_scores(POINTS, 3, scale=False)
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
    scores, is_outlier = outlier_scores(X, 5, scale=False)
    assert_allclose(scores, np.exp(-distances / np.median(distances)), rtol=1e-5)
    assert_array_equal(is_outlier, distances > 2.7 * np.median(distances))
    assert_array_equal(scores[:8], 1)


def test_neighbors_are_at_most_all_other_rows():
    expected = outlier_scores(POINTS, 9)[0]
    assert_array_equal(outlier_scores(POINTS, 50)[0], expected)
    scores, is_outlier = outlier_scores(np.ones((1, 2)))
    assert scores.tolist() == [1]
    assert not is_outlier.any()


def test_where_most_rows_have_copies_the_others_are_compared_among_themselves(rng):
    X = np.repeat(np.arange(3.0), 20)[:, None]
    X = np.concatenate([X, 5 + np.arange(15.0)[:, None], [[900.0]]])
    scores, is_outlier = outlier_scores(X, 3)
    assert_array_equal(scores, np.arange(76) < 60)
    assert np.flatnonzero(is_outlier).tolist() == [75]


def test_columns_of_any_unit_count_alike(rng):
    X = rng.normal(size=(300, 5))
    X[7] = 6
    scores, is_outlier = outlier_scores(X)
    assert is_outlier[7]
    assert scores.argmin() == 7
    other_units = outlier_scores(X * [1e-6, 1, 1e6, 1, 1] + [0, 1e5, 0, 0, 0])[0]
    assert_allclose(other_units, scores, rtol=1e-3)


def test_drawn_references_find_the_same_outliers(rng, monkeypatch):
    X = rng.normal(size=(3000, 5))
    X[:5] *= 20
    exact, is_outlier = outlier_scores(X)
    monkeypatch.setattr(neighbors, "_MAX_PRODUCTS", 1)  # as few references as possible: 1,000
    drawn, is_outlier_too = outlier_scores(X)
    assert not np.array_equal(exact, drawn)
    assert set(exact.argsort()[:5]) == set(drawn.argsort()[:5]) == set(range(5))
    assert (is_outlier & is_outlier_too)[:5].all()


# --- features -----------------------------------------------------------------------------------


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
    assert not outlier_scores(np.column_stack([numbers, one_hot]))[1][:3].any()
    # Columns of 0 and 2 are scaled as numbers are.
    assert outlier_scores(np.column_stack([numbers, 2 * one_hot]))[1][:3].all()


@pytest.mark.parametrize("kind", ["missing", "constant", "empty"])
def test_a_column_that_says_nothing_changes_nothing(rng, kind):
    X = rng.normal(size=(50, 3))
    column = np.full(50, 7.0 if kind == "constant" else np.nan)
    if kind == "missing":
        X[4, 1] = np.nan
        assert distance_features(X).shape == (50, 4)  # with an indicator
        assert np.isfinite(distance_features(X)).all()
    more = np.column_stack([X, column])
    assert_allclose(outlier_scores(more)[0], outlier_scores(X)[0], rtol=1e-6)


def test_sparse_and_dense_rows_have_the_same_distances(rng):
    X = rng.normal(size=(60, 5)) * (rng.random((60, 5)) < 0.5)
    X[:, 0] = X[:, 0] != 0
    dense, rows = outlier_scores(X)[0], outlier_scores(sparse.csr_array(X))[0]
    assert_allclose(rows, dense, rtol=1e-5)
    assert_array_equal(near_duplicates(sparse.csr_array(X)), near_duplicates(X))


def test_wide_sparse_rows_are_reduced(rng):
    X = sparse.csr_array(rng.random((40, 5000)) * (rng.random((40, 5000)) < 0.01))
    X = sparse.vstack([X, X[:1]], format="csr")
    assert distance_features(X).shape[1] <= 41
    assert duplicate_of(near_duplicates(X))[40] == 0


def test_images_are_flattened(rng):
    images = rng.integers(0, 256, size=(30, 4, 4, 3), dtype=np.uint8)
    images[9] = images[2]
    sets = near_duplicates(images, scale=False)
    assert np.flatnonzero(sets >= 0).tolist() == [2, 9]
    expected = outlier_scores(images.reshape(30, -1), scale=False)[0]
    assert_array_equal(outlier_scores(images, scale=False)[0], expected)


def test_other_values_are_refused():
    with pytest.raises(TypeError, match=r"dtype object: distances need numbers. Encode"):
        distance_features(np.array([["a", 1]], dtype=object))
    with pytest.raises(ValueError, match="X holds infinity"):
        distance_features(np.array([[1.0], [np.inf]]))


# --- duplicates ---------------------------------------------------------------------------------


def test_golden_near_duplicates():
    sets = near_duplicates(POINTS, scale=False)
    assert sets.tolist() == [-1, -1, -1, 0, -1, 0, -1, -1, -1, -1]


@pytest.mark.parametrize("n_columns", [1, 2, 30])
def test_sets_are_those_of_all_pairs_below_the_limit(rng, n_columns):
    X = rng.normal(size=(400, n_columns))
    X[:60] = X[60:120] + rng.normal(size=(60, n_columns)) * rng.uniform(0, 0.2, size=(60, 1))
    X[120:140] = X[0]
    features = distance_features(X).astype(np.float64)
    distances = np.sqrt(((features[:, None] - features) ** 2).sum(axis=2))
    np.fill_diagonal(distances, np.inf)
    limit = 0.13 * np.median(distances.min(axis=1))
    _, component = connected_components(distances < limit)
    sizes = np.bincount(component)
    sets = near_duplicates(X)
    assert sizes.max() > 20
    assert_array_equal(sets >= 0, sizes[component] > 1)
    # The partitions are the same: each set is one component, and each component one set.
    together = sets >= 0
    pairs = np.unique(np.stack([sets[together], component[together]]), axis=1)
    assert pairs.shape[1] == sets.max() + 1 == (sizes > 1).sum()


def test_sets_are_numbered_by_their_first_rows(rng):
    X = rng.normal(size=(50, 3))
    X[[40, 41]], X[[10, 30]], X[20] = X[5], X[2], X[5]
    sets = near_duplicates(X)
    assert {row: int(sets[row]) for row in np.flatnonzero(sets >= 0)} == {
        **dict.fromkeys([2, 10, 30], 0),
        **dict.fromkeys([5, 20, 40, 41], 1),
    }
    first = duplicate_of(sets)
    assert_array_equal(np.flatnonzero(first >= 0), [10, 20, 30, 40, 41])
    assert first[[10, 20, 30, 40, 41]].tolist() == [2, 5, 2, 5, 5]


def test_any_number_of_copies_is_one_set(rng):
    X = np.repeat(rng.normal(size=(3, 4)), 500, axis=0)
    assert_array_equal(near_duplicates(X), np.repeat([0, 1, 2], 500))


def test_if_most_rows_have_copies_only_identical_rows_count():
    X = np.array([0.0, 0, 0, 0, 1e-9, 1])[:, None]
    assert near_duplicates(X).tolist() == [0, 0, 0, 0, -1, -1]


def test_near_copies_are_found_among_many_rows(rng):
    """2,000 distorted copies among 20,000 rows: all are found, and nothing else."""
    X = rng.normal(size=(20_000, 10))
    X[:2000] = X[2000:4000] + 0.02 * rng.normal(size=(2000, 10)) / np.sqrt(10)
    sets = near_duplicates(X)
    assert_array_equal(sets[:2000], sets[2000:4000])
    assert_array_equal(np.flatnonzero(sets >= 0), np.arange(4000))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint16, bool])
def test_identical_rows_of_every_dtype(rng, dtype):
    X = rng.integers(0, 2, size=(100, 3)).astype(dtype)
    _, first, inverse = np.unique(X, axis=0, return_index=True, return_inverse=True)
    assert_array_equal(identical_rows(X), first[inverse.ravel()])
    assert_array_equal(identical_rows(np.asfortranarray(X)), first[inverse.ravel()])


def test_zeros_of_both_signs_and_all_nan_are_equal():
    other_nan = np.array([0x7FF8000000000001], dtype=np.uint64).view(np.float64)[0]
    X = np.array([[0.0, np.nan], [-0.0, other_nan], [0.0, -np.nan], [0.0, 0.0]])
    assert identical_rows(X).tolist() == [0, 0, 0, 3]
    assert np.signbit(X[1, 0])  # the rows stay as they are
    names = np.array([["a", None], ["a", np.nan], ["b", None]], dtype=object)
    assert identical_rows(names).tolist() == [0, 0, 2]


def test_identical_sparse_rows_may_store_zeros_and_other_orders():
    data, indices = [1.0, 2, 0, 2, 1, 2, 1], [0, 3, 1, 3, 0, 0, 3]
    X = sparse.csr_array((data, indices, [0, 2, 5, 7]), shape=(3, 4))
    assert identical_rows(X).tolist() == [0, 0, 2]
    assert X.nnz == 7


def test_blocks_do_not_change_the_sets(rng, monkeypatch):
    X = rng.integers(0, 4, size=(90, 3)).astype(float)
    expected = identical_rows(X), near_duplicates(X), outlier_scores(X)[0]
    monkeypatch.setattr(neighbors, "_BLOCK_VALUES", 10)
    for found, same in zip((identical_rows(X), near_duplicates(X)), expected, strict=False):
        assert_array_equal(found, same)
    assert_array_equal(outlier_scores(X)[0], expected[2])


# --- contradictions -----------------------------------------------------------------------------


def test_contradictions_name_the_first_identical_row_of_another_label():
    identical = np.array([0, 0, 2, 0, 2, 5, 0])
    codes = np.array([1, 1, 0, 2, 0, 1, 0])
    #  rows 0, 1, 3, 6 are identical, with labels 1, 1, 2, 0; rows 2 and 4 agree; row 5 is alone
    assert contradictions(codes, identical).tolist() == [3, 3, -1, 0, -1, -1, 0]


def test_rows_without_a_label_contradict_nothing():
    identical = np.zeros(4, dtype=int)
    assert contradictions(np.array([-1, 1, -1, 1]), identical).tolist() == [-1] * 4
    assert contradictions(np.array([-1, 1, 0, -1]), identical).tolist() == [-1, 2, 1, -1]


def test_contradictions_are_those_of_all_pairs(rng):
    X, codes = rng.integers(3, size=(80, 2)), rng.integers(-1, 3, size=80)
    same = (X[:, None] == X).all(axis=2)
    against = same & (codes[:, None] != codes) & (codes[:, None] >= 0) & (codes >= 0)
    expected = np.where(against.any(axis=1), against.argmax(axis=1), -1)
    assert_array_equal(contradictions(codes, identical_rows(X)), expected)

"""Duplicates and contradictions."""

import numpy as np
import pytest
from compared_rows import outliers_of, sets_of
from numpy.testing import assert_array_equal
from plane_points import POINTS
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from sknoisy.audit.distances import distance_features
from sknoisy.audit.duplicates import contradictions, duplicate_of, identical_rows


@pytest.fixture
def rng(global_random_seed):
    return np.random.default_rng(global_random_seed)


def test_golden_near_duplicates():
    sets = sets_of(POINTS, scale=False)
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
    sets = sets_of(X)
    assert sizes.max() > 20
    assert_array_equal(sets >= 0, sizes[component] > 1)
    # The partitions are the same: each set is one component, and each component one set.
    together = sets >= 0
    pairs = np.unique(np.stack([sets[together], component[together]]), axis=1)
    assert pairs.shape[1] == sets.max() + 1 == (sizes > 1).sum()


def test_sets_are_numbered_by_their_first_rows(rng):
    X = rng.normal(size=(50, 3))
    X[[40, 41]], X[[10, 30]], X[20] = X[5], X[2], X[5]
    sets = sets_of(X)
    assert {row: int(sets[row]) for row in np.flatnonzero(sets >= 0)} == {
        **dict.fromkeys([2, 10, 30], 0),
        **dict.fromkeys([5, 20, 40, 41], 1),
    }
    first = duplicate_of(sets)
    assert_array_equal(np.flatnonzero(first >= 0), [10, 20, 30, 40, 41])
    assert first[[10, 20, 30, 40, 41]].tolist() == [2, 5, 2, 5, 5]


def test_any_number_of_copies_is_one_set(rng):
    X = np.repeat(rng.normal(size=(3, 4)), 500, axis=0)
    assert_array_equal(sets_of(X), np.repeat([0, 1, 2], 500))


def test_if_most_rows_have_copies_only_identical_rows_count():
    X = np.array([0.0, 0, 0, 0, 1e-9, 1])[:, None]
    assert sets_of(X).tolist() == [0, 0, 0, 0, -1, -1]


def test_near_copies_are_found_among_many_rows(rng):
    """2,000 distorted copies among 20,000 rows: all are found, and nothing else."""
    X = rng.normal(size=(20_000, 10))
    X[:2000] = X[2000:4000] + 0.02 * rng.normal(size=(2000, 10)) / np.sqrt(10)
    sets = sets_of(X)
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
    expected = identical_rows(X), sets_of(X), outliers_of(X)[0]
    monkeypatch.setattr("sknoisy.audit.distances._BLOCK_VALUES", 10)
    for found, same in zip((identical_rows(X), sets_of(X)), expected, strict=False):
        assert_array_equal(found, same)
    assert_array_equal(outliers_of(X)[0], expected[2])


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

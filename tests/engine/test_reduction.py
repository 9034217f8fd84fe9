"""The reduction of wide sparse rows to a few dense columns."""

import pickle
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import euclidean_distances

from sknoisy._engine.reduction import SparseReduction, is_wide_sparse
from sknoisy._engine.rows import SparseRows, TensorRows, fits_in_memory, make_rows
from sknoisy._engine.scaling import InputScaling

CPU = torch.device("cpu")


def word_counts(n=60, d=400, seed=0):
    """Return counts (n, d), int64 CSR, of words of very unequal frequency, each in three rows."""
    rng = np.random.default_rng(seed)
    dense = rng.poisson(3 / np.arange(1, d + 1) ** 0.7, size=(n, d))
    dense[:3] += 1
    return sp.csr_array(dense.astype(np.int64))


def reduced(X):
    return SparseReduction().fit(X).transform(X)


def test_rows_are_wide_with_more_than_200_rare_columns_or_more_than_2000():
    assert is_wide_sparse(sp.csr_array((2, 201)))
    assert not is_wide_sparse(sp.csr_array((2, 200)))
    assert not is_wide_sparse(np.zeros((2, 201)))
    for n_rows, n_columns in ((19, 201), (20, 2001)):
        assert is_wide_sparse(sp.csr_array(np.ones((n_rows, n_columns))))
    assert not is_wide_sparse(sp.csr_array(np.ones((20, 2000))))


def test_all_components_keep_the_distances_of_the_weighted_rows():
    """60 rows have at most 60 components; Pareto scaling and one factor are all that is done."""
    X = word_counts()
    dense = X.toarray().astype(float)
    weighted = dense / np.mean(dense**2, axis=0) ** 0.25
    expected = euclidean_distances(weighted)
    found = euclidean_distances(reduced(X))
    assert_allclose(found / found.max(), expected / expected.max(), atol=1e-3)


def test_columns_are_centred_and_have_a_mean_variance_of_one():
    found = reduced(word_counts(n=500, d=900))
    assert found.shape == (500, 200)
    assert found.dtype == np.float32
    assert_allclose(found.mean(axis=0), 0, atol=1e-4)
    assert found.var(axis=0).mean() == pytest.approx(1, rel=1e-4)
    # The components keep their proportions.
    assert found[:, 0].std() > 2 * found[:, 199].std()


@pytest.mark.parametrize("factor", [1e-25, 1e25])
def test_one_factor_of_all_values_makes_no_difference(factor):
    X = word_counts()
    assert_allclose(reduced(factor * X), reduced(X), atol=1e-3)


def test_words_of_fewer_than_three_rows_are_left_out():
    X = word_counts().tolil()
    rare = [5, 17]
    X[:, rare] = 0
    X[2, 5] = X[9, 17] = X[10, 17] = 100
    X = X.tocsr()
    reduction = SparseReduction().fit(X)
    assert_array_equal(reduction.columns_, np.setdiff1d(np.arange(400), rare))
    without = X.copy().tolil()
    without[:, rare] = 0
    assert_array_equal(reduction.transform(X), reduction.transform(without.tocsr()))


def test_rows_with_words_of_their_own_alone_are_taken():
    X = sp.csr_array(sp.eye_array(210, format="csr"))
    assert_array_equal(SparseReduction().fit(X).columns_, np.arange(210))
    assert np.isfinite(reduced(X)).all()


def as_wide_indices(X):
    X = X.copy()
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


def with_stored_zeros(X):
    rows, columns = (np.arange(4), np.array([1, 7, 200, 399]))
    entries = X.tocoo()
    data = np.concatenate([entries.data, [5, 5, 5, 5], [-5, -5, -5, -5]])
    row = np.concatenate([entries.coords[0], rows, rows])
    column = np.concatenate([entries.coords[1], columns, columns])
    order = np.argsort(row, kind="stable")  # CSR rows with duplicates that cancel
    indptr = np.concatenate([[0], np.bincount(row, minlength=X.shape[0]).cumsum()])
    return sp.csr_array((data[order], column[order], indptr), shape=X.shape)


@pytest.mark.parametrize(
    "change",
    [
        as_wide_indices,
        with_stored_zeros,
        sp.csr_matrix,
        lambda X: X.astype(np.float32),
        lambda X: X.astype(np.uint8),
    ],
    ids=["64-bit indices", "stored zeros", "matrix", "float32", "uint8"],
)
def test_form_of_the_matrix_makes_no_difference(change):
    X = word_counts()
    changed = change(X)
    data = changed.data.copy()
    assert_allclose(reduced(changed), reduced(X), atol=1e-4)
    assert_array_equal(changed.data, data)  # the caller's matrix is left alone


def test_rows_without_entries_are_the_reduced_origin():
    X = word_counts()
    reduction = SparseReduction().fit(X)
    empty = reduction.transform(sp.csr_array((2, 400)))
    assert_array_equal(empty, [-reduction.mean_] * 2)
    assert_array_equal(reduction.transform(X[:0]).shape, (0, empty.shape[1]))


@pytest.mark.parametrize("X", [sp.csr_array((7, 400)), sp.csr_array(np.ones((7, 400)))])
def test_rows_that_are_all_equal_become_zero(X):
    assert_allclose(reduced(X), 0, atol=1e-5)
    assert reduced(X).shape == (7, 1)


def test_rows_of_a_batch_are_those_of_the_whole_matrix_in_every_store():
    X = word_counts(n=60, d=2001)
    scaling = InputScaling().fit(X)
    assert scaling.mean_ is None
    assert fits_in_memory(X, CPU, scaling)
    assert not fits_in_memory(X, CPU, InputScaling(False).fit(X))
    whole = make_rows(X, scaling, CPU, in_memory=True)
    streamed = make_rows(X, scaling, CPU, in_memory=False)
    dense = make_rows(X.toarray(), scaling, CPU, in_memory=False)
    assert isinstance(whole, TensorRows)
    assert isinstance(streamed, SparseRows)
    copy = pickle.loads(pickle.dumps(scaling))
    expected = whole.take(index := torch.tensor([7, 0, 0, 59]))
    # float32 rounds sums by the size of the largest, from which the mean is subtracted.
    for rows in (streamed, dense, make_rows(X, copy, CPU, in_memory=False)):
        assert_allclose(rows.take(index), expected, atol=1e-5 * expected.abs().max())


def test_missing_values_of_wide_sparse_rows_are_imputed():
    X = word_counts(n=60, d=2001).astype(float)
    X.data[::50] = np.nan
    rows = InputScaling().fit(X).to_tensor(X)
    assert torch.isfinite(rows).all()


def test_a_hundred_thousand_columns_take_little_memory():
    """800 MB as a dense float64 table."""
    rng = np.random.default_rng(0)
    columns = (rng.pareto(0.7, 20_000) * 10).astype(int) % 100_000
    X = sp.coo_array((np.ones(20_000), (rng.integers(0, 1000, 20_000), columns)), (1000, 100_000))
    X = X.tocsr()
    tracemalloc.start()
    found = reduced(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.shape == (1000, 200)
    assert peak < 40e6

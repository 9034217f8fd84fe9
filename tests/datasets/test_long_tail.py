"""Class sizes of a long-tailed part, which rows it holds, and what kinds of data it takes."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from numpy.testing import assert_array_equal
from scipy.stats import chi2

from sknoisy.datasets import make_long_tailed


def problem(n_per_class=100, n_classes=5):
    """Return rows that hold their own number, and shuffled labels."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(n_per_class * n_classes) % n_classes)
    return np.arange(2 * len(y)).reshape(-1, 2), y


@pytest.mark.parametrize("factor", [1, 10, 16, 20.5, 100])
def test_class_sizes_fall_exponentially(factor):
    X, y = problem(1000, 5)
    part = make_long_tailed(X, y, factor, random_state=0)
    mu = factor ** (-1 / 4)
    sizes = np.bincount(part.y)
    assert_array_equal(sizes, np.round([1000 * mu**i for i in range(5)]))
    assert sizes[0] / sizes[-1] == pytest.approx(factor, rel=0.5 / sizes[-1])


def test_sizes_of_unequal_classes_shrink_by_the_same_shares():
    y = np.repeat([0, 1, 2], [100, 400, 1000])
    part = make_long_tailed(y[:, None], y, 100, random_state=0)
    assert_array_equal(np.bincount(part.y), [100, 40, 10])


def test_every_class_keeps_a_row():
    X, y = problem(5, 3)
    assert_array_equal(np.bincount(make_long_tailed(X, y, 1e6).y), [5, 1, 1])


def test_classes_shrink_in_the_order_of_their_labels():
    y = np.repeat(["b", "c", "a"], 100)
    kept = make_long_tailed(y[:, None], y, 100, random_state=0).y
    assert {label: int((kept == label).sum()) for label in "abc"} == {"a": 100, "b": 10, "c": 1}


def test_rows_and_labels_stay_together_and_in_order():
    X, y = problem()
    copies = X.copy(), y.copy()
    part = make_long_tailed(X, y, 10, random_state=0)
    assert part.indices.dtype == np.int64
    assert (np.diff(part.indices) > 0).all()
    assert_array_equal(part.X, X[part.indices])
    assert_array_equal(part.y, y[part.indices])
    assert_array_equal(X, copies[0])
    assert_array_equal(y, copies[1])


def test_factor_one_and_a_single_class_keep_everything():
    X, y = problem()
    assert_array_equal(make_long_tailed(X, y, 1).indices, np.arange(len(y)))
    assert_array_equal(make_long_tailed(X, np.zeros(len(y)), 100).indices, np.arange(len(y)))


def test_random_state_draws_the_rows():
    X, y = problem()
    draws = [make_long_tailed(X, y, 10, random_state=seed).indices for seed in (0, 0, 1)]
    assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    first, second = (
        make_long_tailed(X, y, 10, random_state=np.random.default_rng(0)).indices for _ in range(2)
    )
    assert_array_equal(first, second)


def test_every_row_of_a_class_is_as_likely():
    """The last class keeps 2 of its 20 rows, each with probability 0.1 by a chi-squared test."""
    y = np.repeat([0, 1], 20)
    rng, n_draws = np.random.default_rng(0), 2000
    counts = np.zeros(40)
    for _ in range(n_draws):
        counts[make_long_tailed(y[:, None], y, 10, random_state=rng).indices] += 1
    assert_array_equal(counts[:20], n_draws)
    expected = n_draws / 10
    # Rows are drawn without replacement, which makes counts vary less than in the multinomial.
    assert ((counts[20:] - expected) ** 2 / expected).sum() < chi2.isf(1e-4, 19)


KINDS = {
    "csr": scipy.sparse.csr_matrix,
    "coo": scipy.sparse.coo_array,
    "pandas": lambda X: pd.DataFrame(X, columns=["a", "b"]),
    "polars": lambda X: pl.DataFrame(X, schema=["a", "b"]),
    "images": lambda X: X.reshape(-1, 1, 1, 2).astype(np.uint8),
    "list": lambda X: X.tolist(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_rows(kind):
    X, y = problem()
    expected = make_long_tailed(X, y, 10, random_state=0)
    given = KINDS[kind](X)
    part = make_long_tailed(given, y, 10, random_state=0)
    if scipy.sparse.issparse(given):
        assert part.X.format == "csr"
        assert_array_equal(part.X.toarray(), expected.X)
    else:
        assert type(part.X) is type(given)
        assert_array_equal(np.asarray(part.X), np.asarray(KINDS[kind](expected.X)))
    assert_array_equal(part.indices, expected.indices)


@pytest.mark.parametrize("kind", [pd.Series, pl.Series, list])
def test_kinds_of_labels(kind):
    X, y = problem()
    given = kind(np.array(["x", "y", "z", "u", "v"])[y].tolist())
    part = make_long_tailed(X, given, 10, random_state=0)
    assert type(part.y) is type(given)
    assert list(part.y) == [list(given)[i] for i in part.indices]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"imbalance_factor": 0.5}, "at least 1, got 0.5"),
        ({"imbalance_factor": float("nan")}, "at least 1, got nan"),
        ({"imbalance_factor": float("inf")}, "at least 1, got inf"),
        ({"y": [0, 1]}, "inconsistent numbers of samples"),
        ({"y": [0.5, 1.5, 2.5]}, "Unknown label type"),
        ({"X": [], "y": []}, "y is empty"),
    ],
)
def test_bad_input(changes, message):
    params = {"X": [[1], [2], [3]], "y": [0, 1, 1], "imbalance_factor": 10, **changes}
    with pytest.raises(ValueError, match=message):
        make_long_tailed(**params)

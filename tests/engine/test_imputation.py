"""Missing values and extreme units of the columns of a table, against scikit-learn's imputer."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sknoisy._engine import imputation
from sknoisy._engine.imputation import Imputation, takes_nan
from sknoisy._engine.rows import make_rows
from sknoisy._engine.scaling import InputScaling
from sknoisy.exceptions import ConstantColumnWarning

CPU = torch.device("cpu")


@pytest.fixture
def table(global_random_seed):
    """A table (40, 5) of mostly zeros; columns 1 and 3 miss values."""
    rng = np.random.default_rng(global_random_seed)
    X = rng.normal(size=(40, 5)) * (rng.random((40, 5)) < [0.3, 0.9, 0.6, 0.2, 1])
    X[:, [1, 3]] = np.where(rng.random((40, 2)) < 0.3, np.nan, X[:, [1, 3]])
    return X


@pytest.mark.parametrize("container", [np.asarray, np.asfortranarray, sp.csr_array])
@pytest.mark.parametrize("block", [7, 2**19])
def test_medians_and_indicators_are_those_of_scikit_learn(table, container, block, monkeypatch):
    monkeypatch.setattr(imputation, "_BLOCK_VALUES", block)
    found = Imputation().fit(container(table)).apply(container(table))
    expected = SimpleImputer(strategy="median", add_indicator=True).fit_transform(table)
    assert_array_equal(found.toarray() if sp.issparse(found) else found, expected)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_a_column_that_misses_values_only_later_has_no_indicator(table, container):
    fitted, later = Imputation().fit(container(table)), table.copy()
    later[:7, 2] = np.nan
    found = fitted.apply(container(later))
    assert found.shape == (40, 7)
    assert_array_equal(
        found[:7, [2]] if container is np.asarray else found[:7, [2]].toarray(),
        np.full((7, 1), np.median(table[:, 2])),
    )


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_a_table_without_gaps_is_not_copied(table, container):
    X = container(np.nan_to_num(table))
    assert Imputation().fit(X).apply(X) is X


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_an_empty_column_is_0_whatever_comes_later(table, container):
    table[:, 2] = np.nan
    with pytest.warns(ConstantColumnWarning, match="no value in column 'c': "):
        fitted = Imputation().fit(container(table), list("abcde"))
    later = np.nan_to_num(table)
    later[:, 2] = 7
    for rows in (table, later):
        found = fitted.apply(container(rows))
        found = found.toarray() if sp.issparse(found) else found
        assert found.shape == (40, 7)
        assert not found[:, 2].any()


def test_memory_maps_give_the_medians_of_the_rows_that_are_read(table, tmp_path):
    """All rows of a small file; the range where those that are read miss a column."""
    np.save(tmp_path / "X.npy", table)
    on_disk = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert_array_equal(Imputation().fit(on_disk).median_, Imputation().fit(table).median_)


@pytest.mark.parametrize("factor", [1e-320, 1e-300, 1e-40, 1e40, 1e300])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_columns_of_any_unit_are_standardised(table, container, factor):
    """Subnormal numbers have few digits."""
    X = np.nan_to_num(table)
    scaled = X * [1, factor, 1, factor, 1]
    expected, found = (
        make_rows(rows, InputScaling().fit(rows), CPU, in_memory=True).take(torch.arange(40))
        for rows in (container(X), container(scaled))
    )
    assert_allclose(found, expected, atol=2e-3 if factor == 1e-320 else 1e-5)


def test_indicators_are_not_scaled_and_survive_a_pickle(table):
    scaling = pickle.loads(pickle.dumps(InputScaling().fit(table)))
    rows = scaling.to_tensor(table).numpy()
    assert_array_equal(rows[:, 5:], np.isnan(table[:, [1, 3]]))
    assert_allclose(rows[:, :5].mean(axis=0), 0, atol=1e-6)
    assert_allclose(rows[:, :5].std(axis=0), 1, atol=1e-6)


def test_columns_that_vary_less_than_float64_resolves_are_named(table):
    """scikit-learn takes a column for constant whose variance is within its rounding error."""
    X = np.nan_to_num(table)
    X[:, 4] = 1e12 + np.arange(40) * 5e-4
    X[:, 0] = 0.3  # constant up to rounding
    X[::2, 0] = 0.1 + 0.2
    with pytest.warns(ConstantColumnWarning, match="so little in column 4,") as caught:
        InputScaling().fit(X)
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (HistGradientBoostingClassifier(), True),
        (RandomForestClassifier(), True),
        (LogisticRegression(), False),
        (make_pipeline(SimpleImputer(), LogisticRegression()), True),
        (make_pipeline(StandardScaler(), LogisticRegression()), False),
        (make_pipeline("passthrough", RandomForestClassifier()), True),
        (make_pipeline(PCA(), SimpleImputer()), False),
        (ColumnTransformer([("a", PCA(), [0])]), True),  # each part gets its own columns
        (GridSearchCV(RandomForestClassifier(), {}), True),
        (GridSearchCV(LogisticRegression(), {}), False),
        (object(), True),
    ],
)
def test_who_takes_nan(estimator, expected):
    assert takes_nan(estimator) == expected

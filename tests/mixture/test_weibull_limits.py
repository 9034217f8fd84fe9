"""Input and parameters that the Weibull mixture refuses, and its pickle."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sknoisy.mixture import WeibullMixture


def some_rows():
    rng = np.random.default_rng(0)
    return np.r_[5 * rng.weibull(1.5, 140), 40 * rng.weibull(8, 60)][:, None]


@pytest.mark.parametrize("values", [[-3.0, 1, 2], [0, -3, 5, 7]])
def test_negative_values_are_refused_with_the_cure(values):
    X = np.array(values)[:, None]
    message = r"Negative values .* smallest is -3\. .*sknoisy\.mixture\.shift_scores\(scores\)"
    with pytest.raises(ValueError, match=message):
        WeibullMixture().fit(X)
    with pytest.raises(ValueError, match=message):
        WeibullMixture().fit(some_rows()).predict(X)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_components": 0}, "n_components"),
        ({"method": "newton"}, "method"),
        ({"n_init": 0}, "n_init"),
        ({"max_iter": 0}, "max_iter"),
        ({"tol": -1}, "tol"),
        ({"max_shape": 0.5}, "max_shape"),
        ({"zero_value": 0}, "zero_value"),
    ],
)
def test_parameters_are_checked(params, message):
    with pytest.raises(ValueError, match=f"The '{message}' parameter of WeibullMixture"):
        WeibullMixture(**params).fit([[1.0], [2.0]])


def test_bad_rows_and_weights_are_refused():
    X = np.array([[1.0], [2.0]])
    with pytest.raises(ValueError, match=r"n_components=3 .*n_samples=2\. Lower n_components"):
        WeibullMixture(3).fit(X)
    with pytest.raises(ValueError, match="NaN"):
        WeibullMixture().fit([[1.0], [np.nan]])
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        WeibullMixture().fit(X, sample_weight=[1, -1])
    with pytest.raises(ValueError, match="zero"):
        WeibullMixture().fit(X, sample_weight=[0, 0])
    with pytest.raises(ValueError, match="n_samples must be at least 1, got 0"):
        WeibullMixture(1).fit(X).sample(0)


def test_a_fitted_mixture_can_be_pickled():
    X = some_rows()
    mixture = WeibullMixture().fit(X)
    copy = pickle.loads(pickle.dumps(mixture))
    assert_array_equal(copy.score_samples(X), mixture.score_samples(X))
    assert len(pickle.dumps(mixture)) < 3000  # no data

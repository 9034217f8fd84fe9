"""Input and parameters that the beta mixture refuses, and its pickle."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sknoisy.mixture import BetaMixture


def some_rows():
    rng = np.random.default_rng(0)
    return np.r_[rng.beta(1, 9, 140), rng.beta(6, 4, 60)][:, None]


@pytest.mark.parametrize("values", [[-0.25, 0.5, 0.75], [0.5, -0.25, 0.75]])
def test_values_beyond_the_support_are_refused_with_the_cure(values):
    X = np.array(values)[:, None]
    message = r"support \(0, 1\), .* go from -0\.25 to 0\.75\. Scale them, or set support"
    with pytest.raises(ValueError, match=message):
        BetaMixture().fit(X)
    with pytest.raises(ValueError, match=message):
        BetaMixture().fit(some_rows()).predict(X)
    with pytest.raises(ValueError, match=r"go from 1 to 2\. Scale them"):
        BetaMixture().fit(np.array([[1.0], [2.0]]))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_components": 0}, "n_components"),
        ({"support": [0, 1]}, "support"),
        ({"n_init": 0}, "n_init"),
        ({"max_iter": 0}, "max_iter"),
        ({"tol": -1}, "tol"),
        ({"max_concentration": 1.5}, "max_concentration"),
        ({"margin": 0}, "margin"),
        ({"margin": 0.5}, "margin"),
    ],
)
def test_parameters_are_checked(params, message):
    with pytest.raises(ValueError, match=f"The '{message}' parameter of BetaMixture"):
        BetaMixture(**params).fit([[0.1], [0.2]])


@pytest.mark.parametrize(
    "support", [(0,), (0, 1, 2), (1, 0), (1, 1), (0, np.inf), (np.nan, 1), ("a", "b")]
)
def test_a_support_that_is_none_is_refused(support):
    with pytest.raises(ValueError, match=r"two finite numbers, the smaller first; got \("):
        BetaMixture(support=support).fit([[0.1], [0.2]])


def test_bad_rows_and_weights_are_refused():
    X = np.array([[0.1], [0.2]])
    with pytest.raises(ValueError, match=r"n_components=3 .*n_samples=2\. Lower n_components"):
        BetaMixture(3).fit(X)
    with pytest.raises(ValueError, match="NaN"):
        BetaMixture().fit([[0.1], [np.nan]])
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        BetaMixture().fit(X, sample_weight=[1, -1])
    with pytest.raises(ValueError, match="zero"):
        BetaMixture().fit(X, sample_weight=[0, 0])
    with pytest.raises(ValueError, match="n_samples must be at least 1, got 0"):
        BetaMixture(1).fit(X).sample(0)


def test_a_fitted_mixture_can_be_pickled():
    X = some_rows()
    mixture = BetaMixture().fit(X)
    copy = pickle.loads(pickle.dumps(mixture))
    assert_array_equal(copy.score_samples(X), mixture.score_samples(X))
    assert len(pickle.dumps(mixture)) < 3000  # no data

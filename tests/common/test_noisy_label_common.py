"""scikit-learn's own checks on NoisyLabelClassifier."""

from unittest import SkipTest

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from sknoisy import NoisyLabelClassifier

NETWORKS = {"max_epochs": 6, "batch_size": 64}
CLASSIFIERS = [
    NoisyLabelClassifier(network_params=NETWORKS, random_state=0),
    NoisyLabelClassifier(method="clid_mu", network_params=NETWORKS, random_state=0),
]

_WEIGHT_TWO = (
    "A weight of 2 is not a repeated row for a trainer that draws mini-batches; scikit-learn's "
    "own SGD estimators fail this check, too."
)
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": _WEIGHT_TWO,
    "check_sample_weight_equivalence_on_sparse_data": _WEIGHT_TWO,
}
# Runs only where SCIPY_ARRAY_API is set before scipy is imported.
MAY_SKIP = {"check_array_api_input"}


# Some checks weigh a class with zero, and some draw labels that have nothing to do with the rows.
@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.CollapseWarning")
@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.SelectionWarning")
@parametrize_with_checks(
    CLASSIFIERS, expected_failed_checks=lambda _: EXPECTED_FAILURES, xfail_strict=True
)
def test_scikit_learn_check(estimator, check):
    try:
        check(estimator)
    except SkipTest as reason:
        if check.func.__name__ not in MAY_SKIP:
            pytest.fail(f"A check that nobody expected to skip itself did so: {reason}")
        raise


@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=repr)
def test_at_least_55_checks_run(classifier):
    """Those of the test above that neither may fail nor may skip themselves."""
    names = [check.func.__name__ for _, check in estimator_checks_generator(classifier)]
    assert EXPECTED_FAILURES.keys() <= set(names)
    assert len([name for name in names if name not in {*EXPECTED_FAILURES, *MAY_SKIP}]) >= 55


def test_weights_of_the_vote_need_no_request():
    X, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 2
    weights = np.where(np.arange(60) < 5, 0.5, 1.0)
    clf = CLASSIFIERS[0]
    expected = clone(clf).fit(X, y, sample_weight=weights).predict_proba(X)
    with config_context(enable_metadata_routing=True):
        found = clone(clf).fit(X, y, sample_weight=weights).predict_proba(X)
    assert_array_equal(found, expected)

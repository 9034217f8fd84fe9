"""scikit-learn's own checks on PurifiedClassifier around cleaners of several kinds."""

from unittest import SkipTest

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from small_cleaners import DropRows, MajorityLabels

from sknoisy import LabelPurifier, PurifiedClassifier

BY_NEIGHBOURS = PurifiedClassifier(MajorityLabels(), LogisticRegression())
CLASSIFIERS = [
    BY_NEIGHBOURS,
    # Of the few rows of the checks with weights, the purifier leaves all labels as they are.
    PurifiedClassifier(LabelPurifier(random_state=0), LogisticRegression()),
    PurifiedClassifier(DropRows(), LogisticRegression()),  # weights are repeated rows to it
    PurifiedClassifier(MajorityLabels(n_neighbors=1), SVC(kernel="precomputed")),
]

_NEIGHBOURS = (
    "A row of weight 2 is one neighbour to the cleaner, a repeated row is two: what is kept of a "
    "label does not depend on weights."
)
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": _NEIGHBOURS,
    "check_sample_weight_equivalence_on_sparse_data": _NEIGHBOURS,
}
# Runs only where SCIPY_ARRAY_API is set before scipy is imported.
MAY_SKIP = {"check_array_api_input"}


def expected_failures(estimator):
    return EXPECTED_FAILURES if estimator is BY_NEIGHBOURS else {}


# Some checks draw labels at random, and a small class may have no majority anywhere.
@pytest.mark.filterwarnings("ignore:MajorityLabels left no row")
@parametrize_with_checks(CLASSIFIERS, expected_failed_checks=expected_failures, xfail_strict=True)
def test_scikit_learn_check(estimator, check):
    try:
        check(estimator)
    except SkipTest as reason:
        if check.func.__name__ not in MAY_SKIP:
            pytest.fail(f"A check that nobody expected to skip itself did so: {reason}")
        raise


@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=repr)
def test_at_least_58_checks_run(classifier):
    """Those of the test above that neither may fail nor may skip themselves."""
    names = [check.func.__name__ for _, check in estimator_checks_generator(classifier)]
    failing = expected_failures(classifier).keys()
    assert failing <= set(names)
    assert len([name for name in names if name not in {*failing, *MAY_SKIP}]) >= 58

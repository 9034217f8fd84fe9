"""scikit-learn's own checks on CleanSampleSelector and MILDClassifier."""

from unittest import SkipTest

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from sknoisy import CleanSampleSelector, MILDClassifier

SMALL = {"max_epochs": 3, "batch_size": 64, "random_state": 0}
SELECTORS = [
    CleanSampleSelector(n_rounds=2, **SMALL),
    CleanSampleSelector(n_rounds=3, metric="segments", reset=False, stopping=False, **SMALL),
]
CLASSIFIERS = [
    MILDClassifier(
        selector=CleanSampleSelector(n_rounds=2, max_epochs=3, batch_size=64),
        semi=semi,
        max_epochs=8,
        batch_size=64,
        random_state=0,
    )
    for semi in ("none", "mixmatch", "mixup+contrastive")
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


def names_of_checks(estimator):
    return [check.func.__name__ for _, check in estimator_checks_generator(estimator)]


# Some checks draw rows and labels that have nothing to do with each other.
@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.SelectionWarning")
@parametrize_with_checks(
    [*SELECTORS, *CLASSIFIERS],
    expected_failed_checks=lambda estimator: (
        EXPECTED_FAILURES if isinstance(estimator, MILDClassifier) else {}
    ),
    xfail_strict=True,
)
def test_scikit_learn_check(estimator, check):
    try:
        check(estimator)
    except SkipTest as reason:
        if check.func.__name__ not in MAY_SKIP:
            pytest.fail(f"A check that nobody expected to skip itself did so: {reason}")
        raise


@pytest.mark.parametrize("selector", SELECTORS, ids=repr)
def test_at_least_41_checks_run_on_the_selector(selector):
    """All that there are for an estimator that neither predicts nor transforms."""
    assert len([name for name in names_of_checks(selector) if name not in MAY_SKIP]) >= 41


@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=repr)
def test_at_least_55_checks_run_on_the_classifier(classifier):
    """Those of the first test that neither may fail nor may skip themselves."""
    names = names_of_checks(classifier)
    assert EXPECTED_FAILURES.keys() <= set(names)
    assert len([name for name in names if name not in {*EXPECTED_FAILURES, *MAY_SKIP}]) >= 55

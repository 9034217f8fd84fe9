"""scikit-learn's own checks on every classifier."""

from unittest import SkipTest

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from sknoisy import (
    CLIDMUClassifier,
    DMLPClassifier,
    FaMUSClassifier,
    L2RClassifier,
    LabelPurifier,
    MetaWeightNetClassifier,
    MLCClassifier,
    MLNTClassifier,
    MSLCClassifier,
    TransitionMLCClassifier,
)

SMALL = {
    "max_epochs": 12,
    "batch_size": 64,
    "n_warmup_epochs": 1,
    "random_state": 0,
}
MLNT = {"max_epochs": 12, "batch_size": 64, "n_synthetic": 3, "random_state": 0}
CLASSIFIERS = [
    CLIDMUClassifier(n_ensemble=2, **SMALL),
    CLIDMUClassifier(weighting="vri", n_ensemble=2, **SMALL),
    CLIDMUClassifier(weighting=None, n_ensemble=2, **SMALL),
    L2RClassifier(**SMALL),
    MetaWeightNetClassifier(**SMALL),
    MLCClassifier(**SMALL),
    MSLCClassifier(**SMALL),
    TransitionMLCClassifier(**SMALL),
    FaMUSClassifier(**SMALL),
    DMLPClassifier(
        purifier=LabelPurifier(n_components=64, n_epochs=10),
        max_epochs=12,
        batch_size=64,
        random_state=0,
    ),
    MLNTClassifier(**MLNT),
    MLNTClassifier(n_iterations=2, **MLNT),
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


# Some checks weigh a class with zero: it is lost as it should be. Others have rows so few, or
# labels so random, that losses do not tell right labels from wrong ones.
@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.CollapseWarning")
@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.MixtureWarning")
@pytest.mark.filterwarnings("ignore:The mentor believes hardly any label")
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

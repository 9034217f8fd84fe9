"""scikit-learn's own checks on LabelPurifier."""

from unittest import SkipTest

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from sknoisy.methods.dmlp import LabelPurifier, PurificationVariant

SMALL = {"n_components": 64, "n_epochs": 10, "random_state": 0}
VARIANT = PurificationVariant(
    objective="released", label_optimizer="adam", label_parameters="softmax"
)
PURIFIERS = [
    LabelPurifier(**SMALL),
    LabelPurifier(correction="auxiliary", n_folds=0, **SMALL),
    LabelPurifier(variant=VARIANT, **SMALL),
]
# Runs only where SCIPY_ARRAY_API is set before scipy is imported.
MAY_SKIP = {"check_array_api_input"}


@parametrize_with_checks(PURIFIERS)
def test_scikit_learn_check(estimator, check):
    try:
        check(estimator)
    except SkipTest as reason:
        if check.func.__name__ not in MAY_SKIP:
            pytest.fail(f"A check that nobody expected to skip itself did so: {reason}")
        raise


@pytest.mark.parametrize("purifier", PURIFIERS, ids=repr)
def test_at_least_41_checks_run(purifier):
    """All that there are for an estimator that neither predicts nor transforms."""
    names = [check.func.__name__ for _, check in estimator_checks_generator(purifier)]
    assert len([name for name in names if name not in MAY_SKIP]) >= 41

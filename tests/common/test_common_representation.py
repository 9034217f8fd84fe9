"""scikit-learn's own checks on every self-supervised transformer."""

from unittest import SkipTest

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from sknoisy.representation import SCARF, MoCo, SimCLR

SMALL = {"max_epochs": 3, "batch_size": 64, "random_state": 0}
TRANSFORMERS = [SimCLR(**SMALL), MoCo(**SMALL), SCARF(**SMALL)]

# Runs only where SCIPY_ARRAY_API is set before scipy is imported.
MAY_SKIP = {"check_array_api_input"}


@parametrize_with_checks(TRANSFORMERS)
def test_scikit_learn_check(estimator, check):
    try:
        check(estimator)
    except SkipTest as reason:
        if check.func.__name__ not in MAY_SKIP:
            pytest.fail(f"A check that nobody expected to skip itself did so: {reason}")
        raise


@pytest.mark.parametrize("transformer", TRANSFORMERS, ids=repr)
def test_at_least_45_checks_run(transformer):
    names = [check.func.__name__ for _, check in estimator_checks_generator(transformer)]
    assert len([name for name in names if name not in MAY_SKIP]) >= 45

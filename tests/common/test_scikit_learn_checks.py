"""scikit-learn's own checks on every public estimator."""

from unittest import SkipTest

import pytest
import sklearn
from estimators import QUICK, quick_estimators
from packaging.version import Version
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from sknoisy.methods.registry import ESTIMATORS

pytestmark = pytest.mark.usefixtures("small_forests")

CASES = quick_estimators(checks=True)
WEIGHTS = (
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
)
MINI_BATCHES = (
    "A weight of 2 is not a repeated row for a trainer that draws mini-batches; scikit-learn's "
    "own SGD estimators fail this check, too."
)
NEIGHBOURS = (
    "The cleaner counts a row of weight 2 as one neighbour and a repeated row as two, so that "
    "the labels that it keeps do not depend on weights."
)
# An expected failure must occur; scikit-learn 1.7 has no such option.
STRICT = {"xfail_strict": True} if Version(sklearn.__version__) >= Version("1.8") else {}
# Runs only where SCIPY_ARRAY_API is set before scipy is imported.
MAY_SKIP = {"check_array_api_input"}


def expected_failures(estimator):
    """Return the checks that an estimator fails, with the reason."""
    kind = type(estimator).__name__
    if kind == "PurifiedClassifier":
        fails = estimator is CASES["PurifiedClassifier-neighbours"]
        return dict.fromkeys(WEIGHTS, NEIGHBOURS) if fails else {}
    return dict.fromkeys(WEIGHTS, MINI_BATCHES) if kind.endswith("Classifier") else {}


# Some checks give a class no weight, or have few or random rows, so that neither losses nor
# dynamics separate right labels from wrong ones, or two or three distinct rows.
@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.CollapseWarning")
@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.MixtureWarning")
@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.SelectionWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:The mentor believes hardly any label")
@pytest.mark.filterwarnings("ignore:MajorityLabels left no row")
@parametrize_with_checks(list(CASES.values()), expected_failed_checks=expected_failures, **STRICT)
def test_scikit_learn_check(estimator, check):
    try:
        check(estimator)
    except SkipTest as reason:
        if check.func.__name__ not in MAY_SKIP:
            pytest.fail(f"A check that nobody expected to skip itself did so: {reason}")
        raise


def fewest_checks(name):
    """Return how many checks there are at least for the kind of an estimator."""
    by_class = {
        "PurifiedClassifier": 58,
        # All that there are without predict and transform for estimators that take NaN.
        "CleanSampleSelector": 40,
        "LabelPurifier": 40,
        "LabelAuditor": 40,
        "WeibullMixture": 48,
        "BetaMixture": 47,
    }
    kind = name.partition("-")[0]
    return by_class.get(kind, 55 if kind.endswith("Classifier") else 45)


@pytest.mark.parametrize("name", CASES)
def test_enough_checks_run(name):
    """Count those that may neither fail nor skip themselves."""
    names = [check.func.__name__ for _, check in estimator_checks_generator(CASES[name])]
    failing = expected_failures(CASES[name]).keys()
    assert failing <= set(names)
    assert len([n for n in names if n not in {*failing, *MAY_SKIP}]) >= fewest_checks(name)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_registered_estimator_has_quick_settings(name):
    assert QUICK.get(name), (
        f"{name} is registered in sknoisy/methods/registry.py, but the common tests do not run on "
        "it: add its quick settings to QUICK in tests/helpers/estimators.py."
    )

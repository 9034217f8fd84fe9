"""Methods that learn the labels of LabelPurifier, in a pipeline, as DMLP combines them."""

import warnings

import numpy as np
import pytest
from joblib import Memory
from sklearn.base import clone

from sknoisy import (
    CDRClassifier,
    CoTeachingClassifier,
    DivideMixClassifier,
    ELRClassifier,
    LabelPurifier,
)
from sknoisy.datasets import load_noisy_digits
from sknoisy.pipeline import make_pipeline

# DMLP-X by the name of X, as in the paper's table.
METHODS = [
    CDRClassifier(max_epochs=20),
    CoTeachingClassifier(max_epochs=20),
    DivideMixClassifier(max_epochs=20),
    ELRClassifier(plus=True, max_epochs=20),
]
N_TRAIN = 700


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    """Keeps the labels of a purifier for the other methods that learn them."""
    return Memory(tmp_path_factory.mktemp("purified"), verbose=0)


def scores(estimator, rate, memory):
    """Return the accuracy of a method on given and on purified labels, by seed."""
    found = []
    for seed in range(3):
        digits = load_noisy_digits(rate=rate, random_state=seed)
        plain = clone(estimator).set_params(random_state=seed)
        purified = make_pipeline(LabelPurifier(random_state=seed), clone(plain), memory=memory)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the losses of purified labels have one component
            found.append(
                [
                    model.fit(digits.data[:N_TRAIN], digits.target[:N_TRAIN]).score(
                        digits.data[N_TRAIN:], digits.target_clean[N_TRAIN:]
                    )
                    for model in (plain, purified)
                ]
            )
    return np.mean(found, axis=0)


@pytest.mark.parametrize("estimator", METHODS, ids=lambda estimator: type(estimator).__name__)
def test_purified_labels_are_not_worse(estimator, memory):
    given, purified = scores(estimator, 0.3, memory)
    assert purified > given - 0.005


@pytest.mark.parametrize("estimator", METHODS, ids=lambda estimator: type(estimator).__name__)
def test_purified_labels_are_better_where_most_labels_are_wrong(estimator, memory):
    given, purified = scores(estimator, 0.6, memory)
    assert purified > given

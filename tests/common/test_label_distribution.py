"""What every estimator tells about the labels of its training rows, in three attributes."""

import numpy as np
import pytest
from estimators import fit, has, over_estimators, takes
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC
from small_cleaners import DropRows, MajorityLabels

from sknoisy import MILDClassifier, PurifiedClassifier
from sknoisy._engine.label_distribution import set_label_distribution, spread_over_others

NAMES = np.array(["cat", "ant", "bee"])


def judges_labels(estimator):
    return is_classifier(estimator) or has("fit_resample")(estimator)


def restricted(estimator, n_samples):
    """Return the trusted rows and the rows without weight, as masks; none if fit takes neither."""
    row = np.arange(n_samples)
    nowhere = np.zeros(n_samples, bool)
    trusted = row % 5 == 0 if takes("clean_mask")(estimator) else nowhere
    weightless = row % 7 == 3 if takes("sample_weight")(estimator) else nowhere
    return trusted, weightless & ~trusted


def fit_restricted(estimator, X, y):
    trusted, weightless = restricted(estimator, len(y))
    params = {"clean_mask": trusted} if trusted.any() else {}
    params |= {"sample_weight": 1.0 - weightless} if weightless.any() else {}
    return fit(estimator, X, y, **params)


@over_estimators("the_three_attributes_agree", judges_labels)
def test_the_three_attributes_agree(estimator, data):
    X, y = data(estimator)
    fitted = fit_restricted(estimator, X, NAMES[y])
    distribution, rows = fitted.label_distribution_, np.arange(len(y))
    given = np.searchsorted(fitted.classes_, NAMES[y])
    assert distribution.shape == (len(y), 3)
    assert distribution.dtype == np.float64
    assert (distribution >= 0).all()
    assert_allclose(distribution.sum(axis=1), 1)
    assert fitted.purified_labels_.dtype == fitted.classes_.dtype
    assert_array_equal(fitted.purified_labels_, fitted.classes_[distribution.argmax(axis=1)])
    assert_array_equal(fitted.clean_proba_, distribution[rows, given])
    trusted, _ = restricted(estimator, len(y))
    assert_array_equal(distribution[trusted], np.eye(3)[given[trusted]])


@over_estimators("wrong_labels_have_a_low_probability", judges_labels)
def test_wrong_labels_have_a_low_probability(estimator, global_random_seed):
    """Of three blobs, 30 % of whose labels are drawn from the other classes."""
    rng = np.random.default_rng(global_random_seed)
    truth = rng.permutation(np.arange(240) % 3)
    X = rng.normal(size=(240, 6)) + 3 * np.eye(3, 6)[truth]
    is_wrong = rng.permutation(240) < 72
    y = (truth + is_wrong * rng.integers(1, 3, 240)) % 3
    if has("max_epochs")(estimator):
        estimator = clone(estimator).set_params(max_epochs=10, batch_size=32)
    fitted = fit(estimator, X, y)
    assert roc_auc_score(is_wrong, 1 - fitted.clean_proba_) > 0.75
    assert np.mean(fitted.purified_labels_ == truth) > np.mean(y == truth)


# --- out of sample ------------------------------------------------------------------------------


@over_estimators(
    "rows_without_weight_are_out_of_sample",
    lambda estimator: judges_labels(estimator) and takes("sample_weight")(estimator),
)
def test_the_label_of_a_row_without_weight_is_no_evidence(estimator, data):
    X, y = data(estimator)
    _, weightless = restricted(estimator, len(y))
    found = [
        fit_restricted(estimator, X, labels).label_distribution_
        for labels in (y, np.where(weightless, (y + 1) % 3, y))
    ]
    assert_array_equal(*found)


@pytest.mark.parametrize(
    "clf",
    [
        MILDClassifier(selector=DropRows(), semi="none", max_epochs=2, random_state=0),
        PurifiedClassifier(DropRows(), LogisticRegression()),
        PurifiedClassifier(DropRows(), SVC()),
    ],
    ids=["MILD", "probabilities", "labels"],
)
def test_the_label_of_a_dropped_row_is_no_evidence(clf, blobs):
    X, y = blobs
    first = fit(clf, X, y)
    dropped = np.setdiff1d(np.arange(len(y)), first.sample_indices_)
    assert len(dropped)
    changed = y.copy()
    changed[dropped] = (y[dropped] + 1) % 3
    other = fit(clf, X, changed)
    assert_array_equal(other.sample_indices_, first.sample_indices_)
    assert_array_equal(other.label_distribution_, first.label_distribution_)


# --- the classifier around a cleaner ------------------------------------------------------------


def test_labels_of_a_cleaner_without_probabilities_are_averaged_with_the_predictions(blobs):
    X, y = blobs
    clf = PurifiedClassifier(MajorityLabels(), LogisticRegression()).fit(X, y)
    _, cleaned = MajorityLabels().fit_resample(X, y)
    expected = (np.eye(3)[cleaned] + clf.predict_proba(X)) / 2
    assert_allclose(clf.label_distribution_, expected)


# --- one definition -----------------------------------------------------------------------------


class Fitted:
    classes_ = NAMES


def test_the_given_label_wins_a_tie():
    proba = np.array([[0.4, 0.4, 0.2], [0.4, 0.4, 0.2], [0.25, 0.5, 0.25], [1 / 3, 1 / 3, 1 / 3]])
    fitted, given = Fitted(), np.array([0, 1, 0, 2])
    set_label_distribution(fitted, proba.copy(), given)
    assert fitted.label_distribution_.argmax(axis=1).tolist() == [0, 1, 1, 2]
    assert fitted.purified_labels_.tolist() == ["cat", "ant", "ant", "bee"]
    assert_array_equal(fitted.clean_proba_, fitted.label_distribution_[range(4), given])
    np.testing.assert_array_max_ulp(fitted.label_distribution_, proba, maxulp=1)


def test_the_rest_is_divided_in_proportion_to_the_predictions():
    proba = np.array([[0.6, 0.1, 0.3], [0.0, 1.0, 0.0]])
    found = spread_over_others(np.array([0.2, 0.5]), proba, np.array([0, 1]))
    assert_allclose(found, [[0.2, 0.2, 0.6], [0.25, 0.5, 0.25]])

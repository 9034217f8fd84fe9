"""NoisyLabelClassifier on many rows; the tests lower the number that is many."""

import functools
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import make_classification

from sknoisy import NoisyLabelClassifier
from sknoisy._engine.indexing import take_rows
from sknoisy.learners import cross_fit, many_rows
from sknoisy.learners.many_rows import LargeEnsemble
from sknoisy.methods.auto import ensemble
from sknoisy.methods.auto.ensemble import TableColumns, TableRows
from sknoisy.noise import symmetric

pytestmark = [
    pytest.mark.usefixtures("small_forests"),
    pytest.mark.filterwarnings("ignore::sknoisy.exceptions.CollapseWarning"),
]

NETWORKS = "network of the given labels"


@functools.cache
def problem(n=2000, n_classes=8):
    """Return training rows, given and clean labels; test rows and clean labels."""
    X, y = make_classification(
        n + 1000,
        20,
        n_informative=12,
        n_redundant=0,
        n_classes=n_classes,
        n_clusters_per_class=2,
        class_sep=1.5,
        flip_y=0,
        random_state=0,
    )
    return X[:n], symmetric(y[:n], 0.3, random_state=0).y, y[:n], X[n:], y[n:]


def fit(X, given, *, many=500, n_epochs=15, **kwargs):
    clf = NoisyLabelClassifier(
        network_params={"max_epochs": n_epochs}, device="cpu", random_state=0
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensemble, "_MANY_ROWS", many)
        patch.setattr(many_rows, "_MAX_ROWS", 600)
        patch.setattr(cross_fit, "_ROWS_IN_MEMORY", 900)  # so the rows are streamed
        return clf.fit(X, given, **kwargs)


@functools.cache
def fitted():
    return fit(*problem()[:2], n_epochs=40)


def test_robust_networks_compete_where_there_are_many_rows():
    """They learn all rows, the learners 600 of them."""
    _, given, clean, X_test, y_test = problem()
    clf = fitted()
    share = {candidate.name: candidate.share for candidate in clf.choice_.candidates}
    assert share[NETWORKS] > 0.5
    learners = clf.estimator_.learners.predict_proba(TableRows(X_test, clf._columns))
    alone = np.mean(learners.argmax(axis=1) == y_test)
    assert clf.score(X_test, y_test) > alone + 0.015
    assert np.mean(clf.purified_labels_ == clean) > np.mean(given == clean) + 0.1


def test_few_rows_are_for_the_learners_alone():
    X, given, _, _, _ = problem()
    clf = fit(X[:400], given[:400], many=400)
    assert not isinstance(clf.estimator_, LargeEnsemble)
    assert NETWORKS not in {candidate.name for candidate in clf.choice_.candidates}


def test_networks_of_the_given_labels_are_those_of_the_user():
    networks = ensemble.robust_networks(3, {"max_epochs": 7, "lr": 0.02})
    assert [clf.get_params()["random_state"] for clf in networks] == [3, 4, 5]
    assert {(clf.max_epochs, clf.lr, clf.weighting) for clf in networks} == {(7, 0.02, "wnet")}


def test_rows_are_converted_when_they_are_read():
    X = problem()[0].copy()
    X[::7, 3] = np.nan
    columns = TableColumns().fit(X)
    converted = columns.transform(X)
    rows = TableRows(X, columns)
    assert rows.shape == converted.shape
    assert_array_equal(rows[10:20], converted[10:20])
    some = take_rows(rows, np.arange(0, 2000, 5))
    assert_array_equal(some[np.array([1, 7])], converted[[5, 35]])


def test_predictions_of_many_rows_are_those_of_few(monkeypatch):
    X_test = problem()[3]
    few = fitted().predict_proba(X_test)
    monkeypatch.setattr(ensemble, "_MANY_ROWS", 100)
    assert_allclose(fitted().predict_proba(X_test), few, rtol=1e-4, atol=1e-6)


def test_the_fitted_classifier_holds_no_training_rows():
    """A pickle of twice the rows is larger by what is known of each: 8 classes and 2 labels."""
    X, given, _, _, _ = problem()
    sizes = [len(pickle.dumps(fit(X[:n], given[:n], n_epochs=2))) for n in (1000, 2000)]
    assert sizes[1] - sizes[0] < 1000 * (4 * 8 + 4 + 8) + 5_000


def test_many_sparse_rows_are_judged_without_networks():
    """A wide sparse table of many rows: the linear learner learns some, and judges all."""
    rng = np.random.RandomState(0)
    clean = rng.randint(2, size=1500)
    words = 1 + np.where(clean[:, None] > 0, 0, 500) + rng.randint(500, size=(1500, 12))
    X = sp.csr_matrix(
        (np.ones(words.size), words.ravel(), np.arange(0, words.size + 1, 12)), (1500, 1001)
    )
    given = symmetric(clean, 0.25, random_state=0).y
    clf = fit(X, given)
    assert isinstance(clf.estimator_, LargeEnsemble)
    assert np.mean(clf.purified_labels_ == clean) > 0.95
    assert [candidate.name for candidate in clf.choice_.candidates] == ["linear ridge"]

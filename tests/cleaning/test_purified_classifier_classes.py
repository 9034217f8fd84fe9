"""Classes that cleaning removes, classes that a fold lacks, and labels of any type."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_predict, cross_validate
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from small_cleaners import DropClasses, DropRows, MajorityLabels

from sknoisy import PurifiedClassifier


def letters(y):
    return np.array(["a", "bcd", "e"])[y]


def drop_a_class(blobs, lost, estimator):
    """Return a classifier whose cleaner drops one of three classes, and one fitted without it."""
    X, y = blobs
    y = letters(y)
    with pytest.warns(UserWarning, match=rf"DropClasses left no row of the classes \['{lost}'\]"):
        clf = PurifiedClassifier(DropClasses([lost]), estimator).fit(X, y)
    assert clf.classes_.tolist() == ["a", "bcd", "e"]
    return clf, clone(estimator).fit(X[y != lost], y[y != lost]), X


@pytest.mark.parametrize(("lost", "column"), [("a", 0), ("bcd", 1), ("e", 2)])
def test_a_lost_class_has_a_column_that_says_never(blobs, lost, column):
    clf, rest, X = drop_a_class(blobs, lost, LogisticRegression())
    others = [c for c in range(3) if c != column]
    proba = clf.predict_proba(X)
    assert (proba[:, column] == 0).all()
    np.testing.assert_array_equal(proba[:, others], rest.predict_proba(X))
    assert (clf.predict_log_proba(X)[:, column] == -np.inf).all()
    np.testing.assert_array_equal(clf.predict_log_proba(X)[:, others], rest.predict_log_proba(X))
    scores = clf.decision_function(X)
    assert (scores[:, column] == np.finfo(float).min).all()
    np.testing.assert_array_equal(scores[:, others[1]], rest.decision_function(X))
    for outputs in (proba, scores):
        np.testing.assert_array_equal(clf.classes_[outputs.argmax(axis=1)], clf.predict(X))


def test_scores_of_three_of_four_classes_keep_their_columns(blobs):
    X, y = blobs
    y = np.where(X[:, 3] > 0.5, 7, y)
    with pytest.warns(UserWarning, match=r"of the classes \[1\]"):
        clf = PurifiedClassifier(DropClasses([1]), LogisticRegression()).fit(X, y)
    rest = LogisticRegression().fit(X[y != 1], y[y != 1])
    np.testing.assert_array_equal(
        clf.decision_function(X)[:, [0, 2, 3]], rest.decision_function(X)
    )
    assert clf.classes_.tolist() == [0, 1, 2, 7]


def test_scores_by_pairs_of_classes_cannot_be_matched(blobs):
    X, y = blobs
    y = np.arange(len(y)) % 5
    svc = SVC(decision_function_shape="ovo")
    with pytest.warns(UserWarning, match="left no row"):
        clf = PurifiedClassifier(DropClasses([1]), svc).fit(X, y)
    with pytest.raises(ValueError, match=r"SVC returned shape \(121, 6\).*\"ovr\""):
        clf.decision_function(X)


def test_one_class_is_not_enough(blobs):
    X, y = blobs
    clf = PurifiedClassifier(DropClasses(["a", "e"]), DecisionTreeClassifier())
    with pytest.raises(ValueError, match=r"DropClasses left \d+ rows, of the classes \['bcd'\]"):
        clf.fit(X, letters(y))


def test_a_cleaner_invents_no_labels(blobs):
    class Inventor(MajorityLabels):
        def fit_resample(self, X, y):
            return X, np.where(y == 0, 9, y)

    with pytest.raises(ValueError, match=r"labels \[9\], but the classes of y are \[0, 1, 2\]"):
        PurifiedClassifier(Inventor(), LogisticRegression()).fit(*blobs)


def test_a_class_without_weight_is_no_class_that_cleaning_removed(blobs, recwarn):
    X, y = blobs
    clf = PurifiedClassifier(MajorityLabels(), LogisticRegression())
    clf.fit(X, y, sample_weight=np.where(y == 1, 0, 1.0))
    assert [w for w in recwarn if "left no row" in str(w.message)] == []
    assert (clf.predict_proba(X)[:, 1] == 0).all()


@pytest.mark.parametrize("kind", [list, pd.Series, lambda y: pd.Series(y, dtype="category")])
def test_labels_of_any_type(blobs, kind):
    X, y = blobs
    y = letters(y)
    expected = PurifiedClassifier(DropRows(), LogisticRegression()).fit(X, y)
    clf = PurifiedClassifier(DropRows(), LogisticRegression()).fit(X, kind(y))
    assert clf.classes_.tolist() == ["a", "bcd", "e"]
    np.testing.assert_array_equal(clf.predict(X), expected.predict(X))


def test_labels_in_a_column_are_read_with_a_warning(blobs):
    X, y = blobs
    expected = PurifiedClassifier(MajorityLabels(), LogisticRegression()).fit(X, y)
    with pytest.warns(DataConversionWarning, match="column-vector"):
        clf = PurifiedClassifier(MajorityLabels(), LogisticRegression()).fit(X, y[:, None])
    np.testing.assert_array_equal(clf.predict_proba(X), expected.predict_proba(X))


def test_a_fold_without_a_class(blobs):
    """All labels "e" are in the first third of the rows, which one of the folds holds out."""
    X, y = blobs
    order = np.argsort(y != 2, kind="stable")
    X, y = X[order], letters(y)[order]
    clf = PurifiedClassifier(DropRows(), LogisticRegression())
    folds = KFold(3)
    fits = cross_validate(clf, X, y, cv=folds, return_estimator=True)["estimator"]
    assert [fit.classes_.tolist() for fit in fits] == [["a", "bcd"]] + 2 * [["a", "bcd", "e"]]
    with pytest.warns(RuntimeWarning, match=r"Number of classes in training fold \(2\)"):
        proba = cross_val_predict(clf, X, y, cv=folds, method="predict_proba")
    (_, first), *_ = folds.split(X)
    np.testing.assert_array_equal(proba[first][:, :2], fits[0].predict_proba(X[first]))
    assert (proba[first][:, 2] == 0).all()

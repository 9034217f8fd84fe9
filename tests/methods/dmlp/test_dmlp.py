"""DMLPClassifier purifies the labels, then trains a network on them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from small_family import noisy_blobs

from sknoisy import CLIDMUClassifier, DMLPClassifier, LabelPurifier

X, Y, TRUSTED = noisy_blobs()
NAMES = np.array(["ant", "bee", "cat"])[Y]
SMALL = {"max_epochs": 3, "batch_size": 32, "module_params": {"hidden": (8,)}, "random_state": 0}


class Cleaner(BaseEstimator):
    """Returns the given labels, and records what it received."""

    def __init__(self, labels=None, drop=0, random_state=None, seen=None):
        self.labels, self.drop, self.random_state, self.seen = labels, drop, random_state, seen

    def fit_resample(self, X, y, clean_mask=None):
        self.X_, self.y_, self.clean_mask_ = X, y, clean_mask
        labels = y if self.labels is None else self.labels
        return X[self.drop :], labels[self.drop :]


class SoftCleaner(Cleaner):
    """Returns the most probable labels of a given distribution, which it keeps."""

    def fit_resample(self, X, y, clean_mask=None):
        self.classes_, self.label_distribution_ = np.unique(y), self.labels
        return X, self.classes_[self.labels.argmax(axis=1)]


def dmlp(**parameters):
    return DMLPClassifier(**{**SMALL, **parameters})


def plain(**parameters):
    return CLIDMUClassifier(weighting=None, n_ensemble=0, **{**SMALL, **parameters})


def test_it_is_plain_training_on_the_purified_labels():
    purified = NAMES[::-1].copy()
    purified[TRUSTED] = NAMES[TRUSTED]
    clf = dmlp(purifier=Cleaner(purified)).fit(X, NAMES, clean_mask=TRUSTED)
    assert_array_equal(clf.purified_labels_, purified)
    alone = plain().fit(X, purified, clean_mask=TRUSTED)
    assert_array_equal(clf.predict_proba(X), alone.predict_proba(X))
    assert_array_equal(clf.purifier_.y_, NAMES)
    assert_array_equal(clf.purifier_.clean_mask_, TRUSTED)


def test_the_distribution_is_the_mean_of_learned_labels_and_predictions():
    learned = np.where(TRUSTED, Y, Y[::-1])
    one_hot, soft = np.eye(3)[learned], np.full((len(Y), 3), 0.25)
    soft[np.arange(len(Y)), learned] = 0.5
    for labels, cleaner in ((one_hot, Cleaner(NAMES[::-1].copy())), (soft, SoftCleaner(soft))):
        clf = dmlp(purifier=cleaner).fit(X, NAMES, clean_mask=TRUSTED)
        expected = (labels + clf.predict_proba(X)) / 2
        expected[TRUSTED] = np.eye(3)[Y[TRUSTED]]
        assert_allclose(clf.label_distribution_, expected)
        assert_allclose(clf.clean_proba_, expected[np.arange(len(Y)), Y])


def test_the_default_purifier_repairs_labels_that_training_then_learns():
    X, y, trusted = noisy_blobs(300, rate=0.4)
    _, truth, _ = noisy_blobs(300, rate=0.0)
    clf = DMLPClassifier(max_epochs=20, random_state=0).fit(X, y, clean_mask=trusted)
    before, after = (np.mean(labels == truth) for labels in (y, clf.purified_labels_))
    assert before < 0.75
    assert after > 0.9
    assert clf.score(X, truth) > 0.9
    assert_array_equal(clf.purified_labels_[trusted], truth[trusted])
    # Where the network disagrees with the labels that it learned, the surer one is right.
    assert np.mean(clf.purifier_.purified_labels_ == clf.purified_labels_) > 0.99


def test_the_purifier_is_a_copy_that_follows_the_random_state():
    purifier = LabelPurifier(n_epochs=2)
    clfs = [dmlp(purifier=purifier, random_state=seed).fit(X, Y) for seed in (0, 0, 1)]
    assert not hasattr(purifier, "classes_")
    assert purifier.random_state is None
    first, same, other = (clf.purifier_.random_state for clf in clfs)
    assert first == same != other
    assert_array_equal(clfs[0].predict_proba(X), clfs[1].predict_proba(X))
    chosen = dmlp(purifier=Cleaner(random_state=7)).fit(X, Y)
    assert chosen.purifier_.random_state == 7


def test_rows_of_weight_zero_have_no_part_in_the_purification():
    weight = np.where(np.arange(len(X)) < 30, 0.0, 1.0)
    clf = dmlp(purifier=Cleaner(NAMES[30:][::-1].copy()))
    clf.fit(X, NAMES, clean_mask=TRUSTED, sample_weight=weight)
    assert_array_equal(clf.purifier_.X_, X[30:])
    assert_array_equal(clf.purifier_.clean_mask_, TRUSTED[30:])
    expected = np.where(TRUSTED[:30], NAMES[:30], clf.predict(X[:30]))
    assert_array_equal(clf.purified_labels_[:30], expected)
    expected = np.where(TRUSTED[30:], NAMES[30:], NAMES[30:][::-1])
    assert_array_equal(clf.purified_labels_[30:], expected)


def test_a_purifier_that_drops_rows_is_refused():
    with pytest.raises(ValueError, match=r"Cleaner returned 110 labels for 120 .*Purified"):
        dmlp(purifier=Cleaner(drop=10)).fit(X, Y)


class Naive(BaseEstimator):
    """Does not accept trusted rows."""

    def __init__(self, label=None):
        self.label = label

    def fit_resample(self, X, y):
        return X, np.full_like(y, self.label) if self.label else y[::-1]


def test_trusted_rows_keep_their_labels_whatever_the_purifier_says():
    clf = dmlp(purifier=Naive()).fit(X, NAMES, clean_mask=TRUSTED)
    assert_array_equal(clf.purified_labels_, np.where(TRUSTED, NAMES, NAMES[::-1]))


def test_a_purifier_of_labels_that_are_none_of_y_is_refused():
    with pytest.raises(ValueError, match=r"Naive returned the labels \['dog'\], .*'ant', 'bee'"):
        dmlp(purifier=Naive("dog")).fit(X, NAMES)

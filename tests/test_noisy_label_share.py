"""NoisyLabelClassifier: when the networks that voted have a say in predictions, too."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from small_family import noisy_blobs

from sknoisy import NoisyLabelClassifier
from sknoisy.classifiers import noisy_label
from sknoisy.classifiers._vote import networks_lead

X, Y, TRUSTED = noisy_blobs(60)
SIGN = (X[:, 0] > np.median(X[:, 0])).astype(np.int64)


class BySign(ClassifierMixin, BaseEstimator):
    """Predicts by the sign of the first column, and remembers how many rows it was given."""

    sizes: list[int] = []

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        BySign.sizes.append(len(y))
        return self

    def predict(self, X):
        return (X[:, 0] > np.median(X[:, 0])).astype(np.int64)


def says(labels):
    return np.eye(2)[labels]


def test_networks_lead_if_they_are_right_on_more_rows():
    BySign.sizes.clear()
    one_wrong = SIGN.copy()
    one_wrong[:12] = 1 - one_wrong[:12]
    assert networks_lead(X, SIGN, None, says(one_wrong), BySign(), 0)
    assert BySign.sizes == [30, 30]
    assert not networks_lead(X, SIGN, None, says(SIGN), BySign(), 0)


def test_rows_of_weight_zero_have_no_say():
    """The forest is wrong on these rows alone."""
    wrong = np.arange(60) < 20
    weights = np.where(wrong, 0.0, 1.0)
    forest = says(np.where(wrong, 1 - SIGN, SIGN))
    assert networks_lead(X, SIGN, None, forest, BySign(), 0)
    assert not networks_lead(X, SIGN, weights, forest, BySign(), 0)


def test_a_half_of_one_class_leaves_it_to_the_forest():
    codes = np.zeros(60, np.int64)
    codes[3] = 1  # in one half only
    assert not networks_lead(X, codes, None, says(1 - codes), BySign(), 0)


@pytest.mark.parametrize("lead", [True, False])
def test_the_share_of_the_networks(monkeypatch, lead):
    monkeypatch.setattr(noisy_label, "networks_lead", lambda *_: lead)
    clf = NoisyLabelClassifier(network_params={"max_epochs": 3}, random_state=0).fit(X, Y)
    forests = clf.estimator_.predict_proba(X)
    networks = sum(net.predict_proba(X) for net in clf.members_.values()) / 2
    share = 1 / 3 if lead else 0
    assert clf.choice_.network_share == share
    assert_allclose(clf.predict_proba(X), (1 - share) * forests + share * networks)


def test_an_estimator_of_the_users_predicts_alone(monkeypatch):
    monkeypatch.setattr(noisy_label, "networks_lead", lambda *_: True)
    forest = RandomForestClassifier(10)
    clf = NoisyLabelClassifier(
        estimator=forest, network_params={"max_epochs": 3}, random_state=0
    ).fit(X, Y)
    assert clf.choice_.network_share == 0
    assert_array_equal(clf.predict_proba(X), clf.estimator_.predict_proba(X))


def test_one_network_has_the_whole_say():
    clf = NoisyLabelClassifier(
        method="clid_mu", network_params={"max_epochs": 3}, random_state=0
    ).fit(X, Y)
    assert clf.choice_.network_share == 1

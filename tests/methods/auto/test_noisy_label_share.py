"""NoisyLabelClassifier: the weight of the networks in the predictions of a vote."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from small_family import noisy_blobs

from sknoisy import NoisyLabelClassifier
from sknoisy.methods.auto import classifier as noisy_label
from sknoisy.methods.auto.vote import lead_of_networks, share_of_networks

X, Y, TRUSTED = noisy_blobs(60)
MEDIAN = np.median(X[:, 0])
SIGN = (X[:, 0] > MEDIAN).astype(np.int64)


class BySign(ClassifierMixin, BaseEstimator):
    """Classifier by the sign of the first column; it records the sizes of its training sets."""

    sizes: list[int] = []

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        BySign.sizes.append(len(y))
        return self

    def predict(self, X):
        return (X[:, 0] > MEDIAN).astype(np.int64)


def says(labels):
    return np.eye(2)[labels]


def test_the_lead_is_counted_in_standard_errors():
    """Of 60 rows the forest is wrong on 12, the network on none; then on 21 and 3."""
    BySign.sizes.clear()
    some_wrong = SIGN.copy()
    some_wrong[:12] = 1 - some_wrong[:12]
    lead = lead_of_networks(X, SIGN, None, says(some_wrong), BySign(), 0)
    assert lead == pytest.approx(0.2 / np.sqrt(0.2 * 0.8 / 60))
    assert BySign.sizes == [30, 30]
    assert lead_of_networks(X, SIGN, None, says(SIGN), BySign(), 0) == -np.inf  # no row decides
    codes = SIGN.copy()
    codes[:3] = 1 - codes[:3]
    some_wrong[12:24] = 1 - some_wrong[12:24]
    lead = lead_of_networks(X, codes, None, says(some_wrong), BySign(), 0)
    mean = (21 - 3) / 60  # wins and losses
    assert lead == pytest.approx(mean / np.sqrt((24 / 60 - mean**2) / 60))


def test_rows_of_weight_zero_have_no_effect():
    """The forest is wrong on these rows alone."""
    wrong = np.arange(60) < 20
    weights = np.where(wrong, 0.0, 1.0)
    forest = says(np.where(wrong, 1 - SIGN, SIGN))
    assert lead_of_networks(X, SIGN, None, forest, BySign(), 0) > 0
    assert lead_of_networks(X, SIGN, weights, forest, BySign(), 0) == -np.inf


def test_a_half_of_one_class_leaves_it_to_the_forest():
    codes = np.zeros(60, np.int64)
    codes[3] = 1  # in one half only
    assert lead_of_networks(X, codes, None, says(1 - codes), BySign(), 0) == -np.inf


@pytest.mark.parametrize(
    ("lead", "share"), [(np.inf, 0.5), (2.1, 0.5), (1.9, 0.2), (-9.0, 0.2), (-np.inf, 0.2)]
)
def test_the_share_of_the_networks(quick_selection, monkeypatch, lead, share):
    assert share_of_networks(lead) == share
    monkeypatch.setattr(noisy_label, "lead_of_networks", lambda *_: lead)
    clf = NoisyLabelClassifier(network_params={"max_epochs": 3}, random_state=0).fit(X, Y)
    forests = clf.estimator_.predict_proba(X)
    networks = sum(net.predict_proba(X) for net in clf.members_.values()) / 2
    assert clf.choice_.network_share == share
    assert_allclose(clf.predict_proba(X), (1 - share) * forests + share * networks)


def test_an_estimator_of_the_users_predicts_alone(quick_selection, monkeypatch):
    monkeypatch.setattr(noisy_label, "lead_of_networks", lambda *_: 9.0)
    forest = RandomForestClassifier(10)
    clf = NoisyLabelClassifier(
        estimator=forest, network_params={"max_epochs": 3}, random_state=0
    ).fit(X, Y)
    assert clf.choice_.network_share == 0
    assert_array_equal(clf.predict_proba(X), clf.estimator_.predict_proba(X))


def test_one_network_has_the_whole_weight():
    clf = NoisyLabelClassifier(
        method="clid_mu", network_params={"max_epochs": 3}, random_state=0
    ).fit(X, Y)
    assert clf.choice_.network_share == 1

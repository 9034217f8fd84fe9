"""MLNT: the step size of the meta step follows the teacher's contradiction of the labels."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from skorch.callbacks import Callback
from small_family import noisy_blobs

from sknoisy import MLNTClassifier
from sknoisy.methods.mlnt import LabelTransfer, ToleranceGradient
from sknoisy.methods.mlnt import rate as _mlnt_rate
from sknoisy.methods.mlnt.rate import MetaRate, contradiction
from sknoisy.noise import symmetric

X, Y, _ = noisy_blobs()
pytestmark = pytest.mark.filterwarnings("ignore:The mentor believes hardly any label")


class Witness(Callback):
    """Keep what the callbacks of the net hold before each epoch."""

    def on_train_begin(self, net, **kwargs):
        self.teachers, self.rows, self.rates = [], [], []

    def on_epoch_begin(self, net, **kwargs):
        own = dict(net.callbacks_)
        self.teachers.append(copy.deepcopy(own["teacher"].teacher_))
        self.rates.append(own["rate"].rate_ if "rate" in own else own["meta"].meta_lr)
        if "rate" in own:
            self.rows.append(own["rate"].rows.numpy())


def watched(rows=X, labels=Y, sample_weight=None, **parameters):
    """A small fit, and its witness."""
    settings = {"max_epochs": 4, "batch_size": 32, "n_synthetic": 2}
    settings["transfer"] = LabelTransfer(n_pretrain_epochs=1)
    settings |= {"module_params": {"hidden": (8,), "dropout": 0.0}, "random_state": 0}
    witness = Witness()
    clf = MLNTClassifier(**{**settings, **parameters, "callbacks": [witness]})
    return clf.fit(rows, labels, sample_weight=sample_weight), witness


def test_contradiction_is_the_lead_of_the_largest_probability():
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.3, 0.3, 0.4]])
    logits, labels = torch.from_numpy(np.log(p)), np.array([0, 2, 1])
    found = contradiction(logits, torch.from_numpy(labels))
    assert found == pytest.approx((0 + 0.1 + 0.1) / 3)
    undecided = torch.zeros(3, 3)
    assert contradiction(undecided, torch.from_numpy(labels)) == 0
    certain = 50 * torch.eye(3)
    assert contradiction(certain, torch.tensor([1, 2, 0])) == pytest.approx(1)


@pytest.mark.parametrize(("joint", "bound"), [(False, 3.0), (True, 0.3)])
def test_step_size_of_each_epoch(joint, bound):
    clf, witness = watched(gradient=ToleranceGradient(joint=joint), lr=0.1)
    assert clf.meta_lr_ == pytest.approx(bound)
    with torch.no_grad():
        rows = clf._rows(X).take(torch.arange(len(X)))
        p = [softmax(teacher(rows).numpy(), axis=1) for teacher in witness.teachers]
    lead = [np.mean(q.max(axis=1) - q[np.arange(len(Y)), Y]) for q in p]
    expected = bound * np.minimum(1, np.array(lead) / 0.075)
    assert len(np.unique(expected)) > 1
    assert_allclose(witness.rates, expected, rtol=1e-5)
    assert_allclose(clf.history_[:, "meta_lr"], expected, rtol=1e-5)


def test_a_number_is_the_step_size_of_all_epochs():
    clf, witness = watched(meta_lr=1.5)
    assert_array_equal(witness.rates, np.full(4, 1.5))
    assert "meta_lr" not in clf.history_[-1]
    assert not any(isinstance(c, MetaRate) for _, c in clf.net_.callbacks_)


def test_the_rule_draws_nothing_else(monkeypatch):
    fixed, _ = watched(meta_lr=1.5)
    auto, _ = watched()
    assert auto.meta_lr_ == 1.5
    assert not np.array_equal(auto.predict_proba(X), fixed.predict_proba(X))
    monkeypatch.setattr(_mlnt_rate, "_FULL", 1e-9)  # the largest step from the first epoch on
    largest, witness = watched()
    assert_array_equal(witness.rates, np.full(4, 1.5))
    assert_array_equal(largest.predict_proba(X), fixed.predict_proba(X))


def test_right_labels_leave_the_network_alone_and_wrong_ones_hold_it_back():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 60)
    rows = 4 * np.eye(4)[labels] + rng.normal(size=(240, 4))
    wrong = symmetric(labels, 0.4, random_state=0).y
    last = {}
    for name, given in (("right", labels), ("wrong", wrong)):
        clf, witness = watched(rows, given, max_epochs=20)
        last[name] = witness.rates[-1] / clf.meta_lr_
    assert last["wrong"] == 1
    assert last["right"] < 0.3


def test_the_rows_of_the_mean():
    weights = np.where(np.arange(len(Y)) % 3 == 0, 0.0, 1.0)
    _, witness = watched(sample_weight=weights)
    assert_array_equal(np.sort(witness.rows[0]), np.flatnonzero(weights))
    many, labels = np.tile(X, (12, 1)), np.tile(Y, 12)
    clf, witness = watched(many, labels, max_epochs=1)
    assert len(many) > 1000
    assert len(np.unique(witness.rows[0])) == len(witness.rows[0]) == 1000
    assert dict(clf.net_.callbacks_)["rate"].rows is None


def test_rows_that_the_mentor_doubts_are_among_them():
    """The meta step, which draws the network to the mentor there, is for all rows."""
    clf, witness = watched(n_iterations=2)
    assert clf.n_iterations_ == 2
    assert not clf.kept_rows_.all()
    assert_array_equal(np.sort(witness.rows[-1]), np.arange(len(Y)))

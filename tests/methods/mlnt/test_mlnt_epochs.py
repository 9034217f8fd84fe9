"""MLNT: the epoch and the network that predict, and the trusted rows that choose them."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from small_mlnt import TRUSTED, Ramp, X, Y, fit, small

from sknoisy.methods.mlnt.epochs import validation_rows
from sknoisy.metrics import clid


def predictions(clf, name):
    """Classes that the student or the teacher predicts for the training rows."""
    callbacks = dict(clf.net_.callbacks_)
    module = {"student": clf.net_.module_, "teacher": callbacks["teacher"].teacher_}[name]
    with torch.no_grad():
        return module(clf._rows(X).take(torch.arange(len(X)))).argmax(dim=1).numpy()


@pytest.mark.parametrize("by", ["agreement", "clid"])
def test_epochs_are_chosen_without_clean_labels(by):
    settings = {"max_epochs": 8, "lr_schedule": "constant", "teacher_decay": 0.9}
    settings["callbacks"] = [Ramp(2.0)]
    clf = fit(epoch_selection=by, **settings)
    scores = np.array(clf.history_[:, by]) * (-1 if by == "clid" else 1)
    assert clf.best_epoch_ == 8 - np.argmax(scores[:1:-1])  # of equal ones the last; not the ramp
    if by == "agreement":
        now = np.mean(predictions(clf, "student") == predictions(clf, "teacher"))
    else:
        module = dict(clf.net_.callbacks_)["teacher"].teacher_
        clf._members.networks = [module]
        now = -clid(clf.features(X[:0:-1]), clf.predict_proba(X[:0:-1]))
    assert scores[-1] == pytest.approx(now, rel=0.01)
    shorter = fit(**{**settings, "max_epochs": clf.best_epoch_})
    found = fit(epoch_selection=by, **settings)
    assert_array_equal(found.predict_proba(X), shorter.predict_proba(X))


def test_trusted_rows_choose_epoch_and_network_and_do_not_train():
    clf = fit(TRUSTED, max_epochs=5)
    judges = clf.validation_rows_
    assert TRUSTED[judges].all()
    for label in range(3):
        of_class = label == Y
        assert (Y[judges] == label).sum() == min(
            np.ceil(0.1 * of_class.sum()), (of_class & TRUSTED).sum()
        )
    best = max(clf.history_[:, "trusted"])
    assert np.mean(clf.predict(X[judges]) == Y[judges]) == best
    weights = np.ones(len(Y))
    weights[judges] = 0
    held_out = fit(None, weights, max_epochs=clf.best_epoch_, lr_schedule="constant")
    again = fit(TRUSTED, max_epochs=5, lr_schedule="constant", epoch_selection="last")
    assert not hasattr(again, "validation_rows_")
    assert not np.array_equal(again.predict_proba(X), held_out.predict_proba(X))
    poisoned = Y.copy()
    poisoned[judges] = (poisoned[judges] + 1) % 3
    last = {"epoch_selection": "last", "max_epochs": 3}
    assert_array_equal(fit(None, weights, **last).predict_proba(X),
                       fit(None, weights, y=poisoned, **last).predict_proba(X))  # fmt: skip
    assert (clf.clean_proba_[TRUSTED] == 1).all()


def test_trusted_rows_of_a_class_are_not_all_held_out():
    keep = (Y != 2) | (np.cumsum(Y == 2) == 1)  # one row of class 2, which is trusted
    mask = np.ones(keep.sum(), dtype=bool)
    clf = small(max_epochs=4).fit(X[keep], Y[keep], clean_mask=mask)
    assert set(Y[keep][clf.validation_rows_]) == {0, 1}
    assert not hasattr(clf.fit(X, Y), "validation_rows_")


def test_trusted_selection_without_trusted_rows():
    with pytest.raises(ValueError, match=r"epoch_selection='trusted'.*pass clean_mask to fit"):
        fit(epoch_selection="trusted")


def test_rows_that_do_not_count_are_never_validation_rows():
    labels = np.repeat([0, 1], 20)
    counted = labels == 1
    counted[:2] = True  # of class 0 two rows count
    for seed in range(5):
        drawn = validation_rows(labels, np.ones(40, bool), counted, np.random.RandomState(seed))
        assert not (drawn & ~counted).any()
        assert drawn[:20].sum() == 1  # a tenth of two, rounded up, but not both
        assert drawn[20:].sum() == 2


def test_trusted_rows_of_weight_zero_do_not_choose_the_epoch():
    weights = np.where(TRUSTED, 0.0, 1.0)
    by_default = small().fit(X, Y, clean_mask=TRUSTED, sample_weight=weights)
    last = small(epoch_selection="last", predict_with="teacher")
    last.fit(X, Y, clean_mask=TRUSTED, sample_weight=weights)
    assert_array_equal(by_default.predict_proba(X), last.predict_proba(X))
    with pytest.raises(ValueError, match="none can be spared: trust rows of positive weight"):
        small(epoch_selection="trusted").fit(X, Y, clean_mask=TRUSTED, sample_weight=weights)

"""``warm_start``: another fit begins at the networks and the scaling of the last one."""

import numpy as np
import pytest
import torch
from estimators import QUICK, assert_same, has, over_estimators
from numpy.testing import assert_array_equal
from sklearn.base import clone
from torch import nn

from sknoisy import ELRClassifier, MILDClassifier
from sknoisy._engine.net import DeviceNet
from sknoisy.base import NetworkClassifier

STARTS_WARM = has("warm_start")
TINY = 1e-30  # a learning rate by which no float32 moves
PLAIN = NetworkClassifier(**QUICK["CDRClassifier"][""])


def states(classifier):
    return [net.module_.state_dict() for net in classifier.nets_]


def are_equal(first, second):
    return all(
        torch.equal(value, other[name])
        for one, other in zip(first, second, strict=True)
        for name, value in one.items()
    )


@over_estimators("warm_start_begins_at_the_weights_of_the_last_fit", STARTS_WARM)
def test_warm_start_begins_at_the_weights_of_the_last_fit(estimator, data):
    X, y = data(estimator)
    fitted = clone(estimator).fit(X, y)
    before = states(fitted)
    fitted.set_params(lr=TINY, warm_start=True).fit(X, y)
    assert are_equal(states(fitted), before)
    fitted.set_params(warm_start=False).fit(X, y)
    assert not are_equal(states(fitted), before)


def test_a_first_fit_with_warm_start_is_an_ordinary_one(blobs):
    warm = clone(PLAIN).set_params(warm_start=True).fit(*blobs)
    assert_same(clone(PLAIN).fit(*blobs), blobs[0], warm, blobs[0])


def test_a_warm_fit_trains_on(blobs):
    """On the same batches, of the same seed, the loss of the first epoch falls from fit to fit."""
    clf, losses = clone(PLAIN).set_params(warm_start=True, lr=0.02), []
    for _ in range(3):
        losses.append(clf.fit(*blobs).history_[0, "train_loss"])
        assert clf.n_iter_ == 3
    assert losses[2] < losses[1] < losses[0]
    assert clf.set_params(warm_start=False).fit(*blobs).history_[0, "train_loss"] == losses[0]


def test_the_scaling_of_x_is_kept(blobs):
    X, y = blobs
    clf = clone(PLAIN).fit(X, y)
    expected = clf.predict_proba(X)
    clf.set_params(warm_start=True, lr=TINY).fit(5 * X + 3, y)
    assert_array_equal(clf.predict_proba(X), expected)


def test_other_classes_and_columns_are_refused_and_the_fit_is_kept(blobs, monkeypatch):
    X, y = blobs
    clf = clone(PLAIN).set_params(warm_start=True).fit(X, y)
    expected = clf.predict_proba(X)
    monkeypatch.setattr(DeviceNet, "initialize", None)  # nothing may be trained
    with pytest.raises(ValueError, match=r"classes \[0, 1, 2\] of the last fit, but y has \[0, 1"):
        clf.fit(X, y % 2)
    with pytest.raises(ValueError, match="X has 5 features, but NetworkClassifier is expecting 6"):
        clf.fit(X[:, 1:], y)
    assert_array_equal(clf.predict_proba(X), expected)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"module_params": {"hidden": (9,)}},
            r"MLP: the shape of \S+weight was \(\d+, 6\), and is \(9, 6",
        ),
        (
            {"module": nn.Sequential(nn.Linear(6, 3)), "module_params": None},
            "Sequential: .*",
        ),
    ],
    ids=["width", "module"],
)
def test_a_network_of_another_size_is_refused_and_the_fit_is_kept(blobs, params, message):
    clf = clone(PLAIN).set_params(warm_start=True).fit(*blobs)
    expected = clf.predict_proba(blobs[0])
    clf.set_params(**params)
    with pytest.raises(ValueError, match=f"do not fit the new {message}"):
        clf.fit(*blobs)
    assert_array_equal(clf.predict_proba(blobs[0]), expected)


def test_a_selector_does_not_begin_if_the_network_does_not_fit(blobs, monkeypatch):
    clf = MILDClassifier(**QUICK["MILDClassifier"]["none"]).fit(*blobs)
    monkeypatch.setattr(DeviceNet, "initialize", None)  # nothing may be trained
    clf.set_params(warm_start=True, module_params={"hidden": (9,)})
    with pytest.raises(ValueError, match="do not fit the new MLP"):
        clf.fit(*blobs)


def test_input_that_is_refused_changes_nothing(blobs):
    """Neither the weights nor what is known of the columns."""
    X, y = blobs
    clf = clone(PLAIN).fit(X, y)
    expected = clf.predict_proba(X)
    for rows, labels in ((X[:, 1:], y[1:]), (np.zeros((121, 2, 2, 3)), y)):
        with pytest.raises(ValueError, match=r"inconsistent numbers|images of 2 x 2 pixels"):
            clf.fit(rows, labels)
        assert_array_equal(clf.predict_proba(X), expected)


def test_a_second_network_that_is_new_begins_anew(blobs):
    """With ELR+ after ELR, the first network begins at that of ELR."""
    clf = ELRClassifier(**QUICK["ELRClassifier"][""]).fit(*blobs)
    before = states(clf)[0]
    clf.set_params(plus=True, warm_start=True, lr=TINY).fit(*blobs)
    assert are_equal([before], states(clf)[:1])
    assert not are_equal([before], states(clf)[1:])


def test_a_killed_warm_fit_goes_on_if_its_start_is_there(blobs, tmp_path):
    X, y = blobs
    path, warm = tmp_path / "fit.pt", {"warm_start": True}
    first, second = (clone(PLAIN).fit(X, y) for _ in range(2))
    expected = first.set_params(**warm, checkpoint=path).fit(X, y)
    assert_same(expected, X, second.set_params(**warm, checkpoint=path).fit(X, y), X)
    with pytest.raises(ValueError, match=r"warm_start=\[MLP [0-9a-f]{16}\], now None"):
        clone(PLAIN).set_params(**warm, checkpoint=path).fit(X, y)


def test_a_pickled_warm_classifier_holds_no_further_network(blobs):
    fitted = clone(PLAIN).set_params(warm_start=True).fit(*blobs)
    keys = vars(fitted).keys()
    assert np.isfinite(fitted.fit(*blobs).predict_proba(blobs[0])).all()
    assert vars(fitted).keys() == keys
    assert fitted._start is None

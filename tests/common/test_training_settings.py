"""Settings of the training that cannot work are refused by name before anything is trained."""

import ast

import numpy as np
import pytest
from estimators import assert_same, has, over_estimators, quick_estimators
from sklearn.base import clone
from skorch.callbacks import (
    BatchScoring,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    Freezer,
    GradientNormClipping,
    PassthroughScoring,
)
from torch import nn

from sknoisy import NoisyLabelClassifier
from sknoisy._engine.net import DeviceNet
from sknoisy.learners.forest import Forest

TRAINED = has("callbacks", "optimizer_params")


def with_network(estimator, **parameters):
    """Set parameters of the networks of an estimator."""
    if isinstance(estimator, NoisyLabelClassifier):
        parameters = {"network_params": {**estimator.network_params, **parameters}}
    return clone(estimator).set_params(**parameters)


def is_trained(estimator):
    return TRAINED(estimator) or isinstance(estimator, NoisyLabelClassifier)


@pytest.fixture
def no_work(monkeypatch):
    """Nothing may be trained."""

    def fail(*args, **kwargs):
        raise AssertionError("something was trained")

    monkeypatch.setattr(DeviceNet, "initialize", fail)
    monkeypatch.setattr(Forest, "_grow", fail)


UNFIT = {
    "a text": (
        "x",
        TypeError,
        r"callbacks holds 'x', which is no skorch callback\. Pass instances",
    ),
    "a pair": (("x", 3), TypeError, r"callbacks holds \('x', 3\), which is no skorch callback"),
    "a score": (
        EpochScoring("accuracy"),
        ValueError,
        r"EpochScoring\('accuracy'\), .* validation",
    ),
    "a score in training": (
        EpochScoring("accuracy", on_train=True),
        ValueError,
        r"EpochScoring\('accuracy'\), but the net alone does not predict labels",
    ),
    "a score of batches": (BatchScoring("accuracy"), ValueError, "BatchScoring, which needs"),
    "a passed score": (PassthroughScoring("loss"), ValueError, "PassthroughScoring, which needs"),
    "early stopping": (
        EarlyStopping(),
        ValueError,
        r"EarlyStopping\(monitor='valid_loss'\).* can be monitored here is \[.*'train_loss'",
    ),
    "its class": (EarlyStopping, ValueError, r"EarlyStopping\(monitor='valid_loss'\)"),
    "with a name": (("stop", EarlyStopping("lose")), ValueError, r"EarlyStopping\(monitor='lose'"),
    "a checkpoint": (Checkpoint(), ValueError, r"Checkpoint\(monitor='valid_loss_best'\)"),
}


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(("callback", "error", "message"), UNFIT.values(), ids=UNFIT)
@over_estimators("callbacks", is_trained)
def test_callbacks_that_cannot_work_are_refused(estimator, data, callback, error, message):
    with pytest.raises(error, match=message) as caught:
        with_network(estimator, callbacks=[callback]).fit(*data(estimator))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"bogus": 1}, r"optimizer_params has \['bogus'\], which \w+ does not take; .*'lr'"),
        ({"param_groups": [("*", {"bogus": 1})]}, r"optimizer_params has \['bogus'\]"),
        ({"param_groups": 3}, "param_groups=3; pass a list of pairs"),
        ({"weight_decay": -1}, r"refuses optimizer_params=\{'weight_decay': -1\}: Invalid"),
        ({"param_groups": [("*", {"lr": -1})]}, r"refuses optimizer_params=\{'lr': -1\}: Inv"),
    ],
)
@over_estimators("optimizer_params", is_trained)
def test_optimizer_params_that_do_not_exist_are_refused(estimator, data, params, message):
    with pytest.raises(ValueError, match=message) as caught:
        with_network(estimator, optimizer_params=params).fit(*data(estimator))
    assert "\n" not in str(caught.value)


@over_estimators("patterns", TRAINED)
def test_a_pattern_that_matches_no_parameter_is_refused(estimator, data):
    params = {"param_groups": [("*", {"lr": 0.1}), ("nowhere.*", {"lr": 1.0})]}
    with pytest.raises(ValueError, match=r"pattern 'nowhere\.\*' .* matches no parameter"):
        clone(estimator).set_params(optimizer_params=params).fit(*data(estimator))


@over_estimators("frozen networks", has("module"))
def test_a_network_without_trainable_parameters_is_refused(estimator, data):
    X, y = data(estimator)
    frozen = nn.Sequential(nn.Flatten(), nn.Linear(X[0].size, len(np.unique(y))))
    clf = clone(estimator).set_params(module=frozen.requires_grad_(False), module_params=None)
    with pytest.raises(ValueError, match="No parameter of Sequential requires a gradient"):
        clf.fit(X, y)


@over_estimators("module_params", has("module"))
def test_module_params_that_the_module_does_not_take_are_refused(estimator, data):
    clf = clone(estimator).set_params(module_params={"bogus": 1})
    message = r"module_params=\{'bogus': 1\} do not fit \w+: .* It takes \['"
    with pytest.raises(TypeError, match=message):
        clf.fit(*data(estimator))


@over_estimators("monitored keys", TRAINED)
def test_what_is_said_to_be_monitored_is_recorded_in_every_epoch(estimator, data):
    """By a first list of keys in an error, on the way to which nothing is trained."""
    X, y = data(estimator)
    with pytest.raises(ValueError, match="can be monitored") as caught:
        clone(estimator).set_params(callbacks=[EarlyStopping("none")]).fit(X, y)
    keys = ast.literal_eval(str(caught.value).partition("here is ")[2].rstrip("."))
    able = [EarlyStopping(key, threshold=1e9, patience=99) for key in keys]
    fitted = clone(estimator).set_params(callbacks=[*able, GradientNormClipping(), Freezer("x")])
    history = fitted.fit(X, y).net_.history
    assert {"train_loss", "event_lr"} <= {*keys} == {*keys}.intersection(*history)


def score(net, X, y):
    return 0.5


def test_a_score_on_training_rows_can_be_monitored(blobs):
    scoring = EpochScoring(score, on_train=True, lower_is_better=False)
    callbacks = [scoring, EarlyStopping("score", patience=2, lower_is_better=False)]
    clf = quick_estimators()["MSLCClassifier"]
    clf = clone(clf).set_params(max_epochs=6, callbacks=callbacks).fit(*blobs)
    assert clf.history_[:, "score"] == [0.5] * 3


SIZES = ("batch_size", "meta_batch_size", "n_meta")


@over_estimators("sizes", lambda estimator: any(hasattr(estimator, size) for size in SIZES))
def test_sizes_above_the_number_of_rows_mean_all_rows(estimator, data):
    X, y = data(estimator)
    sizes = [size for size in SIZES if hasattr(estimator, size)]
    expected, *others = [
        clone(estimator).set_params(**dict.fromkeys(sizes, n)).fit(X, y)
        for n in (len(X), np.int64(len(X)), 2**70)
    ]
    for other in others:
        assert_same(other, X, expected, X)

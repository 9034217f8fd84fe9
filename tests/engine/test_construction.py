"""Every constructor parameter that all classifiers share has its documented effect.

`augment` and `standardize` are tested in test_preprocessing.py.
"""

import inspect
import math
import multiprocessing
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from sknoisy._engine import sizes
from sknoisy._engine.construction import warn_of_a_shared_gpu
from sknoisy.base import NetworkClassifier
from sknoisy.networks import MLP, PreActResNet, mlp_settings

LINEAR = nn.Linear(6, 3)


class Shift(Callback):
    """Move the weights after each epoch."""

    def on_epoch_end(self, net, **kwargs):
        with torch.no_grad():
            next(net.module_.parameters()).add_(0.1)


def noise(rows, generator):
    return rows + torch.randn(rows.shape, generator=generator)


# For each parameter, a value that differs from the one in the fixture `quick`.
OTHERS = {
    "module": LINEAR,
    "module_params": {"hidden": (17,)},
    "optimizer": "adam",
    "optimizer_params": {"nesterov": True},
    "lr": 0.06,
    "lr_schedule": "constant",
    "max_epochs": 5,
    "batch_size": 33,
    "augment": noise,
    "standardize": False,
    "precision": "bfloat16",
    "weight_average": 0.9,
    "n_ensemble": 1,
    "callbacks": [Shift()],
    "random_state": 12345,
}
# Device, verbose and checkpoint change no result.
TESTED_ELSEWHERE = {"device", "max_time", "verbose", "pretrained", "warm_start", "checkpoint"}


@pytest.mark.parametrize("name", OTHERS)
def test_parameter_changes_the_model(quick, blobs, name):
    X, y = blobs
    before, after = (quick(**kw).fit(X, y).predict_proba(X) for kw in ({}, {name: OTHERS[name]}))
    assert np.abs(before - after).max() > 1e-6


def test_no_shared_parameter_is_without_a_test():
    parameters = inspect.signature(NetworkClassifier).parameters
    assert parameters.keys() == OTHERS.keys() | TESTED_ELSEWHERE


# --- module, module_params ----------------------------------------------------------------------


def test_default_module_follows_the_kind_of_rows(quick, blobs, images):
    X, y = blobs
    mlp = quick(module_params=None, max_epochs=1).fit(X, y).net_.module_
    assert isinstance(mlp, MLP)
    assert mlp.fc.in_features == mlp_settings(len(X), 6, 3).hidden[-1]
    cnn = quick(module_params=None, max_epochs=1).fit(*images).net_.module_
    assert isinstance(cnn, PreActResNet)
    assert sum(p.numel() for p in cnn.parameters()) < 100_000  # depth="small"


@pytest.mark.parametrize("shape", [(8, 8, 1), (8, 8, 3), (4, 8, 8)])
def test_default_module_has_the_channels_of_the_images(quick, shape):
    X = np.random.default_rng(0).integers(0, 256, size=(20, *shape), dtype=np.uint8)
    cnn = quick(module_params=None, max_epochs=1).fit(X, np.arange(20) % 2).net_.module_
    first = next(layer for layer in cnn.modules() if isinstance(layer, nn.Conv2d))
    assert first.in_channels == min(shape)


def linear(n_features, n_classes, bias=True):
    return nn.Linear(n_features, n_classes, bias=bias)


class FirstColumns(nn.Linear):
    """A linear network on the first `n_features` columns."""

    def __init__(self, n_features, n_classes):
        super().__init__(n_features, n_classes)

    def forward(self, x):
        return super().forward(x[:, : self.in_features])


class TwoLayers(nn.Sequential):
    def __init__(self, n_features, width, n_classes):
        super().__init__(nn.Linear(n_features, width), nn.ReLU(), nn.Linear(width, n_classes))


@pytest.mark.parametrize(
    ("module", "params", "n_parameters"),
    [
        (linear, None, 6 * 3 + 3),
        (linear, {"bias": False}, 6 * 3),
        (partial(linear, bias=False), None, 6 * 3),
        (partial(linear, bias=False), {"bias": True}, 6 * 3 + 3),
        (partial(FirstColumns, n_features=2), None, 2 * 3 + 3),
        (partial(FirstColumns, 2), None, 2 * 3 + 3),
        (TwoLayers, {"width": 5}, 6 * 5 + 5 + 5 * 3 + 3),
        (MLP, {"hidden": ()}, 6 * 3 + 3),
        (nn.Linear, {"in_features": 6, "out_features": 3}, 6 * 3 + 3),
        (None, {"hidden": (5,)}, 6 * 5 + 5 + 5 * 3 + 3),
    ],
    ids=[
        "factory",
        "argument",
        "partial",
        "argument of partial",
        "bound name",
        "bound position",
        "class",
        "MLP",
        "no known names",
        "default",
    ],
)
def test_sizes_are_filled_in_where_the_signature_names_them(
    quick, blobs, module, params, n_parameters
):
    clf = quick(module=module, module_params=params, max_epochs=1).fit(*blobs)
    assert sum(p.numel() for p in clf.net_.module_.parameters()) == n_parameters


def test_module_params_override_the_sizes_that_are_filled_in(quick, blobs):
    """A network with too many outputs is refused because of its logits."""
    with pytest.raises(ValueError, match=r"shape \(2, 4\) for 2 rows and 3 classes"):
        quick(module=linear, module_params={"n_classes": 4}).fit(*blobs)


def test_a_network_may_start_at_the_log_of_the_priors(quick, blobs):
    """With zero weights these are its logits, although their exponentials sum to 1."""
    X, y = blobs
    module = nn.Linear(6, 3)
    nn.init.zeros_(module.weight)
    module.bias.data = torch.from_numpy(np.log(np.bincount(y) / len(y)))
    clf = quick(module=module, max_epochs=1, lr=1e-12, weighting=None).fit(X, y)
    np.testing.assert_allclose(clf.predict_proba(X[:1])[0], np.bincount(y) / len(y), atol=1e-6)


def test_an_instance_is_copied_and_training_starts_at_its_weights(quick, blobs):
    """Steps of 1e-12 do not change weights of order 1 in float32."""
    X, y = blobs
    module = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3), nn.Linear(3, 3)).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    clf = quick(module=module, lr=1e-12, n_ensemble=0).fit(X, y)
    for name, tensor in before.items():
        torch.testing.assert_close(module.state_dict()[name], tensor, rtol=0, atol=0)
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(clf.net_.module_.state_dict()[name], tensor)
    assert clf.module is module
    assert clf.net_.module_ is not module
    assert module.training
    assert all(p.grad is None for p in module.parameters())
    assert not any(m._forward_hooks for m in module.modules())


# --- optimizer, optimizer_params, lr, lr_schedule -----------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "params", "kind", "group"),
    [
        ("sgd", None, torch.optim.SGD, {"momentum": 0.9, "weight_decay": 5e-4}),
        ("sgd", {"momentum": 0, "weight_decay": 0.1}, torch.optim.SGD, {"momentum": 0}),
        ("sgd", {"weight_decay": 0.1}, torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
        ("adam", {"betas": (0.8, 0.9)}, torch.optim.Adam, {"betas": (0.8, 0.9)}),
        ("adamw", None, torch.optim.AdamW, {"weight_decay": 5e-4}),
        (torch.optim.SGD, None, torch.optim.SGD, {"momentum": 0, "weight_decay": 5e-4}),
        (torch.optim.RMSprop, {"alpha": 0.9}, torch.optim.RMSprop, {"alpha": 0.9}),
        (torch.optim.Rprop, None, torch.optim.Rprop, {}),  # takes no weight decay
        (partial(torch.optim.SGD, momentum=0.5), None, torch.optim.SGD, {"momentum": 0.5}),
    ],
)
def test_optimizer_and_its_arguments(quick, blobs, optimizer, params, kind, group):
    module = nn.Linear(6, 3)
    clf = quick(module=module, optimizer=optimizer, optimizer_params=params, lr=0.01, max_epochs=2)
    used = clf.set_params(lr_schedule="constant").fit(*blobs).net_.optimizer_
    assert type(used) is kind
    assert used.param_groups[0]["lr"] == 0.01
    assert {name: used.param_groups[0][name] for name in group} == group


def test_weight_decay_of_the_default_network_follows_its_rule(quick, blobs):
    X, y = blobs
    clf = quick(max_epochs=1).fit(X, y)
    rule = mlp_settings(len(X), 6, 3).weight_decay
    assert clf.net_.optimizer_.param_groups[0]["weight_decay"] == rule


def test_plain_training_is_sgd_with_momentum(quick, blobs):
    """Full batches of one linear layer against the recursion v = m v + g, w = w - lr v."""
    X, y = blobs
    module, lr, momentum, decay = nn.Linear(6, 3), 0.1, 0.9, 0.01
    clf = quick(
        module=module,
        optimizer_params={"momentum": momentum, "weight_decay": decay},
        lr=lr,
        lr_schedule="constant",
        max_epochs=3,
        batch_size=len(X),
        weighting=None,
        n_ensemble=0,
    ).fit(X, y)
    W = np.c_[module.weight.detach().double(), module.bias.detach().double()]
    rows, onehot, v = np.c_[X, np.ones(len(X))], np.eye(3)[y], 0
    for _ in range(3):
        p = np.exp(rows @ W.T)
        p /= p.sum(axis=1, keepdims=True)
        v = momentum * v + (p - onehot).T @ rows / len(X) + decay * W
        W = W - lr * v
    logits = rows @ W.T
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(clf.predict_proba(X), expected, atol=1e-6)


def rates(clf):
    return np.array(clf.history_[:, "event_lr"])


def test_cosine_schedule_ends_near_a_fiftieth(quick, blobs):
    """lr_t = lr / 50 + (lr - lr / 50) (1 + cos(pi t / T)) / 2 in epoch t = 0 ... T - 1."""
    clf = quick(lr=0.2, max_epochs=6, weighting=None).fit(*blobs)
    t = np.arange(6)
    expected = 0.2 / 50 + (0.2 - 0.2 / 50) * (1 + np.cos(math.pi * t / 6)) / 2
    np.testing.assert_allclose(rates(clf), expected)


@pytest.mark.parametrize("schedule", [partial(StepLR, step_size=2, gamma=0.1), None])
def test_schedule_from_a_function_of_the_optimizer(quick, blobs, schedule):
    schedule = schedule or (lambda optimizer: StepLR(optimizer, 2, 0.1))
    clf = quick(lr=0.2, lr_schedule=schedule, max_epochs=5, weighting=None).fit(*blobs)
    np.testing.assert_allclose(rates(clf), [0.2, 0.2, 0.02, 0.02, 0.002])


def test_schedule_by_plateau_of_the_training_loss(quick, blobs):
    """No epoch lowers the loss to a millionth, so each epoch after the first is a plateau."""
    schedule = partial(ReduceLROnPlateau, patience=0, factor=0.5, threshold=0.999999)
    clf = quick(lr=0.2, lr_schedule=schedule, max_epochs=4, weighting=None).fit(*blobs)
    np.testing.assert_allclose(rates(clf), [0.2, 0.2, 0.1, 0.05])


def test_constant_schedule(quick, blobs):
    class Rates(Callback):
        seen = []

        def on_batch_end(self, net, **kwargs):
            self.seen.append(net.optimizer_.param_groups[0]["lr"])

    quick(lr=0.2, lr_schedule="constant", callbacks=[Rates()], weighting=None).fit(*blobs)
    assert set(Rates.seen) == {0.2}


# --- max_epochs, batch_size ---------------------------------------------------------------------


def test_max_epochs(quick, blobs):
    clf = quick(max_epochs=3).fit(*blobs)
    assert clf.n_iter_ == len(clf.history_) == 3


def test_automatic_epochs_are_fewer_for_many_rows(blobs, monkeypatch):
    clf = NetworkClassifier(module_params={"hidden": (8,)}, random_state=0)
    assert clf.fit(*blobs).n_iter_ == clf.max_epochs_ == 60
    monkeypatch.setattr(sizes, "_TRAINED_ROWS", 12 * 121)
    assert clf.fit(*blobs).n_iter_ == clf.max_epochs_ == 12
    assert clf.set_params(max_epochs=14).fit(*blobs).n_iter_ == 14


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [(40, [40, 40, 41]), (50, [50, 50, 21]), (60, [60, 61]), (121, [121]), (1000, [121])],
)
def test_batches_cover_the_rows_and_a_single_left_over_row_joins(quick, blobs, batch_size, sizes):
    class Sizes(Callback):
        def on_train_begin(self, net, **kwargs):
            self.rows = []

        def on_batch_begin(self, net, batch=None, **kwargs):
            self.rows.append(batch.rows)

    seen = Sizes()
    quick(batch_size=batch_size, max_epochs=1, callbacks=[seen]).fit(*blobs)
    assert [len(rows) for rows in seen.rows] == sizes
    assert sorted(torch.cat(seen.rows).tolist()) == list(range(121))


# --- device, callbacks, verbose -----------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), "auto"])
def test_device(quick, blobs, device):
    """The device "auto" is the CPU if there is no GPU."""
    clf = quick(device=device, max_epochs=1).fit(*blobs)
    expected = "cuda" if device == "auto" and torch.cuda.is_available() else "cpu"
    assert {p.device.type for p in clf.net_.module_.parameters()} == {expected}


class Events(Callback):
    """Record the events of a fit."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.events = ["train begin"]

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        self.events.append(f"epoch {len(net.history)}")

    def on_batch_end(self, net, batch=None, training=None, loss=None, y_pred=None, **kwargs):
        assert training
        assert loss.ndim == 0
        assert y_pred.shape == (len(batch[1]), 3)
        self.events.append("batch")

    def on_grad_computed(self, net, named_parameters=None, **kwargs):
        assert all(parameter.grad is not None for _, parameter in named_parameters)
        self.events.append("gradient")

    def on_epoch_end(self, net, **kwargs):
        self.keys = set(net.history[-1])
        self.events.append("epoch end")

    def on_train_end(self, net, X=None, y=None, **kwargs):
        self.events.append("train end")


def test_callbacks_receive_every_event_after_those_of_the_method(quick, blobs):
    events = Events()
    given = [("events", events)]
    clf = quick(callbacks=given, max_epochs=2, batch_size=61).fit(*blobs)
    batches = ["gradient", "batch"] * 2
    assert events.events == [
        "train begin",
        *["epoch 1", *batches, "epoch end"],
        *["epoch 2", *batches, "epoch end"],
        "train end",
    ]
    assert events.keys >= {"train_loss", "clid", "meta_loss", "event_lr"}
    assert given == [("events", events)]
    assert dict(clf.net_.callbacks_)["events"] is events


def test_verbose_shows_progress_on_stderr(quick, blobs, capfd):
    quick(verbose=1).fit(*blobs)
    out, err = capfd.readouterr()
    assert out == ""
    last = err.split("\r")[-1]
    assert "CLIDMUClassifier: 100%" in last
    assert "4/4" in last
    assert all(f"{key}=" in last for key in ("train_loss", "meta_loss", "clid"))
    assert "CLIDMUClassifier: n_warmup_epochs=1, meta set: 64 rows" in err
    assert "CLIDMUClassifier: meta_lr=0.05 by sgd" in err


@pytest.mark.parametrize("verbose", [0, False])
def test_a_fit_is_silent_by_default(quick, blobs, capfd, verbose):
    quick(verbose=verbose).fit(*blobs)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("device", "n_gpus", "is_worker", "visible", "warns"),
    [
        ("cuda", 1, True, None, True),
        ("cuda", 1, True, "", True),
        ("cuda", 1, False, None, False),
        ("cuda", 1, True, "3", False),  # as a cluster does: a GPU of its own
        ("cuda", 2, True, None, False),
        ("cpu", 1, True, None, False),
    ],
)
def test_a_worker_is_warned_that_it_shares_the_gpu(
    monkeypatch, device, n_gpus, is_worker, visible, warns
):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: is_worker or None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_a_shared_gpu(torch.device(device))
    assert [("n_jobs > 1" in str(w.message)) for w in caught] == [True] * warns

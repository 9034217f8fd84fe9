"""``precision``: the network runs in bfloat16, all else in float32."""

import copy
import pickle
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from estimators import over_estimators
from skorch.callbacks import Callback
from torch import nn

from sknoisy import CLIDMUClassifier, FaMUSClassifier, MLNTClassifier
from sknoisy._engine.construction import resolve_precision
from sknoisy.base import NetworkClassifier
from sknoisy.callbacks import TeacherAverage
from sknoisy.meta import (
    ForwardGradient,
    LayerSampledGradient,
    MetaProblem,
    MetaStep,
    ReverseGradient,
    WNet,
)
from sknoisy.meta.functional import StatelessModule
from sknoisy.meta.objectives import CrossEntropyObjective
from sknoisy.methods.mlnt import ToleranceGradient
from sknoisy.networks import PreActResNet, WithFeatures
from sknoisy.networks.precision import logits_of, set_precision
from sknoisy.representation import MoCo, SimCLR

CPU = torch.device("cpu")
QUICK = {"max_epochs": 2, "batch_size": 32, "random_state": 0}


class Recorded(nn.Module):
    """A network that remembers the dtype of its layer's output in each pass."""

    seen: set = set()

    def __init__(self, n_features, n_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(n_features, 8), nn.BatchNorm1d(8), nn.ReLU())
        self.head = nn.Linear(8, n_classes)

    def forward(self, x):
        assert x.dtype == torch.float32
        logits = self.head(self.body(x))
        Recorded.seen.add(logits.dtype)
        return logits


class Dtypes(Callback):
    """Collect the dtypes of losses, logits, weights, statistics, gradients and meta models."""

    seen: set = set()

    def on_batch_end(self, net, y_pred=None, loss=None, **kwargs):
        meta = dict(net.callbacks_).get("meta")
        model = meta.meta_model_.parameters() if hasattr(meta, "meta_model_") else []
        state = [v for v in net.module_.state_dict().values() if v.is_floating_point()]
        gradients = [p.grad for p in net.module_.parameters() if p.grad is not None]
        Dtypes.seen |= {t.dtype for t in (y_pred, loss, *model, *state, *gradients)}


@over_estimators(
    "every_pass_of_the_network_is_in_bfloat16",
    lambda e: hasattr(e, "precision") and hasattr(e, "module"),
)
def test_every_pass_of_the_network_is_in_bfloat16(estimator, blobs):
    X, y = blobs
    estimator = copy.deepcopy(estimator).set_params(module=Recorded, module_params=None)
    estimator.set_params(precision="bfloat16", callbacks=[Dtypes()])
    if isinstance(estimator, MLNTClassifier):  # vmap does not autocast
        estimator.set_params(gradient=ToleranceGradient(batched=False))
    with without_trial_passes() as seen:
        Dtypes.seen = set()
        fit = estimator.fit if hasattr(estimator, "predict") else estimator.fit_resample
        fit(X, y)
        if hasattr(estimator, "predict"):
            estimator.predict(X)
            estimator.features(X)
    assert seen == {torch.bfloat16}
    assert Dtypes.seen == {torch.float32}
    assert estimator.precision_ == "bfloat16"


@contextmanager
def without_trial_passes():
    """Yield the dtypes seen outside the checks of a new module, which are in float32."""
    Recorded.seen = set()
    from sknoisy.base import _estimator as base

    of_base = {name: getattr(base, name) for name in ("placed", "check_logits")}

    def unseen(function):
        def call(*args):
            before = set(Recorded.seen)
            result = function(*args)
            Recorded.seen = before
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name, function in of_base.items():
            patch.setattr(base, name, unseen(function))
        seen = set()
        yield seen
        seen |= Recorded.seen


@pytest.mark.parametrize("Representation", [SimCLR, MoCo])
def test_representations_train_in_bfloat16_and_transform_in_float32(Representation, images):
    X, _ = images
    model, plain = (Representation(precision=p, **QUICK).fit(X) for p in ("bfloat16", "float32"))
    assert model.precision_ == "bfloat16"
    assert np.abs(model.transform(X) - plain.transform(X)).max() > 1e-6
    assert {p.dtype for p in model.encoder_.parameters()} == {torch.float32}
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(logits_of(model.encoder_, x), model.encoder_(x))


def test_auto_is_float32_on_a_cpu_and_for_tables(blobs, monkeypatch):
    assert NetworkClassifier(**QUICK).fit(*blobs).precision_ == "float32"
    monkeypatch.setattr("sknoisy._engine.construction._has_bfloat16", lambda device: True)
    cuda = torch.device("cuda")
    assert resolve_precision("auto", cuda, is_table=False) == "bfloat16"
    assert resolve_precision("auto", cuda, is_table=True) == "float32"


def test_a_device_without_bfloat16_is_named_with_the_cure(blobs, monkeypatch):
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda device: False)
    classifier = NetworkClassifier(precision="bfloat16", **QUICK)
    with pytest.raises(ValueError, match=r"bfloat16.*'cpu'.*precision=\"float32\""):
        classifier.fit(*blobs)
    assert resolve_precision("auto", CPU, is_table=False) == "float32"


def test_names_and_pickles_are_those_of_full_precision(images):
    X, y = images
    groups = {"param_groups": [("fc*", {"lr": 0.01})]}
    half, full = (
        FaMUSClassifier(precision=p, n_warmup_epochs=1, optimizer_params=groups, **QUICK).fit(X, y)
        for p in ("bfloat16", "float32")
    )
    assert half.layer_names_ == full.layer_names_
    assert [*half.net_.module_.state_dict()] == [*full.net_.module_.state_dict()]
    assert type(half.net_.module_) is PreActResNet
    again = pickle.loads(pickle.dumps(half))
    np.testing.assert_array_equal(again.predict_proba(X), half.predict_proba(X))
    copied = pickle.loads(pickle.dumps(half.net_.module_))
    x = torch.randn(2, 3, 8, 8)
    assert not torch.equal(logits_of(copied.eval(), x), copied(x))


def test_the_teacher_runs_in_the_precision_of_its_network(blobs):
    average = TeacherAverage(0.9)
    classifier = NetworkClassifier(
        module=Recorded, precision="bfloat16", callbacks=[("average", average)], **QUICK
    ).fit(*blobs)
    teacher = dict(classifier.net_.callbacks_)["average"].teacher_
    Recorded.seen = set()
    assert logits_of(teacher, torch.zeros(2, 6)).dtype == torch.float32
    assert Recorded.seen == {torch.bfloat16}


def image_problem(precision):
    """A virtual step of a small residual network in a precision."""
    torch.manual_seed(0)
    module = PreActResNet(3, 4, depth="small")
    set_precision(module, precision)
    x, meta_x = torch.randn(2, 32, 3, 16, 16).unbind()
    network = StatelessModule(WithFeatures(module))
    targets, meta_targets = torch.randint(4, (2, 32)).unbind()
    objective = CrossEntropyObjective()
    return MetaProblem(network, WNet(), objective, x, targets, meta_x, meta_targets, 0.05)


def gradient_of(strategy, precision) -> tuple[torch.Tensor, MetaStep]:
    with torch.random.fork_rng(devices=[]):
        problem = image_problem(precision)
        step = strategy(problem)
    return torch.cat([g.flatten() for g in step.gradients]), step


@pytest.mark.parametrize("Strategy", [ForwardGradient, ReverseGradient])
def test_meta_gradient_in_bfloat16_is_that_of_float32_within_rounding(Strategy):
    """A number in bfloat16 has a relative error of up to 2**-8, about 0.4 %."""
    exact, _ = gradient_of(Strategy(), "float32")
    rounded, step = gradient_of(Strategy(), "bfloat16")
    assert rounded.dtype == step.outputs.logits.dtype == step.outputs.features.dtype
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).norm() / exact.norm() < 10 * 2**-8


def test_layer_sampling_runs_in_bfloat16():
    step = gradient_of(LayerSampledGradient(), "bfloat16")[1]
    assert step.outputs.logits.dtype == torch.float32


def test_running_statistics_stay_in_float32_and_follow_the_batches(images):
    X, y = images
    half, full = (
        CLIDMUClassifier(precision=p, n_warmup_epochs=1, lr=1e-4, **QUICK).fit(X, y)
        for p in ("bfloat16", "float32")
    )
    for name, value in full.net_.module_.named_buffers():
        other = half.net_.module_.get_buffer(name)
        assert other.dtype == value.dtype
        np.testing.assert_allclose(other.numpy(), value.numpy(), rtol=0.02, atol=0.02)


@pytest.mark.gpu
def test_images_on_a_gpu_are_trained_in_bfloat16(images):
    X, y = images
    classifier = CLIDMUClassifier(device="cuda", n_warmup_epochs=1, **QUICK).fit(X, y)
    assert classifier.precision_ == "bfloat16"
    assert {p.dtype for p in classifier.net_.module_.parameters()} == {torch.float32}
    exact = CLIDMUClassifier(device="cuda", precision="float32", n_warmup_epochs=1, **QUICK).fit(
        X, y
    )
    difference = np.abs(classifier.predict_proba(X) - exact.predict_proba(X)).max()
    assert 0 < difference < 0.1

"""Modules that are fine-tuned: mixed precision, frozen bodies, rates by group, foreign draws."""

import random

import numpy as np
import pytest
import torch
from estimators import assert_same, fit, outputs, over_estimators
from numpy.testing import assert_array_equal
from side_effects import global_state
from sklearn.base import clone, is_classifier
from skorch.callbacks import Callback, Freezer, Unfreezer
from torch import nn

from sknoisy.base import NetworkEstimator
from sknoisy.exceptions import CollapseWarning

pytestmark = [
    pytest.mark.filterwarnings("ignore::sknoisy.exceptions.MixtureWarning"),
    pytest.mark.usefixtures("small_forests"),
]


def trains_a_network(estimator):
    return isinstance(estimator, NetworkEstimator)


def learns_a_meta_model(estimator):
    names = ("meta_lr", "n_warmup_epochs")
    has_model = getattr(estimator, "weighting", "") is not None
    return all(hasattr(estimator, name) for name in names) and has_model


def nets_of(fitted):
    return getattr(fitted, "nets_", None) or [fitted.net_]


def with_module(estimator, module, **params):
    return clone(estimator).set_params(module=module, module_params=None, **params)


class Net(nn.Module):
    """A body with batch norm and layer norm, and a head."""

    def __init__(self, n_features, n_classes):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Linear(n_features, 8), nn.BatchNorm1d(8), nn.ReLU()),
            *(nn.Linear(8, 8), nn.LayerNorm(8), nn.ReLU()),
        )
        self.head = nn.Linear(8, n_classes)

    def forward(self, x):
        return self.head(self.body(x))


class Autocast(Net):
    """The same in mixed precision, which the module turns on itself."""

    def forward(self, x):
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            return super().forward(x)


class DtypesOfSteps(Callback):
    """Collect the dtypes of what training hands out."""

    dtypes: set = set()

    def on_batch_end(self, net, y_pred=None, **kwargs):
        meta = dict(net.callbacks_).get("meta")
        model = meta.meta_model_.parameters() if hasattr(meta, "meta_model_") else []
        DtypesOfSteps.dtypes |= {y_pred.dtype, *(p.dtype for p in model)}


@over_estimators("a_module_with_autocast_trains", trains_a_network)
def test_a_module_with_autocast_trains(estimator, blobs):
    X, y = blobs
    DtypesOfSteps.dtypes = set()
    clf = with_module(estimator, Autocast, callbacks=[DtypesOfSteps()])
    if not is_classifier(clf):
        clf.fit_resample(X, y)
        assert DtypesOfSteps.dtypes <= {torch.float32}
        return
    clf.fit(X, y)
    assert DtypesOfSteps.dtypes == {torch.float32}
    assert all(np.isfinite(value).all() for value in outputs(clf, X).values())
    assert all(p.dtype == torch.float32 for p in nets_of(clf)[0].module_.parameters())


class Skips(Net):
    """Stochastic depth, drawn by Python and by numpy."""

    def forward(self, x):
        h = self.body(x)
        if self.training:
            # The user's own code draws from the global generators.
            h = h * (random.random() > 0.3) + h * np.random.random_sample()  # noqa: NPY002
        return self.head(h)


@over_estimators("draws_outside_torch_follow_random_state", trains_a_network)
def test_draws_outside_torch_follow_random_state(estimator, blobs):
    X, y = blobs
    fitted = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        before = global_state()
        fitted.append(fit(with_module(estimator, Skips), X, y))
        assert global_state() == before
    assert_same(fitted[0], X, fitted[1], X)


@over_estimators("a_frozen_body_stays", lambda e: trains_a_network(e) and is_classifier(e))
@pytest.mark.parametrize("thaw", [False, True])
def test_a_frozen_body_stays_until_it_is_unfrozen(estimator, thaw, blobs):
    X, y = blobs
    torch.manual_seed(0)
    module = Net(X.shape[1], len(np.unique(y)))
    callbacks = [("freeze", Freezer("body.*"))]
    callbacks += [("thaw", Unfreezer("body.*", at=2))] * thaw
    clf = with_module(estimator, module, callbacks=callbacks)
    for net in nets_of(clf.fit(X, y)):
        assert (net.module_.body[0].weight != module.body[0].weight).any() == thaw
        assert (net.module_.head.weight != module.head.weight).any()


@over_estimators("a_group_of_rate_0_stays", lambda e: trains_a_network(e) and is_classifier(e))
def test_a_group_of_rate_0_stays(estimator, blobs):
    X, y = blobs
    torch.manual_seed(0)
    module = Net(X.shape[1], len(np.unique(y)))
    groups = {"param_groups": [("body.*", {"lr": 0.0})]}
    clf = with_module(estimator, module, optimizer_params=groups, lr_schedule="constant")
    for net in nets_of(clf.fit(X, y)):
        assert_array_equal(net.module_.body[0].weight.detach(), module.body[0].weight.detach())
        assert (net.module_.head.weight != module.head.weight).any()


class Collapse(Callback):
    """Make the predictions of one epoch constant, after each of its steps."""

    @torch.no_grad()
    def on_batch_end(self, net, training=False, **kwargs):
        if training and len(net.history) == 3:
            for p in net.module_.parameters():
                p.zero_()


def rate_of(model):
    return getattr(model, "step_size", None) if model.lr is None else model.lr


class Rates(Callback):
    rates: list = []

    def on_epoch_begin(self, net, **kwargs):
        Rates.rates.append(rate_of(dict(net.callbacks_)["meta"].meta_model_))


@over_estimators("a_recovery_slows_the_meta_model", learns_a_meta_model)
def test_a_recovery_slows_the_meta_model(estimator, blobs):
    X, y = blobs
    Rates.rates = []
    callbacks = [("collapse", Collapse()), ("rates", Rates())]
    clf = clone(estimator).set_params(max_epochs=4, n_warmup_epochs=1, callbacks=callbacks)
    with pytest.warns(CollapseWarning, match="meta_lr continues at"):
        clf.fit(X, y)
    n_nets = len(nets_of(clf))
    before, after = Rates.rates[-2 * n_nets :][0], Rates.rates[-1]
    assert after == pytest.approx(before / 10)

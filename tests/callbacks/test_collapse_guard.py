"""CollapseGuard: detection of a collapse, recovery, and cases in which it must not act."""

import copy
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from small_nets import (
    At,
    fit_device_net,
    fit_stock_net,
    make_module,
    make_xy,
    state,
    training_data,
    update,
)
from torch import nn
from torch.testing import assert_close

from sknoisy.callbacks import CheckpointEnsemble, CollapseGuard
from sknoisy.exceptions import CollapseWarning

NETS = pytest.mark.parametrize("fit", [fit_stock_net, fit_device_net])


@torch.no_grad()
def forget(net):
    """Make the predictions constant."""
    net.module_[-1].weight.zero_()


@torch.no_grad()
def lose_a_class(net):
    net.module_[-1].bias[1] -= 100


@torch.no_grad()
def fade(net):
    """Make the predictions more alike."""
    net.module_[-1].weight *= 0.5


@NETS
@pytest.mark.parametrize(
    ("sabotage", "message"),
    [
        (forget, "Epoch 6: the predictions became nearly constant"),
        (lose_a_class, "Epoch 6: 1 of 3 classes are hardly predicted any more"),
    ],
)
def test_guard_sets_a_collapsed_network_back(fit, sabotage, message):
    states, momenta, rates = [], [], []
    meta, guard = update(meta_lr=0.1), CollapseGuard(n_reference_epochs=3)

    def look(net):
        states.append([state(net.module_), state(meta.meta_model_)])
        momenta.append(len(net.optimizer_.state))
        rates.append(meta.meta_model_.lr)

    with pytest.warns(CollapseWarning, match=f"{message}.*last good epoch, 5.*meta_lr.*0.01"):
        fit(meta, At(sabotage, 6), guard, At(look), max_epochs=8, lr=0.3)
    assert guard.n_recoveries_ == 1
    assert_close(states[5], states[4], rtol=0, atol=0)
    assert_allclose(rates, [0.1] * 5 + [0.01] * 3)
    assert momenta[4] > momenta[5] == 0
    assert not torch.equal(states[7][0]["2.weight"], states[5][0]["2.weight"])  # training goes on


def test_guard_counts_every_recovery():
    meta, guard = update(meta_lr=0.1), CollapseGuard(2)
    rates = []
    rate = At(lambda net: rates.append(meta.meta_model_.lr), 6)
    with pytest.warns(CollapseWarning):
        fit_device_net(meta, At(forget, 4, 5), guard, rate, max_epochs=6)
    assert guard.n_recoveries_ == 2
    assert_allclose(rates, [0.001])


@pytest.mark.parametrize(("again", "epoch", "what"), [(7, 2, "reference"), (8, 7, "last good")])
def test_guard_returns_to_the_reference_after_a_second_collapse_soon_after(again, epoch, what):
    """Soon means within ``n_reference_epochs``, here two epochs."""
    states = []
    meta, guard = update(meta_lr=0.1), CollapseGuard(2)
    look = At(
        lambda net: states.append(copy.deepcopy([state(net.module_), state(meta.meta_model_)]))
    )
    with pytest.warns(CollapseWarning) as caught:
        fit_device_net(meta, At(forget, 5, again), guard, look, max_epochs=again, lr=0.3)
    assert_close(states[4], states[3], rtol=0, atol=0)
    assert_close(states[again - 1], states[epoch - 1], rtol=0, atol=0)
    assert not torch.equal(states[1][0]["2.weight"], states[again - 2][0]["2.weight"])
    messages = [str(warning.message) for warning in caught]
    assert "set back to the last good epoch, 4 (" in messages[0]
    assert f"set back to the {what} epoch, {epoch} (" in messages[1]


def test_guard_names_the_epoch_whose_state_it_takes():
    with pytest.warns(CollapseWarning, match="set back to the last good epoch, 1 "):
        fit_device_net(update(), At(forget, 2), CollapseGuard(0), max_epochs=2)


def test_guard_works_without_a_meta_update():
    guard = CollapseGuard(1)
    with pytest.warns(CollapseWarning, match="lower lr to avoid this"):
        net = fit_device_net(At(forget, 2), guard, max_epochs=2)
    assert guard.n_recoveries_ == 1
    assert net.module_[-1].weight.abs().max() > 0.01


def test_the_ensemble_skips_an_epoch_after_which_the_net_was_set_back():
    guard, ensemble = CollapseGuard(2), CheckpointEnsemble("train_loss", n_members=9)
    with pytest.warns(CollapseWarning):
        net = fit_device_net(At(forget, 4), guard, ensemble, max_epochs=6)
    assert net.history[:, "set_back"] == [False, False, False, True, False, False]
    assert sorted(epoch for _, epoch, _ in ensemble.members_) == [1, 2, 3, 5, 6]


def test_guard_ignores_the_loss_of_a_class_without_weight():
    data = training_data()
    data.sample_weight = (data.targets != 1).double()
    data.sample_weight /= data.sample_weight.mean()
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        fit_device_net(At(lose_a_class, 3), CollapseGuard(2), data=data, max_epochs=3)
    with pytest.warns(CollapseWarning, match="1 of 3 classes"):
        fit_device_net(At(lose_a_class, 3), CollapseGuard(2), max_epochs=3)


def test_guard_does_not_set_an_undecided_network_back():
    """A class that is the second most probable everywhere is never predicted, but not lost."""

    @torch.no_grad()
    def put_a_class_second(net):
        net.module_[-1].weight *= 0.02
        net.module_[-1].bias.copy_(torch.tensor([-0.2, 0.0, 0.0]))

    guard = CollapseGuard(2, tolerance=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        net = fit_device_net(At(put_a_class_second, 3), guard, max_epochs=3, lr=1e-9)
    X, _ = make_xy()
    assert (net.module_(torch.from_numpy(X)).argmax(dim=1) != 0).all()


@pytest.mark.parametrize(
    ("sabotage", "epoch", "params"),
    [
        (forget, 2, {"n_reference_epochs": 3}),  # the guard ignores the warm-up
        (fade, 4, {"n_reference_epochs": 3, "tolerance": 0.05}),
        (forget, 99, {"n_reference_epochs": 1}),
    ],
)
def test_guard_does_not_interfere(sabotage, epoch, params):
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        guard = CollapseGuard(**params)
        net = fit_device_net(At(sabotage, epoch), guard, max_epochs=5)
    assert guard.n_recoveries_ == 0
    without = fit_device_net(At(sabotage, epoch), max_epochs=5)
    assert_close(state(net.module_), state(without.module_), rtol=0, atol=0)


def test_guard_ignores_the_loss_of_a_class_that_was_rare_from_the_start():
    @torch.no_grad()
    def nearly_lose_a_class(net):
        net.module_[-1].bias[1] -= 4

    rare, guard = At(nearly_lose_a_class, 1), CollapseGuard(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        fit_device_net(rare, At(lose_a_class, 3), guard, max_epochs=3, lr=1e-3)
    assert guard.n_recoveries_ == 0


def test_tolerance_of_the_guard():
    guard = CollapseGuard(3, tolerance=0.9)
    with pytest.warns(CollapseWarning, match="Epoch 4"):
        fit_device_net(At(fade, 4), guard, max_epochs=4)


def test_guard_watches_the_given_rows():
    X, seen = make_xy()[0], []

    class Watched(nn.Sequential):
        def forward(self, x):
            if not self.training:
                seen.append(x)
            return super().forward(x)

    fit_device_net(CollapseGuard(1, rows=[3, 5, 8]), module=Watched(*make_module()), max_epochs=1)
    assert any(x.shape == (3, 4) and np.array_equal(x, X[[3, 5, 8]]) for x in seen)
    drawn = []
    for random_state in (0, 0, 1):
        seen.clear()
        guard = CollapseGuard(1, rows=6, random_state=random_state)
        fit_device_net(guard, module=Watched(*make_module()), max_epochs=1)
        drawn.append(next(x for x in seen if len(x) == 6))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("n", [7, 13, 14])
def test_guard_ignores_a_network_without_information_from_the_start(n):
    # In floating point, H(mean p) - mean H(p) of equal rows is 0 or slightly negative.
    module = make_module()
    nn.init.zeros_(module[-1].weight)
    guard = CollapseGuard(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        fit_device_net(guard, module=module, data=training_data(n), max_epochs=3, lr=1e-30)
    assert guard.n_recoveries_ == 0

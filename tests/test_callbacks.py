"""Callbacks beside the meta update, their criterion, and the net's own checks."""

import copy
import math
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from skorch.callbacks import Callback
from small_nets import (
    N_CLASSES,
    At,
    AtBatch,
    N,
    fit_device_net,
    fit_stock_net,
    make_module,
    make_xy,
    small_wnet,
    state,
    training_data,
    update,
)
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from sknoisy.callbacks import (
    CheckpointEnsemble,
    CLIDScore,
    CollapseGuard,
    EpochProgress,
    PerSampleCrossEntropy,
)
from sknoisy.data import TensorRows, TrainingData
from sknoisy.exceptions import CollapseWarning, NonFiniteLossError
from sknoisy.metrics import clid
from sknoisy.networks import WithFeatures

NETS = pytest.mark.parametrize("fit", [fit_stock_net, fit_device_net])

# PerSampleCrossEntropy


def test_criterion_is_the_mean_cross_entropy_times_the_rows_weights():
    X, y = (torch.from_numpy(a) for a in make_xy())
    logits, criterion = make_module()(X), PerSampleCrossEntropy()
    losses = F.cross_entropy(logits, y, reduction="none")
    assert_close(criterion(logits, y), losses.mean())
    criterion.sample_weight = weight = torch.linspace(0, 2, N).double()
    assert_close(criterion(logits, y), (losses * weight).mean())


def test_criterion_is_guided_until_it_is_released():
    X, y = (torch.from_numpy(a) for a in make_xy())
    logits, criterion = make_module()(X), PerSampleCrossEntropy()
    criterion.sample_weight = torch.zeros(N).double()  # the guidance holds it already
    guidance = torch.linspace(0, 1, N).double()
    criterion.guide(small_wnet(), guidance)
    assert list(criterion.parameters()) == []  # the meta model is not the optimiser's
    losses = F.cross_entropy(logits, y, reduction="none")
    assert_close(criterion(logits, y), (guidance * losses).sum())
    criterion.release()
    assert_close(criterion(logits, y), losses.mean())


# CLIDScore


def outputs(module, X):
    with torch.no_grad():
        return [t.numpy() for t in WithFeatures(module.eval())(torch.from_numpy(X))]


@NETS
@pytest.mark.parametrize("temperature", [0.5, 0.2])
def test_clid_score_is_the_metric_of_the_network_in_eval_mode(fit, temperature):
    values, modes = [], []
    rows = [1, 2, 5, 7, 11]

    def score(net):
        values.append(clid(*outputs(copy.deepcopy(net.module_), make_xy()[0][rows]), temperature))
        net.module_.train(len(net.history) == 1)

    module = make_module(nn.BatchNorm1d(6), nn.Dropout(0.5))
    callback = CLIDScore(rows, temperature=temperature)
    look = At(lambda net: modes.append(net.module_.training))
    net = fit(At(score), callback, look, module=module)
    assert_allclose(net.history[:, "clid"], values)
    assert values[0] != values[1]
    assert modes == [True, False]  # as it was


def test_clid_score_is_taken_without_augmentation():
    data = training_data(augment=lambda X, g: X + 100, generator=torch.Generator())
    net = fit_device_net(CLIDScore(N), data=data)
    expected = clid(*outputs(net.module_, make_xy()[0]))
    assert net.history[-1, "clid"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("n", "sizes"), [(16, [8, 8]), (20, [8, 8, 4]), (19, [8, 8]), (5, [5]), (3, [3])]
)
def test_clid_score_is_a_mean_over_batches_without_a_small_tail(n, sizes):
    # CLID of k equal rows is log k, up to the constant 1e-7 in its logarithm.
    X, y = torch.ones(n, 4).double(), torch.zeros(n, dtype=torch.int64)
    net = fit_device_net(CLIDScore(batch_size=8), data=TrainingData(TensorRows(X), y))
    expected = sum(k * math.log(k) for k in sizes) / sum(sizes)
    assert net.history[-1, "clid"] == pytest.approx(expected, abs=1e-5)


def test_clid_score_draws_its_rows_once_per_training():
    scores = []
    for random_state in (0, 0, 1):
        module = make_module().requires_grad_(False)  # nothing is learned
        module[0].bias.requires_grad_()
        callback = CLIDScore(5, random_state=random_state)
        net = fit_device_net(callback, module=module, lr=1e-30)
        scores.append(net.history[:, "clid"])
        assert scores[-1][0] == scores[-1][1]
    assert scores[0] == scores[1] != scores[2]


# CheckpointEnsemble


class Record(Callback):
    """Record the given values in the history, epoch by epoch; None records nothing."""

    def __init__(self, values):
        self.values = values

    def on_epoch_end(self, net, **kwargs):
        value = self.values[len(net.history) - 1]
        if value is not None:
            net.history.record("value", value)


def members(values, n_members, n_skip_epochs=0):
    """Values and epochs that an ensemble keeps; each must hold the state of its epoch."""
    states = []
    ensemble = CheckpointEnsemble("value", n_members, n_skip_epochs=n_skip_epochs)
    look = At(lambda net: states.append(state(net.module_)))
    fit_device_net(Record(values), look, ensemble, max_epochs=len(values))
    for _, epoch, kept in ensemble.members_:
        assert_close(dict(kept), dict(states[epoch - 1]), rtol=0, atol=0)
    return [(value, epoch) for value, epoch, _ in ensemble.members_]


def test_ensemble_keeps_the_lowest_values_the_best_first():
    values = [3.0, 1.0, 2.0, 0.5, 5.0, 1.5]
    assert members(values, 1) == [(0.5, 4)]
    assert members(values, 3) == [(0.5, 4), (1.0, 2), (1.5, 6)]
    assert members(values, 9) == sorted(zip(values, range(1, 7), strict=True))


def test_ensemble_skips_the_first_epochs():
    assert members([0.1, 0.2, 2.0, 1.0], 2, n_skip_epochs=2) == [(1.0, 4), (2.0, 3)]


def test_ensemble_passes_over_epochs_without_a_value():
    nan = float("nan")
    assert members([None, 2.0, nan, 1.0, None], 3) == [(1.0, 4), (2.0, 2)]
    assert members([None, nan], 3) == []


def test_ensemble_prefers_the_earlier_of_equal_epochs():
    assert members([1.0, 1.0, 1.0], 2) == [(1.0, 1), (1.0, 2)]


def test_ensemble_begins_anew_with_each_training():
    ensemble = CheckpointEnsemble("train_loss", 2)
    fit_device_net(ensemble, max_epochs=2)
    net = fit_device_net(ensemble, max_epochs=1)
    assert [(value, epoch) for value, epoch, _ in ensemble.members_] == [
        (net.history[0, "train_loss"], 1)
    ]


# CollapseGuard


@torch.no_grad()
def forget(net):
    """Constant predictions."""
    net.module_[-1].weight.zero_()


@torch.no_grad()
def lose_a_class(net):
    net.module_[-1].bias[1] -= 100


@torch.no_grad()
def fade(net):
    """Predictions nearly all alike."""
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
        rates.append(meta.meta_optimizer_.param_groups[0]["lr"])

    with pytest.warns(CollapseWarning, match=f"{message}.*last good epoch.*meta_lr.*0.01"):
        fit(meta, At(sabotage, 6), guard, At(look), max_epochs=8, lr=0.3)
    assert guard.n_recoveries_ == 1
    assert_close(states[5], states[4], rtol=0, atol=0)
    assert_allclose(rates, [0.1] * 5 + [0.01] * 3)
    assert momenta[4] > momenta[5] == 0
    assert not torch.equal(states[7][0]["2.weight"], states[5][0]["2.weight"])  # it goes on


def test_guard_counts_every_recovery():
    meta, guard = update(meta_lr=0.1), CollapseGuard(2)
    rates = []
    rate = At(lambda net: rates.append(meta.meta_optimizer_.param_groups[0]["lr"]), 6)
    with pytest.warns(CollapseWarning):
        fit_device_net(meta, At(forget, 4, 5), guard, rate, max_epochs=6)
    assert guard.n_recoveries_ == 2
    assert_allclose(rates, [0.001])


def test_guard_goes_back_to_the_reference_epoch_when_the_last_good_one_did_not_hold():
    states = []
    meta, guard = update(meta_lr=0.1), CollapseGuard(2)
    look = At(
        lambda net: states.append(copy.deepcopy([state(net.module_), state(meta.meta_model_)]))
    )
    with pytest.warns(CollapseWarning) as caught:
        fit_device_net(meta, At(forget, 5, 7), guard, look, max_epochs=7, lr=0.3)
    assert_close(states[4], states[3], rtol=0, atol=0)
    assert_close(states[6], states[1], rtol=0, atol=0)
    assert not torch.equal(states[1][0]["2.weight"], states[5][0]["2.weight"])
    told = [str(warning.message) for warning in caught]
    assert ["last good epoch" in told[0], "set back to epoch 2" in told[1]] == [True, True]


def test_guard_works_without_a_meta_update():
    guard = CollapseGuard(1)
    with pytest.warns(CollapseWarning, match="lower lr to avoid this"):
        net = fit_device_net(At(forget, 2), guard, max_epochs=2)
    assert guard.n_recoveries_ == 1
    assert net.module_[-1].weight.abs().max() > 0.01


def test_the_ensemble_passes_over_an_epoch_that_was_thrown_away():
    guard, ensemble = CollapseGuard(2), CheckpointEnsemble("train_loss", n_members=9)
    with pytest.warns(CollapseWarning):
        net = fit_device_net(At(forget, 4), guard, ensemble, max_epochs=6)
    assert net.history[:, "set_back"] == [False, False, False, True, False, False]
    assert sorted(epoch for _, epoch, _ in ensemble.members_) == [1, 2, 3, 5, 6]


def test_guard_lets_a_class_go_that_the_user_gives_no_weight():
    data = training_data()
    data.sample_weight = (data.targets != 1).double()
    data.sample_weight /= data.sample_weight.mean()
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        fit_device_net(At(lose_a_class, 3), CollapseGuard(2), data=data, max_epochs=3)
    with pytest.warns(CollapseWarning, match="1 of 3 classes"):
        fit_device_net(At(lose_a_class, 3), CollapseGuard(2), max_epochs=3)


def test_guard_lets_an_undecided_network_go_on():
    """A class that is second everywhere is not predicted, but it is not lost."""

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
        (forget, 2, {"n_reference_epochs": 3}),  # the warm-up is nobody's business
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


def test_guard_lets_a_class_go_that_was_rare_from_the_start():
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


def test_guard_watches_the_rows_it_is_given():
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
def test_a_network_without_information_from_the_start_has_nothing_to_lose(n):
    # In floating point H(mean p) - mean H(p) of equal rows is 0 or a little less.
    module = make_module()
    nn.init.zeros_(module[-1].weight)
    guard = CollapseGuard(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        fit_device_net(guard, module=module, data=training_data(n), max_epochs=3, lr=1e-30)
    assert guard.n_recoveries_ == 0


# EpochProgress


def test_progress_counts_epochs_and_shows_what_was_recorded(capsys):
    fit_device_net(update(), CLIDScore(), EpochProgress("digits"), max_epochs=3)
    shown = capsys.readouterr().err.splitlines()[-1]
    for part in ("digits: 100%", "3/3", "train_loss=", "meta_loss=", "clid="):
        assert part in shown


# DeviceNet


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_training_with_the_last_finite_state(value):
    states = []

    @torch.no_grad()
    def spoil(net):
        net.module_[-1].bias[0] = value

    message = r"epoch 3, batch 2, at learning rate 0\.1\."
    with pytest.raises(NonFiniteLossError, match=message) as error:
        fit_device_net(
            At(lambda net: states.append(state(net.module_))),
            AtBatch(spoil, epoch=3, batch=2),
            max_epochs=4,
        )
    assert len(states) == 2
    assert_close(dict(error.value.last_finite_state), dict(states[1]), rtol=0, atol=0)


def test_loss_of_an_epoch_is_the_mean_over_its_rows():
    net = fit_device_net(max_epochs=1, lr=1e-30)
    X, y = (torch.from_numpy(a) for a in make_xy())
    assert net.history[0, "train_loss"] == pytest.approx(
        F.cross_entropy(make_module()(X), y).item()
    )


def test_logits_are_shared_for_one_batch():
    net = fit_device_net(max_epochs=1)
    x, logits = torch.zeros(2, 4).double(), torch.ones(2, N_CLASSES)
    net.share_logits(logits)
    assert net.infer(x) is logits
    assert_close(net.infer(x), net.module_(x))

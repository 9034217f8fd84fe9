"""PerSampleCrossEntropy, CLIDScore, CheckpointEnsemble, EpochProgress, and checks of the net."""

import copy
import math

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

from sknoisy._engine.batches import Batch, TrainingData
from sknoisy._engine.rows import TensorRows
from sknoisy.callbacks import (
    CheckpointEnsemble,
    CLIDScore,
    CollapseGuard,
    EpochProgress,
    PerSampleCrossEntropy,
    PseudoCleanRows,
)
from sknoisy.exceptions import NonFiniteLossError
from sknoisy.metrics import clid
from sknoisy.networks import WithFeatures

NETS = pytest.mark.parametrize("fit", [fit_stock_net, fit_device_net])

# PerSampleCrossEntropy


def test_criterion_is_the_mean_cross_entropy_times_the_rows_weights():
    X, y = (torch.from_numpy(a) for a in make_xy())
    logits, criterion = make_module()(X), PerSampleCrossEntropy()
    losses = F.cross_entropy(logits, y, reduction="none")
    assert_close(criterion(logits, y), losses.mean())
    weight = torch.linspace(0, 2, N).double()
    criterion.batch = Batch(X, y, torch.arange(N), weight)
    assert_close(criterion(logits, y), (losses * weight).mean())


def test_criterion_is_guided_until_it_is_released():
    X, y = (torch.from_numpy(a) for a in make_xy())
    logits, criterion = make_module()(X), PerSampleCrossEntropy()
    zeros = torch.zeros(N).double()  # the guidance holds them already
    criterion.batch = Batch(X, y, torch.arange(N), zeros)
    guidance = torch.linspace(0, 1, N).double()
    criterion.guide(small_wnet(), guidance)
    assert list(criterion.parameters()) == []  # the net's optimiser must not see the meta model
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
    assert modes == [True, False]  # the mode is restored


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


def test_ensemble_skips_epochs_without_a_value():
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


# The order of callbacks


@NETS
@pytest.mark.parametrize("reader", [CheckpointEnsemble("clid", 2), CheckpointEnsemble("set_back")])
def test_a_callback_that_reads_the_history_too_early_is_refused(fit, reader):
    recorder = CLIDScore(10) if reader.monitor == "clid" else CollapseGuard(1)
    fit(recorder, reader, max_epochs=3)
    with pytest.raises(ValueError, match=f"reads '{reader.monitor}' of the history before it is"):
        fit(reader, recorder, max_epochs=3)


def test_one_epoch_suffices_to_refuse_it():
    with pytest.raises(ValueError, match="reads 'clid' of the history before"):
        fit_device_net(CheckpointEnsemble("clid", 2), CLIDScore(10), max_epochs=1)


def test_pseudo_clean_rows_before_the_guard_are_refused():
    rows, guard = PseudoCleanRows(1, random_state=0), CollapseGuard(1)
    fit_device_net(guard, rows, max_epochs=3)
    with pytest.raises(ValueError, match=r"PseudoCleanRows reads 'set_back'.* Put it behind"):
        fit_device_net(rows, guard, max_epochs=3)

"""MetaUpdate on a stock skorch net and on sknoisy's own."""

import copy
import gc
import math
import pickle
import weakref
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from small_nets import (
    BATCH,
    EPOCH_BATCHES,
    N_CLASSES,
    At,
    AtBatch,
    N,
    Spy,
    fit_device_net,
    fit_stock_net,
    make_module,
    make_xy,
    small_vri,
    small_wnet,
    state,
    training_data,
    update,
)
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from sknoisy._engine.batches import TrainingData
from sknoisy._engine.rows import TensorRows
from sknoisy.callbacks import CheckpointEnsemble, CLIDScore, CollapseGuard, MetaUpdate
from sknoisy.meta import (
    BatchOutputs,
    CLIDObjective,
    CrossEntropyObjective,
    ForwardGradient,
    ReverseGradient,
    WNet,
)
from sknoisy.networks import WithFeatures

NETS = pytest.mark.parametrize("fit", [fit_stock_net, fit_device_net])

# Effect on the network


@NETS
@pytest.mark.parametrize("middle", [[], [nn.BatchNorm1d(6)]], ids=["plain", "batch norm"])
def test_a_constant_meta_model_is_plain_training(fit, middle):
    constant = small_wnet()
    nn.init.zeros_(constant.output.weight)
    guided = fit(update(constant, meta_lr=0.0), module=make_module(*copy.deepcopy(middle)))
    plain = fit(module=make_module(*copy.deepcopy(middle)))
    assert_close(state(guided.module_), state(plain.module_))
    assert_allclose(guided.history[:, "train_loss"], plain.history[:, "train_loss"])


@pytest.mark.parametrize("meta_every", [1, 2])
@pytest.mark.parametrize("meta_model", [None, small_vri], ids=["WNet", "VRI"])
@pytest.mark.parametrize("Strategy", [ForwardGradient, ReverseGradient])
def test_sharing_the_forward_pass_does_not_change_training(Strategy, meta_model, meta_every):
    nets, callbacks = [], []
    module = make_module(nn.LeakyReLU(0.3, inplace=True), nn.BatchNorm1d(6), nn.Dropout(0.4))
    for share in (True, False):
        callbacks.append(
            update(meta_model, gradient=Strategy(share), meta_lr=5.0, meta_every=meta_every)
        )
        nets.append(fit_device_net(callbacks[-1], module=copy.deepcopy(module)))
    assert_close(state(nets[0].module_), state(nets[1].module_))
    assert_close(*(state(callback.meta_model_) for callback in callbacks))
    assert nets[0].module_[2].num_batches_tracked == 2 * EPOCH_BATCHES


def test_a_stock_net_and_a_device_net_train_the_same():
    # A stock net takes the rows in their order; a DeviceNet shuffles by this permutation.
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    X, y = (torch.from_numpy(a) for a in make_xy())
    shuffled = TrainingData(TensorRows(X[order.argsort()]), y[order.argsort()])
    module = make_module(nn.BatchNorm1d(6))
    stock = fit_stock_net(
        update(meta_lr=5.0, meta_rows=np.arange(12)), module=copy.deepcopy(module), max_epochs=1
    )
    own = fit_device_net(
        update(meta_lr=5.0, meta_rows=order[:12]), module=module, data=shuffled, max_epochs=1
    )
    assert_close(state(own.module_), state(stock.module_))


def test_a_step_is_virtual_step_meta_step_and_guided_step():
    """One batch by hand: the three updates of Meta-Weight-Net under plain SGD."""
    model, module, lr, meta_lr, spy = small_wnet(), make_module(), 0.3, 2.0, Spy()
    callback = update(model, CrossEntropyObjective(), spy, meta_lr=meta_lr, meta_rows=BATCH)
    net = fit_device_net(
        callback, module=copy.deepcopy(module), data=training_data(BATCH), max_epochs=1, lr=lr
    )
    (problem,) = spy.problems
    x, y = problem.x, problem.targets
    parameters = list(module.parameters())

    def weights():
        v = model.weigh(F.cross_entropy(module(x), y, reduction="none").detach())
        return v / v.sum()

    def step(v, create_graph=False):
        losses = F.cross_entropy(module(x), y, reduction="none")
        slopes = torch.autograd.grad((v * losses).sum(), parameters, create_graph=create_graph)
        return [p - lr * slope for p, slope in zip(parameters, slopes, strict=True)]

    w1, b1, w2, b2 = step(weights(), create_graph=True)
    logits = torch.relu(problem.meta_x @ w1.T + b1) @ w2.T + b2
    meta_loss = F.cross_entropy(logits, problem.meta_targets)
    assert net.history[0, "meta_loss"] == pytest.approx(meta_loss.item())
    slopes = torch.autograd.grad(meta_loss, list(model.parameters()))
    with torch.no_grad():
        for p, slope in zip(model.parameters(), slopes, strict=True):
            p -= meta_lr * slope
    assert_close(state(callback.meta_model_), state(model))
    assert_close([p.detach() for p in net.module_.parameters()], step(weights().detach()))


def test_the_virtual_step_is_as_long_as_the_current_learning_rate():
    spy = Spy()

    def halve(net):
        net.optimizer_.param_groups[0]["lr"] /= 2

    fit_device_net(update(gradient=spy), At(halve))
    assert [p.lr for p in spy.problems] == [0.1] * EPOCH_BATCHES + [0.05] * EPOCH_BATCHES


# Steps with and without an update


@NETS
@pytest.mark.parametrize(("meta_every", "steps"), [(1, 6), (2, 3), (4, 2), (100, 1)])
def test_meta_every(fit, meta_every, steps):
    spy = Spy()
    fit(update(gradient=spy, meta_every=meta_every))
    assert len(spy.problems) == steps == math.ceil(2 * EPOCH_BATCHES / meta_every)
    if fit is fit_stock_net:  # a stock net takes the rows in their order
        batches = torch.from_numpy(make_xy()[0]).split(BATCH) * 2
        for problem, batch in zip(spy.problems, batches[::meta_every], strict=True):
            assert torch.equal(problem.x, batch)


def test_batches_between_meta_steps_are_guided_as_well():
    frozen = [fit_device_net(update(meta_lr=0.0, meta_every=k)) for k in (1, 2)]
    assert_close(*(state(net.module_) for net in frozen))
    difference = frozen[0].module_[0].weight - fit_device_net().module_[0].weight
    assert difference.abs().max() > 1e-5


@NETS
def test_nothing_is_guided_before_the_end_of_the_warm_up(fit):
    models, modules, plain = [], [], []
    callback = update(meta_lr=50.0, n_warmup_epochs=2)
    net = fit(
        callback,
        At(lambda net: models.append(state(callback.meta_model_))),
        At(lambda net: modules.append(state(net.module_))),
        max_epochs=3,
    )
    fit(At(lambda net: plain.append(state(net.module_))), max_epochs=3)
    for epoch in range(2):
        assert_close(models[epoch], state(small_wnet()), rtol=0, atol=0)
        assert_close(modules[epoch], plain[epoch], rtol=0, atol=0)
    assert not torch.equal(models[2]["output.weight"], models[1]["output.weight"])
    assert not torch.equal(modules[2]["0.weight"], plain[2]["0.weight"])
    assert ["meta_loss" in epoch for epoch in net.history] == [False, False, True]


# Rows


@NETS
@pytest.mark.parametrize("meta_rows", [12, [0, 3, 5, 7, 8, 11, 13]])
def test_meta_batches_come_from_the_meta_rows(fit, meta_rows):
    spy = Spy()
    callback = update(gradient=spy, meta_rows=meta_rows)
    net = fit(callback)
    rows = callback.meta_rows_
    if meta_rows == 12:
        assert len(set(rows)) == 12
        assert set(rows) < set(range(N))
    else:
        assert_array_equal(rows, meta_rows)
    X, y = make_xy()
    seen = set()
    for problem in spy.problems:
        assert problem.meta_x.shape[0] == 6
        for x, target in zip(problem.meta_x, problem.meta_targets, strict=True):
            (row,) = np.flatnonzero((x.numpy() == X).all(axis=1))
            assert row in rows
            assert target == y[row]
            seen.add(row)
    assert seen == set(rows)
    assert net.history[:, "train_batch_count"] == [EPOCH_BATCHES] * 2  # no row was taken out


def test_meta_rows_follow_the_random_state():
    rows = []
    for random_state in (0, 0, 1):
        callback = update(meta_rows=10, random_state=random_state)
        fit_device_net(callback, max_epochs=1)
        rows.append(callback.meta_rows_.tolist())
    assert rows[0] == rows[1] != rows[2]
    callback = MetaUpdate(random_state=0)
    fit_device_net(callback, max_epochs=1)
    assert callback.meta_rows_.tolist() == list(range(N))  # 1000, or all there are


def test_weights_and_trust_of_the_rows_reach_the_meta_model():
    weight, trusted = torch.linspace(0, 2, N).double(), torch.arange(N) < 5
    data, spy = training_data(sample_weight=weight, trusted=trusted), Spy()
    fit_device_net(update(gradient=spy), data=data, max_epochs=1)
    for problem in spy.problems:
        rows = [int((data.rows.tensor == x).all(dim=1).nonzero()) for x in problem.x]
        assert_array_equal(problem.sample_weight, weight[rows])
        assert_array_equal(problem.trusted, trusted[rows])


def test_both_steps_use_augmented_rows():
    data = training_data(augment=lambda X, g: X + 100, generator=torch.Generator())
    spy = Spy()
    fit_device_net(update(gradient=spy), data=data, max_epochs=1)
    assert min(min(p.x.min(), p.meta_x.min()) for p in spy.problems) > 50


# The meta model


@NETS
def test_meta_model_is_a_copy_a_class_or_a_factory(fit):
    model = small_wnet()
    callback = update(model, meta_lr=50.0)
    nets = [fit(callback), fit(callback)]
    assert callback.meta_model_ is not model
    assert_close(state(model), state(small_wnet()), rtol=0, atol=0)  # the given model is unchanged
    assert_close(*(state(net.module_) for net in nets), rtol=0, atol=0)
    callback = update(WNet)
    fit(callback)
    assert callback.meta_model_.hidden.out_features == 100
    callback = update(small_vri)
    fit(callback)
    assert callback.meta_model_.body[0].in_features == 6 + 3  # features, label embedding
    assert callback.meta_model_.mean.out_features == N_CLASSES
    assert callback.meta_model_.mean.weight.dtype == torch.float64  # the features'


def test_frozen_parameters_of_the_meta_model_stay():
    model = small_wnet()
    model.hidden.requires_grad_(False)
    callback = update(model, meta_lr=50.0)
    fit_device_net(callback)
    assert torch.equal(callback.meta_model_.hidden.weight, model.hidden.weight)
    assert not torch.equal(callback.meta_model_.output.weight, model.output.weight)


def test_a_meta_model_makes_its_own_optimizer():
    made = []

    def optimizer(parameters):
        made.append(torch.optim.Adam(parameters, lr=0.03, eps=1e-3))
        return made[-1]

    callback = MetaUpdate(partial(WNet, optimizer=optimizer), meta_rows=12, random_state=0)
    rates = []
    fit_device_net(callback, At(lambda net: rates.append(callback.meta_model_.lr), 1))
    assert rates == [0.03]
    model = callback.meta_model_
    assert model.lr is None  # after training
    (group,) = made[0].param_groups
    assert (group["lr"], group["eps"]) == (0.03, 1e-3)
    assert {id(p) for p in group["params"]} == {id(p) for p in model.parameters()}


def test_objective_is_clid_unless_given():
    spies = [Spy(), Spy()]
    fit_device_net(update(gradient=spies[0]), max_epochs=1)
    fit_device_net(update(None, CrossEntropyObjective(), spies[1]), max_epochs=1)
    assert isinstance(spies[0].problems[0].objective, CLIDObjective)
    assert isinstance(spies[1].problems[0].objective, CrossEntropyObjective)


def test_weigh_rows_evaluates_the_network_in_eval_mode():
    data = training_data(trusted=torch.arange(N) < 5)
    callback = update(meta_lr=5.0)
    module = make_module(nn.BatchNorm1d(6), nn.Dropout(0.4))
    net = fit_device_net(callback, module=module, data=data)
    found = callback.weigh_rows(net, data)
    features, logits = WithFeatures(net.module_.eval())(data.rows.tensor)
    with torch.no_grad():
        outputs = BatchOutputs(logits, features, data.targets, trusted=data.trusted)
        expected = callback.meta_model_.sample_weight(outputs)
    assert_allclose(found, expected)
    assert_array_equal(found[:5], 1)


def test_a_meta_model_may_weigh_rows_in_bfloat16():
    class Halves(WNet):
        def sample_weight(self, batch):
            return torch.full((len(batch.targets),), 0.5, dtype=torch.bfloat16)

    data, callback = training_data(), update(Halves(3).double(), CrossEntropyObjective())
    net = fit_device_net(callback, data=data, max_epochs=1)
    found = callback.weigh_rows(net, data)
    assert found.dtype == np.float64
    assert_array_equal(found, np.full(N, 0.5))
    assert found[5:].max() < 1


# Beginning and end


@NETS
def test_a_trained_net_can_be_pickled_and_keeps_nothing_of_the_data(fit):
    data = training_data(3000) if fit is fit_device_net else make_xy(3000)  # 96 kB and more
    rows = weakref.ref(data.rows.tensor if fit is fit_device_net else data[0])
    callback = update()
    watchers = [CLIDScore(20), CollapseGuard(1, rows=20), CheckpointEnsemble()]
    net = fit(callback, *watchers, data=data, max_epochs=1)
    del data
    gc.collect()
    assert rows() is None
    pickled = pickle.dumps(net)
    assert len(pickled) < 50_000
    copied = pickle.loads(pickled)
    assert_close(state(copied.module_), state(net.module_))
    meta_model = dict(copied.callbacks_)["MetaUpdate"].meta_model_
    assert_close(state(meta_model), state(callback.meta_model_))


def test_a_criterion_that_cannot_be_guided_is_refused():
    with pytest.raises(TypeError, match=r"criterion CrossEntropyLoss.*PerSampleCrossEntropy"):
        fit_stock_net(update(), criterion=nn.CrossEntropyLoss)


def test_the_validation_loss_of_a_stock_net_is_not_guided():
    X, y = make_xy()
    validation = Dataset(X[:BATCH], y[:BATCH])
    net = fit_stock_net(update(meta_lr=50.0), train_split=predefined_split(validation))
    logits = net.module_.eval()(torch.from_numpy(X[:BATCH]))
    loss = F.cross_entropy(logits, torch.from_numpy(y[:BATCH]))
    assert net.history[-1, "valid_loss"] == pytest.approx(loss.item())


@NETS
def test_an_interruption_leaves_a_net_that_can_be_used(fit):
    def interrupt(net):
        raise KeyboardInterrupt

    callback, stop = update(), AtBatch(interrupt, epoch=2, batch=2)
    net = fit(callback, stop)
    X, y = (torch.from_numpy(a) for a in make_xy())
    logits = net.module_.eval()(X)
    assert_close(net.criterion_(logits, y), F.cross_entropy(logits, y))  # without guidance
    before, stop.when = state(net.module_), None
    net.partial_fit(*((training_data(),) if fit is fit_device_net else make_xy()))
    assert (before["0.weight"] - net.module_[0].weight).abs().max() > 1e-5
    assert len(net.history) == 4  # the interrupted epoch among them
    if fit is fit_device_net:
        assert not net.interrupted_


def test_a_device_net_records_an_interruption():
    def interrupt(net):
        raise KeyboardInterrupt

    assert fit_device_net(At(interrupt, 1)).interrupted_
    assert not fit_device_net().interrupted_


def test_zero_epochs_are_no_error():
    net = fit_stock_net(update(), max_epochs=0)
    assert_close(state(net.module_), state(make_module()))

"""MLNT: the meta step as a callback; identities of the trajectory, its parts, its errors."""

import copy
import itertools
import pickle

import pytest
import torch
from skorch.callbacks import Callback
from small_nets import (
    BATCH,
    DEFAULTS,
    EPOCH_BATCHES,
    At,
    N,
    fit_device_net,
    fit_stock_net,
    make_module,
    make_xy,
    state,
    training_data,
)
from torch import nn
from torch.testing import assert_close

from sknoisy._engine.construction import random_state_of
from sknoisy._engine.net import DeviceNet
from sknoisy.callbacks import PerSampleCrossEntropy, RowLoader, TeacherAverage
from sknoisy.methods.mlnt import NoiseToleranceUpdate, ToleranceGradient, transfer_labels

FITS = pytest.mark.parametrize("fit", [fit_stock_net, fit_device_net], ids=["stock", "own"])
STEPS = pytest.mark.parametrize(
    "gradient", [ToleranceGradient(), ToleranceGradient(joint=True)], ids=["separate", "joint"]
)
POINTS = torch.randn(N, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def update(**parameters):
    settings = {"n_synthetic": 3, "n_ramp_epochs": 0, "random_state": 0, "n_neighbors": 3}
    return NoiseToleranceUpdate(**{**settings, **parameters})


def restless():
    """A network with batch norm and dropout."""
    return make_module(nn.BatchNorm1d(6), nn.Dropout(0.4))


def trained(fit=fit_device_net, module=None, teacher=0.9, data=None, callbacks=(), **parameters):
    callbacks = [update(**parameters), TeacherAverage(teacher), *callbacks]
    return fit(*callbacks, module=restless() if module is None else module, data=data)


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.module_.parameters()])


class Spy(ToleranceGradient):
    """Keep the problems of all instances."""

    problems = []

    def __call__(self, problem):
        copied = {n: t.clone() for n, t in problem.module.state_dict().items()}
        Spy.problems.append((problem, copied))
        return super().__call__(problem)


@pytest.fixture
def problems(monkeypatch):
    monkeypatch.setattr(
        "sknoisy.methods.mlnt.update.tolerance_gradient",
        lambda gradient: Spy() if isinstance(gradient, str) else gradient,
    )
    Spy.problems = []
    return Spy.problems


# --- identities of the trajectory ---------------------------------------------------------------


@FITS
@STEPS
@pytest.mark.parametrize(
    "off", [{"n_synthetic": 0}, {"meta_lr": 0.0}, {"meta_lr": 1e-300}, {"n_warmup_epochs": 2}]
)
def test_without_meta_step_training_is_plain(fit, gradient, off):
    """Bit for bit, batch norm and dropout included; 1e-300 makes the step but does not move."""
    plain = state(fit(module=restless()).module_)
    found = state(trained(fit, gradient=gradient, **off).module_)
    assert_close(found, plain, rtol=0, atol=0)


@FITS
@STEPS
def test_teacher_that_is_the_student_and_no_inner_step_leave_training_plain(fit, gradient):
    """The divergence is 0 and stationary; without dropout, which the teacher does not have."""
    plain = weights(fit(module=make_module()))
    found = trained(
        fit,
        make_module(),
        teacher=0.0,
        inner_lr=0.0,
        gradient=gradient,
        meta_lr=9.0,
    )
    assert_close(weights(found), plain, rtol=0, atol=1e-13)
    moved = trained(
        fit,
        make_module(),
        teacher=0.0,
        inner_lr=0.5,
        gradient=gradient,
        meta_lr=9.0,
    )
    assert (weights(moved) - plain).norm() > 1e-2


@STEPS
def test_stock_and_own_net_agree(gradient):
    """Rows in their order, no dropout: the own net shares the forward pass of a joint step."""
    callbacks = [update(gradient=gradient), TeacherAverage(0.9)]
    own = DeviceNet(
        make_module(nn.BatchNorm1d(6)), PerSampleCrossEntropy, callbacks=callbacks, **DEFAULTS
    ).fit(training_data())
    stock = trained(fit_stock_net, make_module(nn.BatchNorm1d(6)), gradient=gradient)
    assert_close(state(own.module_), state(stock.module_), rtol=1e-10, atol=1e-12)


# --- one step by hand ---------------------------------------------------------------------------


def by_hand(problem, copied, rate, lr):
    """The network after a meta step and a plain step, for one full batch."""
    module = make_module()
    module.load_state_dict(copied)
    found = ToleranceGradient(batched=False)(problem._replace(module=module))
    X, y = (torch.from_numpy(a) for a in make_xy())

    def plain():
        module.zero_grad()
        nn.functional.cross_entropy(module(X), y).backward()
        return {n: p.grad for n, p in module.named_parameters()}

    with torch.no_grad():
        separate = {n: p - rate * found.gradients[n] for n, p in module.named_parameters()}
    at_start = plain()
    joint = {
        n: p.detach() - lr * (at_start[n] + rate / lr * found.gradients[n])
        for n, p in module.named_parameters()
    }
    module.load_state_dict(separate)
    after = plain()
    return {n: separate[n] - lr * after[n] for n in separate}, joint


@pytest.mark.parametrize("rate", [0.1, 3.0])
def test_separate_and_joint_step_by_hand(problems, rate):
    for i, joint in enumerate((False, True)):
        problems.clear()
        net = fit_device_net(
            update(gradient=Spy(joint=joint), meta_lr=rate),
            TeacherAverage(),
            max_epochs=1,
            batch_size=N,
            lr=0.1,
        )
        # The order of the rows is another one in the batch, which a mean does not see.
        expected = by_hand(*problems[0], rate, 0.1)[i]
        for name, parameter in net.module_.named_parameters():
            assert_close(parameter.detach(), expected[name], rtol=1e-9, atol=1e-12)


@FITS
def test_target_is_the_teachers_prediction(problems, fit):
    """Before the first step that of the start; the teacher is in eval mode, without gradient."""
    teacher = TeacherAverage(0.9)
    start = restless().eval()
    fit(update(), teacher, module=restless())
    first = problems[0][0]
    assert_close(first.target, start(first.x).softmax(dim=1).detach(), rtol=0, atol=1e-15)
    assert not first.target.requires_grad
    assert not teacher.teacher_.training


def test_blend_of_teacher_and_mentor(problems):
    """The teacher's share grows from 0 to nearly ``blend``; the mentor is left as it was."""
    mentor = make_module(nn.BatchNorm1d(6))
    with torch.no_grad():
        mentor[0].weight.mul_(-2)
    before = state(mentor)
    trained(teacher=0.0, module=make_module(nn.BatchNorm1d(6)), mentor=mentor, blend=0.8)
    assert_close(state(mentor), before, rtol=0, atol=0)
    n_steps = 2 * EPOCH_BATCHES
    for t, (problem, student) in enumerate(problems):
        teacher = make_module(nn.BatchNorm1d(6))
        teacher.load_state_dict(student)  # with a decay of 0
        of_teacher = teacher.eval()(problem.x).softmax(dim=1)
        of_mentor = mentor(problem.x).softmax(dim=1)
        share = 0.8 * t / n_steps
        expected = share * of_teacher + (1 - share) * of_mentor
        assert_close(problem.target, expected.detach())


def test_ramp_and_warm_up():
    """Steps that were made, and how far: the rate is proportional to the epochs since."""
    callback = update(n_ramp_epochs=4, n_warmup_epochs=1, meta_lr=0.8)
    rates = [callback._rate(epochs) for epochs in (1, 2, 3.5, 5, 9)]
    assert rates == pytest.approx([0, 0.2, 0.5, 0.8, 0.8])
    seen = []
    fit_device_net(
        callback, TeacherAverage(), At(lambda net: seen.append(callback.n_steps_)), max_epochs=3
    )
    # None in the warm-up; the first one of the ramp has a rate of 0.
    assert seen == [0, EPOCH_BATCHES - 1, 2 * EPOCH_BATCHES - 1]


# --- what the meta step is given ----------------------------------------------------------------


def label_sets(problems, points, seed=0):
    rng = random_state_of(seed)
    generator = torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))
    first = problems[0][0]
    rows = [int((first.x == x).all(dim=1).nonzero()[0, 0]) for x in first.x]
    assert rows == [*range(len(first.x))]
    data = torch.from_numpy(make_xy()[0])
    index = [int((data == x).all(dim=1).nonzero()[0, 0]) for x in first.x]
    labels = torch.from_numpy(make_xy()[1])[index]
    return transfer_labels(points(first.x, index), labels, 3, 0.5, 3, generator=generator)


@pytest.mark.parametrize(
    ("features", "points"),
    [
        (None, lambda x, index: x),
        (POINTS, lambda x, index: POINTS[index]),
        (POINTS.numpy(), lambda x, index: POINTS[index]),
        (lambda x: -x[:, :1], lambda x, index: x[:, :1]),
    ],
    ids=["rows", "tensor", "array", "callable"],
)
def test_features_define_the_neighbours(problems, features, points):
    fit_device_net(update(features=features), TeacherAverage())
    assert torch.equal(problems[0][0].label_sets, label_sets(problems, points))
    problems.clear()
    fit_device_net(update(features=features, random_state=1), TeacherAverage())
    assert torch.equal(problems[0][0].label_sets, label_sets(problems, points, seed=1))


def test_weights_of_rows(problems):
    of_batch = torch.linspace(0, 2, N)
    data = training_data(sample_weight=of_batch)
    trained(data=data)
    first = problems[0][0]
    rows = [int((torch.from_numpy(make_xy()[0]) == x).all(dim=1).nonzero()) for x in first.x]
    assert torch.equal(first.sample_weight, of_batch[rows])
    problems.clear()
    trained(data=data, sample_weight=torch.full((N,), 7.0))
    assert torch.equal(problems[0][0].sample_weight, torch.full((BATCH,), 7.0))


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("n_synthetic", 5),
        ("transfer_share", 1.0),
        ("n_neighbors", 7),
        ("inner_lr", 2.0),
        ("meta_lr", 2.0),
        ("n_ramp_epochs", 5),
        ("n_warmup_epochs", 1),
        ("gradient", ToleranceGradient(joint=True)),
        ("gradient", "exact"),
        ("mentor", make_module()),
        ("features", POINTS),
        ("random_state", 1),
        ("sample_weight", torch.linspace(0, 2, N)),
    ],
)
def test_parameter_changes_the_network(parameter, value):
    default = weights(trained(inner_lr=0.5, n_synthetic=3))
    changed = weights(trained(**{"inner_lr": 0.5, "n_synthetic": 3, parameter: value}))
    assert (changed - default).abs().max() > 1e-9


@FITS
@STEPS
def test_batched_and_looped_trainings_agree(fit, gradient):
    ways = [ToleranceGradient(batched=b, joint=gradient.joint) for b in (True, False)]
    both = [weights(trained(fit, gradient=way)) for way in ways]
    assert_close(*both, rtol=1e-9, atol=1e-11)


def test_loss_is_recorded():
    net = trained(n_warmup_epochs=1)
    assert ["meta_loss" in epoch for epoch in net.history] == [False, True]
    assert net.history[-1, "meta_loss"] > 0


# --- the other callbacks ------------------------------------------------------------------------


class Halving(Callback):
    """A step size of 0.8 in the first epoch, and half as much in each further one."""

    def on_train_begin(self, net, **kwargs):
        self.rate_ = 0.0

    def on_epoch_begin(self, net, **kwargs):
        self.rate_ = 0.8 / 2 ** (len(net.history) - 1)


@FITS
def test_order_and_names_of_callbacks_do_not_matter(fit):
    def parts():
        meta = update(teacher="mean", meta_lr="rate")
        return [("meta", meta), ("mean", TeacherAverage(0.9)), ("rate", Halving())]

    reference = weights(fit(*parts(), module=restless()))
    for order in itertools.permutations(range(3)):
        chosen = parts()
        assert torch.equal(weights(fit(*(chosen[i] for i in order), module=restless())), reference)
    of_another = weights(trained(fit, teacher=0.9))
    assert (of_another - reference).abs().max() > 1e-9


def test_step_size_of_a_named_callback():
    by_name, rates = update(meta_lr="Halving"), []
    seen = At(lambda net: rates.append(by_name._rate(len(net.history))))
    fit_device_net(by_name, TeacherAverage(0.9), Halving(), seen, max_epochs=3)
    assert rates == pytest.approx([0.8, 0.4, 0.2])
    assert by_name.meta_lr == "Halving"
    first = {"max_epochs": 1, "module": restless()}
    named = fit_device_net(update(meta_lr="Halving"), TeacherAverage(0.9), Halving(), **first)
    number = fit_device_net(update(meta_lr=0.8), TeacherAverage(0.9), **first)
    assert torch.equal(weights(named), weights(number))


def test_teacher_is_the_named_one(problems):
    slow, fast = ("slow", TeacherAverage(0.9)), ("fast", TeacherAverage(0.0))
    fit_device_net(update(teacher="fast"), slow, fast, module=make_module())
    for problem, student in problems:
        module = make_module()
        module.load_state_dict(student)
        assert_close(problem.target, module(problem.x).softmax(dim=1).detach())


@FITS
def test_gradient_that_is_passed_is_left_alone(fit):
    strategy = ToleranceGradient(joint=True)
    before = copy.deepcopy(vars(strategy))
    callback = update(gradient=strategy)
    fit(callback, TeacherAverage(), module=restless())
    assert vars(strategy) == before
    assert callback.gradient_ is not strategy
    assert callback.gradient_.share_forward == (fit is fit_device_net)


# --- what is refused, and what is left ----------------------------------------------------------


def test_refusals():
    with pytest.raises(ValueError, match=r"gradient must be 'first_order', 'exact' .*got 'both'"):
        fit_device_net(update(gradient="both"), TeacherAverage())
    missing = (
        r"teacher='TeacherAverage' is no callback of the net, and no other.*teacher_\. Add one"
    )
    with pytest.raises(ValueError, match=missing):
        fit_device_net(update())
    with pytest.raises(ValueError, match=r"teacher='mean'.*teacher_ are \['TeacherAverage'\]"):
        fit_device_net(update(teacher="mean"), TeacherAverage())
    with pytest.raises(ValueError, match=r"meta_lr='TeacherAverage' has no rate_"):
        fit_device_net(update(meta_lr="TeacherAverage"), TeacherAverage())
    with pytest.raises(TypeError, match=r"has NLLLoss\. Pass criterion=torch\.nn\.CrossEntropy"):
        fit_stock_net(update(), TeacherAverage(), criterion=nn.NLLLoss)
    with pytest.raises(TypeError, match=r"features of the training rows.*RowLoader.*callable"):
        fit_stock_net(update(features=POINTS), TeacherAverage())
    with pytest.raises(TypeError, match=r"sample_weight of the training rows.*RowLoader"):
        fit_stock_net(update(sample_weight=torch.ones(N)), TeacherAverage())


def test_stock_net_with_rows():
    settings = {"iterator_train": RowLoader, "criterion": PerSampleCrossEntropy}
    net = fit_stock_net(update(features=POINTS), TeacherAverage(), **settings)
    other = fit_stock_net(update(), TeacherAverage(), **settings)
    assert (weights(net) - weights(other)).abs().max() > 1e-6


def test_fitted_net_keeps_no_data():
    net = trained(inner_lr=0.5)
    copied = pickle.loads(pickle.dumps(net))
    assert_close(state(copied.module_), state(net.module_), rtol=0, atol=0)
    (callback,) = (cb for _, cb in copied.callbacks_ if isinstance(cb, NoiseToleranceUpdate))
    assert callback._teacher is None
    assert callback._rate_source is None
    assert callback._generator is None

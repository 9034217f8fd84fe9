"""TeacherAverage on a stock skorch net and on a DeviceNet."""

import copy
import pickle

import pytest
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from small_nets import EPOCH_BATCHES, D, fit_device_net, fit_stock_net, make_module, make_xy, state
from torch import nn
from torch.testing import assert_close

from sknoisy.callbacks import TeacherAverage

FITS = pytest.mark.parametrize("fit", [fit_stock_net, fit_device_net], ids=["stock", "own"])


class States(Callback):
    """Keep the state of the network at its start and after each training step."""

    def on_train_begin(self, net, **kwargs):
        self.states = [state(net.module_)]

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.states.append(state(net.module_))


def normed():
    return make_module(nn.BatchNorm1d(6))


def recurrence(states, decays):
    """Compute the average by hand; integer tensors are those of the last state."""
    mean = states[0]
    for now, decay in zip(states[1:], decays, strict=True):
        mean = {
            name: decay * mean[name] + (1 - decay) * now[name]
            if now[name].is_floating_point()
            else now[name]
            for name in now
        }
    return mean


@FITS
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("bias_correction", [True, False])
def test_teacher_is_the_recurrence(fit, decay, bias_correction):
    states, average = States(), TeacherAverage(decay, bias_correction=bias_correction)
    fit(states, average, module=normed())
    steps = range(2 * EPOCH_BATCHES)
    bounds = [1 - 1 / (t + 1) if bias_correction else 1.0 for t in steps]
    expected = recurrence(states.states, [min(decay, bound) for bound in bounds])
    found = average.teacher_.state_dict()
    assert found.keys() == expected.keys()  # running statistics and their count are among them
    assert found["1.num_batches_tracked"] == 2 * EPOCH_BATCHES
    for name, tensor in expected.items():
        assert_close(found[name], tensor, rtol=1e-12, atol=1e-14)
    assert average.n_steps_ == 2 * EPOCH_BATCHES


def test_limits_of_the_decay():
    states, student, start, mean = (
        States(),
        *(
            TeacherAverage(decay, bias_correction=corrected)
            for decay, corrected in [(0.0, False), (1.0, False), (1.0, True)]
        ),
    )
    net = fit_device_net(states, student, start, mean, module=normed())
    for name, now in net.module_.state_dict().items():
        assert torch.equal(student.teacher_.state_dict()[name], now)
        if now.is_floating_point():
            assert torch.equal(start.teacher_.state_dict()[name], states.states[0][name])
            of_steps = torch.stack([s[name] for s in states.states[1:]]).mean(dim=0)
            assert_close(mean.teacher_.state_dict()[name], of_steps)


def test_decay_as_a_function_of_the_step():
    asked, states = [], States()

    def decay(t):
        asked.append(t)
        return 0.2 if t < 3 else 0.9

    average = TeacherAverage(decay, bias_correction=False)
    fit_stock_net(states, average)
    assert asked == [*range(2 * EPOCH_BATCHES)]
    expected = recurrence(states.states, [0.2] * 3 + [0.9] * (len(asked) - 3))
    assert_close(dict(average.teacher_.state_dict()), expected)


@pytest.mark.parametrize("decay", [-0.1, 1.1])
def test_decay_out_of_range(decay):
    with pytest.raises(ValueError, match=rf"decay must be in \[0, 1\].*got {decay}"):
        fit_stock_net(TeacherAverage(decay))


@FITS
def test_training_is_not_changed_and_the_teacher_predicts(fit):
    average = TeacherAverage(0.5)
    with_teacher = fit(average, module=normed())
    without = fit(module=normed())
    assert_close(state(with_teacher.module_), state(without.module_), rtol=0, atol=0)
    teacher = average.teacher_
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    before = state(teacher)
    rows = torch.from_numpy(make_xy()[0])
    assert_close(teacher(rows), torch.cat([teacher(row[None]) for row in rows]))
    assert_close(state(teacher), before, rtol=0, atol=0)
    assert (
        len({*map(id, teacher.parameters())} & {*map(id, with_teacher.module_.parameters())}) == 0
    )


def test_tied_parameters_stay_tied():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(D, D).double()
            self.second = nn.Linear(D, D).double()
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(torch.relu(self.first(x)))

    average = TeacherAverage(0.5)
    fit_device_net(average, module=Tied())
    assert average.teacher_.second.weight is average.teacher_.first.weight


def test_only_training_steps_count():
    """Validation batches do not count. A second training begins anew."""
    average = TeacherAverage(0.9)
    X, y = make_xy(60)
    net = NeuralNetClassifier(
        make_module(), criterion=nn.CrossEntropyLoss, callbacks=[average], max_epochs=1,
        verbose=0, batch_size=5, iterator_train__shuffle=False,
    ).fit(X, y)  # fmt: skip
    assert average.n_steps_ == 10  # of 48 rows; skorch holds out 12
    net.fit(X, y)
    assert average.n_steps_ == 10


def test_round_trips():
    average = TeacherAverage(0.9)
    net = fit_device_net(average)
    for other in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        (found,) = (cb for _, cb in other.callbacks_ if isinstance(cb, TeacherAverage))
        assert_close(state(found.teacher_), state(average.teacher_), rtol=0, atol=0)

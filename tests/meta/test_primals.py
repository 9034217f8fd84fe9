"""Forward mode is exact with values reused from the first pass, however they are used.

The reference is double backward, which reuses none of them.
"""

import pytest
import torch
from meta_problems import N_CLASSES, make_problem, meta_gradient, relative_difference, seeded
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from sknoisy.meta import CrossEntropyObjective, ForwardGradient, ReverseGradient, StatelessModule
from sknoisy.networks import WithFeatures


class Net(nn.Module):
    """Convolution, batch norm, something with ReLU, convolution, batch norm, linear."""

    def __init__(self, activate, affine=True):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3)
        self.norm1, self.norm2 = (nn.BatchNorm2d(4, affine=affine) for _ in range(2))
        self.activate = activate
        self.fc = nn.Linear(4, N_CLASSES)

    def forward(self, x):
        h = self.activate(self.norm1, self.conv1(x))
        h = torch.relu(self.norm2(self.conv2(h)))
        return self.fc(h.mean(dim=(2, 3)))


def usual(norm, x):
    return F.relu(norm(x))


def method(norm, x):
    return norm(x).relu()


def used_twice(norm, x):
    h = norm(x)
    return F.relu(h) + h


def used_before(norm, x):
    h = norm(x)
    skip = torch.tanh(h)
    return F.relu(h) + skip


def held_and_used_later(norm, x):
    h = norm(x)
    y = torch.sigmoid(F.relu(h))
    return y * h


def in_place(norm, x):
    return F.relu(norm(x), inplace=True)


def in_place_without_its_return(norm, x):
    h = norm(x)
    F.relu(h, inplace=True)
    return h + 1


def in_place_on_a_sum(norm, x):
    h = norm(x) + x
    F.relu(h, inplace=True)
    return h


def relu_of_a_sum(norm, x):
    return F.relu(norm(x) + x) + F.relu(input=x)


USES = [
    usual,
    method,
    used_twice,
    used_before,
    held_and_used_later,
    in_place,
    in_place_without_its_return,
    in_place_on_a_sum,
    relu_of_a_sum,
]


def problem_of(activate, affine=True, train=True, frozen=()):
    net = seeded(lambda: Net(activate, affine), 0).train(train)
    for name in frozen:
        net.get_parameter(name).requires_grad_(False)
    problem = make_problem("batch norm", objective=CrossEntropyObjective())
    return problem._replace(network=StatelessModule(WithFeatures(net)))


@pytest.mark.parametrize("share_forward", [True, False])
@pytest.mark.parametrize("activate", USES)
def test_forward_mode_is_exact_however_the_output_of_batch_norm_is_used(activate, share_forward):
    problem = problem_of(activate)
    found = meta_gradient(ForwardGradient(share_forward), problem)
    assert relative_difference(found, meta_gradient(ReverseGradient(), problem)) < 1e-8


@pytest.mark.parametrize(
    "params",
    [
        {"train": False},
        {"affine": False},
        {"frozen": ["norm1.weight"]},
        {"frozen": ["norm1.bias"]},
        {"frozen": ["conv1.weight", "conv1.bias"]},
        {"frozen": ["conv1.weight", "conv1.bias", "norm1.weight"]},
        {"frozen": ["conv1.weight", "conv1.bias", "norm1.weight", "norm1.bias"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("activate", [usual, relu_of_a_sum])
def test_forward_mode_is_exact_for_every_kind_of_batch_norm(activate, params):
    problem = problem_of(activate, **params)
    found = meta_gradient(ForwardGradient(), problem)
    assert relative_difference(found, meta_gradient(ReverseGradient(), problem)) < 1e-8


def test_statistics_far_from_zero_cost_no_precision():
    problem = problem_of(usual)
    problem.network.module.module.conv1.bias.data += 1e4  # batch norm removes this shift
    found = meta_gradient(ForwardGradient(), problem)
    assert relative_difference(found, meta_gradient(ReverseGradient(), problem)) < 1e-8


class Calls(TorchDispatchMode):
    """Names of the operations that ran."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("activate", "n_norms"), [(usual, 0), (used_twice, 1)])
def test_below_the_first_tangent_nothing_is_computed_again(activate, n_norms):
    network = problem_of(activate).network
    x = make_problem("batch norm").x
    _, _, primals = network.own_pass(x)
    bias = network.parameters["module.fc.bias"]
    with Calls() as calls:
        tangent = network.logits_tangent({"module.fc.bias": torch.ones_like(bias)}, x, primals)
    assert torch.equal(tangent, torch.ones_like(tangent))
    assert "convolution" not in calls.names
    assert "relu" not in calls.names
    assert sum("batch_norm" in name for name in calls.names) == n_norms

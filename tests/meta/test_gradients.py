"""Gradient strategies agree with each other, finite differences and the per-sample formula."""

from functools import partial

import pytest
import torch
from meta_problems import (
    LR,
    N_CLASSES,
    NETWORKS,
    TARGETS,
    N,
    make_problem,
    meta_gradient,
    meta_step,
    relative_difference,
    small_vri,
)
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.testing import assert_close

from sknoisy.meta import (
    BatchOutputs,
    CLIDObjective,
    CrossEntropyObjective,
    ForwardGradient,
    MAEObjective,
    MetaModel,
    ReverseGradient,
    StatelessModule,
    WNet,
)

# Forward mode against double backward


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("objective", [CLIDObjective(), CrossEntropyObjective()])
def test_forward_and_reverse_agree_on_every_network(network, objective):
    problem = make_problem(network, objective=objective)
    found = meta_gradient(ForwardGradient(), problem)
    assert relative_difference(found, meta_gradient(ReverseGradient(), problem)) < 1e-8


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"sample_weight": torch.linspace(0, 2, N, dtype=torch.float64)},
        {"trusted": TARGETS == 1},
    ],
    ids=["plain", "sample_weight", "trusted"],
)
@pytest.mark.parametrize(
    "meta_model",
    [
        partial(WNet, 4, 0.0),
        partial(WNet, 4, 0.6),
        partial(WNet, 4, torch.tensor([0.0, 0.5, 1.0])),
        small_vri,
        partial(small_vri, 0.01),
    ],
    ids=["WNet 0", "WNet 0.6", "WNet by class", "VRI", "VRI with KL"],
)
def test_forward_and_reverse_agree_on_every_meta_model(meta_model, extra):
    problem = make_problem(meta_model=meta_model, objective=MAEObjective(), **extra)
    reference = meta_gradient(ReverseGradient(), problem)
    assert relative_difference(meta_gradient(ForwardGradient(), problem), reference) < 1e-8
    if extra:
        without = make_problem(meta_model=meta_model, objective=MAEObjective())
        assert relative_difference(meta_gradient(ForwardGradient(), without), reference) > 1e-3


@pytest.mark.parametrize("network", ["MLP, dropout", "batch norm", "LSTM"])
@pytest.mark.parametrize("Strategy", [ForwardGradient, ReverseGradient])
def test_sharing_the_forward_pass_does_not_change_the_gradient(network, Strategy):
    problem = make_problem(network)
    shared = meta_step(Strategy(share_forward=True), problem)
    alone = meta_step(Strategy(share_forward=False), problem)
    assert_close(shared.gradients, alone.gradients, rtol=1e-12, atol=0)
    assert_close(shared.meta_loss, alone.meta_loss)
    assert_close(shared.outputs, alone.outputs)
    assert alone.logits is None
    assert torch.equal(shared.logits.detach(), shared.outputs.logits)


def test_forward_mode_of_an_lstm_in_float32_is_not_a_finite_difference():
    problem = make_problem("LSTM")
    reference = meta_gradient(ReverseGradient(), problem)
    problem.network.module.float(), problem.meta_model.float()
    # mkldnn's LSTM has no forward-mode derivative, and it is used for float32.
    single = problem._replace(
        network=StatelessModule(problem.network.module),
        x=problem.x.float(),
        meta_x=problem.meta_x.float(),
    )
    found = meta_gradient(ForwardGradient(), single)
    assert relative_difference(found.double(), reference) < 1e-3
    assert torch.backends.mkldnn.enabled


# Against finite differences of L(w_hat(theta))


def finite_differences(function, theta, step=1e-5):
    slopes = []
    for i in range(len(theta)):
        e = torch.zeros_like(theta)
        e[i] = step
        slopes.append((function(theta + e) - function(theta - e)) / (2 * step))
    return torch.stack(slopes)


def clid_with_frozen_graphs(features, logits):
    """Return the CLID of an example with S and the row sums r constant, as in its gradient."""
    f, q = F.normalize(features, dim=1), F.normalize(logits.softmax(dim=1), dim=1)
    C = -torch.log(torch.softmax((f @ f.T / 0.5).clamp(min=0), dim=1) + 1e-7).detach()
    r = (q @ q.T).sum(dim=1).detach()

    def frozen(_, logits):
        q = F.normalize(logits.softmax(dim=1), dim=1)
        return ((q @ q.T) * C).sum(dim=1).div(r).mean()

    return frozen


@pytest.mark.parametrize("Strategy", [ForwardGradient, ReverseGradient])
@pytest.mark.parametrize("name", ["clid", "cross_entropy"])
def test_linear_classifier_against_finite_differences_by_hand(Strategy, name):
    objective = {"clid": CLIDObjective(), "cross_entropy": CrossEntropyObjective()}[name]
    problem = make_problem("linear", objective=objective)
    W, b = (p.detach() for p in problem.network.parameters.values())
    Y = torch.eye(N_CLASSES, dtype=torch.float64)[TARGETS]

    def virtual_logits(theta):
        p = torch.softmax(problem.x @ W.T + b, dim=1)
        losses = -torch.log((p * Y).sum(dim=1))
        w1, b1, w2, b2 = theta.split([4, 4, 4, 1])  # WNet, equation by equation
        v = torch.sigmoid(torch.relu(losses[:, None] * w1 + b1) @ w2 + b2)
        slope = (p - Y) * (v / v.sum())[:, None]
        return problem.meta_x @ (W - LR * slope.T @ problem.x).T + (b - LR * slope.sum(dim=0))

    theta = parameters_to_vector(problem.meta_model.parameters()).detach()
    if name == "clid":
        frozen = clid_with_frozen_graphs(problem.meta_x, virtual_logits(theta))
        meta_loss = lambda t: frozen(None, virtual_logits(t))  # noqa: E731
    else:
        meta_loss = lambda t: F.cross_entropy(virtual_logits(t), TARGETS.flip(0))  # noqa: E731
    expected = finite_differences(meta_loss, theta)
    assert relative_difference(meta_gradient(Strategy(), problem), expected) < 1e-5
    value = objective(problem.meta_x, virtual_logits(theta), TARGETS.flip(0))
    assert_close(meta_step(Strategy(), problem).meta_loss, value)


@pytest.mark.parametrize("Strategy", [ForwardGradient, ReverseGradient])
@pytest.mark.parametrize(
    "meta_model",
    [partial(WNet, 4, torch.tensor([0.2, 0.5, 1.0])), partial(small_vri, 0.5)],
    ids=["WNet", "VRI"],
)
def test_two_layer_network_against_finite_differences(Strategy, meta_model):
    problem = make_problem("MLP", meta_model, MAEObjective())
    model, module = problem.meta_model, problem.network.module.module
    parameters = list(module.parameters())

    def forward(x, w):
        h = torch.relu(torch.relu(x @ w[0].T + w[1]) @ w[2].T + w[3])
        return h, h @ w[4].T + w[5]

    @torch.random.fork_rng(devices=[])
    def meta_loss(theta):
        torch.manual_seed(3)
        vector_to_parameters(theta, model.parameters())
        features, logits = forward(problem.x, parameters)
        outputs = BatchOutputs(logits.detach(), features.detach(), TARGETS)
        loss = model.training_loss(logits, model(outputs), outputs)
        slopes = torch.autograd.grad(loss, parameters)
        virtual = [p - LR * slope for p, slope in zip(parameters, slopes, strict=True)]
        _, logits = forward(problem.meta_x, virtual)
        penalty = model.penalty(outputs)
        value = 1 - logits.softmax(dim=1)[range(N), TARGETS.flip(0)].mean()
        return (value if penalty is None else value + penalty).detach()

    theta = parameters_to_vector(model.parameters()).detach().clone()
    expected = finite_differences(meta_loss, theta)
    vector_to_parameters(theta, model.parameters())
    assert relative_difference(meta_gradient(Strategy(), problem), expected) < 1e-5


# Against the per-sample formula: dM/dv_i = -lr <grad l_i(w), grad M(w_hat)>


class FreeWeights(MetaModel):
    """The simplest meta model, with one free weight per row of the batch."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.linspace(0, 0.3, N))

    def forward(self, batch):
        return self.weights

    def training_loss(self, logits, guidance, batch):
        return (guidance * F.cross_entropy(logits, batch.targets, reduction="none")).sum()


@pytest.mark.parametrize("network", ["MLP", "group norm", "transformer"])
def test_derivative_by_a_weight_is_a_product_of_gradients(network):
    problem = make_problem(network, FreeWeights, CrossEntropyObjective())
    module, weights = problem.network.module.module, problem.meta_model.weights.detach()
    parameters = list(module.parameters())
    with sdpa_kernel(SDPBackend.MATH):
        losses = F.cross_entropy(module(problem.x), TARGETS, reduction="none")
    slopes = [torch.autograd.grad(loss, parameters, retain_graph=True) for loss in losses]
    before = parameters_to_vector(parameters).detach().clone()
    slopes = torch.stack([torch.cat([g.flatten() for g in slope]) for slope in slopes])
    vector_to_parameters(before - LR * weights @ slopes, parameters)
    meta_loss = F.cross_entropy(module(problem.meta_x), TARGETS.flip(0))
    meta_slope = torch.cat([g.flatten() for g in torch.autograd.grad(meta_loss, parameters)])
    vector_to_parameters(before, parameters)
    assert_close(meta_gradient(ForwardGradient(), problem), -LR * slopes @ meta_slope)


def test_a_copy_of_a_meta_row_gains_weight_and_its_mislabelled_copy_loses_weight():
    problem = make_problem("MLP", FreeWeights, CrossEntropyObjective())
    x = problem.x.clone()
    x[1] = x[0]
    targets = torch.tensor([0, 1] + [2] * (N - 2))
    problem = problem._replace(
        x=x, targets=targets, meta_x=x[:1], meta_targets=targets[:1], lr=0.05
    )
    for strategy in (ForwardGradient(), ReverseGradient()):
        slope = meta_gradient(strategy, problem)
        assert slope[0] < 0  # descent on the meta loss raises this weight
        assert slope[1] > 0


# VRI's KL


def test_the_kl_term_adds_its_gradient_to_the_meta_gradient():
    gradients = {}
    for kl_weight in (0.0, 7.0):
        problem = make_problem("MLP", partial(small_vri, kl_weight))
        gradients[kl_weight] = meta_gradient(ForwardGradient(), problem)
    model = problem.meta_model
    features = problem.network.module(problem.x)[0].detach()
    posterior, prior = model.gaussian(features, TARGETS), model.gaussian(features, None)
    kl = kl_divergence(Normal(*posterior), Normal(*prior)).mean()
    slope = torch.cat([g.flatten() for g in torch.autograd.grad(7 * kl, model.parameters())])
    assert slope.norm() > 1e-3
    assert_close(gradients[7.0], gradients[0.0] + slope)

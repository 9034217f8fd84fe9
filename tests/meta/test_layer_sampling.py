"""FaMUS agrees with the full gradient, double backward and finite differences."""

from functools import partial

import pytest
import torch
from meta_problems import (
    LR,
    N_CLASSES,
    TARGETS,
    make_problem,
    meta_gradient,
    meta_step,
    relative_difference,
    seeded,
    small_vri,
)
from sampled_layers import Exemplars, problem_of, scores_one_by_one, with_gates
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.testing import assert_close

from sknoisy.meta import (
    BatchOutputs,
    CrossEntropyObjective,
    ForwardGradient,
    LayerSampledGradient,
    StatelessModule,
)
from sknoisy.networks import WithFeatures

SEED = 3


# Against the full gradient


@pytest.mark.parametrize(
    "network", ["linear", "MLP", "batch norm", "LSTM", "tied weights", "ResNet"]
)
@pytest.mark.parametrize("n_always_on", [0, 2])
def test_all_gates_open_give_the_full_gradient(network, n_always_on):
    problem = problem_of(network)
    strategy = with_gates(problem, n_sampled=99, n_always_on=n_always_on)
    assert strategy.layer_names == tuple(problem.network.named_parameters)  # frozen ones, too
    assert len(strategy.samplers) == len(strategy.layer_names) - n_always_on
    found, full = meta_step(strategy, problem), meta_step(ForwardGradient(), problem)
    assert_close(found.gradients, full.gradients, rtol=1e-11, atol=1e-15)
    assert torch.equal(found.meta_loss, full.meta_loss)


@pytest.mark.parametrize("network", ["MLP", "group norm", "batch norm"])
def test_gradients_of_single_layers_sum_to_the_full_gradient(network):
    problem = problem_of(network)
    n = len(problem.network.parameters)
    one_by_one = [
        meta_gradient(with_gates(problem, gates, n_sampled=n, n_always_on=0), problem)
        for gates in torch.eye(n).tolist()
    ]
    assert sum(g.norm() > 1e-9 for g in one_by_one) > n / 2
    assert_close(sum(one_by_one), meta_gradient(ForwardGradient(), problem), rtol=1e-9, atol=1e-15)


def test_with_no_layer_active_the_meta_gradient_is_that_of_the_penalty():
    for meta_model in (None, small_vri, partial(small_vri, 0.5)):
        problem = problem_of("MLP", meta_model=meta_model)
        strategy = with_gates(problem, [0] * 6, n_always_on=0)
        found = meta_gradient(strategy, problem)
        expected = meta_gradient(ForwardGradient(), problem._replace(lr=0.0))  # the penalty alone
        assert torch.equal(found, expected)
        assert bool(found.any()) == isinstance(meta_model, partial)


def test_virtual_parameters_do_not_depend_on_the_gates():
    seen = []

    def objective(features, logits, targets):
        seen.append(logits.detach())
        return F.cross_entropy(logits, targets)

    problem = problem_of("ResNet", objective=objective)
    for gates in ([0] * 12, [1] * 12, [0, 1] * 6):
        strategy = with_gates(problem, gates, n_sampled=12)
        seen.clear()
        meta_step(strategy, problem)
        assert strategy.epoch_report()["layer_usage"] == [*gates, 1, 1]
        sampled = seen.pop()
        meta_step(ForwardGradient(), problem)
        assert torch.equal(sampled, seen.pop())


# Against double backward through the paper's update, gates and samplers included


def pool(slope):
    return slope.flatten(1).mean(dim=1) if slope.ndim > 1 else slope


def by_name(loss, parameters, **kwargs):
    slopes = torch.autograd.grad(loss, parameters.values(), **kwargs)
    return dict(zip(parameters, slopes, strict=True))


def reference(problem, strategy, seed, detach=True):
    """Return the published total loss's gradients by the meta parameters and the samplers'."""
    model, weights = problem.meta_model, problem.network.parameters
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        features, logits = problem.network(weights, problem.x)
        outputs = BatchOutputs(logits.detach(), features.detach(), TARGETS)
        guidance = model(outputs)
        loss = model.training_loss(logits, guidance, outputs)
        shown = slopes = by_name(loss, weights, create_graph=True)
        if model.identity_step:
            shown = by_name(F.cross_entropy(logits, TARGETS), weights, retain_graph=True)
        gated = strategy.layer_names[: len(strategy.samplers)]
        inputs = [pool(shown[n].detach() if detach else shown[n]) for n in gated]
        scores = scores_one_by_one(strategy.samplers, inputs)
        r = F.gumbel_softmax(scores, strategy.temperature, hard=True)[:, 0]
        gates = dict(zip(gated, r, strict=True))
        active = [n for n in strategy.layer_names if gates.get(n, 1) > 0.5]
        known = weights if not active else list(weights)[list(weights).index(active[0]) :]
        virtual = {}
        for name, p in weights.items():
            gate = gates.get(name, torch.ones(()))
            if name not in known:
                gate = gate.detach()
            factor = 1 - gate if name in gates and name not in active else gate
            step = factor * (slopes[name] if name in active else slopes[name].detach())
            if model.identity_step:
                step = step + (factor - factor.detach()) * shown[name]
            virtual[name] = p - LR * step
        meta_loss = problem.objective(
            *problem.network(virtual, problem.meta_x), problem.meta_targets
        )
    last = strategy.layer_names[-2]
    (meta_slope,) = torch.autograd.grad(meta_loss, virtual[last], retain_graph=True)
    match = (pool(slopes[last]) - pool(meta_slope).detach()).square().sum()
    count = (r.sum() - strategy.n_active) ** 2
    total = meta_loss + strategy.reg_weight * count + strategy.match_weight * match
    theta, eta = model.meta_parameters(), list(strategy.samplers.parameters())
    found = torch.autograd.grad(total, theta + eta)
    flat = [
        torch.cat([g.flatten() for g in part])
        for part in (found[: len(theta)], found[len(theta) :])
    ]
    return *flat, tuple(r.gt(0.5).tolist())


@pytest.mark.parametrize("share_forward", [True, False])
@pytest.mark.parametrize(
    ("network", "meta_model", "n_sampled", "reg_weight"),
    [
        ("MLP", None, 4, 0.0),
        ("MLP, dropout", partial(small_vri, n_features=6), 2, 0.01),
        ("group norm", None, 3, 0.01),
        ("batch norm", small_vri, 2, 0.01),
        ("ResNet", None, 13, 0.001),
        ("MLP", Exemplars, 4, 0.0),
        ("ResNet", Exemplars, 9, 0.001),
    ],
)
def test_total_loss_has_the_gradients_of_double_backward(
    network, meta_model, n_sampled, reg_weight, share_forward
):
    problem = problem_of(network, meta_model=meta_model, objective=CrossEntropyObjective())
    strategy = LayerSampledGradient(
        n_active=1,
        n_sampled=n_sampled,
        reg_weight=reg_weight,
        match_weight=0.7,
        sampler_lr=0.0,
        temperature=0.8,
        share_forward=share_forward,
    )
    meta_step(strategy, problem)
    patterns = set()
    for seed in range(4):
        theta, eta, gates = reference(problem, strategy, seed)
        assert relative_difference(meta_gradient(strategy, problem, seed), theta) < 1e-8
        found = torch.cat([p.grad.flatten() for p in strategy.samplers.parameters()])
        assert relative_difference(found, eta) < 1e-8
        patterns.add(gates)
    assert len(patterns) > 1


def test_no_gradient_flows_through_the_input_of_the_samplers():
    problem = problem_of("MLP")
    strategy = LayerSampledGradient(n_active=1, sampler_lr=0.0)
    found = meta_gradient(strategy, problem)
    found = meta_gradient(strategy, problem)
    assert_close(found, reference(problem, strategy, SEED)[0])
    with_graph = reference(problem, strategy, SEED, detach=False)[0]
    assert relative_difference(found, with_graph) > 1e-6


# Against finite differences


def test_two_layer_network_against_finite_differences():
    build = lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, N_CLASSES))  # noqa: E731
    problem = make_problem(objective=CrossEntropyObjective())
    problem = problem._replace(network=StatelessModule(WithFeatures(seeded(build, 0))))
    weights, model = list(problem.network.parameters.values()), problem.meta_model
    strategy = with_gates(problem, [0, 1], match_weight=0.7)
    logits = problem.network.module(problem.x)[1]
    outputs = BatchOutputs(logits.detach(), logits.detach(), TARGETS)
    losses = F.cross_entropy(logits, TARGETS, reduction="none")
    slopes = [torch.autograd.grad(loss, weights, retain_graph=True) for loss in losses]
    slopes = [torch.stack(parts) for parts in zip(*slopes, strict=True)]  # per row

    def steps(theta):
        vector_to_parameters(theta, model.parameters())
        with torch.no_grad():
            return [torch.einsum("i,i...->...", model(outputs), parts) for parts in slopes]

    def meta(moved):
        w0, b0, w1, b1 = [w - LR * step for w, step in zip(weights, moved, strict=True)]
        logits = torch.tanh(problem.meta_x @ w0.T + b0) @ w1.T + b1
        return F.cross_entropy(logits, problem.meta_targets)

    theta = parameters_to_vector(model.parameters()).detach().clone()
    start = [step.requires_grad_() for step in steps(theta)]
    meta_slope = torch.autograd.grad(meta(start), start)[2] / -LR

    def total(theta):
        moved = [start[0], *steps(theta)[1:]]  # the closed layer's step does not depend on theta
        match = (moved[2].mean(dim=1) - meta_slope.mean(dim=1)).square().sum()
        return (meta(moved) + 0.7 * match).detach()

    expected = []
    for e in 1e-5 * torch.eye(len(theta)).double():
        expected.append((total(theta + e) - total(theta - e)) / 2e-5)
    vector_to_parameters(theta, model.parameters())
    assert relative_difference(meta_gradient(strategy, problem), torch.stack(expected)) < 1e-5


# Saved computation


class Counted(torch.autograd.Function):
    """The identity; it counts the derivatives that pass through it."""

    backwards = jvps = 0

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, slope):
        Counted.backwards += 1
        return slope

    @staticmethod
    def jvp(ctx, tangent):
        Counted.jvps += 1
        return tangent.clone()


class Watched(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.fc = (
            nn.Linear(5, 6),
            nn.Linear(6, 4),
            nn.Linear(4, N_CLASSES),
        )

    def forward(self, x):
        return self.fc(torch.tanh(self.second(Counted.apply(torch.tanh(self.first(x))))))


@pytest.mark.parametrize(
    ("meta_model", "gates", "backwards", "jvps"),
    [
        (None, [0, 0, 0, 0], 1, 0),  # the backward pass of the virtual step alone
        (None, [0, 0, 0, 1], 1, 0),
        (None, [0, 0, 1, 0], 1, 0),
        (None, [0, 1, 0, 0], 2, 1),
        (None, [1, 0, 0, 0], 2, 1),
        (Exemplars, [0, 0, 1, 0], 1, 0),
        (Exemplars, [0, 1, 0, 0], 2, 1),
    ],
)
def test_both_meta_passes_stop_at_the_lowest_active_layer(meta_model, gates, backwards, jvps):
    problem = make_problem(meta_model=meta_model, objective=CrossEntropyObjective())
    problem = problem._replace(network=StatelessModule(WithFeatures(seeded(Watched, 0))))
    strategy = with_gates(problem, gates, match_weight=0.1)
    Counted.backwards = Counted.jvps = 0
    meta_step(strategy, problem)
    assert (Counted.backwards, Counted.jvps) == (backwards, jvps)


def test_under_an_identity_step_no_backward_pass_goes_below_the_gated_layers():
    problem = make_problem(meta_model=Exemplars, objective=CrossEntropyObjective())
    problem = problem._replace(network=StatelessModule(WithFeatures(seeded(Watched, 0))))
    strategy = with_gates(problem, n_sampled=2)
    Counted.backwards = Counted.jvps = 0
    meta_step(strategy, problem)
    assert (Counted.backwards, Counted.jvps) == (0, 0)


# Side effects of a step


@pytest.mark.parametrize("share_forward", [True, False])
def test_a_step_changes_only_the_running_statistics_of_a_shared_pass(share_forward):
    problem, twin = make_problem("batch norm"), make_problem("batch norm")
    if share_forward:
        twin.network.module(twin.x)
    step = meta_step(LayerSampledGradient(n_active=1, share_forward=share_forward), problem)
    assert_close(problem.network.module.state_dict(), twin.network.module.state_dict())
    modules = (problem.network.module, problem.meta_model)
    assert all(p.grad is None for module in modules for p in module.parameters())
    assert (step.logits is None) == (not share_forward)
    if share_forward:
        step.logits.sum().backward()
        assert all(p.grad is not None for p in problem.network.parameters.values())

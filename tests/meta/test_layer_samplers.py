"""FaMUS: training of the samplers, choice of the gated layers, report of their usage."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from meta_problems import N_CLASSES, make_problem, meta_gradient, meta_step, seeded
from sampled_layers import problem_of, scores_one_by_one, set_gates, with_gates
from torch import nn
from torch.nn.utils import parameters_to_vector
from torch.testing import assert_close

from sknoisy.meta import ForwardGradient, LayerSampledGradient, StatelessModule
from sknoisy.meta.layer_sampling import LayerSamplers
from sknoisy.networks import WithFeatures

# The samplers


def usage_after(strategy, problem, n_steps, seed=0):
    """Return the share of steps with each gate open, after `n_steps` steps of training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(n_steps):
            strategy(problem)
        strategy.epoch_report()
        for _ in range(100):
            strategy(problem)
    return torch.tensor(strategy.epoch_report()["layer_usage"])[: len(strategy.samplers)]


def test_a_large_reg_weight_turns_all_gates_on_or_all_off():
    for n_active, share in ((4, 1.0), (0, 0.0)):
        strategy = LayerSampledGradient(n_active=n_active, reg_weight=1.0)
        usage = usage_after(strategy, make_problem("MLP"), 150)
        assert_close(usage, torch.full((4,), share), rtol=0, atol=0.05)


def test_reg_weight_and_sampler_lr_bring_the_number_of_open_gates_to_n_active():
    def distance(**params):
        strategy = LayerSampledGradient(n_active=3, **params)
        return abs(usage_after(strategy, make_problem("MLP"), 50).sum() - 3)

    learned = distance()
    assert learned < 0.5
    assert distance(reg_weight=0.0) > learned + 0.3  # fresh gates are open half of the time
    assert distance(sampler_lr=1e-4) > learned + 0.3


def test_samplers_learn_by_momentum():
    problem = make_problem("MLP")
    strategy = LayerSampledGradient(sampler_lr=0.2)
    values, slopes = [], []
    for seed in range(3):
        meta_step(strategy, problem, seed)
        values.append(parameters_to_vector(strategy.samplers.parameters()).detach().clone())
        slopes.append(torch.cat([p.grad.flatten() for p in strategy.samplers.parameters()]))
    velocity = 0.9 * slopes[0] + slopes[1]
    assert slopes[0].any()
    assert_close(values[1], values[0] - 0.2 * velocity)
    assert_close(values[2], values[1] - 0.2 * (0.9 * velocity + slopes[2]))


def test_temperature_flattens_the_gradient_of_the_gates_and_leaves_the_draws():
    found = {}
    for temperature in (1.0, 1000.0):
        strategy = LayerSampledGradient(temperature=temperature, sampler_lr=0.0)
        meta_step(strategy, make_problem("MLP"))
        slopes = torch.cat([p.grad.flatten() for p in strategy.samplers.parameters()])
        found[temperature] = slopes.norm(), strategy.epoch_report()
    assert found[1.0][1] == found[1000.0][1]
    assert 0 < found[1000.0][0] < found[1.0][0] / 100


# The samplers' networks


def samplers_of(*widths):
    return seeded(partial(LayerSamplers, widths), 0)


def pooled_of(*widths, scale=1.0, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(w, generator=generator, dtype=torch.float64) for w in widths]


def test_padded_networks_are_those_of_a_loop_over_the_layers():
    widths = (7, 1, 64, 3, 128)
    samplers, pooled = samplers_of(*widths), pooled_of(*widths)
    found, expected = samplers(pooled), scores_one_by_one(samplers, pooled)
    assert_close(found, expected, rtol=1e-12, atol=1e-14)
    weights = torch.linspace(-1, 1, found.numel()).double().view_as(found)
    slopes = [
        torch.autograd.grad((weights * scores).sum(), list(samplers.parameters()))
        for scores in (found, expected)
    ]
    assert_close(*slopes, rtol=1e-10, atol=1e-12)
    for width, slope in zip(widths, slopes[0][0], strict=True):
        assert not slope[width:].any()  # the padding stays 0


@pytest.mark.parametrize("scale", [1e-12, 1e-4, 1.0])
def test_gates_depend_on_gradients_of_any_scale(scale):
    """Compared with a gradient of 0; the mean gradients of a trained layer are near 1e-4."""
    widths = (10, 64, 512)
    samplers = samplers_of(*widths)
    base = samplers([torch.zeros(w).double() for w in widths])
    scores = [samplers(pooled_of(*widths, scale=scale, seed=i)) for i in range(10)]
    difference = torch.stack([(s - base).diff(dim=1).abs() for s in scores]).mean(dim=0)
    assert difference.min() > 0.1
    assert_close(scores[0], samplers(pooled_of(*widths, seed=0)), rtol=1e-6, atol=1e-6)


def test_a_vector_without_spread_is_0_to_its_sampler():
    samplers = samplers_of(1, 5)
    flat = [torch.full((w,), v).double() for w, v in ((1, 3e-4), (5, 0.1))]
    base = samplers([torch.zeros(1).double(), torch.zeros(5).double()])
    assert_close(samplers(flat), base, rtol=0, atol=1e-6)


# Layers and their report


class HeadFirst(nn.Module):
    """The head is registered first, and a layer that the logits do not need last."""

    def __init__(self, head):
        super().__init__()
        self.head, self.body = head, nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4))
        self.auxiliary = nn.Linear(4, 9)

    def forward(self, x):
        h = self.body(x)
        self.auxiliary(h)
        return self.head(h)


class Scores(nn.Module):
    """A classifier that is no ``nn.Linear``."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.zeros(3))

    def forward(self, x):
        return x @ self.weight + self.bias


@pytest.mark.parametrize("head", [lambda: nn.Linear(4, N_CLASSES), Scores], ids=["linear", "own"])
def test_the_last_layer_is_the_one_that_feeds_the_logits(head):
    network = StatelessModule(WithFeatures(seeded(lambda: HeadFirst(head()), 0)))
    strategy = LayerSampledGradient(n_sampled=4)
    meta_step(strategy, make_problem()._replace(network=network))
    assert strategy.layer_names[-2:] == ("module.head.weight", "module.head.bias")
    assert strategy._matched == "module.head.weight"
    strategy = with_gates(make_problem()._replace(network=network), [0] * 4, n_sampled=4)
    assert meta_gradient(strategy, make_problem()._replace(network=network)).any()


def test_gated_layers_are_the_top_ones_below_those_always_on():
    problem = problem_of("ResNet")
    names = list(problem.network.parameters)
    for params, n_gated in (({}, 13), ({"n_sampled": 5}, 5), ({"n_always_on": 5}, 13)):
        strategy = LayerSampledGradient(**params)
        assert strategy.layer_names == ()
        meta_step(strategy, problem)
        n_layers = n_gated + params.get("n_always_on", 2)
        found = strategy.layer_names
        assert set(found) == set(names[-n_layers:])
        assert found[:n_gated] == tuple(n for n in names if n in found[:n_gated])
        assert found[-2:] == ("module.fc.weight", "module.fc.bias")
        gated = [problem.network.parameters[n] for n in found[:n_gated]]
        assert strategy.samplers.widths[:, 0].tolist() == [len(p) for p in gated]
    strategy = LayerSampledGradient()
    meta_step(strategy, make_problem("MLP"))
    assert len(strategy.samplers) == 4  # of six tensors


def test_a_network_of_one_layer_is_always_on():
    problem = make_problem("linear")
    strategy = LayerSampledGradient(match_weight=0.0)
    assert_close(meta_gradient(strategy, problem), meta_gradient(ForwardGradient(), problem))
    assert strategy.epoch_report() == {"layer_usage": [1.0, 1.0]}


def test_the_report_covers_the_steps_since_the_last_one():
    problem = make_problem("MLP")
    strategy = with_gates(problem, [1, 0, 0, 1])
    assert strategy.epoch_report() == {"layer_usage": [0.0] * 6}
    for is_open in ([1, 0, 0, 1], [1, 1, 0, 0], [1, 1, 0, 1], [1, 1, 0, 1]):
        set_gates(strategy, is_open)
        meta_step(strategy, problem)
    assert strategy.epoch_report() == {"layer_usage": [1.0, 0.75, 0.0, 0.75, 1.0, 1.0]}
    meta_step(strategy, problem)
    assert strategy.epoch_report() == {"layer_usage": [1.0, 1.0, 0.0, 1.0, 1.0, 1.0]}


@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copy_continues_like_the_original_and_independently_of_it(copy_of):
    problem = make_problem("MLP")
    strategy = LayerSampledGradient()
    meta_step(strategy, problem)
    twin = copy_of(strategy)
    found = [torch.cat([meta_gradient(s, problem, i) for i in range(5)]) for s in (strategy, twin)]
    assert torch.equal(*found)
    assert strategy.epoch_report() == twin.epoch_report()
    values = [parameters_to_vector(s.samplers.parameters()) for s in (strategy, twin)]
    assert torch.equal(*values)
    meta_step(strategy, problem)
    assert not torch.equal(
        *[parameters_to_vector(s.samplers.parameters()) for s in (strategy, twin)]
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_sampled": "all"}, "n_sampled must be 'auto' or an int >= 0, got 'all'"),
        ({"n_sampled": -2}, "n_sampled .* got -2"),
        ({"reg_weight": -0.1}, "reg_weight must be 0 or more, got -0.1"),
        ({"match_weight": -0.1}, "match_weight must be 0 or more, got -0.1"),
        ({"sampler_lr": -0.1}, "sampler_lr must be 0 or more, got -0.1"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
    ],
)
def test_parameters_out_of_range(params, message):
    with pytest.raises(ValueError, match=message):
        LayerSampledGradient(**params)


def test_more_active_layers_than_there_are():
    meta_step(LayerSampledGradient(n_active=6), make_problem("MLP"))
    with pytest.raises(ValueError, match=r"n_active=7 .* 4 have a gate .* 6 in all"):
        meta_step(LayerSampledGradient(n_active=7), make_problem("MLP"))


@pytest.mark.parametrize("name", ["n_active", "n_always_on", "n_sampled"])
def test_counts_are_integers_of_any_kind(name):
    assert getattr(LayerSampledGradient(**{name: np.int64(3)}), name) == 3
    for bad in (-1, 2.0, True):
        with pytest.raises(ValueError, match=rf"{name} must be .*an int >= 0, got {bad}"):
            LayerSampledGradient(**{name: bad})

"""The virtual step of MetaUpdate moves what the optimiser steps, each parameter at its own rate.

The reference is double backward, with the net's own optimiser to tell parameters and rates.
"""

import copy
import random
from functools import partial

import numpy as np
import pytest
import torch
from meta_problems import relative_difference
from skorch.callbacks import Callback, Freezer, Unfreezer
from small_nets import N_CLASSES, D, fit_device_net, fit_stock_net, update
from torch import nn
from torch.func import functional_call

from sknoisy.meta import (
    BatchOutputs,
    CrossEntropyObjective,
    ForwardGradient,
    L2RWeights,
    LabelCorrector,
    LayerSampledGradient,
    WNet,
)

NETS = pytest.mark.parametrize("fit", [fit_stock_net, fit_device_net])


def body_and_head(tied=False):
    """A network whose head is registered before its body."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = BodyAndHead()
        if tied:
            net.body[2].weight = net.body[0].weight
        return net.double()


class BodyAndHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(D, N_CLASSES)
        self.body = nn.Sequential(nn.Linear(D, D), nn.Tanh(), nn.Linear(D, D), nn.Tanh())

    def forward(self, x):
        return self.head(self.body(x))


def double_backward(problem, optimizer):
    """Return the meta gradient, and the names of the parameters that moved."""
    module, model = problem.network.module, problem.meta_model
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    moving = {
        name: p
        for name, p in module.named_parameters()
        if p.requires_grad and rates.get(id(p), 0.0)
    }
    features, logits = module(problem.x)
    extra = problem.sample_weight, problem.trusted, problem.rows
    outputs = BatchOutputs(logits.detach(), features.detach(), problem.targets, *extra)
    loss = model.training_loss(logits, model(outputs), outputs)
    slopes = torch.autograd.grad(loss, moving.values(), create_graph=True)
    virtual = {
        name: p - rates[id(p)] * slope
        for (name, p), slope in zip(moving.items(), slopes, strict=True)
    }
    found = functional_call(module, virtual, (problem.meta_x,))
    meta_loss = problem.objective(*found, problem.meta_targets)
    gradient = torch.autograd.grad(meta_loss, model.meta_parameters())
    return torch.cat([g.flatten() for g in gradient]), {n.split(".")[1] for n in moving}


class Checked(Callback):
    """A callback and gradient strategy that compares each meta step with double backward."""

    share_forward = False

    def __init__(self, strategy=None):
        self.strategy = ForwardGradient(share_forward=False) if strategy is None else strategy
        self.differences, self.moved = [], []

    def __deepcopy__(self, memo):
        return self

    def on_train_begin(self, net, **kwargs):
        self.net = net

    def __call__(self, problem):
        expected, moved = double_backward(problem, self.net.optimizer_)
        step = self.strategy(problem)
        found = torch.cat([g.flatten() for g in step.gradients])
        self.differences.append(relative_difference(found, expected))
        self.moved.append("".join(sorted(part[0] for part in moved)))  # body, head
        return step


class Rate(Callback):
    """Change the rate of one group from an epoch on."""

    def __init__(self, group, factor):
        self.group, self.factor = group, factor

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 2:
            net.optimizer_.param_groups[self.group]["lr"] *= self.factor


class Toggle(Callback):
    """Freeze the body in the second of three epochs, as a user's callback does."""

    def on_epoch_begin(self, net, **kwargs):
        net.module_.body.requires_grad_(len(net.history) != 2)


def groups(**rates):
    return {"optimizer__param_groups": [(f"{k}.*", {"lr": lr}) for k, lr in rates.items()]}


FROZEN = [("freeze", Freezer("body.*")), ("unfreeze", Unfreezer("body.*", at=2))]
SETUPS = {  # callbacks, settings of the net, what moves in each epoch
    "a rate per group": ([], groups(body=0.005), ["bh"] * 3),
    "three rates": ([], groups(**{"body.0": 0.3, "head": 0.01}), ["bh"] * 3),
    "a rate that changes": ([Rate(0, 0.1)], groups(body=0.2), ["bh"] * 3),
    "rate 0": ([], groups(body=0.0), ["h"] * 3),
    "rate 0 at first": ([Rate(0, 0.0)], groups(body=0.2), ["bh", "h", "h"]),
    "frozen": (FROZEN[:1], {}, ["h"] * 3),
    "frozen, then unfrozen": (FROZEN, {}, ["h", "bh", "bh"]),
    "unfrozen at its own rate": (FROZEN, groups(body=0.005), ["h", "bh", "bh"]),
    "frozen for one epoch": ([Toggle()], {}, ["bh", "h", "bh"]),
}


@NETS
@pytest.mark.parametrize("setup", SETUPS)
def test_the_meta_gradient_is_that_of_double_backward_with_the_same_step(fit, setup):
    callbacks, params, moved = SETUPS[setup]
    models = [WNet, L2RWeights, partial(LabelCorrector, n_embedding=2, n_hidden=3)]
    for model in models:
        checked = Checked()
        meta = update(model, CrossEntropyObjective(), checked, meta_lr=0.5)
        module = body_and_head(tied=model is WNet and setup != "three rates")
        chain = [("check", checked), *copy.deepcopy(callbacks), ("MetaUpdate", meta)]
        fit(*chain, module=module, max_epochs=3, optimizer__weight_decay=0.1, **params)
        assert max(checked.differences) < 1e-6
        assert [checked.moved[i] for i in (0, 3, 6)] == moved


@pytest.mark.parametrize("setup", SETUPS)
def test_famus_with_open_gates_follows_the_optimiser(setup):
    callbacks, params, _ = SETUPS[setup]
    checked = Checked(LayerSampledGradient(n_active=6, reg_weight=1e6, match_weight=0.0))

    class Open(Callback):
        @torch.no_grad()
        def on_batch_begin(self, net, **kwargs):
            samplers = checked.strategy.samplers
            samplers.output_weight.zero_()
            samplers.output_bias.copy_(torch.tensor([1e3, 0.0]))

    class Prepare(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if not checked.strategy.layer_names:
                meta = dict(net.callbacks_)["MetaUpdate"]
                checked.strategy.prepare(meta._network, torch.zeros(2, D).double())

    meta = update(WNet, CrossEntropyObjective(), checked, meta_lr=0.5)
    chain = [("check", checked), *copy.deepcopy(callbacks), ("MetaUpdate", meta)]
    chain = [*chain, ("prepare", Prepare())]
    chain.insert(0, ("open", Open()))
    fit_device_net(*chain, module=body_and_head(), max_epochs=3, **params)
    assert max(checked.differences) < 1e-6
    assert checked.strategy.layer_names[-2:] == ("module.head.weight", "module.head.bias")


def test_a_layer_that_is_frozen_is_never_active():
    meta = update(WNet, CrossEntropyObjective(), LayerSampledGradient(n_active=2))
    freeze = [("freeze", Freezer("body.*")), ("thaw", Unfreezer("body.*", at=3))]
    net = fit_device_net(*freeze, ("meta", meta), module=body_and_head(), max_epochs=4)
    usage = np.array(net.history[:, "layer_usage"])
    assert (usage[:2, :4] == 0).all()
    assert usage[2:, :4].any()
    assert (usage[:, 4:] == 1).all()


class StochasticDepth(nn.Module):
    """A residual network whose block is skipped by chance, drawn outside torch."""

    def __init__(self, draw):
        super().__init__()
        self.draw = draw
        self.block = nn.Sequential(nn.Linear(D, D), nn.Tanh())
        self.fc = nn.Linear(D, N_CLASSES)

    def forward(self, x):
        if self.training:
            x = x + self.block(x) * torch.as_tensor([self.draw() > 0.5 for _ in x]).to(x)[:, None]
        return self.fc(x)


DRAWS = {"python": random.random, "numpy": np.random.random_sample}


@NETS
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("share_forward", [True, False])
def test_a_module_that_draws_outside_torch_sees_the_same_draws_in_both_passes(
    fit, draw, share_forward
):
    steps = []

    class Replayed(ForwardGradient):
        def __call__(self, problem):
            state = problem.network.random_state(problem.x)
            with state.replay():
                expected, _ = double_backward(problem, self.optimizer)
            drawn = len(seen)
            step = super().__call__(problem)
            found = torch.cat([g.flatten() for g in step.gradients])
            # Rows of the training pass, the meta pass and the replayed training pass.
            first, _, second = np.split(np.array(seen[drawn:]), [n := len(problem.x), n + 6])
            steps.append((relative_difference(found, expected), first, second))
            return step

    seen = []

    def watched():
        seen.append(draw())
        return seen[-1]

    class Tell(Callback):
        def on_train_begin(self, net, **kwargs):
            Replayed.optimizer = net.optimizer_

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = StochasticDepth(watched).double()
    meta = update(WNet, CrossEntropyObjective(), Replayed(share_forward), meta_lr=0.5)
    fit(Tell(), ("meta", meta), module=module, max_epochs=1)
    for difference, first, second in steps:
        assert difference < 1e-6
        assert (first == second).all()
    assert len({tuple(first) for _, first, _ in steps}) == len(steps)  # the generator moves on


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_replayed_pass_leaves_the_generators_as_if_it_had_not_been(draw):
    problems = []

    class Keep(ForwardGradient):
        def __call__(self, problem):
            problems.append(problem)
            return super().__call__(problem)

        def __deepcopy__(self, memo):
            return self

    module = StochasticDepth(draw).double()
    fit_device_net(update(WNet, CrossEntropyObjective(), Keep()), module=module, max_epochs=1)
    problem = problems[0]._replace(meta_model=WNet().double())
    state = problem.network.random_state(problem.x)
    with state.replay():
        problem.network.module(problem.x)
        problem.network.module(problem.meta_x)
        expected = draw()
    with state.replay():
        ForwardGradient()(problem)
        assert draw() == expected

"""Side effects of gradient strategies, and central differences where forward mode fails."""

import warnings
from functools import partial

import pytest
import torch
from meta_problems import (
    N_CLASSES,
    TARGETS,
    N,
    make_problem,
    meta_gradient,
    meta_step,
    relative_difference,
    seeded,
    small_vri,
)
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from sknoisy.meta import (
    BatchOutputs,
    CrossEntropyObjective,
    ForwardGradient,
    ReverseGradient,
    StatelessModule,
)
from sknoisy.networks import WithFeatures

STRATEGIES = [partial(S, share) for S in (ForwardGradient, ReverseGradient) for share in (0, 1)]

# Side effects of a step


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_parameters_and_gradients_do_not_change(strategy):
    problem = make_problem("batch norm", partial(small_vri, 0.01))
    modules = (problem.network.module, problem.meta_model)
    before = [[p.detach().clone() for p in module.parameters()] for module in modules]
    meta_step(strategy(), problem)
    for module, values in zip(modules, before, strict=True):
        assert_close(list(module.parameters()), values, rtol=0, atol=0)
        assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_running_statistics_are_updated_once_if_the_forward_pass_is_shared(strategy):
    strategy, problem = strategy(), make_problem("batch norm")
    twin = make_problem("batch norm")
    if strategy.share_forward:
        twin.network.module(twin.x)
    meta_step(strategy, problem)
    found, expected = (dict(p.network.module.named_buffers()) for p in (problem, twin))
    assert found["module.1.num_batches_tracked"] == int(strategy.share_forward)
    assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_random_numbers_are_drawn_for_batch_guidance_and_meta_batch_only(strategy):
    problem = make_problem("MLP, dropout", partial(small_vri, n_features=6))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        strategy()(problem)
        found = torch.rand(3)
        torch.manual_seed(3)
        features, logits = problem.network.module(problem.x)
        problem.meta_model(BatchOutputs(logits.detach(), features.detach(), TARGETS))
        problem.network.module(problem.meta_x)
        assert torch.equal(found, torch.rand(3))


def test_shared_logits_have_a_graph_to_the_parameters():
    problem = make_problem("MLP, dropout")
    for strategy in (ForwardGradient(), ReverseGradient()):
        logits = meta_step(strategy, problem).logits
        loss = F.cross_entropy(logits, TARGETS)
        found = torch.autograd.grad(loss, list(problem.network.parameters.values()))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)  # the same dropout masks
            loss = F.cross_entropy(problem.network.module(problem.x)[1], TARGETS)
        assert_close(found, torch.autograd.grad(loss, list(problem.network.parameters.values())))


def test_a_virtual_step_of_size_zero_has_no_meta_gradient():
    problem = make_problem("MLP")._replace(lr=0.0)
    for strategy in (ForwardGradient(), ReverseGradient()):
        assert (meta_gradient(strategy, problem) == 0).all()


def test_buffers_are_read_when_the_module_is_called():
    module = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double().eval()
    network = StatelessModule(WithFeatures(module))
    module[1].running_mean = torch.full((4,), 3.0, dtype=torch.float64)  # a new tensor
    x = torch.ones(2, 5, dtype=torch.float64)
    assert_close(network(network.parameters, x)[1], module(x))


# Operations without a forward-mode derivative


class Bag(nn.Module):
    """A bag of words after a dropout mask, by EmbeddingBag or by Embedding and a sum."""

    def __init__(self, fused):
        super().__init__()
        self.fused = fused
        self.embedding = (nn.EmbeddingBag if fused else nn.Embedding)(9, 5)
        self.fc = nn.Linear(5, N_CLASSES)

    def forward(self, tokens):
        mask = F.dropout(torch.ones(len(tokens), 5).double(), 0.4, self.training)
        bags = self.embedding(tokens)
        return self.fc(torch.tanh(mask * (bags if self.fused else bags.mean(dim=1))))


def test_central_differences_replace_a_missing_derivative():
    tokens, meta_tokens = torch.randint(9, (2, N, 6), generator=torch.Generator().manual_seed(0))
    modules = {fused: seeded(partial(Bag, fused), 0) for fused in (True, False)}
    modules[True].load_state_dict(modules[False].state_dict())
    problems = {
        fused: make_problem()._replace(
            network=StatelessModule(WithFeatures(module)), x=tokens, meta_x=meta_tokens
        )
        for fused, module in modules.items()
    }
    reference = meta_gradient(ReverseGradient(), problems[False])
    assert relative_difference(meta_gradient(ForwardGradient(), problems[False]), reference) < 1e-8
    for expected_warnings in (1, 0):  # once per training
        with warnings.catch_warnings(record=True) as caught, torch.random.fork_rng(devices=[]):
            warnings.simplefilter("always")
            torch.manual_seed(3)
            step = ForwardGradient()(problems[True])
        messages = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
        assert sum("contains an operation without a forward-mode" in m for m in messages) == (
            expected_warnings
        )
        found = torch.cat([g.flatten() for g in step.gradients])
        assert relative_difference(found, reference) < 1e-4


def test_errors_of_the_module_are_not_taken_for_a_missing_derivative():
    class Picky(nn.Linear):
        def forward(self, x):
            if torch.autograd.forward_ad._current_level >= 0:
                raise RuntimeError("out of luck")
            return super().forward(x)

    problem = make_problem()._replace(
        network=StatelessModule(WithFeatures(seeded(partial(Picky, 5, N_CLASSES), 0)))
    )
    with pytest.raises(RuntimeError, match="out of luck"):
        ForwardGradient()(problem)


# Mixed precision


class Autocast(nn.Module):
    """Convolution, batch norm and linear maps, in mixed precision or not."""

    def __init__(self, is_on):
        super().__init__()
        self.is_on = is_on
        self.conv, self.norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)
        self.hidden, self.fc = nn.Linear(4, 16), nn.Linear(16, N_CLASSES)
        self.conv.weight.requires_grad_(False)  # only its bias has a tangent

    def forward(self, x):
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.is_on):
            h = F.relu(self.norm(self.conv(x)))
            return self.fc(torch.tanh(self.hidden(h.mean(dim=(2, 3)))))


def test_autocast_in_forward_costs_the_meta_gradient_no_more_than_its_rounding():
    """A number in bfloat16 has a relative error of up to 2**-8, about 0.4 %."""
    gradients = {}
    for is_on in (False, True):
        problem = make_problem("batch norm", objective=CrossEntropyObjective())
        module = seeded(lambda is_on=is_on: Autocast(is_on), 0).float()
        problem = problem._replace(
            network=StatelessModule(WithFeatures(module)),
            meta_model=problem.meta_model.float(),
            x=problem.x.float(),
            meta_x=problem.meta_x.float(),
        )
        for Strategy in (ForwardGradient, ReverseGradient):
            step = meta_step(Strategy(), problem)
            assert step.outputs.logits.dtype == step.outputs.features.dtype == torch.float32
            assert all(g.dtype == torch.float32 for g in step.gradients)
            gradients[Strategy, is_on] = torch.cat([g.flatten() for g in step.gradients])
    exact = gradients[ForwardGradient, False]
    for Strategy in (ForwardGradient, ReverseGradient):
        assert relative_difference(gradients[Strategy, True], exact) < 10 * 2**-8

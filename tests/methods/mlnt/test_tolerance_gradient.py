"""MLNT: the meta gradient against references in float64, and the consistency loss."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from sknoisy.methods.mlnt import ToleranceGradient, ToleranceProblem, consistency
from sknoisy.methods.mlnt.gradient import tolerance_gradient
from sknoisy.networks import PreActResNet

K, D, N_CLASSES, M = 9, 4, 3, 5
ALPHA = 0.7
WAYS = pytest.mark.parametrize("batched", [True, False], ids=["batched", "looped"])


class SmoothMLP(nn.Module):
    """Two layers with batch norm, and dropout where asked for."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(D, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(dropout)
        )
        self.fc = nn.Linear(6, N_CLASSES)

    def forward(self, x):
        return self.fc(self.layers(x))


MODULES = {
    "linear": lambda: nn.Linear(D, N_CLASSES),
    "MLP": SmoothMLP,
    "MLP, dropout": lambda: SmoothMLP(0.4),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 5, 2), nn.Softplus(), nn.Flatten(),
        nn.Linear(5, N_CLASSES),
    ),
}  # fmt: skip


def make_problem(name="MLP", alpha=ALPHA, weighted=False, **changes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = (MODULES[name] if isinstance(name, str) else name)().double()
        x = torch.randn(K, D).double()
        target = torch.randn(K, N_CLASSES).double().softmax(dim=1)
        labels = torch.randint(N_CLASSES, (M, K))
    weight = torch.linspace(0, 2, K, dtype=torch.float64) if weighted else None
    problem = ToleranceProblem(module, x, labels, target, alpha, weight)
    return problem._replace(**changes)


def gradient(problem, first_order=True, batched=False, **settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ToleranceGradient(first_order, batched, **settings)(problem)


def flat(step):
    return torch.cat([g.flatten() for g in step.gradients.values()])


def relative_difference(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


def meta_loss(problem, theta, frozen_at=None):
    """L_meta by torch.func as a function of theta; inner gradients elsewhere if told so."""
    module, names = problem.module, [n for n, _ in problem.module.named_parameters()]
    sizes = [p.numel() for p in module.parameters()]
    shapes = [p.shape for p in module.parameters()]
    weight = torch.ones(K).double() if problem.sample_weight is None else problem.sample_weight

    def logits(vector):
        parts = [p.view(s) for p, s in zip(vector.split(sizes), shapes, strict=True)]
        buffers = {n: b.clone() for n, b in module.named_buffers()}
        state = {**dict(zip(names, parts, strict=True)), **buffers}
        torch.manual_seed(0)  # the same dropout masks in every pass
        return torch.func.functional_call(module, state, (problem.x,))

    def inner(vector, labels):
        rows = -logits(vector).log_softmax(dim=1)[torch.arange(K), labels]
        return (weight * rows).sum() / K

    total = 0.0
    for labels in problem.label_sets:
        at = theta if frozen_at is None else frozen_at
        virtual = theta - problem.inner_lr * torch.func.grad(inner)(at, labels)
        log_f = logits(virtual).log_softmax(dim=1)
        rows = (problem.target * (problem.target.log() - log_f)).sum(dim=1)
        total = total + (weight * rows).sum() / K
    return total / len(problem.label_sets)


def own_vector(problem):
    return torch.cat([p.detach().flatten() for p in problem.module.parameters()])


@torch.random.fork_rng(devices=[])
def reference(problem, first_order):
    theta = own_vector(problem)
    frozen = theta if first_order else None
    return torch.func.grad(lambda t: meta_loss(problem, t, frozen))(theta)


# --- against references -------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("first_order", [True, False], ids=["first order", "full"])
@pytest.mark.parametrize("name", MODULES)
def test_gradient_and_loss_against_the_reference(name, first_order, weighted, batched):
    problem = make_problem(name, weighted=weighted)
    step = gradient(problem, first_order, batched)
    assert relative_difference(flat(step), reference(problem, first_order)) < 1e-12
    with torch.random.fork_rng(devices=[]):
        assert_close(step.meta_loss, meta_loss(problem, own_vector(problem)))


@pytest.mark.parametrize("name", ["linear", "MLP"])
def test_full_gradient_against_finite_differences(name):
    problem = make_problem(name)
    theta, slopes, h = own_vector(problem), [], 1e-5
    with torch.random.fork_rng(devices=[]):
        for e in h * torch.eye(len(theta)).double():
            rise = meta_loss(problem, theta + e) - meta_loss(problem, theta - e)
            slopes.append(rise / (2 * h))
    for batched in (True, False):
        found = flat(gradient(problem, False, batched))
        assert relative_difference(found, torch.stack(slopes)) < 1e-6


@WAYS
def test_full_gradient_is_first_order_minus_the_hessian_term(batched):
    """Linear softmax model; its Hessian in closed form, (diag p - p p') (x) x x' / k."""
    problem = make_problem("linear")
    W, b = (p.detach() for p in problem.module.parameters())
    x = torch.cat([problem.x, torch.ones(K, 1).double()], dim=1)
    p = (problem.x @ W.T + b).softmax(dim=1)
    blocks = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    hessian = torch.einsum("icd,ip,iq->cpdq", blocks, x, x) / K
    hessian = hessian.reshape(N_CLASSES * (D + 1), -1)

    def joined(step):
        return torch.cat([step.gradients["weight"], step.gradients["bias"][:, None]], 1).flatten()

    first, full = (joined(gradient(problem, order, batched)) for order in (True, False))
    # One Hessian for all label sets: that of softmax cross-entropy does not depend on labels.
    assert relative_difference(full, first - ALPHA * hessian @ first) < 1e-12
    assert relative_difference(full, first) > 1e-2


def test_difference_of_the_orders_vanishes_with_the_inner_step():
    gaps = []
    for alpha in (1e-1, 1e-2, 1e-3):
        problem = make_problem("MLP", alpha)
        first, full = (flat(gradient(problem, order)) for order in (True, False))
        gaps.append(relative_difference(first, full))
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.3)
    assert gaps[1] / gaps[2] == pytest.approx(10, rel=0.03)


# --- identities ---------------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize("first_order", [True, False])
def test_without_inner_step_the_loss_is_the_divergence_from_the_teacher(first_order, batched):
    problem = make_problem("MLP", alpha=0.0)
    step = gradient(problem, first_order, batched)
    own = problem.module(problem.x)
    divergence = F.kl_div(own.log_softmax(dim=1), problem.target, reduction="batchmean")
    assert_close(step.meta_loss, divergence.detach())
    as_teacher = problem._replace(target=own.softmax(dim=1).detach())
    step = gradient(as_teacher, first_order, batched)
    assert abs(step.meta_loss.item()) < 1e-15
    assert flat(step).abs().max() < 1e-15


@WAYS
@pytest.mark.parametrize("first_order", [True, False])
@pytest.mark.parametrize("shares", [True, False])
def test_module_buffers_and_random_state_are_left_alone(first_order, batched, shares):
    problem = make_problem("MLP, dropout")
    before = {n: t.clone() for n, t in problem.module.state_dict().items()}
    torch.manual_seed(3)
    step = ToleranceGradient(first_order, batched, joint=True, share_forward=shares)(problem)
    after = torch.rand(2)
    torch.manual_seed(3)
    if shares:  # as one pass of the module's own
        module = MODULES["MLP, dropout"]().double()
        module.load_state_dict(before)
        torch.manual_seed(3)
        assert torch.equal(step.logits, module(problem.x))
        before = module.state_dict()
        step.logits.sum().backward()  # the graph is alive
        assert problem.module.fc.bias.grad is not None
    else:
        assert step.logits is None
        assert all(p.grad is None for p in problem.module.parameters())
    assert torch.equal(after, torch.rand(2))
    assert_close(problem.module.state_dict(), before, rtol=0, atol=0)


@WAYS
def test_parameters_without_gradient_or_use_are_left_out(batched):
    module = SmoothMLP()
    module.fc.weight.requires_grad_(False)
    module.unused = nn.Linear(2, 2)
    problem = make_problem(lambda: module)
    step = gradient(problem, batched=batched)
    names = {n for n, _ in module.named_parameters()} - {"fc.weight"}
    assert step.gradients.keys() == {n for n in names if not n.startswith("unused")}


# --- the choice ---------------------------------------------------------------------------------


def choice(module, n_sets=M):
    strategy = ToleranceGradient()
    labels = torch.zeros(n_sets, 2, dtype=torch.int64)
    x = torch.randn(2, 1, 8, 8) if isinstance(module, PreActResNet) else torch.randn(2, D)
    target = torch.full((2, N_CLASSES), 1 / N_CLASSES)
    strategy(ToleranceProblem(module, x, labels, target, 0.1))
    return strategy._decision


def test_auto_batches_linear_layers_and_loops_over_convolutions():
    assert choice(SmoothMLP())
    assert not choice(PreActResNet(1, N_CLASSES, depth="small"))
    wide = nn.Sequential(nn.Linear(D, 2**13), nn.Linear(2**13, 2**8), nn.Linear(2**8, N_CLASSES))
    assert choice(wide, n_sets=2)
    assert not choice(wide, n_sets=40)  # 2**21 numbers each


@pytest.mark.parametrize(
    ("seconds", "faster"), [([1, 9, 2, 3], "batched"), ([9, 1, 3, 2], "looped")]
)
def test_on_a_gpu_the_faster_way_of_two_batches_each_is_taken(monkeypatch, seconds, faster):
    clock = iter([t for second in seconds for t in (0, second)])
    monkeypatch.setattr("sknoisy.methods.mlnt.gradient._is_timed", lambda x: True)
    monkeypatch.setattr("torch.cuda.synchronize", lambda device: None)
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    strategy, problem, ways = ToleranceGradient(), make_problem(), []

    def noted(way, compute, *args):
        ways.append(way)
        return compute(*args)

    for way in ("batched", "looped"):
        name = f"_compute_{way}"
        monkeypatch.setattr(strategy, name, partial(noted, way, getattr(strategy, name)))
    for _ in range(6):
        strategy(problem)
    assert ways == ["batched", "looped"] * 2 + [faster] * 2


def test_reset_forgets_the_way_of_another_module():
    strategy, problem = ToleranceGradient(), make_problem()
    strategy(problem)
    assert strategy._decision is True
    strategy.reset()
    assert strategy._decision is None
    for batched in (True, False):  # what was asked for is not forgotten
        strategy = ToleranceGradient(batched=batched)
        strategy.reset()
        assert strategy._decision is batched


class Branching(nn.Module):
    """It asks a value, of which a stack of networks has many."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(D, N_CLASSES)

    def forward(self, x):
        z = self.fc(x)
        return z if z.sum().item() > 0 else 2 * z


def test_what_cannot_be_batched_is_looped_over():
    problem = make_problem(Branching)
    found = flat(gradient(problem, batched="auto"))
    assert torch.equal(found, flat(gradient(problem, batched=False)))
    with pytest.raises(RuntimeError):
        gradient(problem, batched=True)


class Embedded(nn.Module):
    def __init__(self, bag):
        super().__init__()
        self.embed = nn.EmbeddingBag(7, 5, mode="sum") if bag else nn.Embedding(7, 5)
        self.fc = nn.Linear(5, N_CLASSES)

    def forward(self, x):
        indices = x.abs().mul(2).long().clamp(max=6)
        found = self.embed(indices)
        return self.fc(torch.tanh(found if found.ndim == 2 else found.sum(dim=1)))


def test_missing_second_derivative_is_named():
    by_bag, by_sum = (make_problem(partial(Embedded, bag)) for bag in (True, False))
    assert_close(flat(gradient(by_bag)), flat(gradient(by_sum)))  # first order needs none
    with pytest.raises(NotImplementedError, match=r"Embedded.*embedding_bag.*first_order=True"):
        gradient(by_bag, first_order=False)
    assert torch.backends.mkldnn.enabled
    exact = flat(gradient(by_sum, first_order=False))
    assert relative_difference(exact, reference(by_sum, False)) < 1e-12


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.lift = nn.Linear(1, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.fc = nn.Linear(4, N_CLASSES)

    def forward(self, x):
        h = self.lift(x[:, :, None])
        return self.fc(self.attention(h, h, h, need_weights=False)[0].mean(dim=1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(1, 4, batch_first=True)
        self.fc = nn.Linear(4, N_CLASSES)

    def forward(self, x):
        return self.fc(self.lstm(x[:, :, None])[0][:, -1])


@pytest.mark.parametrize("Module", [Attention, Recurrent])
def test_fused_kernels_have_their_second_derivative(Module):
    problem = make_problem(Module)
    single = problem._replace(
        module=problem.module.float(), x=problem.x.float(), target=problem.target.float()
    )
    found = flat(gradient(single, first_order=False)).double()
    double = make_problem(Module)
    first, full = (flat(gradient(double, order)) for order in (True, False))
    assert relative_difference(found, full) < 1e-3
    assert relative_difference(first, full) > 1e-2


# --- the consistency loss ---


def test_consistency_is_the_divergence_from_the_target():
    target = torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]], dtype=torch.float64)
    logits = torch.tensor([[0.0, math.log(2.0), 0.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
    student = [[0.25, 0.5, 0.25], [math.e, 1.0, math.e]]
    total = sum(student[1])
    first = 0.5 * math.log(0.5 / 0.25) + 0.25 * math.log(0.25 / 0.5)
    second = -math.log(1 / total)  # of a one-hot target; the reversed divergence is infinite
    assert consistency(target, logits).item() == pytest.approx((first + second) / 2)
    weight = torch.tensor([2.0, 0.0], dtype=torch.float64)
    assert consistency(target, logits, weight).item() == pytest.approx(first)
    stacked = torch.stack([logits, logits.flip(0)])
    expected = (consistency(target, logits) + consistency(target, logits.flip(0))) / 2
    assert_close(consistency(target, stacked), expected)


def test_consistency_with_itself_is_stationary_at_0():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    loss = consistency(logits.softmax(dim=1), logits)  # the target is held constant
    loss.backward()
    assert_close(loss.detach(), torch.zeros((), dtype=torch.float64), atol=1e-15, rtol=0)
    assert_close(logits.grad, torch.zeros_like(logits), atol=1e-16, rtol=0)


# --- the parameter `gradient` -------------------------------------------------------------------


def test_names_of_strategies():
    for name, first_order in (("first_order", True), ("exact", False)):
        assert repr(tolerance_gradient(name)) == repr(ToleranceGradient(first_order))
    strategy = ToleranceGradient(joint=True)
    assert tolerance_gradient(strategy) is strategy
    with pytest.raises(ValueError, match=r"'first_order', 'exact' or a Tol.*got 'reverse'"):
        tolerance_gradient("reverse")


def test_only_a_joint_step_shares_the_forward_pass():
    problem = make_problem()
    assert ToleranceGradient(joint=True)(problem).logits is not None
    assert ToleranceGradient()(problem).logits is None

"""Label correctors: the papers' equations, limit cases, memory, and their meta gradients."""

from functools import partial

import pytest
import torch
from meta_problems import (
    N_CLASSES,
    TARGETS,
    N,
    make_problem,
    meta_gradient,
    relative_difference,
    seeded,
)
from meta_references import begun, finite_differences
from small_nets import Spy, fit_device_net, fit_stock_net, make_module, training_data, update
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from sknoisy.meta import (
    BatchOutputs,
    CrossEntropyObjective,
    ForwardGradient,
    LabelCorrector,
    ReverseGradient,
    SoftLabelCorrector,
    TransitionCorrector,
)

D, N_ROWS = 4, len(training_data())
ROWS = torch.arange(N)
WEIGHTS = torch.arange(N).double() % 3


def batch(**extra):
    logits, features = torch.randn(2, N, D, generator=torch.Generator().manual_seed(0)).double()
    return BatchOutputs(2 * logits[:, :N_CLASSES], features, TARGETS, rows=ROWS, **extra)


def label_corrector(skip=False):
    build = partial(LabelCorrector, D, N_CLASSES, n_embedding=2, n_hidden=3, skip=skip)
    return seeded(build, 1)


def soft_corrector(targets="soft", memory=True, seed=1):
    model = seeded(partial(SoftLabelCorrector, N, N_CLASSES, n_hidden=4, targets=targets), seed)
    if memory:
        scores = torch.randn(N, N_CLASSES, generator=torch.Generator().manual_seed(5))
        model.memory.copy_(scores.softmax(dim=1))
    return model


def transition_corrector(step_size=0.11):
    model = TransitionCorrector(N_CLASSES, step_size=step_size).double()
    model.begin_batch(N)
    return model


CORRECTORS = {
    "MLC": label_corrector,
    "MLC, skip": partial(label_corrector, skip=True),
    "MSLC": soft_corrector,
    "MSLC, hard": partial(soft_corrector, "hard"),
    "MSLC, no memory": partial(soft_corrector, memory=False),
    "transition": transition_corrector,
}
ALL = pytest.mark.parametrize("build", CORRECTORS.values(), ids=CORRECTORS)
SOFT = pytest.mark.parametrize(
    "build", [f for name, f in CORRECTORS.items() if name != "transition"]
)


def fix_gate(gate, share):
    """Make a gate, or the network of a gate, return 0 or 1 for any input."""
    layer = gate[2] if isinstance(gate, nn.Sequential) else gate
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, 1e3 if share else -1e3)


def guided_loss(model, outputs):
    """Return the training loss under a corrector's guidance and its gradient by the logits."""
    guidance = model(outputs).detach()
    logits = outputs.logits.clone().requires_grad_()
    loss = model.training_loss(logits, guidance, outputs)
    return loss.detach(), torch.autograd.grad(loss, logits)[0]


def soft_loss(outputs, labels):
    logits = outputs.logits.clone().requires_grad_()
    loss = F.cross_entropy(logits, labels)
    return loss.detach(), torch.autograd.grad(loss, logits)[0]


# All correctors


@ALL
@pytest.mark.parametrize("network", ["MLP", "batch norm"])
@pytest.mark.parametrize(
    "extra",
    [{}, {"sample_weight": WEIGHTS}, {"trusted": TARGETS == 1}],
    ids=["plain", "sample_weight", "trusted"],
)
def test_forward_reverse_and_finite_differences_agree(build, network, extra):
    problem = make_problem(network, build, CrossEntropyObjective(), rows=ROWS, **extra)
    reverse = meta_gradient(ReverseGradient(), begun(problem))
    assert relative_difference(meta_gradient(ForwardGradient(), begun(problem)), reverse) < 1e-8
    assert relative_difference(reverse, finite_differences(begun(problem))) < 1e-5
    if extra:
        plain = make_problem(network, build, CrossEntropyObjective(), rows=ROWS)
        assert relative_difference(meta_gradient(ForwardGradient(), begun(plain)), reverse) > 1e-3


@ALL
@pytest.mark.parametrize("strategy", [ForwardGradient(), ReverseGradient()])
def test_without_a_virtual_step_there_is_no_meta_gradient(build, strategy):
    problem = make_problem("MLP", build, CrossEntropyObjective(), rows=ROWS)
    assert meta_gradient(strategy, begun(problem)).norm() > 1e-6
    assert not meta_gradient(strategy, begun(problem._replace(lr=0.0))).any()


@ALL
def test_sample_weights_of_one_have_no_effect_and_rows_of_weight_zero_are_ignored(build):
    plain = guided_loss(build(), batch())
    ones = guided_loss(build(), batch(sample_weight=torch.ones(N).double()))
    assert torch.equal(plain[0], ones[0])
    assert torch.equal(plain[1], ones[1])
    loss, slope = guided_loss(build(), batch(sample_weight=WEIGHTS))
    assert_close(slope, plain[1] * WEIGHTS[:, None])
    assert (slope[WEIGHTS == 0] == 0).all()
    assert loss.isfinite()


@ALL
def test_trusted_rows_keep_their_given_labels(build):
    trusted = TARGETS == 1
    model, outputs = build(), batch(trusted=trusted)
    if isinstance(model, TransitionCorrector):
        model.learn([-torch.ones(N_CLASSES, N_CLASSES, dtype=torch.float64)])
    _, slope = guided_loss(model, outputs)
    _, plain = soft_loss(outputs, TARGETS)
    assert_close(slope[trusted], plain[trusted])
    assert (slope - plain)[~trusted].abs().amax(dim=1).max() > 1e-3
    believed = model.sample_weight(outputs)
    assert (believed[trusted] == 1).all()
    assert believed[~trusted].max() < 1
    assert_close(believed[~trusted], model.sample_weight(batch())[~trusted])


@SOFT
def test_soft_labels_lie_on_the_simplex(build):
    labels = build()(batch())
    assert labels.shape == (N, N_CLASSES)
    assert labels.min() >= 0
    assert_close(labels.sum(dim=1), torch.ones(N).double())


@SOFT
def test_training_loss_is_the_cross_entropy_of_the_soft_labels(build):
    model, outputs = build(), batch()
    assert_close(guided_loss(model, outputs), soft_loss(outputs, model(outputs).detach()))


# MLC of Zheng et al.


def test_label_corrector_is_the_published_network():
    model = LabelCorrector(n_features=64, n_classes=10)
    assert model.embedding.weight.shape == (10, 128)
    shapes = [
        (m.in_features, m.out_features) for m in model.modules() if hasattr(m, "in_features")
    ]
    assert shapes == [(64 + 128, 128), (128, 128), (128, 10)]
    model, outputs = label_corrector(), batch()
    h = torch.cat([outputs.features, model.embedding.weight[TARGETS]], dim=1)
    for layer in (model.body[0], model.body[2]):
        h = torch.tanh(h @ layer.weight.T + layer.bias)
    expected = torch.softmax(h @ model.output.weight.T + model.output.bias, dim=1)
    assert_close(model(outputs), expected)
    assert_close(model.sample_weight(outputs), expected[range(N), TARGETS])
    for other in ({"features": outputs.features + 1}, {"targets": TARGETS.flip(0)}):
        assert (model(outputs._replace(**other)) - expected).abs().max() > 1e-3
    assert_close(model(outputs._replace(logits=outputs.logits + ROWS[:, None])), expected)


def test_a_skip_gate_mixes_the_given_label_in():
    model, outputs, given = label_corrector(skip=True), batch(), F.one_hot(TARGETS).double()
    hidden = model.body(torch.cat([outputs.features, model.embedding(TARGETS)], dim=1))
    output, s = model.output(hidden), model.gate(hidden).sigmoid()
    assert_close(model(outputs), (1 - s) * output.softmax(dim=1) + s * given)
    fix_gate(model.gate, 1)
    assert_close(model(outputs), given)
    assert_close(guided_loss(model, outputs), soft_loss(outputs, TARGETS))
    fix_gate(model.gate, 0)
    assert_close(model(outputs), output.softmax(dim=1))


@pytest.mark.parametrize("seed", range(3))
def test_a_skip_gate_starts_near_its_published_value(seed):
    model = seeded(partial(LabelCorrector, D, N_CLASSES, skip=True), seed)
    hidden = model.body(torch.cat([batch().features, model.embedding(TARGETS)], dim=1))
    s = model.gate(hidden).sigmoid()
    # |w . h| for 128 independent w in (-1, 1) / sqrt(128) and |h| <= 1 has deviation <= 0.58.
    assert (s.mean().logit() - 2).abs() < 3 * 0.58
    assert s.mean() > 0.5


# MSLC


def test_soft_labels_follow_the_equation_row_by_row():
    model, hard, outputs = soft_corrector(), soft_corrector("hard"), batch()
    for i in range(N):
        p = torch.softmax(outputs.logits[i], dim=0)
        y, last = torch.eye(N_CLASSES).double()[TARGETS[i]], model.memory[i]
        a = model.trust_given(-p[TARGETS[i]].log().reshape(1, 1)).squeeze()
        b = model.trust_memory(-(last * p.log()).sum().reshape(1, 1)).squeeze()
        assert_close(model(outputs)[i], a * y + (1 - a) * (b * last + (1 - b) * p))
        last, p = (torch.eye(N_CLASSES).double()[v.argmax()] for v in (last, p))
        assert_close(hard(outputs)[i], a * y + (1 - a) * (b * last + (1 - b) * p))
        assert_close(model.sample_weight(outputs)[i], a)
    assert (model(outputs) - hard(outputs)).abs().max() > 1e-3


def test_gates_are_the_published_networks():
    model = SoftLabelCorrector(4, N_CLASSES)
    shapes = [tuple(p.shape) for p in model.parameters()]
    assert shapes == [(100, 1), (100,), (1, 100), (1,)] * 2


@pytest.mark.parametrize("targets", ["soft", "hard"])
@pytest.mark.parametrize("b", [0, 1])
def test_full_trust_in_the_given_label_is_cross_entropy(targets, b):
    model, outputs = soft_corrector(targets), batch()
    fix_gate(model.trust_given, 1)
    fix_gate(model.trust_memory, b)
    assert_close(guided_loss(model, outputs), soft_loss(outputs, TARGETS))


def test_no_trust_in_the_given_label_is_self_training():
    outputs = batch()
    for targets in ("soft", "hard"):
        model = soft_corrector(targets)
        fix_gate(model.trust_given, 0)
        fix_gate(model.trust_memory, 0)
        proba = outputs.logits.softmax(dim=1)
        labels = proba if targets == "soft" else proba.argmax(dim=1)
        assert_close(guided_loss(model, outputs), soft_loss(outputs, labels))


@pytest.mark.parametrize("memory", [True, False])
def test_full_trust_in_the_memory_gives_its_labels_or_the_given_ones_if_it_is_empty(memory):
    model, outputs = soft_corrector(memory=memory), batch()
    fix_gate(model.trust_given, 0)
    fix_gate(model.trust_memory, 1)
    labels = model.memory if memory else TARGETS
    assert_close(guided_loss(model, outputs), soft_loss(outputs, labels))


@pytest.mark.parametrize("targets", ["soft", "hard"])
def test_the_memory_is_written_once_per_epoch_as_the_equation_says(targets):
    """Two warm-up epochs and two guided ones are replayed row by row with the initial gates."""
    seen = []

    class Recording(SoftLabelCorrector):
        def observe(self, batch, guidance):
            before = self.memory.clone()
            super().observe(batch, guidance)
            seen.append((batch.rows, batch.logits, before, self.memory.clone()))

    model = seeded(partial(Recording, N_ROWS, N_CLASSES, n_hidden=4, targets=targets), 1)
    callback = update(model, CrossEntropyObjective(), meta_lr=0.0, n_warmup_epochs=2)
    fit_device_net(callback, max_epochs=4)
    data, memory = training_data(), torch.zeros(N_ROWS, N_CLASSES).double()
    for epoch in range(4):
        visited = torch.cat([rows for rows, *_ in seen[3 * epoch : 3 * epoch + 3]])
        assert visited.sort().values.tolist() == list(range(N_ROWS))
    for i, (rows, logits, before, after) in enumerate(seen):
        assert_close(before, memory)
        if i < 6:
            memory[rows] = logits.softmax(dim=1)
        else:
            outputs = BatchOutputs(logits, logits, data.targets[rows], rows=rows)
            soft = seeded(partial(SoftLabelCorrector, N_ROWS, N_CLASSES, n_hidden=4), 1)
            soft.memory.copy_(memory)
            memory[rows] = soft(outputs).detach()
        assert_close(after, memory)
    assert_close(memory.sum(dim=1), torch.ones(N_ROWS).double())
    assert len(seen) == 12


def test_a_corrector_with_a_memory_needs_row_numbers():
    with pytest.raises(TypeError, match="batches have no row numbers"):
        soft_corrector()(batch()._replace(rows=None))
    with pytest.raises(TypeError, match="batches have no row numbers"):
        fit_stock_net(update(partial(SoftLabelCorrector, N_ROWS), CrossEntropyObjective()))
    with pytest.raises(ValueError, match="targets must be 'soft' or 'hard', got 'mean'"):
        SoftLabelCorrector(4, 2, targets="mean")


# MLC of Wang et al.


def test_a_transition_takes_one_step_from_the_identity():
    model, outputs = transition_corrector(step_size=0.5), batch()
    assert_close(model(outputs), torch.eye(N_CLASSES).double())
    gradient = torch.tensor([[4.0, -2.0, 0.0], [0.0, 4.0, 1.0], [1.0, -2.0, -2.0]]).double()
    model.learn([gradient])  # I - gradient / 2, its positive part, columns by their sums 0, 2, 2
    expected = torch.tensor([[0, 0.5, 0], [0, 0, 0], [0, 0.5, 1.0]]).double()
    assert_close(model(outputs), expected)
    model.begin_batch(N)
    assert_close(model(outputs), torch.eye(N_CLASSES).double())


@pytest.mark.parametrize("seed", range(3))
def test_columns_of_a_transition_sum_to_one_or_zero(seed):
    model = transition_corrector(step_size=1.0)
    generator = torch.Generator().manual_seed(seed)
    model.learn([3 * torch.randn(N_CLASSES, N_CLASSES, generator=generator).double()])
    transition = model(batch())
    sums = transition.sum(dim=0)
    assert transition.min() >= 0
    assert ((sums - 1).abs().minimum(sums) < 1e-12).all()


def test_training_loss_multiplies_the_logits():
    model, outputs = transition_corrector(step_size=1.0), batch()
    model.learn([torch.randn(N_CLASSES, N_CLASSES, generator=torch.Generator()).double()])
    T = model(outputs)
    loss, _ = guided_loss(model, outputs)
    scores = torch.einsum("nk,kj->nj", outputs.logits, T)
    assert_close(loss, -scores.log_softmax(dim=1)[range(N), TARGETS].mean())
    proba = outputs.logits.softmax(dim=1)[range(N), TARGETS]
    assert_close(model.sample_weight(outputs), proba)


def test_a_label_that_is_given_to_another_class_gains_weight_in_its_row():
    """For one row of class 0 with the label 1, dM/dT_01 < 0: column 1 weighs logit 0."""
    model = transition_corrector(step_size=5.0)
    problem = make_problem("linear", lambda: model, CrossEntropyObjective())
    problem = problem._replace(
        x=problem.x[:1],
        targets=torch.tensor([1]),
        meta_x=problem.x[:1],
        meta_targets=torch.tensor([0]),
    )
    for parameter in problem.network.parameters.values():
        nn.init.zeros_(parameter)
    problem.network.parameters["module.bias"].data[0] = 1.0  # the network predicts class 0
    gradient = meta_gradient(ForwardGradient(), begun(problem)).view(N_CLASSES, N_CLASSES)
    assert gradient[0, 1] < 0
    model.learn([gradient])
    assert model(batch())[0, 1] > 0.1


@pytest.mark.parametrize("lr", [0.0, 2.0])
def test_a_step_uses_the_matrix_of_its_batch(lr):
    """It equals one batch by hand with double backward and SGD; rate 0 is cross-entropy."""
    module, rate, spy = make_module(), 0.3, Spy()
    callback = update(
        partial(TransitionCorrector, step_size=lr), CrossEntropyObjective(), spy, meta_rows=N
    )
    data = training_data(N)
    net = fit_device_net(callback, data=data, max_epochs=1, lr=rate)
    (problem,) = spy.problems
    parameters = list(module.parameters())

    def step(T, create_graph=False):
        loss = F.cross_entropy(module(problem.x) @ T, problem.targets)
        slopes = torch.autograd.grad(loss, parameters, create_graph=create_graph)
        return [p - rate * slope for p, slope in zip(parameters, slopes, strict=True)]

    T = torch.eye(N_CLASSES).double().requires_grad_()
    w1, b1, w2, b2 = step(T, create_graph=True)
    logits = torch.relu(problem.meta_x @ w1.T + b1) @ w2.T + b2
    (slope,) = torch.autograd.grad(F.cross_entropy(logits, problem.meta_targets), T)
    T = (T.detach() - lr * slope).clamp(min=0)
    T = T / T.sum(dim=0)
    assert torch.equal(T, torch.eye(N_CLASSES).double()) == (lr == 0)
    expected = [p.detach() for p in step(T)]
    assert_close([p.detach() for p in net.module_.parameters()], expected)
    assert_close(callback.meta_model_.mean_transition, T)


def test_the_mean_transition_is_the_mean_of_all_batches():
    seen = []

    class Recording(TransitionCorrector):
        def observe(self, batch, guidance):
            seen.append(guidance)
            super().observe(batch, guidance)

    callback = update(
        partial(Recording, step_size=2.0), CrossEntropyObjective(), n_warmup_epochs=1
    )
    fit_device_net(callback, max_epochs=3)
    matrices = [T for T in seen if T is not None]
    assert len(matrices) == 6
    assert_close(callback.meta_model_.mean_transition, torch.stack(matrices).mean(dim=0))

"""L2RWeights: weights equal inner products of gradients, and their means are recorded."""

from functools import partial

import pytest
import torch
from meta_problems import (
    LR,
    N_CLASSES,
    TARGETS,
    N,
    make_problem,
    meta_gradient,
    relative_difference,
)
from meta_references import begun, finite_differences, slopes_of_rows
from small_nets import (
    BATCH,
    EPOCH_BATCHES,
    At,
    Spy,
    fit_device_net,
    fit_stock_net,
    make_module,
    state,
    training_data,
    update,
)
from small_nets import N as N_ROWS
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from sknoisy.callbacks import MetaUpdate
from sknoisy.meta import (
    BatchOutputs,
    CrossEntropyObjective,
    ForwardGradient,
    L2RWeights,
    MetaModel,
    ReverseGradient,
)

STRATEGIES = pytest.mark.parametrize("strategy", [ForwardGradient(), ReverseGradient()])


def l2r_problem(network="MLP", **extra):
    return begun(make_problem(network, L2RWeights, CrossEntropyObjective(), **extra))


def learned(gradient, sample_weight=None):
    """Return the weights after a step along the given meta gradient."""
    n = len(gradient)
    model, zeros = L2RWeights().double(), torch.zeros(n, 2).double()
    model.begin_batch(n)
    model.learn([gradient])
    return model(BatchOutputs(zeros, zeros, torch.zeros(n).long(), sample_weight))


def weights_of(strategy, problem):
    return learned(meta_gradient(strategy, begun(problem)))


# The weights


def test_weights_start_at_zero_and_end_at_the_normalised_positive_part():
    model, outputs = L2RWeights().double(), BatchOutputs(*torch.zeros(2, 4, 2), torch.arange(4))
    model.begin_batch(4)
    assert_close(model(outputs), torch.zeros(4).double())
    assert_close(
        learned(torch.tensor([-3.0, 5.0, -1.0, 0.0]).double()),
        torch.tensor([0.75, 0, 0.25, 0]).double(),
    )


@pytest.mark.parametrize("seed", range(3))
def test_weights_lie_on_the_simplex_or_are_all_zero(seed):
    gradient = torch.randn(9, generator=torch.Generator().manual_seed(seed)).double()
    weights = learned(gradient)
    assert weights.min() == 0
    assert weights.sum().item() == pytest.approx(1)
    assert_close(learned(gradient.abs()), torch.zeros(9).double())


@STRATEGIES
@pytest.mark.parametrize("network", ["linear", "MLP", "group norm"])
def test_weights_are_the_positive_part_of_the_products_of_gradients(network, strategy):
    problem = l2r_problem(network)
    slopes = slopes_of_rows(problem, problem.x, problem.targets)
    meta_slope = slopes_of_rows(problem, problem.meta_x, problem.meta_targets).mean(dim=0)
    u = LR * slopes @ meta_slope
    assert_close(-meta_gradient(strategy, problem), u)
    assert (u > 0).any()
    assert (u < 0).any()
    assert_close(weights_of(strategy, problem), u.clamp(min=0) / u.clamp(min=0).sum())


@STRATEGIES
def test_the_size_of_the_virtual_step_has_no_effect(strategy):
    problem = l2r_problem()
    weights = [weights_of(strategy, problem._replace(lr=lr)) for lr in (1e-3, 0.5, 100.0)]
    assert_close(weights[1], weights[0])
    assert_close(weights[2], weights[0])


@STRATEGIES
def test_a_copy_of_a_trusted_row_has_weight_and_its_mislabelled_copy_has_none(strategy):
    problem = l2r_problem("linear")
    x, targets = problem.x.clone(), torch.tensor([0, 1] + [2] * (N - 2))
    x[1] = x[0]
    problem = problem._replace(x=x, targets=targets, meta_x=x[:1], meta_targets=targets[:1])
    weights = weights_of(strategy, problem)
    assert weights[0] > 0
    assert weights[1] == 0


@STRATEGIES
def test_golden_value_of_a_linear_classifier_at_zero(strategy):
    """With rows of norm 1 and probabilities 1/3, <p - y_i, p - y_j> is 2/3 or -1/3, times 2.

    The factor 2 is 1 from the gradient of the weight and 1 from that of the bias.
    """
    problem = l2r_problem("linear")
    x = torch.zeros_like(problem.x)
    x[:, 0] = 1
    for parameter in problem.network.parameters.values():
        nn.init.zeros_(parameter)
    problem = problem._replace(x=x, meta_x=x[:1], meta_targets=torch.tensor([0]))
    expected = torch.where(TARGETS == 0, -LR * 4 / 3, LR * 2 / 3).double()
    assert_close(meta_gradient(strategy, problem), expected)
    same = (TARGETS == 0).double()
    assert_close(weights_of(strategy, problem), same / same.sum())


class MeanWeights(MetaModel):
    """V_i of equation (1) of FaMUS: the training loss is the mean of V_i times the loss of i."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.linspace(0.2, 0.9, N))

    def forward(self, batch):
        return self.weights

    def training_loss(self, logits, guidance, batch):
        return (guidance * F.cross_entropy(logits, batch.targets, reduction="none")).mean()


@STRATEGIES
def test_slope_of_a_linear_softmax_model_in_closed_form(strategy):
    """dL/dV_i = -(alpha / n) <grad L(w_hat), grad l_i(w)>; it is negative for a trusted copy."""
    problem = make_problem("linear", MeanWeights, CrossEntropyObjective())
    problem = problem._replace(meta_x=problem.x[:1], meta_targets=TARGETS[:1])

    def slopes(W, b, x, targets):
        residual = torch.softmax(x @ W.T + b, dim=1) - torch.eye(N_CLASSES).double()[targets]
        return residual[:, :, None] * x[:, None], residual

    W, b = (p.detach() for p in problem.network.parameters.values())
    V = problem.meta_model.weights.detach()
    by_W, by_b = slopes(W, b, problem.x, TARGETS)
    W_hat = W - LR / N * (V[:, None, None] * by_W).sum(dim=0)
    b_hat = b - LR / N * (V[:, None] * by_b).sum(dim=0)
    meta_W, meta_b = slopes(W_hat, b_hat, problem.meta_x, problem.meta_targets)
    products = (by_W * meta_W).sum(dim=(1, 2)) + (by_b * meta_b).sum(dim=1)
    found = meta_gradient(strategy, problem)
    assert_close(found, -LR / N * products)
    assert found[0] < 0  # a copy of the trusted row: descent raises its weight


@pytest.mark.parametrize(
    "extra",
    [{}, {"sample_weight": torch.linspace(0, 2, N).double()}, {"trusted": TARGETS == 1}],
    ids=["plain", "sample_weight", "trusted"],
)
@pytest.mark.parametrize("network", ["MLP", "MLP, dropout", "batch norm"])
def test_forward_reverse_and_finite_differences_agree(network, extra):
    problem = l2r_problem(network, **extra)
    reverse = meta_gradient(ReverseGradient(), problem)
    if network != "MLP, dropout":
        assert relative_difference(meta_gradient(ForwardGradient(), problem), reverse) < 1e-8
        assert relative_difference(reverse, finite_differences(problem)) < 1e-5
    # Without sharing, both draw the masks of the training batch first.
    apart = meta_gradient(ForwardGradient(share_forward=False), problem)
    assert relative_difference(apart, reverse) < 1e-8


# The user's weights


def test_equal_sample_weights_have_no_effect():
    gradient = torch.randn(9, generator=torch.Generator().manual_seed(0)).double()
    ones = torch.ones(9).double()
    assert torch.equal(learned(gradient, ones), learned(gradient))


def test_sample_weights_count_like_repeated_rows():
    """Weights 0, 1, 2 are absent, single and repeated rows, up to the mean weight of the batch."""
    gradient = torch.randn(9, generator=torch.Generator().manual_seed(0)).double()
    counts = torch.arange(9) % 3
    index = torch.repeat_interleave(torch.arange(9), counts)
    expected = torch.zeros(9).double().index_add(0, index, learned(gradient[index]))
    found = learned(gradient, counts.double())
    assert_close(found, expected * counts.double().mean())
    assert (found[counts == 0] == 0).all()


# In training


def test_a_step_is_the_gradient_of_the_weighted_loss():
    """It equals one batch by hand under plain SGD; the meta rows are rows of the batch."""
    module, lr, spy = make_module(), 0.3, Spy()
    callback = update(L2RWeights(BATCH), CrossEntropyObjective(), spy, meta_rows=[0, 1])
    optimizers = []
    look = At(lambda net: optimizers.append(callback.meta_model_.lr))
    data = training_data(BATCH)
    net = fit_device_net(callback, look, data=data, max_epochs=1, lr=lr)
    assert optimizers == [None]  # there is nothing to learn from batch to batch
    parameters = list(module.parameters())
    X, y = data.rows.tensor, data.targets
    losses = F.cross_entropy(module(X), y, reduction="none")

    def slope(loss):
        slopes = torch.autograd.grad(loss, parameters, retain_graph=True)
        return torch.cat([s.flatten() for s in slopes])

    meta_slope = slope(losses[:2].mean())
    u = torch.stack([slope(loss) @ meta_slope for loss in losses]).clamp(min=0)
    weights = u / u.sum()
    assert 0 < (weights > 0).sum() < BATCH
    steps = torch.autograd.grad((weights * losses).sum(), parameters)
    expected = [p.detach() - lr * step for p, step in zip(parameters, steps, strict=True)]
    assert_close([p.detach() for p in net.module_.parameters()], expected)
    assert_close(callback.meta_model_.mean_weight, weights * BATCH)
    assert_close(torch.from_numpy(callback.weigh_rows(net, data)), weights / weights.max())


def test_mean_weights_are_means_over_the_guided_batches():
    seen = []

    class Recording(L2RWeights):
        def observe(self, batch, guidance):
            seen.append((batch.rows, guidance))
            super().observe(batch, guidance)

    callback = update(partial(Recording, N_ROWS), CrossEntropyObjective(), n_warmup_epochs=1)
    net = fit_device_net(callback, max_epochs=4)
    assert [guidance is None for _, guidance in seen[: 2 * EPOCH_BATCHES]] == [
        *[True] * EPOCH_BATCHES,
        *[False] * EPOCH_BATCHES,
    ]
    shares = torch.zeros(N_ROWS).double()
    for rows, guidance in seen[EPOCH_BATCHES:]:
        shares[rows] += guidance * len(rows) / 3  # three epochs
    assert_close(callback.meta_model_.mean_weight, shares)
    weights = torch.from_numpy(callback.weigh_rows(net, training_data()))
    assert_close(weights, shares / shares.max())


def test_a_stock_net_trains_without_recorded_weights():
    callback = update(L2RWeights, CrossEntropyObjective(), meta_rows=range(BATCH))
    net = fit_stock_net(callback)
    plain = fit_stock_net()
    assert (state(net.module_)["0.weight"] - state(plain.module_)["0.weight"]).abs().max() > 1e-4
    with pytest.raises(TypeError, match="n_samples"):
        callback.weigh_rows(net, training_data())


def test_weights_are_reported_as_zero_before_training():
    model = L2RWeights(3)
    outputs = BatchOutputs(*torch.zeros(2, 3, 2), torch.arange(3), rows=torch.arange(3))
    assert_close(model.sample_weight(outputs), torch.zeros(3))


def test_the_optimiser_has_no_effect():
    """By default, the update draws a meta set of up to 1000 rows and uses CLID."""
    models = [L2RWeights(), L2RWeights()]
    models[1].optimizer = partial(torch.optim.SGD, lr=9.0)
    nets = [fit_device_net(MetaUpdate(model, random_state=0)) for model in models]
    assert_close(*(state(net.module_) for net in nets), rtol=0, atol=0)

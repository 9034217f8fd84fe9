"""Ridge regression in closed form, and the meta steps on its labels."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from sknoisy.methods.dmlp.intrinsic import (
    IntrinsicCorrection,
    balance_penalty,
    largest_singular_value,
    paper_objective,
    released_objective,
)
from sknoisy.methods.dmlp.ridge import RidgeSystem, meta_factor
from sknoisy.methods.dmlp.soft_labels import LabelState, one_hot

TALL, WIDE = (14, 5), (6, 9)
SHAPES = pytest.mark.parametrize("shape", [TALL, WIDE], ids=["tall", "wide"])
FORMS = pytest.mark.parametrize("form", ["auto", "primal", "dual"])
RIDGES = pytest.mark.parametrize("ridge", [0.0, 1e-3, 0.7])
EXACT = {"rtol": 0, "atol": 1e-10}

# Of the meta steps
N_CLASSES, RIDGE = 3, 0.7
CHUNKS = [torch.arange(0, 8), torch.arange(8, 14)]
VALIDATION = torch.arange(14, 20)
OBJECTIVES = pytest.mark.parametrize("objective", ["paper", "released"])
PARAMS = pytest.mark.parametrize("param", ["softmax", "raw"])


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def labels_for(features):
    return normal(len(features), 3, seed=1)


def of_rank_three(n, d):
    return normal(n, 3) @ normal(3, d, seed=4)


def refit(features, labels, ridge):
    """Return W*(Y) from a library's solver: the shortest solution of the normal equations."""
    d = features.shape[1]
    stacked = torch.cat([features, ridge**0.5 * torch.eye(d, dtype=features.dtype)])
    padded = torch.cat([labels, labels.new_zeros(d, labels.shape[1])])
    return torch.linalg.lstsq(stacked, padded, rcond=1e-12, driver="gelsd").solution


@FORMS
@RIDGES
@pytest.mark.parametrize("make", [normal, of_rank_three], ids=["full rank", "rank 3"])
@SHAPES
def test_the_weights_solve_the_normal_equations_and_are_the_shortest(shape, make, ridge, form):
    features = make(*shape)
    labels = labels_for(features)
    weights = RidgeSystem(features, form).solve(labels, ridge)
    left = features.T @ (features @ weights) + ridge * weights
    assert_close(left, features.T @ labels, **EXACT)
    assert_close(weights, refit(features, labels, ridge), rtol=0, atol=1e-9)


@FORMS
@pytest.mark.parametrize("shape", [TALL, WIDE, (200, 30), (30, 200)], ids=str)
def test_the_directions_that_are_kept_are_those_of_the_rank(shape, form):
    assert len(RidgeSystem(normal(*shape), form).spectrum) == min(shape)
    deficient = of_rank_three(*shape)
    for dtype in (torch.float64, torch.float32):
        assert len(RidgeSystem(deficient.to(dtype), form).spectrum) == 3


@RIDGES
@SHAPES
def test_primal_and_dual_are_the_same_regression(shape, ridge):
    features, others = normal(*shape), normal(4, shape[1], seed=2)
    labels = labels_for(features)
    primal, dual = (RidgeSystem(features, form) for form in ("primal", "dual"))
    assert_close(primal.spectrum, dual.spectrum, **EXACT)
    assert_close(primal.solve(labels, ridge), dual.solve(labels, ridge), **EXACT)
    assert_close(
        primal.meta_matrix(others, ridge), dual.meta_matrix(others, ridge), rtol=0, atol=1e-9
    )


@RIDGES
@SHAPES
def test_every_prediction_is_a_product_with_the_weights(shape, ridge):
    features, others = normal(*shape), normal(4, shape[1], seed=2)
    labels = labels_for(features)
    system = RidgeSystem(features)
    weights = system.solve(labels, ridge)
    assert_close(system.predict(others, labels, ridge), others @ weights, **EXACT)
    assert_close(system.fitted(labels, ridge), features @ weights, **EXACT)
    assert_close(system.meta_matrix(others, ridge) @ labels, others @ weights, **EXACT)


def test_an_infinite_ridge_gives_zero_as_one_over_it():
    features = normal(*TALL)
    labels = labels_for(features)
    system = RidgeSystem(features)
    large = system.solve(labels, 1e8)
    assert large.abs().max() < 1e-6
    assert_close(1e8 * large, features.T @ labels, rtol=1e-5, atol=1e-5)
    assert torch.equal(system.solve(labels, float("inf")), torch.zeros_like(large))


def test_square_features_without_a_ridge_interpolate():
    features = normal(7, 7) + 3 * torch.eye(7)
    labels = labels_for(features)
    assert_close(RidgeSystem(features).fitted(labels, 0.0), labels, **EXACT)


def test_features_that_are_all_zero_predict_zero():
    system = RidgeSystem(torch.zeros(6, 4))
    labels = labels_for(torch.zeros(6, 4)).float()
    for outputs in (system.fitted(labels, 0.5), system.leave_one_out(labels, 0.5)):
        assert torch.equal(outputs, torch.zeros_like(labels))
    assert torch.equal(system.meta_matrix(torch.ones(2, 4), 0.5), torch.zeros(2, 6))


def test_single_precision_stays_near_double_where_columns_are_copies():
    features = normal(40, 6)
    features = torch.cat([features, features[:, :2], 30 * features[:, 2:3]], dim=1)
    labels = labels_for(features)
    for ridge in (0.0, 0.1):
        single = RidgeSystem(features.float()).fitted(labels.float(), ridge)
        assert single.dtype == torch.float32
        exact = features @ refit(features, labels, ridge)
        assert_close(single.double(), exact, rtol=0, atol=1e-3)


@RIDGES
@SHAPES
def test_leave_one_out_is_the_regression_on_the_other_rows(shape, ridge):
    features = normal(*shape)
    labels = labels_for(features)
    found = RidgeSystem(features).leave_one_out(labels, ridge)
    for i in range(len(features)):
        others = torch.arange(len(features)) != i
        expected = features[i] @ refit(features[others], labels[others], ridge)
        assert_close(found[i], expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("columns", [3, 400], ids=["few classes", "many classes"])
@pytest.mark.parametrize("make", [normal, of_rank_three], ids=["full rank", "rank 3"])
@SHAPES
def test_errors_of_all_ridges_are_those_of_each(shape, make, columns):
    system, labels = RidgeSystem(make(*shape)), normal(shape[0], columns, seed=1)
    ridges = (0.0, 1e-3, 0.7, 10.0)
    expected = [(system.leave_one_out(labels, r) - labels).square().sum() for r in ridges]
    assert_close(system.leave_one_out_errors(labels, ridges), torch.stack(expected))


@pytest.mark.parametrize("make", [normal, of_rank_three], ids=["full rank", "rank 3"])
@SHAPES
def test_cholesky_gives_the_same_meta_matrix(shape, make):
    features, others = make(*shape), normal(4, shape[1], seed=2)
    expected = RidgeSystem(features).meta_matrix(others, 0.7)
    factor, is_factor = meta_factor(features, others, 0.7)
    assert_close(factor @ features.T if is_factor else factor, expected, **EXACT)


@pytest.mark.parametrize("ridge", [0.0, 1e-12])
def test_steps_without_a_ridge_need_no_positive_definite_gram_matrix(ridge):
    features = of_rank_three(20, 5)
    found = correction_of("paper", features, ridge=ridge).chunks[0].matrix
    expected = RidgeSystem(features[CHUNKS[0]]).meta_matrix(features[VALIDATION], ridge)
    assert_close(found, expected, **EXACT)


def test_leave_one_out_does_not_know_the_rows_own_label():
    features = normal(*TALL)
    labels = labels_for(features)
    system = RidgeSystem(features)
    changed = labels.clone()
    changed[3] += 5
    before, after = (system.leave_one_out(y, 0.3) for y in (labels, changed))
    assert_close(after[3], before[3], **EXACT)
    assert (after[4] - before[4]).abs().max() > 1e-3


@RIDGES
@SHAPES
def test_rotated_features_have_the_same_meta_matrix(shape, ridge):
    features, others = normal(*shape), normal(4, shape[1], seed=2)
    rotation = torch.linalg.qr(normal(shape[1], shape[1], seed=3)).Q
    expected = RidgeSystem(features).meta_matrix(others, ridge)
    found = RidgeSystem(features @ rotation).meta_matrix(others @ rotation, ridge)
    assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("scale", [0.01, 3.0])
@SHAPES
def test_scaled_features_are_a_ridge_over_the_square_of_the_scale(shape, scale):
    features, others = normal(*shape), normal(4, shape[1], seed=2)
    found = RidgeSystem(scale * features).meta_matrix(scale * others, 0.7)
    assert_close(found, RidgeSystem(features).meta_matrix(others, 0.7 / scale**2), **EXACT)
    assert (found - RidgeSystem(features).meta_matrix(others, 0.7)).abs().max() > 1e-3


def test_copies_of_all_rows_are_half_the_ridge():
    features, others = normal(*TALL), normal(4, TALL[1], seed=2)
    labels = labels_for(features)
    twice = RidgeSystem(torch.cat([features, features]))
    found = twice.predict(others, torch.cat([labels, labels]), 0.8)
    assert_close(found, RidgeSystem(features).predict(others, labels, 0.4), **EXACT)


@pytest.mark.parametrize(
    "matrix",
    [
        normal(8, 30),
        normal(8, 30) - normal(8, 30).mean(dim=1, keepdim=True),
        torch.outer(normal(8), torch.tensor([1.0, -1.0] * 15, dtype=torch.float64)),
        torch.diag(torch.tensor([3.0, 2.9, 0.1], dtype=torch.float64)),
        torch.zeros(4, 5),
    ],
    ids=["normal", "rows of mean 0", "rank 1, rows of mean 0", "close values", "zero"],
)
def test_the_largest_singular_value_is_found_from_below(matrix):
    exact = float(torch.linalg.matrix_norm(matrix, 2))
    assert 0.97 * exact <= largest_singular_value(matrix) <= exact * (1 + 1e-6)


# Meta steps


def simplex(n, c=N_CLASSES, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).dirichlet([2.0] * c, size=n))


def targets_of(n, c=N_CLASSES):
    return one_hot(torch.arange(n) % c, c, torch.float64)


def correction_of(objective, features=None, rows=CHUNKS, validation=VALIDATION, ridge=RIDGE):
    features = normal(20, 5) if features is None else features
    targets = targets_of(len(validation))
    return IntrinsicCorrection(features, rows, validation, targets, objective, ridge)


@pytest.mark.parametrize("is_factored", [False, True])
def test_factors_of_the_meta_matrix_give_its_products(is_factored):
    n_features = 3 if is_factored else 14
    features = normal(60, n_features)
    rows, validation = torch.arange(40), torch.arange(40, 60)
    correction = correction_of("paper", features, [rows], validation)
    (chunk,) = correction.chunks
    assert (chunk.features is not None) is is_factored
    expected = RidgeSystem(features[rows]).meta_matrix(features[validation], RIDGE)
    assert_close(chunk.matrix, expected, **EXACT)
    labels, slope = normal(40, 4), normal(20, 4)
    assert_close(chunk.predict(labels), expected @ labels, **EXACT)
    assert_close(chunk.pull_back(slope), expected.T @ slope, **EXACT)


def label_state(param="raw", rates=(1.0, 1.0), labels=None, chunks=CHUNKS):
    labels = simplex(20) if labels is None else labels
    return LabelState(labels, chunks, param, "sgd", list(rates))


def meta_loss(objective, labels, k, features=None):
    """Return the objective by its formula, from the normal equations."""
    features = normal(20, 5) if features is None else features
    chunk, others = features[CHUNKS[k]], features[VALIDATION]
    gram = chunk.T @ chunk + RIDGE * torch.eye(features.shape[1])
    weights = torch.linalg.solve(gram, chunk.T @ labels)
    outputs, targets = others @ weights, targets_of(len(VALIDATION))
    log_proba = outputs.log_softmax(dim=1)
    squares = ((outputs - targets) ** 2).sum(dim=1)
    if objective == "paper":
        return float(squares.mean() - (log_proba.exp() * log_proba).sum(dim=1).mean())
    cross_entropy = -log_proba[targets.bool()].mean()
    mean = (chunk @ weights).softmax(dim=1).mean(dim=0)
    return float(cross_entropy + squares.sum() - (mean * N_CLASSES).log().mean())


@pytest.mark.parametrize("k", [0, 1])
@PARAMS
@OBJECTIVES
def test_a_step_of_rate_one_is_the_finite_difference_gradient(objective, param, k):
    state = label_state(param, labels=simplex(20) if param == "softmax" else normal(20, 3, seed=1))
    values, other = state.values[k].clone(), state.values[1 - k].clone()
    correction_of(objective).step(state, k)
    assert torch.equal(state.values[1 - k], other)
    gradient = torch.zeros_like(values)
    for i, j in product(*map(range, values.shape)):
        losses = []
        for step in (1e-5, -1e-5):
            moved = values.clone()
            moved[i, j] += step
            labels = moved.softmax(dim=1) if param == "softmax" else moved
            losses.append(meta_loss(objective, labels, k))
        gradient[i, j] = (losses[0] - losses[1]) / 2e-5
    error = (values - state.values[k] - gradient).norm() / gradient.norm()
    assert error < 1e-6


@pytest.mark.parametrize(("objective", "factor"), [("paper", 2 / 6), ("released", 2 + 1 / 6)])
def test_without_a_ridge_one_step_moves_labels_of_the_validation_rows_to_theirs(objective, factor):
    # At uniform labels the entropy and the balance of classes have a gradient of 0, and the
    # cross-entropy has (Y - Y_v) / N_v.
    features, rows, uniform = normal(6, 6), torch.arange(6), torch.full((6, 3), 1 / 3).double()
    correction = correction_of(objective, features, [rows], rows, ridge=0.0)
    assert_close(correction.chunks[0].matrix, torch.eye(6).double(), rtol=0, atol=1e-10)
    state = label_state(rates=[0.1], labels=uniform, chunks=[rows])
    correction.step(state, 0)
    expected = uniform + 0.1 * factor * (targets_of(6) - uniform)
    assert_close(state.all(), expected, rtol=0, atol=1e-9)


def descend(objective, param, factor, n_steps):
    correction = correction_of(objective)
    rates = [factor * rate for rate in correction.rates("auto", "sgd")]
    state = label_state(param, rates=rates)
    losses = []
    for _ in range(n_steps):
        losses.append(meta_loss(objective, state.of_chunk(0), 0))
        correction.step(state, 0)
    return np.array(losses)


@PARAMS
@OBJECTIVES
def test_descent_at_the_automatic_rate_never_climbs(objective, param):
    losses = descend(objective, param, 1.0, 60)
    assert np.diff(losses).max() < 1e-12
    assert losses[-1] < losses[0] - 0.1


@OBJECTIVES
def test_the_automatic_rate_is_just_below_the_one_that_diverges(objective):
    losses = descend(objective, "raw", 1.3, 30)
    assert losses[-1] > 10 * losses[0]


def test_rates_of_the_optimizers():
    paper, released = correction_of("paper"), correction_of("released")
    norms = np.array([float(torch.linalg.matrix_norm(chunk.matrix, 2)) for chunk in paper.chunks])
    assert paper.rates("auto", "sgd") == pytest.approx(0.9 * 6 / norms**2, rel=0.02)
    assert released.rates("auto", "sgd") == pytest.approx(0.9 / norms**2, rel=0.02)
    assert paper.rates("auto", "adam") == [0.01, 0.01]
    assert paper.rates(0.3, "sgd") == paper.rates(0.3, "adam") == [0.3, 0.3]


def test_objectives_are_the_sums_of_their_terms():
    outputs, targets, training = normal(6, 3), targets_of(6), normal(8, 3, seed=2)
    squares = F.mse_loss(outputs, targets, reduction="sum")
    cross_entropy = F.cross_entropy(outputs, targets.argmax(dim=1))
    plain = released_objective(outputs, targets, training, prior_weight=0.0)
    assert_close(plain, cross_entropy + squares, **EXACT)
    doubled = released_objective(outputs, targets, training, prior_weight=2.0)
    assert_close(doubled - plain, 2 * balance_penalty(training), **EXACT)
    entropies = torch.distributions.Categorical(logits=outputs).entropy()
    assert_close(paper_objective(outputs, targets), squares / 6 + entropies.mean(), **EXACT)


def test_the_balance_penalty_is_zero_only_where_the_mean_is_uniform():
    row = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
    turned = torch.stack([row.roll(k) for k in range(3)])
    assert abs(float(balance_penalty(turned))) < 1e-15
    assert float(balance_penalty(turned[:2])) > 1e-2
    mean = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    expected = sum(math.log(1 / 3 / share) / 3 for share in mean.tolist())
    assert float(balance_penalty(mean.log()[None] + 4.0)) == pytest.approx(expected, rel=1e-12)


@SHAPES
@FORMS
@pytest.mark.parametrize("ridge", [1e-2, 0.7])
def test_a_group_is_predicted_by_the_regression_on_the_others(shape, form, ridge):
    torch.manual_seed(0)
    features = torch.randn(shape, dtype=torch.float64)
    labels = one_hot(torch.arange(len(features)) % N_CLASSES, N_CLASSES, torch.float64)
    groups = torch.tensor([7, 7, 2, 7, 2, 5, 5, 1, 2, 2, 0, 3, 3, 3])[: len(features)]
    found = RidgeSystem(features, form, groups).leave_one_out(labels, ridge)
    for group in groups.unique():
        others, own = features[groups != group], features[groups == group]
        penalty = ridge * torch.eye(shape[1], dtype=torch.float64)
        weights = torch.linalg.solve(
            others.T @ others + penalty, others.T @ labels[groups != group]
        )
        assert_close(found[groups == group], own @ weights, rtol=0, atol=1e-7)


@SHAPES
@RIDGES
def test_groups_of_one_row_are_rows(shape, ridge):
    torch.manual_seed(0)
    features = torch.randn(shape, dtype=torch.float64)
    labels = one_hot(torch.arange(len(features)) % N_CLASSES, N_CLASSES, torch.float64)
    alone = RidgeSystem(features, groups=torch.arange(len(features)))
    expected = RidgeSystem(features).leave_one_out(labels, ridge)
    # Without a ridge, groups get a small one.
    assert_close(
        alone.leave_one_out(labels, ridge), expected, rtol=0, atol=1e-2 if ridge < 1e-3 else 1e-6
    )

"""Meta objectives: CLID equals its definition and limits, CE and MAE their closed forms."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.testing import assert_close

from sknoisy.meta import CLIDObjective, CrossEntropyObjective, MAEObjective, cross_layer_divergence
from sknoisy.metrics import clid

FLOOR = 1e-7  # the constant inside CLID's logarithm

# The example of the method's specification; `clid_by_loops` below recomputes its values.
FEATURES = torch.tensor([[1, 0], [0.6, 0.8], [-1, 0.2], [0, 1]], dtype=torch.float64)
LOGITS = torch.tensor([[2, 0, 0], [1, 1, 0], [0, 0, 2], [0, 3, 0]], dtype=torch.float64)


def graphs_by_loops(features, logits, temperature):
    """Return S and W of CLID, entry by entry from the definition."""
    f, z = features.tolist(), logits.tolist()
    f = [[x / max(math.hypot(*row), 1e-12) for x in row] for row in f]
    p = [[math.exp(x - max(row)) for x in row] for row in z]
    q = [[x / math.hypot(*row) for x in row] for row in p]  # L2: softmax's sum cancels
    S, W = [], []
    for f_i, q_i in zip(f, q, strict=True):
        similarity = [np.dot(f_i, f_j) / temperature for f_j in f]
        weights = [math.exp(a) if a >= 0 else 1.0 for a in similarity]
        S.append([w / sum(weights) for w in weights])
        G_i = [np.dot(q_i, q_j) for q_j in q]
        W.append([g / sum(G_i) for g in G_i])
    return np.array(S), np.array(W)


def clid_by_loops(features, logits, temperature):
    S, W = graphs_by_loops(features, logits, temperature)
    return float(-(W * np.log(S + FLOOR)).sum(axis=1).mean())


def random_outputs(n=7, d=4, n_classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return features, 2 * torch.randn(n, n_classes, generator=generator, dtype=torch.float64)


def gradient(objective, features, logits):
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(objective(features, logits), logits)[0]


# CLID: values


@pytest.mark.parametrize(("temperature", "golden"), [(0.5, 1.275834980), (0.1, 3.403972839)])
def test_clid_of_the_specified_example(temperature, golden):
    value = CLIDObjective(temperature)(FEATURES, LOGITS).item()
    assert value == pytest.approx(golden, abs=5e-10)
    assert value == pytest.approx(clid_by_loops(FEATURES, LOGITS, temperature), rel=1e-12)


@pytest.mark.parametrize("temperature", [0.07, 0.5, 3.0])
def test_clid_is_its_definition(temperature):
    features, logits = random_outputs()
    value = CLIDObjective(temperature)(features, logits).item()
    assert value == pytest.approx(clid_by_loops(features, logits, temperature), rel=1e-12)


def test_clid_of_identical_rows_is_the_logarithm_of_their_number():
    features, logits = torch.ones(5, 3).double(), torch.tensor([[1.0, -2.0]] * 5).double()
    value = CLIDObjective()(features, logits).item()
    assert value == pytest.approx(-math.log(1 / 5 + FLOOR), rel=1e-12)


def test_clid_at_infinite_temperature_is_the_logarithm_of_the_rows():
    features, logits = random_outputs(n=6)
    value = CLIDObjective(1e12)(features, logits).item()
    assert value == pytest.approx(-math.log(1 / 6 + FLOOR), rel=1e-10)


@pytest.mark.parametrize(("n", "temperature"), [(4, 0.5), (4, 0.1), (2, 0.5)])
def test_clid_of_orthonormal_features_and_one_hot_predictions(n, temperature):
    identity = torch.eye(n, dtype=torch.float64)
    value = cross_layer_divergence(identity, identity, temperature).mean().item()
    peak = math.exp(1 / temperature)
    assert value == pytest.approx(-math.log(peak / (peak + n - 1) + FLOOR), rel=1e-12)
    if (n, temperature) == (4, 0.5):  # log(e^2 + 3) - 2
        assert value == pytest.approx(0.340753, abs=5e-7)


@pytest.mark.parametrize("temperature", [0.5, 0.2])
def test_a_negative_similarity_counts_as_the_logit_zero(temperature):
    features = torch.tensor([[1.0, 2.0], [-1.0, -2.0]], dtype=torch.float64)
    # One-hot predictions of two classes make W the identity: row i is -log(S_ii + floor).
    rows = cross_layer_divergence(features, torch.eye(2, dtype=torch.float64), temperature)
    S_11 = math.exp(1 / temperature) / (math.exp(1 / temperature) + 1)
    assert_allclose(torch.exp(-rows) - FLOOR, [S_11, S_11], rtol=1e-12)


def test_features_of_zero_are_equally_far_from_all_rows():
    _, logits = random_outputs(n=5)
    value = CLIDObjective()(torch.zeros(5, 2, dtype=torch.float64), logits).item()
    assert value == pytest.approx(-math.log(1 / 5 + FLOOR), rel=1e-12)


def test_clid_is_at_least_the_entropy_of_the_prediction_graph():
    for seed in range(5):
        features, logits = random_outputs(seed=seed)
        S, W = graphs_by_loops(features, logits, 0.5)
        assert_allclose(S.sum(axis=1), 1)
        assert_allclose(W.sum(axis=1), 1)
        entropy = -(W * np.log(W)).sum(axis=1).mean()
        # Gibbs' inequality holds up to the floor, with which S sums to 1 + n * 1e-7.
        assert CLIDObjective()(features, logits).item() > entropy + 1e-3


def test_clid_equals_that_entropy_where_both_graphs_agree():
    n, temperature = 4, 0.5
    # Orthonormal features: S_ij / S_ii = exp(-1/temperature) = g. Probabilities proportional to
    # 1 on the diagonal and t elsewhere have q_i . q_j = (2t + (n-2) t^2) / (1 + (n-1) t^2) = g.
    g = math.exp(-1 / temperature)
    a = n - 2 - g * (n - 1)
    t = (-1 + math.sqrt(1 + a * g)) / a
    proba = torch.full((n, n), t, dtype=torch.float64).fill_diagonal_(1)
    proba /= proba.sum(dim=1, keepdim=True)
    S_ii = 1 / (1 + (n - 1) * g)
    entropy = -S_ii * math.log(S_ii) - (n - 1) * g * S_ii * math.log(g * S_ii)
    value = cross_layer_divergence(torch.eye(n, dtype=torch.float64), proba, temperature).mean()
    assert value.item() == pytest.approx(entropy, abs=n * 2 * FLOOR)


# CLID: invariances


def orthogonal(n, generator):
    return torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda f, z, g: (f * torch.rand(len(f), 1, generator=g).double().add(0.1), z),
        lambda f, z, g: (f @ orthogonal(f.shape[1], g), z),
        lambda f, z, g: (f, z + torch.randn(len(z), 1, generator=g).double()),
        lambda f, z, g: (f[(p := torch.randperm(len(f), generator=g))], z[p]),
        lambda f, z, g: (f, z[:, torch.randperm(z.shape[1], generator=g)]),
    ],
    ids=["feature scale", "feature rotation", "logit shift", "row order", "class order"],
)
def test_clid_does_not_change_under(change):
    features, logits = random_outputs()
    changed = change(features, logits, torch.Generator().manual_seed(1))
    assert not torch.equal(torch.cat(changed, dim=1), torch.cat([features, logits], dim=1))
    assert_close(CLIDObjective()(*changed), CLIDObjective()(features, logits))


def test_clid_does_not_read_targets():
    targets = torch.tensor([0, 1, 2, 0])
    value = CLIDObjective()(FEATURES, LOGITS, targets)
    assert torch.equal(value, CLIDObjective()(FEATURES, LOGITS, targets.flip(0)))


def test_blocks_of_rows_are_rows_of_the_whole():
    features, logits = random_outputs()
    proba = logits.softmax(dim=1)
    whole = cross_layer_divergence(features, proba, 0.3)
    blocks = [cross_layer_divergence(features, proba, 0.3, slice(i, i + 3)) for i in (0, 3, 6)]
    assert [len(block) for block in blocks] == [3, 3, 1]
    assert_close(torch.cat(blocks), whole)


# CLID: gradient


def test_gradient_of_the_specified_example():
    golden = [
        [-0.189472, 0.107177, 0.082295],
        [-0.047222, -0.061694, 0.108916],
        [0.122640, 0.123021, -0.245661],
        [0.039825, -0.071927, 0.032102],
    ]
    found = gradient(CLIDObjective(), FEATURES, LOGITS)
    assert_allclose(found, golden, atol=6e-7)


def test_row_sums_of_the_prediction_graph_are_held_constant():
    def with_differentiated_sums(features, logits):
        S, _ = graphs_by_loops(features, logits.detach(), 0.5)
        q = torch.nn.functional.normalize(logits.softmax(dim=1), dim=1)
        G = q @ q.T
        W = G / G.sum(dim=1, keepdim=True)
        return -(W * torch.log(torch.from_numpy(S) + FLOOR)).sum(dim=1).mean()

    other = gradient(with_differentiated_sums, FEATURES, LOGITS)
    assert_allclose(other[0], [-0.085988, 0.048126, 0.037861], atol=6e-7)  # as specified
    found = gradient(CLIDObjective(), FEATURES, LOGITS)
    assert (found - other).abs().max() > 0.05


def test_gradient_is_the_closed_form_of_the_specification():
    features, logits = random_outputs()
    n = len(features)
    S, _ = graphs_by_loops(features, logits, 0.5)
    C = torch.from_numpy(-np.log(S + FLOOR))
    p = logits.softmax(dim=1)
    norm = p.norm(dim=1, keepdim=True)
    q = p / norm
    r = (q @ q.T).sum(dim=1, keepdim=True)
    B = (C / r + (C / r).T) / n
    dq = B @ q
    dp = (dq - q * (q * dq).sum(dim=1, keepdim=True)) / norm
    dz = p * (dp - (p * dp).sum(dim=1, keepdim=True))
    assert_close(gradient(CLIDObjective(), features, logits), dz)


def test_features_get_no_gradient():
    features, logits = random_outputs()
    features.requires_grad_()
    assert not CLIDObjective()(features, logits).requires_grad  # no path from the features at all
    logits.requires_grad_()
    value = CLIDObjective()(features, logits)
    slopes = torch.autograd.grad(value, (features, logits), allow_unused=True)
    assert slopes[0] is None
    assert slopes[1].abs().max() > 0


# The metric


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_metric_is_the_objective_of_logits_or_probabilities(temperature):
    features, logits = random_outputs()
    expected = CLIDObjective(temperature)(features, logits).item()
    for predictions in (logits, logits.softmax(dim=1)):
        value = clid(features.numpy(), predictions.numpy(), temperature)
        assert type(value) is float
        assert value == pytest.approx(expected, rel=1e-12)


def test_metric_computes_in_float64():
    features, logits = (x.numpy().astype(np.float32) for x in random_outputs())
    value = clid(features, logits)
    assert value == clid(features.astype(np.float64), logits.astype(np.float64))


@pytest.mark.parametrize("entries", [1, 14, 20])
def test_metric_does_not_depend_on_its_blocks(monkeypatch, entries):
    features, logits = (x.numpy() for x in random_outputs())
    whole = clid(features, logits)
    monkeypatch.setattr("sknoisy.metrics._clid._BLOCK_ENTRIES", entries)  # 1 or 2 rows of 7
    assert clid(features, logits) == pytest.approx(whole, rel=1e-13)


@pytest.mark.parametrize(
    ("features", "logits", "temperature", "message"),
    [
        (np.ones((3, 2)), np.ones((3, 2)), 0.0, "temperature must be positive, got 0.0"),
        (np.ones((3, 2)), np.ones((3, 2)), float("nan"), "temperature must be positive, got nan"),
        (np.ones((3, 2)), np.ones((4, 2)), 0.5, r"inconsistent numbers of samples: \[3, 4\]"),
        (np.full((3, 2), np.nan), np.ones((3, 2)), 0.5, "features contains NaN"),
        (np.ones((3, 2)), np.full((3, 2), np.inf), 0.5, "proba_or_logits contains infinity"),
    ],
)
def test_metric_refuses(features, logits, temperature, message):
    with pytest.raises(ValueError, match=message):
        clid(features, logits, temperature)


# Objectives on trusted labels


def test_cross_entropy_objective_is_the_mean_negative_log_probability():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], dtype=torch.float64))
    value = CrossEntropyObjective()(None, logits + 3, torch.tensor([0, 1]))
    assert value.item() == pytest.approx((math.log(2) + math.log(10)) / 2, rel=1e-12)


def test_mae_objective_is_one_minus_the_mean_probability_of_the_label():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], dtype=torch.float64))
    objective, targets = MAEObjective(), torch.tensor([0, 1])
    assert objective(None, logits + 3, targets).item() == pytest.approx(1 - 0.3, rel=1e-12)
    # d(1 - p_y)/dz = p_y (p - e_y) is bounded, and small for a wrong label.
    p = logits.softmax(dim=1)
    p_y = p.gather(1, targets[:, None])
    slope = p_y * (p - torch.eye(3, dtype=torch.float64)[targets]) / len(logits)
    found = logits.clone().requires_grad_()
    assert_close(torch.autograd.grad(objective(None, found, targets), found)[0], slope)


def test_only_clid_uses_the_features():
    logits, targets = LOGITS, torch.tensor([0, 1, 2, 0])
    for objective in (CrossEntropyObjective(), MAEObjective()):
        assert torch.equal(
            objective(FEATURES, logits, targets), objective(-FEATURES.flip(0), logits, targets)
        )
    assert CLIDObjective()(FEATURES, logits) != CLIDObjective()(FEATURES.flip(0), logits)

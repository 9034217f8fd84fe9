"""The parts that are specific to each method: NT-Xent, momentum queue, feature corruption."""

import copy
import itertools
import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import nn

from sknoisy._engine.rows import ArrayRows, SparseRows, TensorRows
from sknoisy._engine.scaling import InputScaling
from sknoisy.representation import scarf, simclr
from sknoisy.representation.moco import MomentumContrast, queue_info_nce
from sknoisy.representation.scarf import FeatureCorruption


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pair(n=7, p=5):
    return torch.randn((2, n, p), generator=seeded(), dtype=torch.float64).unbind()


def cosine(a, b):
    return float(a @ b / (a.norm() * b.norm()))


def stacked(loss):
    """The loss of two views apart."""
    return lambda first, second, temperature: loss(torch.cat([first, second]), temperature)


nt_xent, info_nce = stacked(simclr.nt_xent), stacked(scarf.info_nce)
LOSSES = pytest.mark.parametrize("loss", [nt_xent, info_nce], ids=["nt_xent", "info_nce"])


# --- NT-Xent and InfoNCE ------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_nt_xent_is_the_double_loop_of_the_paper(temperature):
    first, second = pair()
    z = [*first, *second]
    n = len(first)
    total = 0.0
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        others = sum(math.exp(cosine(z[i], z[k]) / temperature) for k in range(2 * n) if k != i)
        total -= math.log(math.exp(cosine(z[i], z[j]) / temperature) / others)
    assert nt_xent(first, second, temperature).item() == pytest.approx(total / (2 * n), rel=1e-12)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_info_nce_is_the_double_loop_of_the_paper(temperature):
    """But for the constant log n, which the mean in the paper's denominator adds."""
    rows, corrupted = pair()
    n = len(rows)
    total = 0.0
    for i in range(n):
        terms = [math.exp(cosine(rows[i], corrupted[k]) / temperature) for k in range(n)]
        total -= math.log(terms[i] / (sum(terms) / n))
    loss = info_nce(rows, corrupted, temperature).item()
    assert loss - math.log(n) == pytest.approx(total / n, rel=1e-12)


def test_nt_xent_is_cross_entropy_over_the_similarity_matrix():
    first, second = pair()
    z = F.normalize(torch.cat([first, second]))
    off_diagonal = ~torch.eye(14, dtype=torch.bool)
    logits = (z @ z.T / 0.3)[off_diagonal].view(14, 13)
    # Without the diagonal, partner i + 7 stands one place further left, partner i - 7 does not.
    partners = torch.cat([torch.arange(7) + 6, torch.arange(7)])
    expected = F.cross_entropy(logits, partners)
    torch.testing.assert_close(nt_xent(first, second, 0.3), expected)


@LOSSES
def test_order_of_the_pairs_makes_no_difference(loss):
    first, second = pair()
    order = torch.randperm(len(first), generator=seeded(2))
    torch.testing.assert_close(loss(first[order], second[order], 0.5), loss(first, second, 0.5))
    assert loss(first, second[order], 0.5) > loss(first, first, 0.5)


def test_nt_xent_is_symmetric_in_its_views_and_info_nce_is_not():
    first, second = pair()
    torch.testing.assert_close(nt_xent(first, second, 0.5), nt_xent(second, first, 0.5))
    assert not torch.isclose(info_nce(first, second, 0.5), info_nce(second, first, 0.5))


@LOSSES
def test_length_of_the_projections_makes_no_difference(loss):
    first, second = pair()
    scales = torch.rand((7, 1), generator=seeded(), dtype=torch.float64) + 0.1
    torch.testing.assert_close(loss(first * scales, second, 0.5), loss(first, second, 0.5))


@pytest.mark.parametrize("n", [2, 6])
@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_identical_views_of_orthogonal_rows(n, temperature):
    rows = 3 * torch.eye(n, dtype=torch.float64)
    others = math.exp(-1 / temperature)
    expected = math.log1p((2 * n - 2) * others)
    assert nt_xent(rows, rows, temperature).item() == pytest.approx(expected)
    expected = math.log1p((n - 1) * others)
    assert info_nce(rows, rows, temperature).item() == pytest.approx(expected)


@pytest.mark.parametrize(("loss", "others"), [(nt_xent, 13), (info_nce, 7)])
def test_a_collapsed_network_is_at_chance(loss, others):
    same = torch.ones(7, 4, dtype=torch.float64)
    assert loss(same, same, 0.1).item() == pytest.approx(math.log(others))


@LOSSES
def test_gradient_by_finite_differences(loss):
    first, second = (z.requires_grad_() for z in pair(4, 3))
    assert torch.autograd.gradcheck(lambda a, b: loss(a, b, 0.4), (first, second))


@LOSSES
def test_a_low_temperature_stays_finite(loss):
    first, second = (z.float().requires_grad_() for z in pair())
    value = loss(first, second, 1e-3)
    value.backward()
    assert value.isfinite()
    assert first.grad.isfinite().all()


# --- MoCo ---------------------------------------------------------------------------------------


def contrast(queue_size=6, momentum=0.9):
    """A MomentumContrast in float64 over a small network without random parts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
        return MomentumContrast(network, 3, queue_size, momentum).double()


def views(step=0, n=2):
    return torch.randn((2 * n, 4), generator=seeded(step), dtype=torch.float64)


def train(module, steps, n=2):
    """Steps of SGD; yields the views of each."""
    optimizer = torch.optim.SGD(module.query.parameters(), lr=0.5)
    for step in range(steps):
        batch = views(step, n)
        yield batch
        loss = queue_info_nce(module(batch), 0.2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_logits_are_cosines_with_the_own_key_and_with_the_queue():
    module = contrast()
    batch, queue = views(), module.queue
    queries, keys = module.query(batch[:2]).detach(), module.key(batch[2:])
    expected = [
        [cosine(query, other) for other in [key, *queue]]
        for query, key in zip(queries, keys, strict=True)
    ]
    np.testing.assert_allclose(module(batch).detach(), expected)


def test_loss_is_the_negative_log_of_the_own_keys_share():
    similarity = torch.randn((4, 6), generator=seeded(), dtype=torch.float64)
    exponentials = np.exp(similarity.numpy() / 0.3)
    expected = -np.log(exponentials[:, 0] / exponentials.sum(axis=1)).mean()
    assert queue_info_nce(similarity, 0.3).item() == pytest.approx(expected)


def flat(network):
    return nn.utils.parameters_to_vector(network.parameters()).detach()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_key_network_is_the_moving_average_of_the_query_network(momentum):
    """It follows before the keys are made, so it has not seen the last step."""
    module = contrast(momentum=momentum)
    average = flat(module.query)  # both start alike
    for _ in train(module, 6):
        torch.testing.assert_close(flat(module.key), average, rtol=1e-14, atol=1e-16)
        average = momentum * average + (1 - momentum) * flat(module.query)
    torch.testing.assert_close(flat(module.key), average, rtol=1e-14, atol=1e-16)
    assert (average - flat(module.query)).abs().max() > 1e-3


def test_queue_is_first_in_first_out_and_holds_normalised_keys():
    module = contrast(queue_size=5)
    expected = module.queue
    torch.testing.assert_close(expected.norm(dim=1), torch.ones(5).double())
    for batch in train(module, 4):
        before = copy.deepcopy(module)
        before(batch)  # follows, so that its key network is that of the step
        keys = F.normalize(before.key(batch[2:]), dim=1)
        expected = torch.cat([keys, expected])[:5]
        assert torch.equal(before.queue, expected)
        expected = expected.detach()
    assert not expected.requires_grad


def test_a_batch_may_be_larger_than_the_queue():
    module = contrast(queue_size=3)
    batch = views(n=4)
    assert module(batch).shape == (4, 4)
    torch.testing.assert_close(module.queue, F.normalize(module.key(batch[4:]), dim=1)[:3])


def test_no_gradient_flows_into_the_keys():
    module, batch = contrast(), views().requires_grad_()
    queue_info_nce(module(batch), 0.2).backward()
    assert batch.grad[:2].abs().min() > 0
    assert torch.equal(batch.grad[2:], torch.zeros(2, 4).double())
    assert all(p.grad is None and not p.requires_grad for p in module.key.parameters())
    assert all(p.grad.abs().max() > 0 for p in module.query.parameters())
    assert not module.queue.requires_grad


def test_evaluation_changes_neither_key_network_nor_queue():
    module = contrast()
    for _ in train(module, 2):
        pass
    before = copy.deepcopy(module.state_dict())
    module.eval()(views(9))
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_momentum_contrast_learns_to_tell_keys_from_the_queue():
    """With equal views the own key is the most similar in the end."""
    module = contrast(queue_size=32, momentum=0.5)
    optimizer = torch.optim.Adam(module.query.parameters(), lr=0.05)
    losses = []
    for step in range(100):
        half = torch.randn((16, 4), generator=seeded(step), dtype=torch.float64)
        loss = queue_info_nce(module(torch.cat([half, half])), 0.2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.7 * math.log(33)


# --- feature corruption -------------------------------------------------------------------------


def table(n=300, d=10):
    """Row i has 1000 j + i in column j, so each value identifies its cell."""
    return 1000 * torch.arange(d).float() + torch.arange(n).float()[:, None]


def corrupt(X, rows, rate, seed=0):
    return FeatureCorruption(TensorRows(rows), rate)(X, seeded(seed))


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3, 0.6, 1.0])
def test_as_many_columns_of_each_row_are_corrupted_as_the_rate_says(rate):
    X = torch.full((400, 10), -1.0)  # no value of the training rows
    corrupted = corrupt(X, table(), rate) != -1
    n_corrupted = max(int(10 * rate), rate > 0)  # one, where the rate rounds to none
    assert set(corrupted.sum(dim=1).tolist()) == {n_corrupted}
    share = n_corrupted / 10
    sigma = math.sqrt(400 * share * (1 - share))
    assert ((corrupted.sum(dim=0) - 400 * share).abs() <= 4 * sigma).all()


def test_floating_point_does_not_lose_a_column():
    """0.29 * 100 is a little less than 29."""
    X = torch.full((3, 100), -1.0)
    assert (corrupt(X, table(d=100), 0.29) != -1).sum(dim=1).tolist() == [29] * 3


def test_rate_zero_leaves_rows_unchanged_and_no_rate_changes_its_input():
    X = table()
    before = X.clone()
    assert torch.equal(corrupt(X, X, 0.0), X)
    corrupt(X, X, 1.0)
    assert torch.equal(X, before)


def test_new_values_come_from_the_same_column_of_random_rows():
    rows = table()
    draws = torch.cat([corrupt(rows, rows, 1.0, seed) for seed in range(40)])
    column, source = draws // 1000, draws % 1000
    assert torch.equal(column, torch.arange(10.0).expand_as(column))
    # 40 batches of 256 donors each: the mean of a uniform distribution on 0 ... 299
    assert abs(source.mean() - 149.5) < 4 * (300 / math.sqrt(12)) / math.sqrt(40 * 256)
    assert len(source.unique()) == 300


def test_marginal_distribution_is_kept_and_columns_become_independent():
    """Two equal columns, of which 30 % are 1, agree as two independent ones do."""
    rows = (torch.arange(1000) % 10 < 3).float()[:, None].repeat(1, 2)
    draws = torch.cat([corrupt(rows, rows, 1.0, seed) for seed in range(30)])
    sigma = math.sqrt(0.3 * 0.7 / (30 * 256))
    assert ((draws.mean(dim=0) - 0.3).abs() < 4 * sigma).all()
    together = (draws[:, 0] * draws[:, 1]).mean().item()
    assert together == pytest.approx(0.09, abs=0.02)


def test_rows_of_any_store_are_corrupted_alike():
    X = table(n=50).numpy()
    scaling = InputScaling().fit(X)
    dense = scaling.apply(scaling.to_tensor(X))
    unscaled, device = InputScaling(False).fit(X), torch.device("cpu")
    stores = {
        "tensor": (TensorRows(dense), dense),
        "array": (ArrayRows(X, scaling, device), dense),
        "sparse": (
            SparseRows(sp.csr_matrix(X), unscaled, torch.device("cpu")),
            torch.from_numpy(X),
        ),
    }
    results = {
        name: FeatureCorruption(rows, 0.5)(batch, seeded())
        for name, (rows, batch) in stores.items()
    }
    assert torch.equal(results["tensor"], results["array"])
    expected = scaling.apply(scaling.to_tensor(results["sparse"].numpy()))
    torch.testing.assert_close(results["tensor"], expected)


def test_each_view_has_corruptions_of_its_own():
    rows, generator = table(), seeded()
    corruption = FeatureCorruption(TensorRows(rows), 0.5)
    draws = [corruption(rows, generator) != rows for _ in range(3)]
    for first, second in itertools.combinations(draws, 2):
        assert 0.4 < (first == second).float().mean() < 0.6

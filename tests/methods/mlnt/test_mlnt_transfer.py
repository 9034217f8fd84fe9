"""MLNT: synthetic labels by neighbour transfer."""

import pytest
import torch
from torch.testing import assert_close

from sknoisy.methods.mlnt import transfer_labels

K = 40


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def problem(k=K, d=3, n_classes=5):
    source = generator(7)
    features = torch.randn(k, d, generator=source, dtype=torch.float64)
    return features, torch.randint(n_classes, (k,), generator=source)


def neighbours_by_hand(features, i, n):
    """Rows by their squared distance from row i, the row itself left out."""
    others = [j for j in range(len(features)) if j != i]
    return sorted(others, key=lambda j: float(((features[i] - features[j]) ** 2).sum()))[:n]


@pytest.mark.parametrize("n_neighbors", [1, 3, 10])
def test_a_changed_label_is_that_of_a_near_neighbour(n_neighbors):
    features, labels = problem()
    sets = transfer_labels(features, labels, 400, 0.5, n_neighbors, generator=generator())
    assert sets.shape == (400, K)
    assert sets.dtype == torch.int64
    seen = [set() for _ in range(K)]
    for given in sets:
        assert (given != labels).sum() <= K // 2
        for i in (given != labels).nonzero()[:, 0].tolist():
            seen[i].add(int(given[i]))
    for i in range(K):
        near = {int(labels[j]) for j in neighbours_by_hand(features, i, n_neighbors)}
        assert seen[i] == near - {int(labels[i])}  # in 400 sets, all of them


def test_neighbours_are_drawn_evenly_and_rows_too():
    """Each of 4 neighbours in a quarter of the draws, each row in half of the sets."""
    features = torch.arange(5.0)[:, None]
    labels = torch.arange(5)
    sets = transfer_labels(features, labels, 20000, 0.4, 4, generator=generator())
    changed = sets != labels
    assert (changed.sum(dim=1) == 2).all()  # a label of its own for each row: every draw shows
    assert_close(changed.double().mean(dim=0), torch.full((5,), 0.4).double(), atol=0.02, rtol=0)
    for i in range(5):
        counts = torch.bincount(sets[changed[:, i], i], minlength=5).double()
        expected = torch.full((5,), 0.25).double()
        expected[i] = 0
        assert_close(counts / counts.sum(), expected, atol=0.03, rtol=0)


@pytest.mark.parametrize(("share", "n_changed"), [(0.0, 0), (0.29, 29), (0.5, 50), (1.0, 100)])
def test_share_is_rounded_down(share, n_changed):
    features, labels = torch.arange(100.0)[:, None], torch.arange(100)
    sets = transfer_labels(features, labels, 3, share, generator=generator())
    assert ((sets != labels).sum(dim=1) == n_changed).all()


def test_clusters_of_one_label_keep_it():
    features = torch.cat([torch.randn(20, 2), torch.randn(20, 2) + 100])
    labels = torch.arange(40) // 20
    sets = transfer_labels(features, labels, 10, 1.0, generator=generator())
    assert (sets == labels).all()


def test_duplicates_are_neighbours_and_a_row_is_not_its_own():
    """All distances are 0: the row is excluded by its index, not by its rank."""
    labels = torch.arange(6)
    sets = transfer_labels(torch.zeros(6, 2), labels, 20, 1.0, 3, generator=generator())
    assert (sets != labels).all()


@pytest.mark.parametrize("k", [1, 2, 5, 11])
def test_batches_smaller_than_the_neighbourhood(k):
    features, labels = torch.arange(float(k))[:, None], torch.arange(k)
    sets = transfer_labels(features, labels, 30, 1.0, 10, generator=generator())
    assert (sets != labels).all() == (k > 1)
    assert set(sets.unique().tolist()) == set(range(k))


def test_only_donors_hand_on_their_label():
    features, labels = problem(n_classes=K)
    donors = torch.arange(K) < 3
    sets = transfer_labels(features, labels, 30, 1.0, donors=donors, generator=generator())
    assert set(sets.unique().tolist()) == set(labels[donors].tolist())
    alone = torch.arange(K) == 0  # it has nobody to take a label from
    sets = transfer_labels(features, labels, 30, 1.0, donors=alone, generator=generator())
    assert (sets == labels[0]).all()
    assert (transfer_labels(features, labels, 3, donors=alone & False) == labels).all()


def test_draws_come_from_the_generator_alone():
    features, labels = problem()
    state = torch.get_rng_state()
    sets = [transfer_labels(features, labels, 4, generator=generator(s)) for s in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(sets[0], sets[1])
    assert not torch.equal(sets[0], sets[2])

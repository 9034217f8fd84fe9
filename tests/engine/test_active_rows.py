"""TrainingData.only restricts an epoch to some rows, which keep their row numbers."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from small_nets import N, fit_device_net, state, training_data

from sknoisy._engine.batches import Batches, TrainingData
from sknoisy._engine.rows import ArrayRows, make_rows
from sknoisy._engine.scaling import InputScaling
from sknoisy.callbacks import RecordDynamics

CPU = torch.device("cpu")
ACTIVE = torch.tensor([17, 3, 4, 11, 0, 8, 19])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(X, generator):
    """Add uniform noise, as an augmentation."""
    return X + torch.rand(X.shape, generator=generator)


def numbered(n, X=None, in_memory=True, **extra):
    """Return rows whose column, label, weight and trust are functions of the row number."""
    X = np.arange(n, dtype=float)[:, None] if X is None else X
    rows = make_rows(X, InputScaling(standardize=False).fit(X), CPU, in_memory=in_memory)
    more = {"sample_weight": torch.arange(n) / 7, "trusted": torch.arange(n) % 2 == 0}
    return TrainingData(rows, torch.arange(n) % 3, **more, **extra)


# Batches


@pytest.mark.parametrize(
    ("n_active", "batch_size", "sizes"),
    [(10, 5, [5, 5]), (12, 5, [5, 5, 2]), (11, 5, [5, 6]), (3, 5, [3]), (1, 5, [1])],
)
@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_is_cut_into_batches_as_if_there_were_no_other_rows(
    n_active, batch_size, sizes, shuffle
):
    """The last of 11 rows joins the batch before it: batch norm cannot use a single row."""
    active = torch.randperm(30, generator=generator())[:n_active]
    batches = Batches(numbered(30).only(active), batch_size, generator() if shuffle else None)
    for _ in range(2):
        epoch = list(batches)
        assert [len(batch.rows) for batch in epoch] == sizes
        assert len(batches) == len(sizes)
        seen = torch.cat([batch.rows for batch in epoch])
        assert sorted(seen.tolist()) == sorted(active.tolist())
        assert shuffle or torch.equal(seen, active)


def test_row_numbers_are_those_of_all_data_and_labels_weights_and_trust_match_them():
    data = numbered(20).only(ACTIVE)
    for batch in Batches(data, 4, generator()):
        X, y = batch
        assert_array_equal(X[:, 0], batch.rows)
        assert_array_equal(y, batch.rows % 3)
        assert_array_equal(batch.sample_weight, batch.rows / 7)
        assert_array_equal(batch.trusted, batch.rows % 2 == 0)


def test_shuffling_depends_on_the_number_of_active_rows_only():
    """The order is the one in which as many rows alone are shuffled."""
    of_part = torch.cat([b.rows for b in Batches(numbered(20).only(ACTIVE), 4, generator())])
    alone = torch.cat([b.rows for b in Batches(numbered(len(ACTIVE)), 4, generator())])
    assert torch.equal(of_part, ACTIVE[alone])


def test_the_length_is_that_of_all_rows_and_nothing_is_copied():
    data = numbered(20)
    part = data.only(ACTIVE)
    assert len(part) == len(data) == 20
    assert part.rows is data.rows
    assert part.targets is data.targets
    assert part.sample_weight is data.sample_weight
    assert_array_equal(part.take(torch.tensor([5]))[0], [[5]])  # rows that are not active, too


def test_only_does_not_change_the_data_it_is_called_on():
    data = numbered(6)
    part = data.only(torch.tensor([4, 1]))
    assert data.active is None
    assert torch.cat([batch.rows for batch in Batches(data, 3)]).tolist() == list(range(6))
    narrower = part.only(torch.tensor([5]))
    assert [batch.rows.tolist() for batch in Batches(narrower, 3)] == [[5]]  # not a part of a part
    whole = part.only(None)
    assert torch.cat([batch.rows for batch in Batches(whole, 3)]).tolist() == list(range(6))
    assert [batch.rows.tolist() for batch in Batches(part, 3)] == [[4, 1]]


@pytest.mark.parametrize("n_active", [6, 11])
def test_memory_mapped_rows_equal_rows_in_memory(tmp_path, n_active):
    X = np.random.default_rng(0).normal(size=(20, 3))
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    active = torch.randperm(20, generator=generator(1))[:n_active]
    epochs = []
    for given, in_memory in ((X, True), (mapped, False)):
        data = numbered(20, given, in_memory, augment=noise, generator=generator()).only(active)
        batches = Batches(data, 5, generator())
        epochs.append([batch for _ in range(2) for batch in batches])
    assert isinstance(data.rows, ArrayRows)
    assert len(epochs[0]) == len(epochs[1]) == 2 * len(batches)
    for expected, found in zip(*epochs, strict=True):
        assert torch.equal(found.rows, expected.rows)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])
        assert torch.equal(found.sample_weight, expected.sample_weight)


# Nets


def test_a_net_trains_as_on_the_active_rows_alone():
    data = training_data()
    part = fit_device_net(data=data.only(ACTIVE))
    rows = TrainingData(type(data.rows)(data.rows.tensor[ACTIVE]), data.targets[ACTIVE])
    alone = fit_device_net(data=rows)
    whole = fit_device_net(data=data)
    expected, other = state(alone.module_), state(whole.module_)
    for name, tensor in state(part.module_).items():
        assert torch.equal(tensor, expected[name])
        assert not torch.equal(tensor, other[name])
    assert part.history[:, "train_loss"] == alone.history[:, "train_loss"]


def test_dynamics_are_recorded_under_the_numbers_of_all_rows():
    """The active rows have the record of a fit on them alone, the others an empty one."""
    data, record, alone = training_data(), RecordDynamics(), RecordDynamics()
    fit_device_net(record, data=data.only(ACTIVE), max_epochs=5)
    rows = TrainingData(type(data.rows)(data.rows.tensor[ACTIVE]), data.targets[ACTIVE])
    fit_device_net(alone, data=rows, max_epochs=5)
    assert record.n_rows_ == N
    bits = np.unpackbits(record.bits_, axis=1, count=N)
    expected = np.unpackbits(alone.bits_, axis=1, count=len(ACTIVE))
    assert expected.any()
    assert_array_equal(bits[:, ACTIVE], expected)
    rest = np.setdiff1d(np.arange(N), ACTIVE)
    assert not bits[:, rest].any()
    assert_array_equal(record.n_seen_, np.isin(np.arange(N), ACTIVE) * 5)
    assert np.isnan(record.mean_loss_[rest]).all()
    assert_array_equal(record.mean_loss_[ACTIVE], alone.mean_loss_)


def test_active_rows_can_change_between_trainings():
    data = training_data()
    net = fit_device_net(data=data.only(ACTIVE))
    counts = []
    for rows in (ACTIVE, None, torch.arange(12)):
        net.fit(data.only(rows))
        counts.append(net.history[-1, "train_batch_count"])
    assert counts == [1, 3, 2]

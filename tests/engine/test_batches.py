"""Rows, scaling and batches; every store returns the same rows."""

import numpy as np
import pytest
import scipy.sparse
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.preprocessing import StandardScaler

from sknoisy._engine.batches import (
    Batch,
    Batches,
    EndlessBatches,
    TrainingData,
    bounded_weights,
)
from sknoisy._engine.rows import ArrayRows, SparseRows, TensorRows, fits_in_memory, make_rows
from sknoisy._engine.scaling import InputScaling, channel_axis

CPU = torch.device("cpu")


def rng():
    return np.random.default_rng(0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def training_data(n, X=None, in_memory=True, **extra):
    X = np.arange(n, dtype=float)[:, None] if X is None else X
    rows = make_rows(X, InputScaling(standardize=False).fit(X), CPU, in_memory=in_memory)
    return TrainingData(rows, torch.arange(n) % 3, **extra)


def every_row(rows):
    return rows.take(torch.arange(len(rows))).numpy()


def memory_mapped(tmp_path, X):
    np.save(tmp_path / "X.npy", X)
    return np.load(tmp_path / "X.npy", mmap_mode="r")


def noise(X, generator):
    """Add uniform noise, as an augmentation."""
    return X + torch.rand(X.shape, generator=generator)


# Batches


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [
        (10, 5, [5, 5]),
        (12, 5, [5, 5, 2]),
        (11, 5, [5, 6]),  # batch norm has no statistics of one row
        (3, 5, [3]),
        (1, 5, [1]),
        (6, 5, [6]),
    ],
)
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_row_comes_once_per_epoch(n, batch_size, sizes, shuffle):
    batches = Batches(training_data(n), batch_size, generator() if shuffle else None)
    epoch = list(batches)
    assert [len(batch.rows) for batch in epoch] == sizes
    assert len(batches) == len(sizes)
    index = torch.cat([batch.rows for batch in epoch])
    assert index.sort().values.tolist() == list(range(n))
    assert (index.tolist() == list(range(n))) == (not shuffle or n == 1)


def test_a_batch_unpacks_as_a_pair_and_carries_row_numbers_weights_and_trust():
    weight, trusted = torch.linspace(0, 2, 8), torch.arange(8) % 2 == 0
    data = training_data(8, sample_weight=weight, trusted=trusted)
    for batch in Batches(data, 4, generator()):
        assert isinstance(batch, Batch)
        X, y = batch
        assert_array_equal(X[:, 0], batch.rows)
        assert_array_equal(y, batch.rows % 3)
        assert_array_equal(batch.sample_weight, weight[batch.rows])
        assert_array_equal(batch.trusted, trusted[batch.rows])
    batch = training_data(8).take(torch.tensor([5]))
    assert batch.sample_weight is batch.trusted is None


def test_order_follows_the_generator_and_changes_from_epoch_to_epoch():
    def orders(seed):
        batches = Batches(training_data(20), 20, generator(seed))
        return [next(iter(batches)).rows.tolist() for _ in range(2)]

    assert orders(0) == orders(0)
    assert orders(0) != orders(1)
    assert orders(0)[0] != orders(0)[1]


def test_training_batches_are_augmented_and_others_are_not():
    def inputs(order):
        (batch,) = Batches(training_data(6, augment=noise, generator=generator()), 6, order)
        return batch[0][batch.rows.argsort()]

    plain, augmented = inputs(None), inputs(generator())
    assert_array_equal(plain[:, 0], np.arange(6))
    assert ((augmented - plain) > 0).all()
    assert_array_equal(inputs(generator()), augmented)  # drawn from the given generator
    data = training_data(6, augment=noise, generator=generator())
    index = torch.arange(6)
    assert_array_equal(data.take(index)[0], plain)
    assert (data.take(index, augment=True)[0] > plain).all()


@pytest.mark.parametrize("n", [10, 11])
def test_memory_mapped_batches_equal_batches_in_memory(tmp_path, n):
    X = rng().normal(size=(n, 3))
    mapped = memory_mapped(tmp_path, X)
    state = torch.get_rng_state()
    epochs = []
    for given, in_memory in ((X, True), (mapped, False)):
        data = training_data(n, given, in_memory, augment=noise, generator=generator())
        batches = Batches(data, 5, generator())
        epochs.append([batch for _ in range(2) for batch in batches])
    assert isinstance(data.rows, ArrayRows)
    for expected, found in zip(*epochs, strict=True):
        assert isinstance(found, Batch)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])
        assert torch.equal(found.rows, expected.rows)
    assert torch.equal(torch.get_rng_state(), state)  # nothing is drawn from the global stream


# Endless batches


def test_endless_batches_use_up_all_rows_before_they_repeat():
    rows = torch.tensor([3, 5, 8, 13, 21, 34])
    batches = EndlessBatches(rows, 2, generator())
    passes = [[next(batches) for _ in range(3)] for _ in range(4)]
    assert all(len(batch) == 2 for once in passes for batch in once)
    orders = [torch.cat(once).tolist() for once in passes]
    assert all(sorted(order) == rows.tolist() for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_endless_batches_are_full_and_skip_changing_left_over_rows():
    batches = EndlessBatches(torch.arange(7), 3, generator())
    seen = set()
    for _ in range(20):
        once = torch.cat([next(batches), next(batches)]).tolist()
        assert len(set(once)) == 6  # none twice within a pass
        seen |= set(once)
    assert seen == set(range(7))


def test_endless_batches_are_no_larger_than_the_set_and_follow_their_generator():
    rows = torch.arange(5)
    assert sorted(next(EndlessBatches(rows, 100, generator())).tolist()) == list(range(5))
    draws = [next(EndlessBatches(rows, 3, generator(seed))).tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


# Scaling


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8, bool])
def test_columns_are_standardised_as_by_scikit_learn(dtype):
    X = (10 * rng().random((9, 3))).astype(int).astype(dtype)
    before = X.copy()
    rows = every_row(make_rows(X, InputScaling().fit(X), CPU, in_memory=True))
    assert rows.dtype == np.float32
    assert_allclose(rows, StandardScaler().fit_transform(X.astype(float)), rtol=1e-6, atol=1e-6)
    assert_array_equal(X, before)


def test_a_large_offset_loses_no_digits():
    seconds = 3600.0 * rng().permutation(12)
    time_stamps = (1.6e9 + seconds)[:, None]  # float32 has steps of 128 there
    scaling = InputScaling().fit(time_stamps)
    rows = every_row(make_rows(time_stamps, scaling, CPU, in_memory=True))[:, 0]
    assert_allclose(rows, (seconds - seconds.mean()) / seconds.std(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 7.0, 1.6e9])
@pytest.mark.parametrize("container", [np.asarray, scipy.sparse.csr_array])
def test_constant_columns_become_zero(value, container):
    X = container(np.column_stack([np.full(6, value), np.arange(6.0)]))
    scaling = InputScaling().fit(X)
    rows = every_row(make_rows(X, scaling, CPU, in_memory=True))
    assert scaling.scale_[0] == 1
    assert_array_equal(rows[:, 0], np.zeros(6))
    assert rows[:, 1].std() == pytest.approx(1, rel=1e-6)


def test_fitting_by_blocks_equals_fitting_at_once(monkeypatch):
    X = rng().normal(5, size=(10, 3))
    whole = InputScaling().fit(X)
    monkeypatch.setattr("sknoisy._engine.scaling._FIT_ROWS", 4)
    blocks = InputScaling().fit(X)
    assert_allclose(blocks.mean_, whole.mean_)
    assert_allclose(blocks.scale_, whole.scale_)
    expected = every_row(make_rows(X, blocks, CPU, in_memory=True))
    monkeypatch.setattr("sknoisy._engine.scaling._CONVERT_ROWS", 4)
    assert_array_equal(every_row(make_rows(X, blocks, CPU, in_memory=True)), expected)


def test_without_standardisation_rows_do_not_change():
    X = rng().normal(5, size=(4, 3))
    rows = every_row(make_rows(X, InputScaling(standardize=False).fit(X), CPU, in_memory=True))
    assert_array_equal(rows, X.astype(np.float32))


# Images


def images(channels=3):
    return rng().integers(256, size=(5, 6, 7, channels), dtype=np.uint8)


@pytest.mark.parametrize("standardize", [True, False])
def test_bytes_are_scaled_as_floats_between_zero_and_one(standardize):
    X = images()
    rows = []
    for given in (X, X / 255):
        scaling = InputScaling(standardize).fit(given)
        rows.append(every_row(make_rows(given, scaling, CPU, in_memory=True)))
    assert rows[0].dtype == rows[1].dtype == np.float32
    assert_allclose(rows[0], rows[1], atol=2e-6)
    if standardize:
        assert_allclose(rows[0].mean(axis=(0, 2, 3)), 0, atol=1e-6)
        assert_allclose(rows[0].std(axis=(0, 2, 3)), 1, rtol=1e-6)
    else:
        assert_allclose(rows[0], np.moveaxis(X, 3, 1) / np.float32(255), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("in_memory", [True, False])
def test_channels_first_and_last_give_the_same_rows(dtype, in_memory):
    last = images().astype(dtype)
    first = np.moveaxis(last, 3, 1)
    rows = [
        every_row(make_rows(X, InputScaling().fit(X), CPU, in_memory=in_memory))
        for X in (last, first)
    ]
    assert rows[0].shape == (5, 3, 6, 7)
    assert_array_equal(rows[0], rows[1])


def test_bytes_in_memory_stay_bytes():
    X = images()
    rows = make_rows(X, InputScaling().fit(X), CPU, in_memory=True)
    assert rows.tensor.dtype == torch.uint8
    rows.tensor.zero_()  # a copy: the caller's array is not the tensor's memory
    assert X.any()


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((9, 8, 8, 1), 3),
        ((9, 8, 8, 4), 3),
        ((9, 1, 8, 8), 1),
        ((9, 3, 8, 3), 3),
        ((9, 4, 8, 2), 1),
    ],
)
def test_channel_axis(shape, axis):
    assert channel_axis(shape) == axis
    assert InputScaling().fit(np.zeros(shape)).channel_axis_ == axis


def test_images_with_other_numbers_of_channels_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 5, 6, 7\).*1, 3 or 4 channels"):
        InputScaling().fit(np.zeros((2, 5, 6, 7)))


# Stores


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize(
    "X",
    [rng().normal(3, size=(8, 4)), rng().integers(-5, 50, size=(8, 4)), images(), images() / 255],
    ids=["floats", "integers", "bytes", "float images"],
)
def test_memory_mapped_rows_equal_rows_in_memory(tmp_path, X, standardize):
    scaling = InputScaling(standardize).fit(X)
    index = torch.tensor([4, 0, 0, 3])
    expected = make_rows(X, scaling, CPU, in_memory=True).take(index)
    mapped = memory_mapped(tmp_path, X)
    rows = make_rows(mapped, InputScaling(standardize).fit(mapped), CPU, in_memory=False)
    assert isinstance(rows, ArrayRows)
    assert rows.array is mapped
    assert len(rows) == len(X)
    assert torch.equal(rows.take(index), expected)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("container", [scipy.sparse.csr_array, scipy.sparse.csr_matrix])
def test_sparse_rows_equal_dense_rows(standardize, dtype, container):
    X = (rng().integers(1, 90, size=(30, 5)) * (rng().random((30, 5)) < 0.4)).astype(dtype)
    X[:, 0] += dtype(1000)
    scaling, sparse_scaling = InputScaling(standardize), InputScaling(standardize)
    dense = make_rows(X, scaling.fit(X), CPU, in_memory=True)
    sparse = make_rows(container(X), sparse_scaling.fit(container(X)), CPU, in_memory=True)
    assert isinstance(sparse, SparseRows)
    assert len(sparse) == len(X)
    index = torch.tensor([7, 0, 0, 29])
    assert_allclose(sparse.take(index), dense.take(index), rtol=1e-6, atol=1e-6)
    if standardize:
        assert_allclose(sparse_scaling.mean_, scaling.mean_, rtol=1e-7)
        assert_allclose(sparse_scaling.scale_, scaling.scale_, rtol=1e-6)


def test_only_dense_arrays_in_memory_are_kept_on_the_device(tmp_path):
    X = rng().normal(size=(6, 2))
    mapped = memory_mapped(tmp_path, X)
    assert fits_in_memory(X, CPU)
    assert not fits_in_memory(mapped, CPU)
    assert not fits_in_memory(mapped[1:4, ::-1], CPU)  # a view of the file
    assert not fits_in_memory(scipy.sparse.csr_array(X), CPU)
    assert isinstance(make_rows(X, InputScaling().fit(X), CPU, in_memory=True), TensorRows)


def test_a_large_array_in_memory_is_not_copied(monkeypatch):
    """Its batches are scaled as those of a memory map; columns that lie apart are copied."""
    monkeypatch.setattr("sknoisy._engine.rows._COPIED_BYTES", 40 * 5 * 4)
    X = rng().normal(size=(80, 5)).astype(np.float32)
    assert fits_in_memory(X[:40], CPU)
    assert not fits_in_memory(X, CPU)
    assert fits_in_memory(np.asfortranarray(X), CPU)
    assert fits_in_memory(X, torch.device("mps")), "the tensor is the only copy on its device"
    assert not fits_in_memory(X[:50].astype(np.float64), CPU), "of the tensor, not of X"
    scaling, index = InputScaling().fit(X), torch.tensor([7, 0, 0, 79])
    rows = make_rows(X, scaling, CPU, in_memory=False)
    assert rows.array is X
    assert_array_equal(
        rows.take(index), make_rows(X, scaling, CPU, in_memory=True).take(index), strict=True
    )


# Sample weights


@pytest.mark.parametrize("seed", range(3))
def test_a_few_large_weights_make_no_longer_step_than_a_quarter_of_the_rows(seed):
    generator = torch.Generator().manual_seed(seed)
    gradients = torch.randn(100, 7, generator=generator, dtype=torch.float64)
    typical = gradients.norm(dim=1).square().mean().sqrt()
    few = torch.rand(100, generator=generator).double() < 0.03
    weights = torch.where(few, 500.0, 0.5).double()
    step = (bounded_weights(weights)[:, None] * gradients).mean(dim=0)
    quarter = torch.where(torch.arange(100) < 25, 4.0, 0.0).double()
    assert step.norm() <= typical * quarter.square().mean().sqrt()
    factors = bounded_weights(weights) / weights
    assert_allclose(factors, factors[0])  # ratios stay


def test_moderate_weights_do_not_change():
    weights = torch.tensor([0.0, 0.5, 1.0, 2.5])
    assert_array_equal(bounded_weights(weights), weights)
    quarter = torch.tensor([0.0, 0.0, 0.0, 4.0])
    assert_array_equal(bounded_weights(quarter), quarter)


def test_the_weights_of_a_batch_are_bounded():
    weights = torch.ones(400)
    weights[0] = 300.0
    data = TrainingData(TensorRows(torch.zeros(400, 2)), torch.zeros(400).long(), weights)
    index = torch.arange(100)
    assert_array_equal(data.take(index).sample_weight, bounded_weights(weights[:100]))


def test_the_effective_share_of_rows_is_that_of_the_rows_that_count():
    rows, y = TensorRows(torch.zeros(8, 2)), torch.zeros(8).long()
    assert TrainingData(rows, y).effective_share == 1
    assert (
        TrainingData(rows, y, torch.tensor([4.0, 4.0, 0, 0, 0, 0, 0, 0])).effective_share == 0.25
    )

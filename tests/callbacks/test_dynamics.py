"""Learning dynamics: the record of a training, and the scores computed from it."""

import copy
import pickle
import tracemalloc
from itertools import groupby

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from small_nets import (
    BATCH,
    EPOCH_BATCHES,
    N_CLASSES,
    AtBatch,
    D,
    N,
    fit_device_net,
    fit_stock_net,
    make_module,
    make_xy,
    training_data,
)
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import SubsetRandomSampler, TensorDataset

from sknoisy.callbacks import RecordDynamics, RowLoader
from sknoisy.methods.mild import dynamics as _dynamics
from sknoisy.methods.mild.dynamics import LearningDynamics, count_dynamics, segment_dynamics

METRICS = pytest.mark.parametrize("metric", [count_dynamics, segment_dynamics])


def shuffled_stock_net(*callbacks, **params):
    loader = {"iterator_train": RowLoader, "iterator_train__shuffle": True}
    return fit_stock_net(*callbacks, **{**loader, **params})


NETS = pytest.mark.parametrize("fit", [fit_stock_net, shuffled_stock_net, fit_device_net])


# Scores


def pack(sequences):
    """Pack strings or lists of bits, one per row."""
    return np.packbits(np.array([[int(bit) for bit in row] for row in sequences]).T, axis=1)


def random_sequences(n=77, n_epochs=13):
    rng = np.random.default_rng(0)
    return (rng.random((n, n_epochs)) < rng.random((n, 1))).astype(int)


@pytest.mark.parametrize(
    ("sequence", "count", "segments"),
    [("001101", 0, 0), ("00011110", 0, -2), ("1111", -4, -4), ("0000", 4, 4), ("1", -1, -1)],
)
def test_scores_of_short_sequences(sequence, count, segments):
    assert count_dynamics(pack([sequence]), 1).score == count
    assert segment_dynamics(pack([sequence]), 1).score == segments


def test_count_is_zeros_and_ones():
    sequences = random_sequences()
    dynamics, ones = count_dynamics(pack(sequences), 77), sequences.sum(axis=1)
    assert isinstance(dynamics, LearningDynamics)
    assert_array_equal(dynamics, [13 - ones, ones])
    assert_array_equal(dynamics.score, 13 - 2 * ones)


def test_segments_are_the_mean_lengths_of_runs():
    sequences = random_sequences()
    dynamics = segment_dynamics(pack(sequences), 77)
    for row, sequence in enumerate(sequences):
        runs = [(bit, len(list(run))) for bit, run in groupby(sequence)]
        for wanted, value in enumerate((dynamics.memorization[row], dynamics.forgetting[row])):
            lengths = [length for bit, length in runs if bit == wanted]
            assert value == pytest.approx(np.mean(lengths) if lengths else 0)


@METRICS
def test_complement_negates_and_reversal_changes_nothing(metric):
    sequences = random_sequences()
    score = metric(pack(sequences), 77).score
    assert_array_equal(metric(pack(1 - sequences), 77).score, -score)
    assert_array_equal(metric(pack(sequences[:, ::-1]), 77).score, score)
    assert len(np.unique(score)) > 10


@METRICS
def test_blocks_change_nothing(metric, monkeypatch):
    bits = pack(random_sequences())
    whole = metric(bits, 77)
    for entries in (1, 13 * 8 * 3, 13 * 8 * 4):
        monkeypatch.setattr(_dynamics, "_BLOCK_ENTRIES", entries)
        assert_array_equal(metric(bits, 77), whole)
        assert_array_equal(metric(bits, 73), np.array(whole)[:, :73])


@METRICS
def test_scores_never_unpack_the_whole_record(metric, monkeypatch):
    monkeypatch.setattr(_dynamics, "_BLOCK_ENTRIES", 2**16)
    n, n_epochs = 40_000, 500
    bits = np.random.default_rng(0).integers(0, 256, (n_epochs, n // 8), dtype=np.uint8)
    tracemalloc.start()
    metric(bits, n)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * n + 8 * 2**16 < n * n_epochs / 8  # a few numbers per row, and a block


@METRICS
@pytest.mark.parametrize(
    ("bits", "n", "message"),
    [
        (np.zeros((2, 1)), 8, r"uint8 .* got float64 of shape \(2, 1\)\. Pack .*np\.packbits"),
        (np.zeros(2, np.uint8), 8, r"got uint8 of shape \(2,\)"),
        (np.zeros((0, 1), np.uint8), 8, "at least one epoch"),
        (
            np.zeros((2, 1), np.uint8),
            9,
            "1 bytes per epoch, which hold up to 8 rows; got n_rows=9",
        ),
        (np.zeros((2, 2), np.uint8), 8, "got n_rows=8"),
        (np.zeros((2, 0), np.uint8), 0, "got n_rows=0"),
    ],
)
def test_bits_are_checked(metric, bits, n, message):
    with pytest.raises(ValueError, match=message):
        metric(bits, n)


# The record


class Reference(Callback):
    """Logits of each batch in train mode, before the step."""

    def __init__(self, log=False):
        self.log = log
        self.epochs = []

    def on_epoch_begin(self, net, **kwargs):
        self.epochs.append(np.full((4, len(kwargs["dataset_train"])), np.nan))
        self.next = 0

    @torch.no_grad()
    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if not training:
            return
        X, y = batch
        rows = getattr(batch, "rows", torch.arange(self.next, self.next + len(y)))
        self.next += len(y)
        logits = copy.deepcopy(net.module_).train()(X)
        logits = logits.log() if self.log else logits
        others = logits.masked_fill(F.one_hot(y, N_CLASSES).bool(), -torch.inf).amax(dim=1)
        outputs = [
            logits.argmax(dim=1) == y,
            F.cross_entropy(logits, y, reduction="none"),
            logits[range(len(y)), y] - others,
            rows,
        ]
        self.epochs[-1][:, rows.numpy()] = torch.stack([v.double() for v in outputs]).numpy()


def interrupt(net):
    raise KeyboardInterrupt


def unpacked(record):
    return np.unpackbits(record.bits_, axis=1, count=record.n_rows_)


def assert_recorded(record, reference):
    right, loss, margin, rows = np.transpose(reference.epochs, (1, 0, 2))
    assert_array_equal(rows, np.broadcast_to(np.arange(record.n_rows_), rows.shape))
    assert_array_equal(unpacked(record), right)
    assert 0.1 < right.mean() < 0.95
    assert_allclose(record.mean_loss_, loss.mean(axis=0), rtol=1e-5)
    assert_allclose(record.mean_margin_, margin.mean(axis=0), rtol=1e-4, atol=1e-6)
    assert_array_equal(record.n_seen_, np.full(record.n_rows_, len(right)))


@NETS
def test_record_uses_the_training_forward_pass_before_the_step(fit):
    reference, record = Reference(), RecordDynamics()
    fit(reference, record, module=make_module(nn.BatchNorm1d(6)), max_epochs=5, lr=0.3)
    assert_recorded(record, reference)
    assert record.bits_.shape == (5, 3)
    assert record.bits_.dtype == np.uint8


def test_record_uses_the_augmented_rows():
    data = training_data(augment=lambda X, g: -X, generator=torch.Generator())
    reference, record, plain = Reference(), RecordDynamics(), RecordDynamics()
    fit_device_net(reference, record, data=data, max_epochs=4)
    assert_recorded(record, reference)
    fit_device_net(plain, max_epochs=4)
    assert (plain.bits_ != record.bits_).any()


def test_a_shuffled_net_is_recorded_in_the_order_of_the_rows():
    first, second, params = RecordDynamics(), RecordDynamics(), {"lr": 1e-30, "max_epochs": 1}
    fit_stock_net(first, **params)
    for fit in (shuffled_stock_net, fit_device_net):
        fit(second, **params)
        assert_array_equal(second.bits_, first.bits_)
        assert_allclose(second.mean_margin_, first.mean_margin_, rtol=1e-6)


def test_predictions_are_compared_with_the_given_labels_if_others_are_learned():
    y = torch.from_numpy(make_xy()[1])
    record, other = RecordDynamics(), RecordDynamics()
    fit_device_net(record, max_epochs=3)
    given = (y + 1) % N_CLASSES
    fit_device_net(other, data=training_data(given=given), max_epochs=3)
    assert not (unpacked(record) & unpacked(other)).any()
    assert (other.mean_margin_ < -record.mean_margin_ + 1e-6).all()


def test_probabilities_of_a_classifier_with_nll_loss_are_converted():
    module = make_module(nn.BatchNorm1d(6))
    module.append(nn.Softmax(dim=1))
    reference, record = Reference(log=True), RecordDynamics()
    fit_stock_net(reference, record, module=module, criterion=nn.NLLLoss, max_epochs=4)
    assert_recorded(record, reference)


def test_a_row_that_is_left_out_keeps_its_bit():
    chosen = [SubsetRandomSampler(range(0, 15)), SubsetRandomSampler(range(5, 18))]

    class Turns(RowLoader):
        """Sampler with other rows in each epoch."""

        def __iter__(self):
            sampler = chosen[len(turns)]
            turns.append(sampler)
            return iter(RowLoader(self.dataset.dataset, batch_size=4, sampler=sampler))

    turns, reference, record = [], Reference(), RecordDynamics()
    fit_stock_net(reference, record, iterator_train=Turns, max_epochs=2)
    right, loss, margin, _ = np.transpose(reference.epochs, (1, 0, 2))
    assert_array_equal(record.n_seen_, [1] * 5 + [2] * 10 + [1] * 3 + [0] * 2)
    first, second = unpacked(record)
    assert_array_equal(first, np.nan_to_num(right[0]))
    assert_array_equal(second, np.r_[first[:5], right[1, 5:18], [0, 0]])
    seen = slice(0, 18)
    assert_allclose(record.mean_loss_[seen], np.nanmean(loss[:, seen], axis=0), rtol=1e-5)
    assert_allclose(record.mean_margin_[seen], np.nanmean(margin[:, seen], axis=0), rtol=1e-4)
    assert np.isnan(record.mean_loss_[18:]).all()
    assert np.isnan(record.mean_margin_[18:]).all()


def test_rows_are_those_of_the_training_part_of_train_split():
    record, reference = RecordDynamics(), Reference()
    fit_stock_net(reference, record, train_split=ValidSplit(5, stratified=False))
    assert record.n_rows_ == N - N // 5
    assert_recorded(record, reference)


def test_every_training_begins_a_new_record():
    record = RecordDynamics()
    fit_device_net(record, max_epochs=5)
    fit_device_net(record, max_epochs=3)
    assert (record.bits_.shape, record.n_seen_.max()) == ((3, 3), 3)


def test_training_can_continue_beyond_max_epochs():
    record, whole = RecordDynamics(), RecordDynamics()
    fit_stock_net(whole, max_epochs=7)
    net = fit_stock_net(record, max_epochs=0)
    assert record.bits_.shape[0] == 0
    net.notify("on_train_begin", X=None, y=None)
    net.fit_loop(*make_xy(), epochs=7)
    assert_array_equal(record.bits_, whole.bits_)
    net.notify("on_train_end", X=None, y=None)
    assert_array_equal(record.bits_, whole.bits_)


@NETS
def test_an_epoch_that_was_interrupted_is_not_recorded(fit):
    record, whole = RecordDynamics(), RecordDynamics()
    fit(whole, max_epochs=4)
    fit(record, AtBatch(interrupt, 3, 2), max_epochs=4)
    assert_array_equal(record.bits_, whole.bits_[:2])
    assert_array_equal(record.n_seen_, np.full(N, 2))


def test_record_takes_one_bit_per_row_and_epoch():
    n, n_epochs = 4096, 40
    data = {"data": training_data(n), "batch_size": n}
    record = RecordDynamics()
    fit_device_net(record, max_epochs=n_epochs, **data)
    assert record.bits_.nbytes == n * n_epochs // 8
    pickled = pickle.dumps(record)
    assert len(pickled) < n * n_epochs / 8 + 8 * 3 * n + 2000
    assert_array_equal(pickle.loads(pickled).bits_, record.bits_)
    fit_device_net(record, AtBatch(interrupt, 2, 1), max_epochs=10_000, **data)
    assert len(pickle.dumps(record)) < n / 8 + 8 * 3 * n + 2000  # only for epochs that were run


class Waits(TorchDispatchMode):
    """Count the operations that make the host wait for a device."""

    def __init__(self):
        super().__init__()
        self.n_waits = self.n_calls = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        self.n_calls += 1
        self.n_waits += name in {"_local_scalar_dense", "nonzero", "equal", "is_nonzero"}
        return function(*args, **(kwargs or {}))


def test_no_batch_makes_the_host_wait():
    waits = Waits()

    class Watched(RecordDynamics):
        def on_batch_end(self, net, **kwargs):
            with waits:
                super().on_batch_end(net, **kwargs)

    fit_device_net(Watched())
    assert waits.n_calls > 10 * EPOCH_BATCHES
    assert waits.n_waits == 0
    with waits:
        torch.ones(1).item()
    assert waits.n_waits == 1


@pytest.mark.parametrize(
    "params",
    [
        {"iterator_train__shuffle": True},
        {"iterator_train__sampler": SubsetRandomSampler(range(N))},
        {"iterator_train__batch_sampler": [[3, 1], [0, 2]], "iterator_train__batch_size": 1},
    ],
)
def test_a_stock_net_of_unknown_order_is_refused_with_the_cure(params):
    message = "needs the row numbers of each batch: .* iterator_train=sknoisy.callbacks.RowLoader"
    with pytest.raises(TypeError, match=message):
        fit_stock_net(RecordDynamics(), **params)
    fit_stock_net(RecordDynamics(), **params, iterator_train=RowLoader)


def test_logits_and_labels_of_the_wrong_shape_are_refused():
    class OneColumn(nn.Module):
        def __init__(self, shape):
            super().__init__()
            self.linear, self.shape = nn.Linear(D, 1).double(), shape

        def forward(self, X):
            return self.linear(X).reshape(self.shape)

    X, y = make_xy()
    for shape in ((-1,), (-1, 1)):
        with pytest.raises(TypeError, match=r"column per class, got torch\.float64 of shape \(8,"):
            fit_stock_net(
                RecordDynamics(),
                module=OneColumn(shape),
                criterion=nn.MSELoss,
                data=(X, y.astype(float).reshape(shape)),
            )
    with pytest.raises(TypeError, match=r"y .* is torch\.float64 of shape \(8, 3\).*LabelEncoder"):
        fit_stock_net(
            RecordDynamics(), criterion=nn.CrossEntropyLoss, data=(X, np.eye(N_CLASSES)[y])
        )


# The loader


def test_batches_of_the_row_loader_carry_their_row_numbers():
    dataset = TensorDataset(torch.arange(10.0), torch.arange(10) % 3)
    for params in ({"shuffle": True}, {"num_workers": 1}):
        batches = list(RowLoader(dataset, batch_size=4, **params))
        assert [len(batch) for batch in batches] == [2, 2, 2]
        assert [len(batch.rows) for batch in batches] == [4, 4, 2]
        for batch in batches:
            X, y = batch
            assert_array_equal(batch.rows, X)
            assert_array_equal(y, X % 3)
        rows = np.concatenate([batch.rows for batch in batches])
        assert_array_equal(np.sort(rows), np.arange(10))


def test_row_loader_uses_collate_fn():
    dataset = TensorDataset(torch.arange(4.0), torch.arange(4))

    def collate(pairs):
        return torch.stack([10 * x for x, _ in pairs]), torch.stack([y for _, y in pairs])

    ((X, y),) = RowLoader(dataset, batch_size=BATCH, collate_fn=collate)
    assert_array_equal(X, 10 * y)

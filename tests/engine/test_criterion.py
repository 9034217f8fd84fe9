"""The criterion passes its batch to a per-row loss, weights the result and averages it."""

import copy

import pytest
import torch
from small_nets import BATCH, N, fit_device_net, make_module, make_xy, training_data, update
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from sknoisy._engine.batches import Batch
from sknoisy.callbacks import PerSampleCrossEntropy
from sknoisy.meta import weighted_mean


class Recorder(nn.Module):
    """Half the sum of the squared logits of each row; records the batches."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, batch):
        self.seen.append(batch)
        return batch.logits.square().sum(dim=1) / 2


class Memory(nn.Module):
    """Cross-entropy that counts the visits of each row."""

    def __init__(self):
        super().__init__()
        self.register_buffer("visits", torch.zeros(N))

    def forward(self, batch):
        self.visits[batch.rows] += 1
        return F.cross_entropy(batch.logits, batch.targets, reduction="none")


def test_a_row_loss_receives_its_batch():
    X, y = (torch.from_numpy(a) for a in make_xy())
    rows, weight, trusted = torch.arange(N) + 5, torch.linspace(0, 2, N).double(), y == 1
    loss = Recorder()
    criterion = PerSampleCrossEntropy(loss)
    criterion.batch = Batch(X, y, rows, weight, trusted)
    logits = make_module()(X)
    assert_close(criterion(logits, y), (logits.square().sum(dim=1) / 2 * weight).mean())
    (batch,) = loss.seen
    assert batch.logits is logits
    assert batch.targets is y
    assert (batch.rows is rows, batch.sample_weight is weight, batch.trusted is trusted) == (
        True,
        True,
        True,
    )


def test_a_net_trains_by_its_row_loss_and_keeps_no_batch():
    """It equals one step of plain SGD by hand, with weights applied once, outside the loss."""
    weight = torch.linspace(0, 2, BATCH)
    data = training_data(BATCH, sample_weight=weight)
    loss = Recorder()
    net = fit_device_net(data=data, max_epochs=1, lr=0.3, criterion__row_loss=loss)
    module = make_module()
    losses = module(data.rows.tensor).square().sum(dim=1) / 2
    steps = torch.autograd.grad((losses * weight).mean(), list(module.parameters()))
    expected = [p.detach() - 0.3 * s for p, s in zip(module.parameters(), steps, strict=True)]
    assert_close([p.detach() for p in net.module_.parameters()], expected)
    assert net.criterion_.batch is None


def test_a_row_loss_can_keep_a_memory_in_its_buffers():
    plain = fit_device_net(max_epochs=3)
    net = fit_device_net(max_epochs=3, criterion__row_loss=Memory())
    assert_close(net.module_.state_dict(), plain.module_.state_dict())
    assert net.criterion_.row_loss.visits.tolist() == [3] * N
    assert copy.deepcopy(net).criterion_.row_loss.visits.tolist() == [3] * N


def test_weighted_mean():
    losses, weight = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([0.0, 1.5, 1.5])
    assert weighted_mean(losses) == 3
    assert weighted_mean(losses, weight) == 4  # (0 + 3 + 9) / 3


def test_a_meta_update_beside_a_row_loss_is_refused():
    with pytest.raises(TypeError, match=r"row loss Recorder.*row_losses of the meta model"):
        fit_device_net(update(), criterion__row_loss=Recorder())

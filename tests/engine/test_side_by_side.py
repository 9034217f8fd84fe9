"""One loop trains several nets side by side, epoch by epoch or batch by batch."""

import pytest
import torch
from skorch.callbacks import Callback
from small_nets import (
    BATCH,
    DEFAULTS,
    At,
    N,
    fit_device_net,
    in_order,
    make_module,
    state,
    update,
)
from small_nets import training_data as small_data
from torch.testing import assert_close

from sknoisy._engine.net import DeviceNet, train_side_by_side
from sknoisy.callbacks import PerSampleCrossEntropy, RecordDynamics


def nets(*callbacks_of_each, **params):
    return [
        DeviceNet(
            make_module(),
            PerSampleCrossEntropy,
            order=torch.Generator().manual_seed(0),
            callbacks=in_order(own),
            **{**DEFAULTS, **params},
        )
        for own in callbacks_of_each
    ]


def independent_steps(nets, batch):
    return [net.train_step(batch) for net in nets]


def test_a_joint_step_of_independent_steps_equals_separate_training():
    together = nets([], [])
    train_side_by_side(together, small_data(), 3, independent_steps)
    alone = fit_device_net(max_epochs=3)
    for net in together:
        assert_close(state(net.module_), state(alone.module_), rtol=0, atol=0)
        assert net.history[:, "train_loss"] == alone.history[:, "train_loss"]


def test_a_joint_step_receives_every_batch_with_all_nets():
    seen = []

    def step(nets, batch):
        seen.append((len(nets), batch.rows.tolist()))
        return independent_steps(nets, batch)

    train_side_by_side(nets([], []), small_data(), 2, step)
    assert {n for n, _ in seen} == {2}
    per_epoch = len(seen) // 2
    for epoch in range(2):
        rows = [row for _, batch in seen[epoch * per_epoch :][:per_epoch] for row in batch]
        assert sorted(rows) == list(range(N))


def test_nets_that_exchange_their_rows_differ_from_nets_that_do_not():
    """Each net trains on the half of the batch with the smaller loss under the other net."""

    def exchange(nets, batch):
        X, y = batch
        steps = []
        with torch.no_grad():
            losses = [
                torch.nn.functional.cross_entropy(net.module_(X), y, reduction="none")
                for net in nets
            ]
        for net, by in zip(nets, losses[::-1], strict=True):
            rows = by.argsort()[: len(y) // 2]
            half = type(batch)(X[rows], y[rows], batch.rows[rows])
            steps.append(net.train_step(half))
        return steps

    first, second = nets([], [])
    with torch.no_grad():
        second.module[0].weight.mul_(-1)
    train_side_by_side([first, second], small_data(), 3, exchange)
    alone = fit_device_net(max_epochs=3)
    assert (state(first.module_)["0.weight"] - state(alone.module_)["0.weight"]).abs().max() > 1e-3
    assert len(first.history) == len(second.history) == 3


@pytest.mark.parametrize("step", [None, independent_steps])
def test_peers_are_the_other_nets_while_they_train(step):
    seen = []
    first, second = nets([At(lambda net: seen.append(net.peers))], [])
    train_side_by_side([first, second], small_data(), 1, step)
    assert seen == [(second,)]
    assert first.peers == second.peers == ()


@pytest.mark.parametrize("step", [None, independent_steps])
def test_an_interruption_stops_all_nets(step):
    class CtrlC(Callback):
        def on_batch_end(self, net, **kwargs):
            if len(net.history) == 2:
                raise KeyboardInterrupt

    pair = nets([], [CtrlC()], batch_size=BATCH)
    train_side_by_side(pair, small_data(), 4, step)
    assert [net.interrupted_ for net in pair] == [True, True]
    assert [net.n_finished_epochs for net in pair] in ([1, 1], [2, 1])
    assert all(net.peers == () for net in pair)


def test_callbacks_see_the_part_of_a_batch_that_a_net_learned():
    def halves(nets, batch):
        rows = torch.arange(len(batch.rows) // 2)
        return [net.train_step(batch.only(rows)) for net in nets]

    dynamics = RecordDynamics()
    train_side_by_side(nets([dynamics], []), small_data(), 2, halves)
    assert N == 2 * BATCH + 4
    assert dynamics.n_seen_.sum() == 2 * (BATCH // 2 + BATCH // 2 + 2)
    with pytest.raises(ValueError, match=r"guides a batch of 8 rows, but .* on 4 of them"):
        train_side_by_side(nets([update()], []), small_data(), 2, halves)

"""The nets for rows with and without labels: effects of their parameters and life cycle."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from semi_supervised_nets import (
    LABELED,
    NETS,
    UNLABELED,
    N,
    Steps,
    build,
    fitted,
    make_module,
    same_weights,
    unit_data,
    weights_of,
)
from skorch.callbacks import Callback, GradientNormClipping
from small_nets import AtBatch
from torch import nn

from sknoisy._engine.batches import TrainingData
from sknoisy._engine.net import train_side_by_side
from sknoisy._engine.rows import make_rows
from sknoisy._engine.scaling import InputScaling
from sknoisy.callbacks import RecordDynamics
from sknoisy.exceptions import NonFiniteLossError
from sknoisy.methods.semi_supervised import ContrastiveMixUpNet, MixMatchNet
from sknoisy.networks import Dropout

STILL = {"alpha": 0, "corruption_rate": 0}  # views are the rows, and mixtures are the views


def losses(net):
    return np.array([epoch["train_loss"] for epoch in net.history])


# Parameters


def test_the_weight_of_guesses_grows_linearly_and_then_stays():
    """At learning rate zero every epoch has the same two terms: 6 rows with labels, 6 without."""
    settings = {**STILL, "lr": 0.0, "batch_size": 6, "max_epochs": 4, "prior_weight": 0}
    settings["unlabeled"] = UNLABELED[:6]
    without, at_once, ramp = (
        losses(fitted(MixMatchNet, unlabeled_weight=weight, n_ramp_epochs=n_epochs, **settings))
        for weight, n_epochs in ((0, 0), (9, 0), (9, 2))
    )
    # Two steps per epoch, and a ramp of four: 0 and 1/4, 2/4 and 3/4, then 1.
    shares = (ramp - without) / (at_once - without)
    assert_allclose(shares, [1 / 8, 5 / 8, 1, 1], rtol=1e-5)


def test_the_ramp_begins_anew_with_each_training():
    net = build(MixMatchNet, **STILL, lr=0.0, n_ramp_epochs=1)
    data = unit_data().only(LABELED)
    net.partial_fit(data).partial_fit(data)
    assert losses(net)[0] == pytest.approx(losses(net)[1], rel=1e-6)


def test_the_prior_draws_the_mean_prediction_to_the_class_shares_of_the_labels():
    """Ten of twelve labels are of one class, and the prior is nearly all that counts."""
    y = torch.zeros(N, dtype=torch.int64)
    y[10:12] = 1
    shares = torch.tensor([10 / 12, 2 / 12, 0])
    data = unit_data(y=y).only(LABELED)
    gaps = {}
    for weight in (0.0, 200.0):
        settings = {"unlabeled_weight": 0, "prior_weight": weight, "lr": 0.01, "max_epochs": 300}
        net = fitted(MixMatchNet, data=data, **STILL, **settings)
        with torch.no_grad():
            mean = net.module_(data.rows.tensor).softmax(dim=1).mean(dim=0)
        gaps[weight] = (mean - shares).abs().max().item()
    assert gaps[200.0] < 0.01 < gaps[0.0]


def test_the_weight_of_the_contrast_counts_and_without_it_the_head_stays():
    heads = {}
    for weight in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = build(ContrastiveMixUpNet, contrastive_weight=weight).initialize()
            before = weights_of(net.head_)
            heads[weight] = np.array_equal(
                before, weights_of(net.partial_fit(unit_data().only(LABELED)).head_)
            )
    assert heads == {0: True, 1: False}


def test_the_head_has_no_part_in_the_network():
    net = fitted(ContrastiveMixUpNet, projection_dim=5)
    assert [*net.module_.state_dict()] == [*make_module().state_dict()]
    assert net.head_(torch.zeros(2, 6, dtype=torch.float64)).shape == (2, 5)
    trained = {id(p) for group in net.optimizer_.param_groups for p in group["params"]}
    assert trained == {id(p) for part in (net.module_, net.head_) for p in part.parameters()}


def test_rows_without_labels_are_contrasted():
    nets = [fitted(ContrastiveMixUpNet, unlabeled=rows, **STILL) for rows in (None, UNLABELED)]
    assert not same_weights(*nets)
    assert losses(nets[1]) > losses(nets[0])  # each row is told from more others


@pytest.mark.parametrize("cls", NETS)
@pytest.mark.parametrize(("rate", "n_replaced"), [(0, 0), (0.04, 1), (0.5, 10)])
def test_a_share_of_the_columns_of_tables_is_replaced(cls, rate, n_replaced):
    """All entries of a row are its number: another number is a value of another row."""
    X = torch.arange(N, dtype=torch.float64)[:, None].expand(N, N)
    steps, data = Steps(), unit_data(X).only(LABELED)
    fitted(cls, data=data, alpha=0, corruption_rate=rate, callbacks=[steps])
    views = steps.in_training[0][-2 * N :].long().numpy()
    counts = np.array([np.bincount(view, minlength=N) for view in views])
    # Up to n_replaced entries are new; now and then a new value is the old one.
    assert (counts.max(axis=1) >= N - n_replaced).all()
    assert counts.max(axis=1).mean() == pytest.approx(N - n_replaced * (1 - 1 / N), abs=0.5)
    assert_array_equal(np.sort(counts[: len(counts) // 2].argmax(axis=1)), np.arange(N))


@pytest.mark.parametrize("cls", NETS)
@pytest.mark.parametrize(
    ("middle", "is_corrupted"),
    [([], True), ([nn.Dropout(0.2)], False), ([Dropout(0.2)], False), ([Dropout(0)], True)],
)
def test_by_default_tables_are_corrupted_if_the_network_has_no_dropout(cls, middle, is_corrupted):
    steps = Steps()
    fitted(cls, make_module(*middle), alpha=0, callbacks=[steps])
    views = steps.in_training[0]
    assert (not torch.isin(views.sum(dim=1), torch.ones(1)).all()) == is_corrupted


def brighter(images, generator):
    """An augmentation."""
    return images + 0.5 * torch.rand(len(images), 1, 1, 1, generator=generator)


@pytest.mark.parametrize("cls", NETS)
@pytest.mark.parametrize("augment", [None, brighter])
def test_views_of_images_are_made_by_the_augmentation_of_the_data(cls, augment):
    """All pixels of an image are its number; each view has draws of its own."""
    images = torch.arange(N, dtype=torch.float64).view(N, 1, 1, 1).expand(N, 1, 4, 5)
    steps, module = Steps(), nn.Sequential(nn.Flatten(), *make_module())
    data = unit_data(images, augment=augment).only(LABELED)
    fitted(cls, module, data=data, alpha=0, corruption_rate=0.5, callbacks=[steps])
    first, second = steps.in_training[0][-2 * N :].mean(dim=(1, 2, 3)).chunk(2)
    assert_array_equal(first.floor().sort().values, np.arange(N))
    assert_array_equal(second.floor(), first.floor())
    assert ((first - second).abs() > 0).all() == (augment is not None)


@pytest.mark.parametrize("cls", NETS)
def test_alpha_decides_how_far_rows_are_mixed(cls):
    shares = {}
    for alpha in (0, 0.2, 1e6):
        steps = Steps()
        fitted(cls, alpha=alpha, corruption_rate=0, max_epochs=20, callbacks=[steps])
        n = 2 * N if cls is MixMatchNet else len(LABELED)
        largest = torch.cat([seen[:n] for seen in steps.in_training]).amax(dim=1)
        shares[alpha] = largest[largest < 1].mean().item() if alpha else largest.min().item()
    assert shares[0] == 1
    assert shares[0.2] > 0.7 > shares[1e6]
    assert shares[1e6] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("cls", NETS)
def test_draws_come_from_the_generator(cls):
    settings = {"alpha": 0.5, "max_epochs": 3}
    module = make_module(Dropout(0.1))
    one, two = (fitted(cls, make_module(Dropout(0.1)), **settings) for _ in range(2))
    assert same_weights(one, two)
    assert not same_weights(one, fitted(cls, module, seed=1, **settings))


# Life cycle


@pytest.mark.parametrize("cls", NETS)
def test_an_interruption_keeps_what_was_learned(cls):
    def interrupt(net):
        raise KeyboardInterrupt

    net = fitted(cls, max_epochs=5, callbacks=[AtBatch(interrupt, 3, 1)])
    assert net.interrupted_
    assert same_weights(net, fitted(cls, max_epochs=2))


@pytest.mark.parametrize("cls", NETS)
def test_a_loss_that_is_not_finite_is_an_error(cls):
    with pytest.raises(NonFiniteLossError, match=r"epoch \d.* Lower lr"):
        fitted(cls, lr=1e200, max_epochs=9)


@pytest.mark.parametrize("cls", NETS)
def test_other_data_are_refused(cls):
    with pytest.raises(TypeError, match=r"got ndarray\. Call predict"):
        fitted(cls, data=np.eye(N))


class PickleNet(Callback):
    """Pickle the net in the midst of training."""

    def on_batch_end(self, net, **kwargs):
        self.pickle = None
        self.pickle = pickle.dumps(net)


@pytest.mark.parametrize("cls", NETS)
def test_a_pickle_holds_the_network_and_no_rows(cls):
    n = 5000
    data = unit_data(torch.zeros(n, N, dtype=torch.float64), torch.arange(n) % 3).only(LABELED)
    keep = PickleNet()
    net = fitted(cls, data=data, max_epochs=2, callbacks=[keep])
    for pickled in (keep.pickle, pickle.dumps(net)):
        assert len(pickled) < data.rows.tensor.nbytes / 2
        assert same_weights(pickle.loads(pickled), net)
        pickle.loads(pickled).partial_fit(data)


@pytest.mark.parametrize("cls", NETS)
def test_rows_of_a_memory_map_give_the_same_network(cls, tmp_path):
    X = np.random.default_rng(0).normal(size=(N, N))
    np.save(tmp_path / "X.npy", X)
    stores = [X, np.load(tmp_path / "X.npy", mmap_mode="r")]
    scaling, device = InputScaling(standardize=False).fit(X), torch.device("cpu")
    nets = []
    for store in stores:
        rows = make_rows(store, scaling, device, in_memory=store is X)
        data = TrainingData(rows, torch.arange(N) % 3).only(LABELED)
        nets.append(fitted(cls, make_module().float(), data=data, max_epochs=3, batch_size=6))
    assert same_weights(*nets)


@pytest.mark.parametrize("cls", NETS)
def test_dynamics_are_recorded_for_the_rows_of_the_epoch(cls):
    """The prediction on a mixture counts for the row that has the larger share of it."""
    record = RecordDynamics()
    fitted(cls, max_epochs=200, callbacks=[record], **STILL)
    assert_array_equal(record.n_seen_, np.where(np.arange(N) < 12, 200, 0))
    last = np.unpackbits(record.bits_, axis=1, count=N)[-1]
    assert_array_equal(last, np.arange(N) < 12)


@pytest.mark.parametrize("cls", NETS)
def test_gradients_pass_by_the_callbacks(cls):
    start = weights_of(make_module())
    net = fitted(cls, callbacks=[GradientNormClipping(1e-3)], optimizer__momentum=0.0)
    step = np.linalg.norm(weights_of(net.module_) - start)
    assert 0 < step <= 1.01e-4  # the learning rate times the bound


def test_nets_that_are_trained_side_by_side_end_as_if_alone():
    """Two of them draw from generators of their own; the start of a head is torch's."""
    nets = [build(MixMatchNet, seed=seed, alpha=1.0) for seed in (0, 1)]
    train_side_by_side(nets, unit_data().only(LABELED), max_epochs=4)
    for seed, net in enumerate(nets):
        assert same_weights(net, fitted(MixMatchNet, max_epochs=4, seed=seed, alpha=1.0))

"""The callback that chooses pseudo-clean rows, on sknoisy's net and on a stock skorch net."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from small_nets import (
    N_CLASSES,
    At,
    fit_device_net,
    fit_stock_net,
    make_module,
    state,
)
from torch import nn
from torch.nn import functional as F

from sknoisy._engine.batches import TrainingData
from sknoisy._engine.rows import TensorRows
from sknoisy.callbacks import PseudoCleanRows
from sknoisy.exceptions import MixtureWarning
from sknoisy.mixture import split_by_loss

N_ROWS, N_WRONG = 120, 24
TRAINING = {"max_epochs": 12, "lr": 0.03, "batch_size": 16}


def noisy_xy():
    """Three well separated classes; the first rows have wrong labels."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, N_CLASSES, N_ROWS)
    X = rng.normal(scale=0.3, size=(N_ROWS, 4))
    X[:, :N_CLASSES] += 3 * np.eye(N_CLASSES)[y]
    y[:N_WRONG] = (y[:N_WRONG] + 1) % N_CLASSES
    return X, y


def noisy_data(**extra):
    X, y = (torch.from_numpy(a) for a in noisy_xy())
    return TrainingData(TensorRows(X), y, **extra)


def stock(*callbacks, **params):
    return fit_stock_net(*callbacks, **{"data": noisy_xy(), **TRAINING, **params})


def device(*callbacks, **params):
    return fit_device_net(*callbacks, **{"data": noisy_data(), **TRAINING, **params})


NETS = pytest.mark.parametrize("fit_net", [stock, device])


def losses_of(module, X, y):
    """Cross-entropies in eval mode."""
    with torch.no_grad():
        logits = copy.deepcopy(module).eval()(torch.from_numpy(X))
    return F.cross_entropy(logits, torch.from_numpy(y), reduction="none").numpy()


def frozen_module(scale=1.0):
    """Module of which a tiny learning rate hardly moves a single bias, and nothing else."""
    module = make_module().requires_grad_(False)
    module[-1].weight *= scale
    module[0].bias.requires_grad_()
    return module


# Chosen rows


@NETS
def test_rows_with_right_labels_are_found(fit_net):
    callback = PseudoCleanRows(12, stratify=False, min_per_class=1, random_state=0)
    fit_net(callback)
    assert callback.rows_.min() >= N_WRONG
    assert len(callback.rows_) > 0.95 * (N_ROWS - N_WRONG)
    assert callback.rows_.dtype == np.int64
    assert callback.clean_proba_.shape == (N_ROWS,)
    assert_array_equal(callback.rows_, np.flatnonzero(callback.clean_proba_ > 0.5))


@NETS
def test_rows_are_those_of_the_losses_in_eval_mode_after_the_epoch(fit_net):
    X, y = noisy_xy()
    params = {"threshold": 0.4, "min_per_class": 3, "fallback_share": 0.3, "random_state": 0}
    callback, modes = PseudoCleanRows(1, **params), []

    def set_mode(net):
        net.module_.train(len(net.history) % 2 == 1)

    def compare(net):
        modes.append(net.module_.training)
        expected = split_by_loss(losses_of(net.module_, X, y), y, stratify=True, **params)
        assert_array_equal(callback.clean_proba_, expected.clean_proba)
        assert_array_equal(callback.rows_, np.flatnonzero(expected.is_clean))
        assert net.history[-1, "n_pseudo_clean"] == expected.is_clean.sum()

    module = make_module(nn.BatchNorm1d(6), nn.Dropout(0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixtureWarning)
        net = fit_net(At(set_mode), callback, At(compare), module=module.double())
    assert modes == [True, False] * 6  # the mode is restored
    assert len(set(net.history[:, "n_pseudo_clean"])) > 1  # refreshed


def test_losses_are_taken_without_augmentation():
    augmented = noisy_data(augment=lambda X, g: X + 100, generator=torch.Generator())
    sets = []
    for data in (noisy_data(), augmented):
        callback = PseudoCleanRows(0, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MixtureWarning)
            device(callback, data=data, module=frozen_module(), lr=1e-30)
        sets.append(callback.clean_proba_)
    assert_array_equal(*sets)


@NETS
def test_training_is_not_disturbed(fit_net):
    module = make_module(nn.BatchNorm1d(6).double(), nn.Dropout(0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixtureWarning)
        with_rows = fit_net(PseudoCleanRows(2, random_state=0), module=module)
    without = fit_net(module=module)
    for ours, theirs in zip(
        state(with_rows.module_).values(), state(without.module_).values(), strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "small", "large"), [("threshold", 0.01, 0.999999), ("min_per_class", 1, 5)]
)
def test_parameters_reach_the_split(name, small, large):
    X, y = noisy_xy()
    y[y == 2] = 1
    y[:20] = 2  # a class of nothing but wrong labels
    sizes = []
    for value in (small, large):
        data = TrainingData(TensorRows(torch.from_numpy(X)), torch.from_numpy(y))
        params = {"stratify": False, "min_per_class": 1, "random_state": 0, name: value}
        callback = PseudoCleanRows(12, **params)
        device(callback, data=data)
        sizes.append(len(callback.rows_))
    assert sizes[0] != sizes[1]
    if name == "min_per_class":
        assert (y[callback.rows_] == 2).sum() == large


def shares_of_classes(callback, y):
    """Share of the rows of each class that is chosen."""
    return np.bincount(y[callback.rows_], minlength=y.max() + 1) / np.bincount(y)


@pytest.mark.parametrize("seed", range(3))
def test_a_rare_class_keeps_its_share_of_the_meta_set(seed):
    """Of 30 rare rows, ten are hidden among 970 others, so that all rare labels are unlikely."""
    rng = np.random.default_rng(seed)
    y = (np.arange(1000) < 30).astype(np.int64)
    X = rng.normal(size=(1000, 4))
    X[y == 1] += 1.0
    y[:10] = 0
    shares = {}
    for stratify in (True, False):
        callback = PseudoCleanRows(3, stratify=stratify, min_per_class=1, random_state=0)
        data = TrainingData(TensorRows(torch.from_numpy(X)), torch.from_numpy(y))
        device(callback, data=data, max_epochs=3)
        shares[stratify] = shares_of_classes(callback, y)
    assert shares[True][0] > 0.5
    assert abs(shares[True][1] - shares[True][0]) <= 1 / 20  # one row
    assert shares[False][1] < shares[False][0] / 2


def test_fallback_share_reaches_the_split():
    for share, expected in ((0.5, 2), (1.0, 3)):
        callback = PseudoCleanRows(1, fallback_share=share)
        data = TrainingData(
            TensorRows(torch.from_numpy(noisy_xy()[0][:3])), torch.zeros(3, dtype=torch.int64)
        )
        with pytest.warns(MixtureWarning, match="3 rows are fewer"):
            device(callback, data=data, max_epochs=1)
        assert len(callback.rows_) == expected


def test_random_state_reaches_the_mixture():
    """Two components fit losses in three clusters of equal size in two ways."""
    rng = np.random.default_rng(0)
    X = torch.zeros(150, 4, dtype=torch.float64)
    X[:, 0] = torch.from_numpy(rng.normal([[1], [1.5], [2]], 0.01, size=(3, 50)).ravel())
    data = TrainingData(TensorRows(X), torch.ones(150, dtype=torch.int64))
    module = nn.Sequential(nn.Linear(4, 2)).double()
    nn.init.zeros_(module[0].weight)
    nn.init.zeros_(module[0].bias)
    with torch.no_grad():
        module[0].weight[0, 0] = 100  # the loss is 100 times the first feature
    sizes = set()
    for seed in range(16):
        callback = PseudoCleanRows(0, random_state=seed)
        device(callback, data=data, module=module, lr=1e-30, max_epochs=1)
        sizes.add(len(callback.rows_))
    assert sizes == {50, 100}


# Trusted rows and rows without weight


def test_trusted_rows_are_always_chosen():
    trusted = torch.zeros(N_ROWS, dtype=torch.bool)
    trusted[[0, 7]] = True  # wrong labels, but trusted
    callback, others = (PseudoCleanRows(12, random_state=0) for _ in range(2))
    device(callback, data=noisy_data(trusted=trusted))
    device(others)  # the net itself ignores the trust
    assert_array_equal(callback.rows_, [0, 7, *others.rows_])
    assert_array_equal(callback.clean_proba_[[0, 7]], 1)
    assert_array_equal(
        np.delete(callback.clean_proba_, [0, 7]), np.delete(others.clean_proba_, [0, 7])
    )


def test_rows_of_zero_weight_are_ignored():
    weight = torch.ones(N_ROWS, dtype=torch.float64)
    without = torch.tensor([0, 3, 50, 90])
    weight[without] = 0
    trusted = torch.zeros(N_ROWS, dtype=torch.bool)
    trusted[[0, 50]] = True  # trusted, but without weight
    X, y = noisy_xy()
    X[without] *= 1000  # extreme losses
    data = TrainingData(TensorRows(torch.from_numpy(X)), torch.from_numpy(y), weight, trusted)
    callback = PseudoCleanRows(0, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixtureWarning)
        net = device(callback, data=data, lr=1e-30)
    losses, counts = losses_of(net.module_, X, y), weight.numpy() > 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixtureWarning)
        expected = split_by_loss(losses[counts], y[counts], stratify=True, random_state=0)
    assert_array_equal(callback.rows_, np.flatnonzero(counts)[expected.is_clean])
    assert_array_equal(callback.clean_proba_[counts], expected.clean_proba)


# Time of the splits


@NETS
@pytest.mark.parametrize("n_warmup_epochs", [0, 1, 3])
def test_the_first_split_is_made_after_the_last_warm_up_epoch(fit_net, n_warmup_epochs):
    sets = []
    callback = PseudoCleanRows(n_warmup_epochs, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixtureWarning)
        net = fit_net(callback, At(lambda net: sets.append(callback.rows_)), max_epochs=5)
    first = max(n_warmup_epochs, 1)
    assert [rows is None for rows in sets] == [epoch < first for epoch in range(1, 6)]
    recorded = ["n_pseudo_clean" in epoch for epoch in net.history]
    assert recorded == [rows is not None for rows in sets]


@NETS
@pytest.mark.parametrize(("n_warmup_epochs", "has_rows"), [(0, True), (1, False)])
def test_without_a_warm_up_there_are_rows_before_the_first_batch(
    fit_net, n_warmup_epochs, has_rows
):
    seen = []

    class AtTheBegin(At):
        def on_batch_begin(self, net, training=False, **kwargs):
            if training and len(net.history) == 1:
                seen.append(callback.rows_ is not None)

    callback = PseudoCleanRows(n_warmup_epochs, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixtureWarning)
        fit_net(callback, AtTheBegin(lambda net: None), max_epochs=1)
    assert set(seen) == {has_rows}
    assert callback.rows_ is not None


def test_a_training_that_continues_has_rows_at_once():
    at_begin = []

    class Look(At):
        def on_batch_begin(self, net, training=False, **kwargs):
            at_begin.append(None if callback.rows_ is None else len(callback.rows_))

    callback = PseudoCleanRows(3, random_state=0)
    X, y = noisy_xy()
    right = slice(N_WRONG, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixtureWarning)
        net = stock(callback, Look(lambda net: None), max_epochs=4)
        at_begin.clear()
        net.partial_fit(X[right], y[right])
    assert at_begin[0] is not None
    assert len(callback.clean_proba_) == N_ROWS - N_WRONG


@pytest.mark.parametrize("n_warmup_epochs", [0, 1, 3])
def test_the_rows_are_passed_through_the_network_once_per_split(n_warmup_epochs):
    n_seen = []

    class Counting(nn.Sequential):
        def forward(self, x):
            if not self.training:
                n_seen.append(len(x))
            return super().forward(x)

    def rows_seen(*callbacks):
        n_seen.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MixtureWarning)
            device(*callbacks, module=Counting(*make_module()), max_epochs=5)
        return sum(n_seen)

    n_splits = 5 - max(n_warmup_epochs - 1, -1)  # one more without a warm-up
    own = rows_seen()  # the net's own check of each epoch
    assert rows_seen(PseudoCleanRows(n_warmup_epochs)) - own == n_splits * N_ROWS


def test_every_training_begins_without_rows():
    callback = PseudoCleanRows(12, random_state=0)
    device(callback)
    assert callback.rows_ is not None
    device(callback, max_epochs=2)
    assert callback.rows_ is None
    assert callback.clean_proba_ is None


# Warnings and pickles


@NETS
def test_the_fallback_is_reported_once_per_training(fit_net):
    callback = PseudoCleanRows(2, random_state=0)
    silent = make_module()
    nn.init.zeros_(silent[-1].weight)  # every row has the loss log 3
    nn.init.zeros_(silent[-1].bias)
    silent.requires_grad_(False)
    silent[0].bias.requires_grad_()
    y = noisy_xy()[1]
    for _ in range(2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            net = fit_net(callback, module=silent)
        messages = [str(w.message) for w in caught if w.category is MixtureWarning]
        assert len(messages) == 1
        assert messages[0].startswith("Epoch 2: ")
        assert f"all losses are {np.log(3):.6g}" in messages[0]
        halves = [int(np.ceil(n / 2)) for n in np.bincount(y)]
        assert net.history[2:, "n_pseudo_clean"] == [sum(halves)] * 10
        assert_array_equal(np.bincount(y[callback.rows_]), halves)


def test_losses_that_are_not_finite_are_refused():
    @torch.no_grad()
    def spoil(net):
        net.module_[-1].bias[0] = float("nan")

    with pytest.raises(ValueError, match="losses contains NaN"):
        stock(At(spoil, 2), PseudoCleanRows(2, random_state=0))


def test_a_pickle_holds_the_rows_and_not_the_data():
    sizes = []
    for width in (4, 400):
        callback = PseudoCleanRows(1, random_state=0)
        X, y = noisy_xy()
        X = np.pad(X, ((0, 0), (0, width - 4)))
        data = TrainingData(TensorRows(torch.from_numpy(X)), torch.from_numpy(y))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = nn.Linear(width, N_CLASSES).double()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MixtureWarning)
            device(callback, data=data, module=module, max_epochs=2)
        copied = pickle.loads(pickle.dumps(callback))
        assert_array_equal(copied.rows_, callback.rows_)
        assert_array_equal(copied.clean_proba_, callback.clean_proba_)
        # Eight bytes per number in both arrays, and room for the rest.
        sizes.append(len(pickle.dumps(callback)) - 8 * (len(callback.rows_) + N_ROWS))
    assert max(sizes) < 2000

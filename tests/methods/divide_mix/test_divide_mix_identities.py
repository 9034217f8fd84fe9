"""DivideMix: the identities of its targets, loss and ramp, and the symmetry of the two nets."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.special import softmax
from semi_supervised_nets import DEFAULTS, N_CLASSES, N, make_module, unit_data
from skorch.callbacks import Callback
from torch import nn

from sknoisy._engine.net import DeviceNet, train_side_by_side
from sknoisy.callbacks import PerSampleCrossEntropy
from sknoisy.meta import BatchOutputs, WNet
from sknoisy.methods.divide_mix import DIVISION, DivideMixNet
from sknoisy.methods.divide_mix.net import default_lambda_u, refine
from sknoisy.methods.semi_supervised import Mixtures
from sknoisy.methods.semi_supervised.mixing import prior_penalty
from sknoisy.methods.semi_supervised.mixmatch import MixedLoss

CLEAN = np.linspace(1, 0, N)  # the first rows are most probably right


class Division(Callback):
    """A division that does not change; it stands for the mixture of the losses."""

    def __init__(self, n_chosen=12, clean_proba=CLEAN):
        self.rows_, self.clean_proba_ = np.arange(n_chosen), clean_proba


class Batches(Callback):
    """Keep the mixtures and the weights of the squared error."""

    def on_train_begin(self, net, **kwargs):
        self.mixtures, self.weights, self.without = [], [], None

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if isinstance(batch, Mixtures):
            self.mixtures.append(batch)
            self.weights.append(net.row_losses.unlabeled_weight)
            batches = net.source._unlabeled
            self.without = None if batches is None else batches.index.tolist()


def build(seed=0, division=None, **params):
    """Return a net whose module, order and draws depend on the seed."""
    module = make_module()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter *= 1 + 2 * seed
    settings = {"n_warmup_epochs": 0, "alpha": 0, "corruption_rate": 0, "unlabeled_weight": 10.0}
    callbacks = [(DIVISION, division or Division()), ("batches", Batches())]
    return DivideMixNet(
        module,
        PerSampleCrossEntropy,
        order=torch.Generator().manual_seed(seed),
        generator=torch.Generator().manual_seed(seed),
        callbacks=callbacks,
        **{**DEFAULTS, **settings, **params},
    )


def mixtures_of(net):
    return dict(net.callbacks_)["batches"].mixtures


def random_distributions(n):
    return torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(3), size=n))


# Targets


def test_a_label_that_is_certainly_right_stays_one_hot():
    given = torch.eye(3, dtype=torch.float64)
    refined = refine(given, random_distributions(3), torch.ones(3, dtype=torch.float64), 0.5)
    assert torch.equal(refined, given)


def test_towards_temperature_zero_targets_are_the_most_probable_classes():
    given, predicted = torch.eye(3, dtype=torch.float64), random_distributions(3)
    clean_proba = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    mixed = clean_proba[:, None] * given + (1 - clean_proba[:, None]) * predicted
    expected = torch.eye(3, dtype=torch.float64)[mixed.argmax(dim=1)]
    assert_allclose(refine(given, predicted, clean_proba, 1e-4), expected, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_targets_are_those_of_a_plain_reference(temperature):
    """Two networks guess; the probability of a right label is that of the other one."""
    divisions = [Division(), Division(clean_proba=CLEAN**2)]
    nets = [build(seed, divisions[seed], temperature=temperature, lr=0.0) for seed in (0, 1)]
    train_side_by_side(nets, unit_data(), 1)
    data = unit_data()
    with torch.no_grad():
        p = [softmax(net.module_(data.rows.tensor).numpy(), axis=1) for net in nets]
    assert np.abs(p[0] - p[1]).max() > 0.1
    for own, net in enumerate(nets):
        (mixtures,) = mixtures_of(net)
        clean_proba = divisions[1 - own].clean_proba_[:, None]
        labeled = clean_proba * np.eye(N_CLASSES)[data.targets] + (1 - clean_proba) * p[own]
        mean = np.where(np.arange(N)[:, None] < 12, labeled, (p[0] + p[1]) / 2)
        powers = mean ** (1 / temperature)
        expected = powers / powers.sum(axis=1, keepdims=True)
        rows = mixtures[0].argmax(dim=1)  # the views are unit vectors
        assert_allclose(mixtures[1], expected[rows], atol=1e-6)


def test_without_mixup_the_inputs_are_the_views():
    net = build().fit(unit_data())
    X, _ = mixtures_of(net)[0]
    assert_allclose(X.max(dim=1).values, 1)
    assert_allclose(X.sum(dim=1), 1)
    mixed, _ = mixtures_of(build(alpha=4.0).fit(unit_data()))[0]
    assert mixed.max(dim=1).values.min() < 1


# The division


def labeled_rows(division, **params):
    """Return the rows with labels and without of one epoch."""
    net = build(0, division, **params).fit(unit_data())
    batches = dict(net.callbacks_)["batches"]
    rows = torch.cat([mixtures.labeled.rows for mixtures in batches.mixtures])
    return sorted(rows.tolist()), batches.without


def test_labels_of_at_least_a_batch_of_rows_are_learned():
    """Two rows are chosen; the others of the batch are most probably right of those left."""
    division = Division(2, np.roll(CLEAN, 10))
    rows, without = labeled_rows(division, batch_size=6)
    assert rows == [0, 1, 10, 11, 12, 13]
    assert without == sorted({*range(N)} - {*rows})


def test_where_all_rows_are_taken_for_right_none_is_learned_without_its_label():
    rows, without = labeled_rows(Division(N), batch_size=10)
    assert rows == [*range(N)]
    assert without is None


# The loss


@pytest.mark.parametrize("n", [4, 10])
def test_the_mean_of_the_losses_of_mixtures_is_the_loss_of_the_paper(n):
    """Of m = 14 rows, n have labels; the scale of the other term is that of a full batch."""
    m, loss = 14, MixedLoss()
    loss.n_labeled, loss.n_rows, loss.unlabeled_weight = n, m, 5.0
    logits, targets = random_distributions(2 * m).log() * 3, random_distributions(2 * m).flip(0)
    is_labeled = np.arange(2 * m) % m < n
    p, q = softmax(logits.numpy(), axis=1), targets.numpy()
    of_labeled = -(q * np.log(p)).sum(axis=1)[is_labeled].mean()
    of_others = ((p - q) ** 2)[~is_labeled].mean()
    expected = of_labeled + 5.0 * min((m - n) / n, 1) * of_others
    assert_allclose(loss(logits, targets).mean(), expected, rtol=1e-12)


def test_a_weighting_network_of_equal_weights_gives_the_loss_of_mixtures():
    loss = MixedLoss()
    loss.n_labeled, loss.n_rows, loss.unlabeled_weight = 6, 14, 5.0
    weighting = WNet(loss=loss).double()
    nn.init.zeros_(weighting.output.weight)
    logits, targets = random_distributions(28).log() * 3, random_distributions(28).flip(0)
    batch = BatchOutputs(logits, None, targets)
    guided = weighting.training_loss(logits, weighting(batch), batch)
    assert_allclose(guided.detach(), loss(logits, targets).mean(), rtol=1e-12)


def test_the_prior_term_vanishes_for_a_uniform_mean_prediction():
    logits = 5 * torch.eye(4, dtype=torch.float64)
    uniform = torch.full((4,), 0.25, dtype=torch.float64)
    assert_allclose(prior_penalty(logits, uniform), 0, atol=1e-12)
    assert prior_penalty(logits[:2], uniform) > 0.1


def test_the_warm_up_is_plain_cross_entropy_of_all_rows():
    net = build(n_warmup_epochs=3, max_epochs=3).fit(unit_data())
    plain = DeviceNet(
        make_module(),
        PerSampleCrossEntropy,
        order=torch.Generator().manual_seed(0),
        **{**DEFAULTS, "max_epochs": 3},
    ).fit(unit_data())
    assert net.history[:, "train_loss"] == plain.history[:, "train_loss"]


@pytest.mark.parametrize("n_ramp_epochs", [16, 4])
def test_the_weight_of_guesses_is_0_after_the_warm_up_and_whole_when_the_ramp_ends(n_ramp_epochs):
    net = build(n_warmup_epochs=2, n_ramp_epochs=n_ramp_epochs, max_epochs=20, batch_size=6).fit(
        unit_data()
    )
    weights = dict(net.callbacks_)["batches"].weights  # two steps in an epoch of 12 labels
    expected = 10.0 * np.clip(np.arange(36) / 2 / n_ramp_epochs, 0, 1)
    assert_allclose(weights, expected, atol=1e-9)


def test_guesses_count_if_many_labels_are_wrong():
    assert default_lambda_u(0.1) == 0
    assert default_lambda_u(0.5) > 0


# Two nets


def test_networks_in_the_other_order_give_mirrored_results():
    """At learning rate 0 neither net sees the other one move."""
    settings = {"lr": 0.0, "max_epochs": 3, "alpha": 1.0, "n_ramp_epochs": 0, "batch_size": 6}
    losses = {}
    for order in ((0, 1), (1, 0)):
        nets = [build(s, Division(12, CLEAN ** (s + 1)), **settings) for s in order]
        train_side_by_side(nets, unit_data(), 3)
        losses[order] = [net.history[:, "train_loss"] for net in nets]
    assert losses[0, 1] == losses[1, 0][::-1]
    assert losses[0, 1][0] != losses[0, 1][1]


def test_what_the_other_network_predicts_counts_in_guesses_alone():
    """A net without a peer guesses alone and divides by its own losses."""
    settings = {"lr": 0.0, "n_ramp_epochs": 0}
    nets = [build(seed, **settings) for seed in (0, 1)]
    train_side_by_side(nets, unit_data(), 1)
    alone = build(0, **settings).fit(unit_data())
    (both,), (own,) = mixtures_of(nets[0]), mixtures_of(alone)
    has_label = np.arange(2 * N) % N < 12
    same = (both[1] - own[1]).abs().amax(dim=1).numpy() < 1e-12
    assert same[has_label].all()
    assert not same[~has_label].any()

"""ProMix: the loss of a step against a reference, both nets together, and the estimator."""

import functools

import numpy as np
import pytest
import torch
from member_logits import member_logits
from numpy.testing import assert_allclose
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from sknoisy import ProMixClassifier
from sknoisy._engine.batches import TrainingData
from sknoisy._engine.rows import TensorRows
from sknoisy.callbacks import PerSampleCrossEntropy
from sknoisy.datasets import load_noisy_digits
from sknoisy.methods.pro_mix import ProMixNet, Schedule
from sknoisy.methods.pro_mix import net as net_module
from sknoisy.methods.pro_mix.net import joint_step

N, N_CLASSES = 24, 3


def make_data(strong=lambda X, generator: 2 * X, dtype=torch.float64):
    """Return rows of which those of a class lie together; strong views are twice as long."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(N) % N_CLASSES
    X = torch.randn(N, 4, generator=generator, dtype=dtype) + 2 * F.one_hot(y, 4)
    data = TrainingData(TensorRows(X), y)
    data.strong_augment = strong
    return data


def make_net(data, seed=0, *, epoch=1, max_epochs=6, n_guessing=0, **settings):
    """Return a net that begins an epoch, without dropout, batch norm and corruption."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, N_CLASSES)).double()
    schedule = {"n_warmup_epochs": 1, "n_unlabeled_epochs": 2, "n_guessing_epochs": n_guessing}
    settings = {"small_loss_share": 0.5, "confidence": 0.99, "debias": 0.8, "alpha": 0} | settings
    net = ProMixNet(
        module,
        PerSampleCrossEntropy,
        n_features=8,
        n_classes=N_CLASSES,
        schedule=Schedule(max_epochs, **schedule),
        corruption_rate=0.0,
        generator=torch.Generator().manual_seed(seed),
        max_epochs=max_epochs,
        batch_size=N,
        verbose=0,
        **settings,
    )
    net.initialize()
    net.notify("on_train_begin", X=data, y=None)
    for _ in range(epoch + 1):
        net.notify("on_epoch_begin", dataset_train=data, dataset_valid=None)
    return net


def whole(data):
    """Return the batch of all rows."""
    return data.take(torch.arange(N))


def look(net, batch, strong=2):
    """Show the net a batch whose strong views are `strong` times the rows."""
    net.see(batch[0], strong * batch[0], batch[0].new_ones(N))


def cross_entropy(logits, targets, distribution, strength):
    """Soft cross-entropy with adjusted logits, written out."""
    log_p = (logits + strength * distribution.log()).log_softmax(dim=1)
    return -(targets * log_p).sum(dim=1).mean()


def both_heads(net, X):
    features = net.module_[:2](X)
    return net.module_(X), net.head_(features)


# --- the loss of one net --------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [1, 3])
def test_loss_is_that_of_the_paper(epoch):
    data = make_data()
    net, batch = make_net(data, epoch=epoch), whole(data)
    net._of_labeled = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    net._of_rest = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    adjust_labeled = {"distribution": net._of_labeled, "strength": 0.8}
    adjust_rest = {"distribution": net._of_rest, "strength": 0.8}
    (z, h), (z_strong, h_strong) = (both_heads(net, X) for X in (batch[0], 2 * batch[0]))
    p = z.softmax(dim=1)
    is_kept = net._selected | (p[torch.arange(N), batch[1]] > 0.99)
    assert 0 < is_kept.sum() < N
    labels, rest = F.one_hot(batch[1], N_CLASSES)[is_kept].double(), ~is_kept
    ramp = min(1, epoch / (6 / 12))
    beta = 0.1 * min(1, epoch / (6 / 6)) * (epoch < 2)
    expected = sum(
        cross_entropy(weak[is_kept], labels, **adjust_labeled)
        + ramp * cross_entropy(strong[is_kept], labels, **adjust_labeled)
        for weak, strong in ((z, z_strong), (h, h_strong))
    )
    guesses = ((z - 0.8 * net._of_rest.log())[rest].softmax(dim=1)) ** 2
    guesses = (guesses / guesses.sum(dim=1, keepdim=True)).detach()
    expected = expected + beta * (
        cross_entropy(h[rest], guesses, **adjust_rest)
        + ramp * cross_entropy(h_strong[rest], guesses, **adjust_rest)
    )
    look(net, batch)
    loss, logits = net.loss_of(batch)
    assert_close(loss, expected)
    assert_close(logits, z)


def test_mixtures_are_learned_with_mixed_targets(monkeypatch):
    data = make_data()
    net, batch = make_net(data, epoch=3, alpha=4.0, debias=0.0, small_loss_share=1.0), whole(data)
    order = torch.arange(N).roll(1)
    monkeypatch.setattr(net.source, "share", lambda: 0.7)
    monkeypatch.setattr(net.source, "permutation", lambda n: order)
    X, targets = batch[0], F.one_hot(batch[1], N_CLASSES).double()
    mixed = [0.7 * values + 0.3 * values[order] for values in (X, targets)]
    uniform = torch.ones(N_CLASSES, dtype=torch.float64)
    pairs = [(X, targets), (2 * X, targets), mixed]
    expected = sum(
        cross_entropy(logits, t, uniform, 1.0)
        for view, t in pairs
        for logits in both_heads(net, view)
    )
    look(net, batch)
    assert_close(net.loss_of(batch)[0], expected)


def test_rest_trains_the_backbone_and_the_pseudo_head_alone():
    data = make_data()
    net, batch = make_net(data, confidence=1.0), whole(data)
    net._selected = torch.zeros(N, dtype=torch.bool)
    look(net, batch)
    net.loss_of(batch)[0].backward()
    assert not net.module_[2].weight.grad.any()
    assert net.head_.weight.grad.any()
    assert net.module_[0].weight.grad.any()


def test_running_distributions_follow_labeled_rows_and_rest():
    data = make_data()
    net, batch = make_net(data), whole(data)
    net._momentum = 0.5
    p = net.module_(batch[0]).softmax(dim=1).detach()
    kept = net._selected | (p[torch.arange(N), batch[1]] > 0.99)
    look(net, batch)
    net.loss_of(batch)
    assert_close(net._of_labeled, 0.5 / N_CLASSES + 0.5 * p[kept].mean(dim=0))
    assert_close(net._of_rest, 0.5 / N_CLASSES + 0.5 * p[~kept].mean(dim=0))


@pytest.mark.parametrize("keeps", [True, False])
def test_loss_is_finite_with_all_and_with_no_labels(keeps):
    data = make_data()
    net, batch = make_net(data, confidence=1.0, alpha=4.0), whole(data)
    net._selected = torch.full((N,), keeps)
    before = net._of_labeled, net._of_rest
    look(net, batch)
    loss, _ = net.loss_of(batch)
    loss.backward()
    assert loss.isfinite()
    assert torch.equal(net._of_rest if keeps else net._of_labeled, before[0])


def test_one_labelled_row_passes_batch_norm():
    data = make_data()
    net, batch = make_net(data, confidence=1.0, epoch=3), whole(data)
    net.module_[1] = nn.BatchNorm1d(8, dtype=torch.float64)
    net._selected = torch.arange(N) == 5
    look(net, batch)
    assert net.loss_of(batch)[0].isfinite()


def test_confident_rows_join_the_selected_ones():
    data = make_data()
    for threshold in (0.2, 0.4, 0.7):
        net, batch = make_net(data, confidence=threshold), whole(data)
        p = net.module_(batch[0]).softmax(dim=1)
        kept = net._keeps_label(p, batch)
        assert not (net._selected & ~kept).any()
    net = make_net(data, confidence=1.0)
    assert torch.equal(net._keeps_label(p, batch), net._selected)


def test_trusted_rows_are_selected():
    data = make_data()
    data.trusted = torch.arange(N) < 9
    net = make_net(data, small_loss_share=0.01)
    assert net._selected[:9].all()
    assert net._selected.sum() <= 9 + N_CLASSES


def test_automatic_share_is_that_of_the_rows_with_the_predicted_label():
    data = make_data()
    net = make_net(data, small_loss_share=None)
    agree = net.module_(data.rows.tensor).argmax(dim=1) == data.targets
    assert net.small_loss_share_ == pytest.approx(agree.double().mean().item())


def test_weights_multiply_the_losses_of_the_labels():
    data = make_data()
    net, batch = make_net(data, epoch=3, small_loss_share=1.0), whole(data)
    weights = torch.linspace(0, 2, N, dtype=torch.float64)
    net.criterion_.batch = "of the warm-up"
    losses = []
    for part in (weights, torch.ones(N, dtype=torch.float64), 2 - weights):
        net.see(batch[0], 2 * batch[0], part)
        net._of_labeled = torch.full((N_CLASSES,), 1 / N_CLASSES, dtype=torch.float64)
        losses.append(net.loss_of(batch)[0])
    assert_close(losses[0] + losses[2], 2 * losses[1])
    assert not torch.isclose(losses[0], losses[1])


# --- both nets ------------------------------------------------------------------------------


def make_pair(seeds=(0, 1), **settings):
    data = make_data()
    nets = [make_net(data, seed, **settings) for seed in seeds]
    return nets, whole(data)


def test_swapped_nets_have_swapped_losses():
    losses = []
    for seeds in ((0, 1), (1, 0)):
        nets, batch = make_pair(seeds, epoch=5, n_guessing=3, confidence=0.4, alpha=4.0)
        losses.append([step["loss"] for step in joint_step(nets, batch)])
    assert_close(losses[0], losses[1][::-1])


def test_both_nets_see_the_same_views():
    data = make_data(strong=lambda X, generator: X + torch.randn(1, generator=generator))
    nets = [make_net(data, seed, small_loss_share=1.0) for seed in (0, 1)]
    seen = []
    for net in nets:
        net.module_.register_forward_hook(lambda m, args, out: seen.append(args[0]))
    joint_step(nets, whole(data))
    weak, strong = seen[:2], seen[2:]
    assert torch.equal(*weak)
    assert torch.equal(*strong)
    assert not torch.equal(weak[0], strong[0])


def test_guessed_label_is_the_debiased_one_of_the_own_net():
    (first, second), batch = make_pair(epoch=5, n_guessing=3, confidence=0.4, debias=1.0)
    second.module_.load_state_dict(first.module_.state_dict())
    for net in (first, second):
        net._selected = torch.zeros(N, dtype=torch.bool)
    first._of_labeled = torch.tensor([1e-3, 1e-3, 1 - 2e-3], dtype=torch.float64)
    p = first.module_(batch[0]).softmax(dim=1).detach()
    look(first, batch)
    first.guess(p, p, batch)
    guessed = first._guessed
    assert guessed.any()
    assert (p.amax(dim=1)[guessed] > 0.4).all()
    debiased = (p.log() - first._of_labeled.log()).argmax(dim=1)
    targets = []
    first._cross_entropy = lambda logits, t, d: targets.append(t) or logits.sum()
    kept = first._keeps_label(p, batch)
    first.loss_of(batch)
    labels = torch.full((N,), -1)
    labels[kept | guessed] = targets[0].argmax(dim=1)
    assert torch.equal(labels[guessed], debiased[guessed])
    assert torch.equal(labels[kept], batch[1][kept])
    assert not torch.equal(debiased[guessed], p.argmax(dim=1)[guessed])


def test_warm_up_is_cross_entropy_of_both_nets():
    nets, batch = make_pair(epoch=0)
    expected = [F.cross_entropy(net.module_(batch[0]), batch[1]) for net in nets]
    assert_close(
        [step["loss"] for step in joint_step(nets, batch)], [e.detach() for e in expected]
    )


# --- the estimator --------------------------------------------------------------------------

DIGITS = load_noisy_digits(rate=0.4, random_state=0)
X, Y = DIGITS.data[:200], DIGITS.target[:200]
# In so short a training no row reaches the default confidence.
QUICK = {"max_epochs": 12, "batch_size": 50, "confidence": 0.6, "random_state": 0}


@functools.cache
def fitted(**parameters):
    return ProMixClassifier(**{**QUICK, **parameters}).fit(X, Y)


def test_prediction_is_the_mean_of_the_primary_logits():
    clf = fitted()
    modules = [net.module_ for net in clf.nets_]
    logits = [member_logits(clf, X, module, module.state_dict()) for module in modules]
    assert len(logits) == 2
    assert not torch.equal(*logits)
    mean = torch.stack(logits).mean(dim=0)
    assert_allclose(clf.predict_proba(X), mean.softmax(dim=1).numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    "parameters",
    [
        {"small_loss_share": 0.9},
        {"confidence": 1.0},
        {"debias": 0.0},
        {"alpha": 4.0},
        {"alpha": 0.0},
        {"unlabeled_weight": 1.0},
        {"n_warmup_epochs": 3},
        {"n_unlabeled_epochs": 12},
        {"n_guessing_epochs": 0},
        {"strong_augment": None},
    ],
    ids=str,
)
def test_parameter_changes_the_model(parameters):
    changed = fitted(**parameters)
    assert not np.allclose(changed.predict_proba(X), fitted().predict_proba(X), atol=1e-4)


def test_automatic_values_are_kept():
    clf = fitted()
    assert 0 < clf.small_loss_share_ <= 1
    assert (clf.alpha_, clf.n_warmup_epochs_) == (0.2, 1)
    assert fitted(small_loss_share=0.5).small_loss_share_ == 0.5
    only_warm = fitted(n_warmup_epochs=12)
    assert only_warm.small_loss_share_ is None


def test_selection_makes_the_difference():
    clean, test = DIGITS.target_clean, slice(1000, None)
    gains = []
    for seed in range(3):
        train = slice(100 * seed, 100 * seed + 500)
        scores = [
            ProMixClassifier(small_loss_share=share, max_epochs=15, random_state=seed)
            .fit(DIGITS.data[train], DIGITS.target[train])
            .score(DIGITS.data[test], clean[test])
            for share in (0.5, 1.0)
        ]
        gains.append(scores[0] - scores[1])
    assert np.mean(gains) > 0


def test_labels_of_unlabeled_rows_are_not_read_but_the_rows_are():
    unlabeled = np.arange(len(X)) % 4 == 0
    settings = {**QUICK, "max_epochs": 4, "unlabeled_weight": 1.0}
    other = np.where(unlabeled, (Y + 1) % 10, Y)
    first, second = (
        ProMixClassifier(**settings).fit(X, y, unlabeled_mask=unlabeled) for y in (Y, other)
    )
    assert np.array_equal(first.predict_proba(X), second.predict_proba(X))
    moved = X.copy()
    moved[unlabeled] = X[unlabeled][::-1] / 2
    third = ProMixClassifier(**settings).fit(moved, Y, unlabeled_mask=unlabeled)
    assert not np.allclose(first.predict_proba(X), third.predict_proba(X), atol=1e-3)


def test_trusted_labels_are_learned_whatever_the_others():
    trusted = np.arange(len(X)) % 2 == 0
    y = np.where(trusted, DIGITS.target_clean[: len(X)], Y)
    clf = ProMixClassifier(**QUICK).fit(X, y, clean_mask=trusted)
    assert np.array_equal(clf.purified_labels_[trusted], y[trusted])


def test_images_are_combined_by_fmix_too(images, monkeypatch):
    shapes = []
    original = net_module.fmix
    monkeypatch.setattr(
        net_module, "fmix", lambda X, mask, p: shapes.append(mask.shape) or original(X, mask, p)
    )
    clf = ProMixClassifier(max_epochs=3, batch_size=20, random_state=0).fit(*images)
    assert clf.alpha_ == 4
    assert set(shapes) == {(8, 8)}
    assert len(shapes) == 2 * 2 * 2 * 2  # epochs after the warm-up, batches, nets, heads


def test_integers_are_not_mixed():
    codes = np.random.default_rng(0).integers(0, 9, size=(60, 3))
    module = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2))
    clf = ProMixClassifier(module=module, max_epochs=3, random_state=0)
    clf.fit(codes, codes[:, 0] > 4)
    assert clf.score(codes, codes[:, 0] > 4) > 0.5


@pytest.mark.parametrize(
    ("name", "value"), [("small_loss_share", 0.0), ("confidence", 1.5), ("alpha", -1.0)]
)
def test_bad_parameter_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        ProMixClassifier(**{name: value}).fit(X, Y)

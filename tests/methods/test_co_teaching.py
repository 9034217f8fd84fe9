"""CoTeachingClassifier: the exchange of rows, the ramp, the guards and the noise rate."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback
from small_family import noisy_blobs
from torch import nn
from torch.testing import assert_close

from sknoisy import CoTeachingClassifier
from sknoisy.base import Batch, NetworkClassifier
from sknoisy.methods.co_teaching import SmallLossRows, forget_rate

X, Y, TRUSTED = noisy_blobs()
SMALL = {"max_epochs": 4, "batch_size": 32, "random_state": 0, "module_params": {"hidden": (8,)}}


def small(**parameters):
    return CoTeachingClassifier(**{**SMALL, **parameters})


def small_loss_rows(n_classes=3):
    rows = SmallLossRows(n_classes)
    rows.on_train_begin(nn.Module.__new__(_Net))
    return rows


class _Net(nn.Module):
    device = "cpu"


def batch_of(targets, weights=None, trusted=None):
    targets = torch.tensor(targets)
    n = len(targets)
    weights = None if weights is None else torch.tensor(weights)
    trusted = None if trusted is None else torch.tensor(trusted)
    return Batch(torch.zeros(n, 1), targets, torch.arange(n), weights, trusted)


def logits_of_losses(targets, order):
    """Logits such that the row at the i-th place of `order` has the i-th smallest loss."""
    logits = torch.zeros(len(targets), 3)
    for place, row in enumerate(order):
        logits[row, targets[row]] = -float(place)
    return logits


# --- the share that is left out -----------------------------------------------------------------


def test_the_forget_rate_grows_from_0_to_the_noise_rate():
    rates = [forget_rate(0.4, epoch, 10) for epoch in range(12)]
    assert rates[0] == 0
    assert rates[9] == rates[10] == rates[11] == 0.4
    assert np.allclose(np.diff(rates[:10]), 0.4 / 9)


def test_a_ramp_of_one_epoch_is_constant():
    assert [forget_rate(0.4, epoch, 1) for epoch in (0, 1, 5)] == [0.4] * 3


@pytest.mark.parametrize(("share", "n"), [(1.0, 7), (0.5, 3), (0.99, 6), (0.01, 1)])
def test_the_integer_part_of_the_share_is_chosen(share, n):
    targets = [0, 1, 2, 0, 1, 2, 0]
    order = [3, 5, 0, 6, 1, 2, 4]
    chosen = small_loss_rows().choose(logits_of_losses(targets, order), batch_of(targets), share)
    assert chosen.tolist() == sorted(order[:n])


# --- the exchange of rows -----------------------------------------------------------------------


def test_without_noise_both_networks_are_trained_by_plain_cross_entropy():
    """Each as it would be alone, from its own start, on the batches of the first one."""
    clf = small(noise_rate=0.0).fit(X, Y)
    first = NetworkClassifier(**SMALL).fit(X, Y)
    assert_close(clf.nets_[0].module_.state_dict(), first.net_.module_.state_dict())
    assert clf.history_[:, "train_loss"] == pytest.approx(first.history_[:, "train_loss"])
    starts = [next(net.module_.parameters()) for net in clf.nets_]
    assert not torch.equal(*starts)


def test_equal_networks_choose_the_same_rows_and_stay_equal():
    same = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    clf = small(noise_rate=0.3, n_ramp_epochs=1, module=same, module_params=None).fit(X, Y)
    states = [net.module_.state_dict() for net in clf.nets_]
    assert_close(states[0], states[1], rtol=0, atol=0)


def test_each_network_is_trained_on_the_rows_that_the_other_one_chose():
    """A joint step equals plain steps of copies on the exchanged rows."""
    clf = small(noise_rate=0.5, n_ramp_epochs=1, max_epochs=1, batch_size=len(Y), lr=0.1)
    seen = []
    step = CoTeachingClassifier._joint_step

    def spy(self, nets, batch):
        choices = [small_loss_rows().choose(net.module_(batch[0]), batch, 0.5) for net in nets]
        results = step(self, nets, batch)
        seen.append((choices, [result["batch"].rows for result in results], batch.rows))
        return results

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CoTeachingClassifier, "_joint_step", spy)
        clf.fit(X, Y)
    (first, second), (of_first, of_second), rows = seen[0]
    assert not torch.equal(first, second)
    assert torch.equal(of_first, rows[second])
    assert torch.equal(of_second, rows[first])


# --- the guards ---------------------------------------------------------------------------------


def test_trusted_rows_are_always_chosen():
    targets = [0, 1, 2, 0, 1, 2]
    logits = logits_of_losses(targets, [0, 1, 2, 3, 4, 5])
    trusted = [False, False, False, False, True, True]
    few = small_loss_rows().choose(logits, batch_of(targets, trusted=trusted), 0.5)
    assert few.tolist() == [0, 4, 5]
    none = small_loss_rows().choose(logits, batch_of(targets, trusted=trusted), 0.1)
    assert none.tolist() == [4, 5]


def test_a_class_that_is_left_behind_takes_no_trusted_rows_place():
    targets = [2, 1, 0, 0]
    rows = small_loss_rows()
    rows.counts_ = torch.tensor([[100.0, 100.0, 100.0], [100.0, 100.0, 0.0]])
    batch = batch_of(targets, trusted=[False, False, False, True])
    assert rows.choose(logits_of_losses(targets, range(4)), batch, 0.3).tolist() == [0, 3]


def test_rows_without_weight_are_neither_chosen_nor_counted():
    targets = [0, 1, 2, 0, 1, 2]
    logits = logits_of_losses(targets, [0, 1, 2, 3, 4, 5])
    batch = batch_of(targets, weights=[0.0, 0.0, 1.5, 1.5, 1.5, 1.5])
    rows = small_loss_rows()
    assert rows.choose(logits, batch, 0.5).tolist() == [2, 3]
    assert rows.counts_.tolist() == [[1, 1, 2], [1, 0, 1]]


def test_a_class_that_is_left_behind_gets_its_row_of_smallest_loss():
    targets = [0, 0, 0, 0, 1, 1, 2, 2]
    logits = logits_of_losses(targets, range(8))  # the two last classes have the largest losses
    rows = small_loss_rows()
    first, second = (rows.choose(logits, batch_of(targets), 0.5).tolist() for _ in range(2))
    assert first == [0, 1, 2, 3]
    assert second == [0, 1, 4, 6]


def test_no_class_is_emptied():
    """Even if the labels of a rare class are mostly wrong and much is left out."""
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.arange(300) % 2)
    rows = rng.normal(size=(300, 4)) + 3 * truth[:, None]
    y = np.where(rng.random(300) < 0.1, 2, truth)  # a class of wrong labels alone
    clf = small(noise_rate=0.3, n_ramp_epochs=1, max_epochs=8).fit(rows, y)
    for net in clf.nets_:
        seen, chosen = dict(net.callbacks_)["small_loss"].counts_
        assert (chosen > 0.15 * seen).all()


# --- the noise rate -----------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.4])
def test_the_noise_rate_is_estimated(rate):
    found = []
    for seed in range(3):
        rows, y, _ = noisy_blobs(n=600, rate=rate / 0.75, seed=seed)  # a quarter is trusted: right
        found.append(small(max_epochs=6, lr=0.1, random_state=seed).fit(rows, y).noise_rate_)
    assert abs(np.mean(found) - rate) < 0.1


def test_a_given_noise_rate_is_kept():
    assert small(noise_rate=0.25).fit(X, Y).noise_rate_ == 0.25


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, "half"])
def test_noise_rates_outside_0_and_1_are_refused(rate):
    with pytest.raises(ValueError, match="noise_rate"):
        small(noise_rate=rate).fit(X, Y)


def test_trusted_rows_do_not_lower_the_estimated_rate():
    rows, y, trusted = noisy_blobs(n=600, rate=0.4)
    without = small(max_epochs=6, lr=0.1).fit(rows, y)
    given = small(max_epochs=6, lr=0.1).fit(rows, y, clean_mask=trusted)
    assert given.noise_rate_ > without.noise_rate_ + 0.05


# --- the parameters, and both networks ----------------------------------------------------------


@pytest.mark.parametrize("other", [{"noise_rate": 0.1}, {"n_ramp_epochs": 4}])
def test_each_parameter_has_an_effect(other):
    settings = {"noise_rate": 0.5, "n_ramp_epochs": 1}
    expected, found = (small(**{**settings, **p}).fit(X, Y) for p in ({}, other))
    assert not np.array_equal(expected.predict_proba(X), found.predict_proba(X))


def test_the_mean_of_the_logits_predicts():
    clf = small(noise_rate=0.3, standardize=False).fit(X, Y)
    with torch.no_grad():
        inputs = torch.from_numpy(X).float()
        logits = sum(net.module_(inputs) for net in clf.nets_) / 2
    np.testing.assert_allclose(clf.predict_proba(X), logits.softmax(dim=1), rtol=1e-5)
    assert_array_equal(clf.predict(X), logits.argmax(dim=1))


def test_the_noise_rate_of_images_is_estimated_after_half_of_few_steps(images):
    known = []

    class Record(Callback):
        def on_epoch_end(self, net, **kwargs):
            known.append((len(net.history), dict(net.callbacks_)["noise_rate"].is_known_))

    clf = CoTeachingClassifier(max_epochs=10, batch_size=20, callbacks=[Record()], random_state=0)
    clf.fit(*images)
    assert min(epoch for epoch, is_known in known if is_known) == 5

"""DivideMixClassifier: whose division a network learns, guards, parameters, what it estimates."""

import functools

import numpy as np
import pytest
import torch
from member_logits import member_logits
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback
from small_family import noisy_blobs

from sknoisy import DivideMixClassifier
from sknoisy.base import NetworkClassifier
from sknoisy.datasets import load_noisy_digits
from sknoisy.methods.divide_mix import DIVISION
from sknoisy.methods.semi_supervised import Mixtures

pytestmark = pytest.mark.filterwarnings("ignore::sknoisy.exceptions.MixtureWarning")
X, Y, TRUSTED = noisy_blobs(240)
N = len(Y)


def divide_mix(**parameters):
    settings = {"max_epochs": 4, "batch_size": 32, "n_warmup_epochs": 1, "random_state": 0}
    return DivideMixClassifier(module_params={"hidden": (8,)}, **{**settings, **parameters})


@functools.cache
def proba_of(**parameters):
    """Return the predictions of a fit; fits that several tests compare with are made once."""
    return divide_mix(**parameters).fit(X, Y).predict_proba(X)


class Record(Callback):
    """Keep the rows that a net takes for right, and those that it learns with labels."""

    def __init__(self):
        self.chosen, self.with_labels = [], []

    def on_epoch_begin(self, net, **kwargs):
        self.rows = []

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if isinstance(batch, Mixtures):
            self.rows.append(batch.labeled.rows)

    def on_epoch_end(self, net, **kwargs):
        self.chosen.append(dict(net.callbacks_)[DIVISION].rows_)
        rows = torch.cat(self.rows).sort().values.numpy() if self.rows else None
        self.with_labels.append(rows)
        self.without = getattr(net.source._unlabeled, "index", None)


def recorded(clf=None, y=Y, **params):
    """Return the records of both nets of a fit."""
    record = Record()
    clf = (divide_mix() if clf is None else clf).set_params(callbacks=[record])
    clf.fit(X, y, **params)
    return [dict(net.callbacks_)["Record"] for net in clf.nets_]


# The division


@pytest.mark.parametrize("n_warmup_epochs", [0, 1, 2])
def test_each_network_learns_the_rows_that_the_other_one_took_for_right(n_warmup_epochs):
    """Both divide the rows for the next epoch before either is trained further."""
    first, second = recorded(divide_mix(n_warmup_epochs=n_warmup_epochs))
    assert all(rows is None for rows in first.with_labels[:n_warmup_epochs])
    for epoch in range(max(n_warmup_epochs, 1), 4):
        for own, other in ((first, second), (second, first)):
            assert_array_equal(own.with_labels[epoch], other.chosen[epoch - 1])
    last = [record.chosen[2].tolist() for record in (first, second)]
    assert last[0] != last[1]


def test_all_other_rows_are_learned_without_labels():
    for record in recorded():
        both = np.concatenate([record.with_labels[-1], record.without.numpy()])
        assert_array_equal(np.sort(both), np.arange(N))


def test_trusted_rows_are_always_learned_with_their_labels():
    labels = np.where(TRUSTED, (Y + 1) % 3, Y)  # so that their losses are large
    for record in recorded(y=labels, clean_mask=TRUSTED):
        for rows in record.with_labels[1:]:
            assert np.isin(np.flatnonzero(TRUSTED), rows).all()


def test_rows_without_a_label_or_weight_are_in_no_part_that_reads_them():
    without, weightless = np.arange(N) % 5 == 0, np.arange(N) % 7 == 1
    records = recorded(unlabeled_mask=without, sample_weight=1.0 - weightless)
    for record in records:
        for rows in record.with_labels[1:]:
            assert not (without | weightless)[rows].any()
        found = record.without.numpy()
        assert np.isin(np.flatnonzero(without & ~weightless), found).all()
        assert not weightless[found].any()


def test_no_class_loses_all_its_labels():
    labels = np.where(np.arange(N) < 12, 2, Y % 2)  # a rare class whose labels are mostly wrong
    for record in recorded(y=labels):
        for rows in record.with_labels[1:]:
            assert_array_equal(np.unique(labels[rows]), [0, 1, 2])


# What is estimated


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_the_share_of_wrong_labels_is_estimated(rate):
    estimates = []
    for seed in range(2):
        blobs, y, _ = noisy_blobs(400, rate=rate / 0.75, seed=seed, margin=5.0)
        clf = divide_mix(n_warmup_epochs=4, max_epochs=5, random_state=seed).fit(blobs, y)
        estimates.append(clf.noise_rate_)
    assert np.mean(estimates) == pytest.approx(rate, abs=0.1)


@pytest.mark.parametrize(("rate", "weight"), [(0.1, 0.0), (0.5, 25.0)])
def test_a_given_noise_rate_sets_the_weight_of_guesses(rate, weight):
    clf = divide_mix(noise_rate=rate).fit(X, Y)
    assert (clf.noise_rate_, clf.lambda_u_) == (rate, weight)
    assert divide_mix(noise_rate=rate, lambda_u=7).fit(X, Y).lambda_u_ == 7


@pytest.mark.parametrize(("rate", "share"), [("auto", 0.5), (0.25, 0.75)])
def test_a_given_noise_rate_divides_rows_that_the_mixture_cannot_separate(rate, share):
    clf = divide_mix(noise_rate=rate, max_epochs=1).fit(X, Y)
    for net in clf.nets_:
        assert dict(net.callbacks_)[DIVISION].fallback_share == share


def test_logits_and_posteriors_are_means_over_both_networks():
    clf = divide_mix().fit(X, Y, clean_mask=TRUSTED)
    logits = [member_logits(clf, X, net.module_, net.module_.state_dict()) for net in clf.nets_]
    assert (logits[0] - logits[1]).abs().max() > 0.1
    assert_allclose(clf.predict_proba(X), ((logits[0] + logits[1]) / 2).softmax(dim=1))
    found = [dict(net.callbacks_)[DIVISION].clean_proba_ for net in clf.nets_]
    assert np.abs(found[0] - found[1]).max() > 1e-3
    assert_allclose(clf.clean_proba_, np.where(TRUSTED, 1, np.mean(found, axis=0)))


# Parameters


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_warmup_epochs": 2},
        {"threshold": 0.9},
        {"lambda_u": 100.0, "n_ramp_epochs": 1},
        {"alpha": 4.0},
        {"temperature": 1.0},
        {"confidence_penalty": 1.0},
    ],
    ids=lambda parameters: next(iter(parameters)),
)
def test_each_parameter_has_an_effect(parameters):
    assert not np.allclose(proba_of(**parameters), proba_of())


def test_the_ramp_has_an_effect():
    slow, fast = (proba_of(lambda_u=100.0, n_ramp_epochs=n) for n in (16, 1))
    assert not np.allclose(slow, fast)


def test_tables_and_images_are_mixed_by_different_shares():
    images = np.random.default_rng(0).integers(0, 255, size=(40, 8, 8, 1), dtype=np.uint8)
    clf = DivideMixClassifier(max_epochs=1, random_state=0, batch_size=20)
    assert clf.fit(images, np.arange(40) % 2).net_.alpha == 4.0
    assert divide_mix(max_epochs=1).fit(X, Y).net_.alpha == 0.2


def test_images_have_half_of_few_steps_as_warm_up(images):
    settings = {"n_warmup_epochs": "auto", "max_epochs": 12}
    assert divide_mix(**settings).fit(X, Y).n_warmup_epochs_ == 5
    clf = DivideMixClassifier(batch_size=20, max_epochs=12, random_state=0)
    assert clf.fit(*images).n_warmup_epochs_ == 6


class Normed(torch.nn.Module):
    """Batch norm of the columns, and a linear layer."""

    def __init__(self, n_features, n_classes):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(n_features, affine=False)
        self.head = torch.nn.Linear(n_features, n_classes)

    def forward(self, x):
        return self.head(self.norm(x))


class MixedVariance(Callback):
    """Keep the mean variance of a column, for each batch of mixtures."""

    def __init__(self):
        self.variances = []

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if isinstance(batch, Mixtures):
            self.variances.append(batch[0].var(dim=0).mean().item())


def test_running_statistics_of_batch_norm_are_those_of_rows_that_are_not_mixed():
    clf = divide_mix(alpha=4.0, max_epochs=8, callbacks=[MixedVariance()])
    clf.set_params(module=Normed, module_params=None, standardize=False).fit(X, Y)
    variance, mixed = (
        X.var(axis=0).mean(),
        np.mean(dict(clf.net_.callbacks_)["MixedVariance"].variances),
    )
    assert mixed < 0.7 * variance
    for net in clf.nets_:
        assert_allclose(net.module_.norm.running_var.mean().item(), variance, rtol=0.15)


def test_the_penalty_makes_the_warm_up_less_certain():
    settings = {"max_epochs": 5, "n_warmup_epochs": 4}
    largest = [proba_of(**settings, confidence_penalty=c).max(axis=1).mean() for c in (0.0, 2.0)]
    assert largest[1] < largest[0] - 0.05


@pytest.mark.parametrize(
    ("name", "value"),
    [("noise_rate", 1.0), ("noise_rate", -0.1), ("lambda_u", -1), ("temperature", 0)],
)
def test_values_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of DivideMixClassifier must be"):
        divide_mix(**{name: value}).fit(X, Y)


# Accuracy


@pytest.mark.parametrize(
    ("noise", "rate", "gain"), [("symmetric", 0.6, 0.05), ("pairflip", 0.4, 0.1)]
)
def test_it_withstands_noise_that_cross_entropy_learns(noise, rate, gain):
    gains = []
    for seed in range(2):
        digits = load_noisy_digits(noise=noise, rate=rate, random_state=seed)
        scores = [
            clf.fit(digits.data[:600], digits.target[:600]).score(
                digits.data[600:], digits.target_clean[600:]
            )
            for clf in (
                DivideMixClassifier(max_epochs=25, random_state=seed),
                NetworkClassifier(max_epochs=25, random_state=seed),
            )
        ]
        gains.append(scores[0] - scores[1])
    assert np.mean(gains) > gain

"""Sharpening, MixUp and the losses on rows without labels: identities, limits, references."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.special import softmax

from sknoisy.methods.semi_supervised.mixing import (
    mixing_share,
    mixup,
    prior_penalty,
    sharpen,
    squared_errors,
)


def rng():
    return np.random.default_rng(0)


def distributions(n=5, n_classes=4):
    return rng().dirichlet(np.ones(n_classes), size=n)


def logits(n=5, n_classes=4):
    return rng().normal(size=(n, n_classes))


def test_sharpening_at_temperature_one_changes_nothing():
    p = distributions()
    assert_allclose(sharpen(torch.from_numpy(p), 1.0), p, rtol=1e-12)


@pytest.mark.parametrize("temperature", [0.3, 0.5, 2.0])
def test_sharpening_is_a_normalised_power(temperature):
    p = distributions()
    powers = p ** (1 / temperature)
    expected = powers / powers.sum(axis=1, keepdims=True)
    assert_allclose(sharpen(torch.from_numpy(p), temperature), expected, rtol=1e-12)


def test_sharpening_at_low_temperature_is_one_hot_even_where_powers_underflow():
    p = distributions().astype(np.float32)
    expected = np.eye(4)[p.argmax(axis=1)]
    assert_allclose(sharpen(torch.from_numpy(p), 1e-3), expected, atol=1e-6)
    assert (p.max(axis=1).min() ** 1000) == 0  # the powers themselves


def test_sharpening_leaves_certain_rows():
    certain = torch.tensor([[0.0, 1.0, 0.0]])
    assert torch.equal(sharpen(certain, 0.5), certain)


def test_a_share_is_at_least_a_half():
    random = rng()
    shares = np.array([mixing_share(0.5, random) for _ in range(1000)])
    assert ((shares >= 0.5) & (shares <= 1)).all()
    # Of Beta(1/2, 1/2), the arcsine law: P(max(l, 1 - l) < 3/4) = 1/3.
    assert np.mean(shares < 0.75) == pytest.approx(1 / 3, abs=0.05)


def test_alpha_decides_how_far_shares_are_from_a_half():
    random = rng()
    means = [np.mean([mixing_share(alpha, random) for _ in range(500)]) for alpha in (0.2, 4, 1e4)]
    assert means[0] > 0.85 > means[1] > 0.6 > means[2]


def test_alpha_zero_mixes_and_draws_nothing():
    random = rng()
    assert mixing_share(0, random) == 1.0
    assert random.random() == rng().random()


def test_mixtures_with_themselves_are_the_rows():
    values, order = torch.from_numpy(logits()), torch.tensor([4, 2, 0, 1, 3])
    assert torch.equal(mixup(values, 1.0, order), values)
    assert torch.equal(mixup(values, 0.0, order), values[order])


def test_a_mixture_has_its_shares_of_both_rows():
    values, order = rng().normal(size=(3, 2, 2)), [2, 0, 1]
    expected = 0.7 * values + 0.3 * values[order]
    assert_allclose(mixup(torch.from_numpy(values), 0.7, torch.tensor(order)), expected)


def test_squared_errors_are_means_over_the_classes():
    z, targets = logits(), distributions()
    expected = ((softmax(z, axis=1) - targets) ** 2).mean(axis=1)
    assert_allclose(squared_errors(torch.from_numpy(z), torch.from_numpy(targets)), expected)


def test_prior_penalty_is_the_divergence_from_the_mean_prediction():
    z, prior = logits(), np.array([0.5, 0.3, 0.2, 0.0])
    mean = softmax(z, axis=1).mean(axis=0)
    expected = sum(p * np.log(p / m) for p, m in zip(prior, mean, strict=True) if p > 0)
    assert_allclose(prior_penalty(torch.from_numpy(z), torch.from_numpy(prior)), expected)


def test_the_mean_prediction_of_the_prior_penalty_is_weighted():
    z, prior = torch.from_numpy(logits()), torch.tensor([0.5, 0.3, 0.2, 0.0])
    weights = torch.tensor([2.0, 1, 1, 0, 0])
    repeated = prior_penalty(z[[0, 0, 1, 2]], prior)
    assert_allclose(prior_penalty(z, prior, weights), repeated, rtol=1e-6)
    assert_allclose(prior_penalty(z, prior, 0 * weights), prior_penalty(z, prior), rtol=1e-6)


def test_prior_penalty_vanishes_where_the_mean_prediction_is_the_prior():
    z = torch.from_numpy(logits())
    assert_allclose(prior_penalty(z, z.softmax(dim=1).mean(dim=0)), 0, atol=1e-12)

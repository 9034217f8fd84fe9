"""Transition matrix, mixture of learners, and Bayes' rule."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sknoisy.learners.posterior import (
    Mixture,
    answer,
    estimate_noise_rate,
    estimate_transition,
    fit_mixture,
    log_likelihoods,
    posterior,
)
from sknoisy.learners.probabilities import brier_score, normalized, one_hot

T = np.array([[0.7, 0.3, 0.0], [0.1, 0.8, 0.1], [0.0, 0.4, 0.6]])


def draw(n=6000, sharpness=6.0, seed=0):
    """Return probabilities, true classes drawn from them, and labels drawn through T."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.normal(size=(n, 3))
    proba = np.exp(logits - logits.max(axis=1, keepdims=True))
    proba /= proba.sum(axis=1, keepdims=True)
    truth = (rng.random((n, 1)) > proba.cumsum(axis=1)).sum(axis=1).clip(max=2)
    codes = (rng.random((n, 1)) > T[truth].cumsum(axis=1)).sum(axis=1).clip(max=2)
    return proba, truth, codes


def test_bayes_rule():
    proba = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    found = posterior(proba, T, np.array([1, 2]))
    for row, code in enumerate([1, 2]):
        joint = [proba[row, k] * T[k, code] for k in range(3)]
        assert_allclose(found[row], np.array(joint) / sum(joint))
    trusted = posterior(proba, T, np.array([1, 2]), np.array([True, False]))
    assert_array_equal(trusted, [[0, 1, 0], found[1]])


def test_log_likelihoods_are_those_of_the_given_labels():
    proba, _, codes = draw(50)
    trusted = np.arange(50) < 5
    expected = np.log((proba @ T)[np.arange(50), codes])
    found = log_likelihoods(proba, T, codes, trusted)
    assert_allclose(found[5:], expected[5:])
    assert_allclose(found[:5], np.log(proba[np.arange(5), codes[:5]].clip(min=1e-12)))


def test_the_transition_matrix_is_recovered():
    proba, _, codes = draw()
    assert_allclose(estimate_transition(proba, codes), T, atol=0.05)


def test_trusted_rows_are_not_counted():
    proba, truth, codes = draw()
    trusted = np.arange(len(codes)) % 2 == 0
    codes = np.where(trusted, truth, codes)
    assert_allclose(estimate_transition(proba, codes, None, trusted), T, atol=0.06)
    assert np.abs(estimate_transition(proba, codes) - T).max() > 0.1


def test_weights_of_rows_count():
    proba, truth, codes = draw()
    doubtful = np.arange(len(codes)) % 2 == 0
    codes = np.where(doubtful, (truth + 1) % 3, codes)
    weights = np.where(doubtful, 0.0, 3.0)
    found = estimate_transition(proba, codes, weights)
    assert_allclose(found, T, atol=0.06)
    assert_allclose(found, estimate_transition(proba, codes, 7 * weights))


def test_without_wrong_labels_the_transition_matrix_is_near_the_identity():
    proba, truth, _ = draw()
    assert_allclose(estimate_transition(proba, truth), np.eye(3), atol=0.01)
    one_class = estimate_transition(np.ones((4, 1)), np.zeros(4, int))
    assert_array_equal(one_class, [[1.0]])


@pytest.mark.parametrize("power", [1.0, 2.0, 5.0])
def test_a_power_undoes_its_root(power):
    """Learners of noisy labels are too unsure, as if a root of the probabilities was taken."""
    proba, _, codes = draw()
    mixture = fit_mixture([normalized(proba ** (1 / power))], T, codes)
    assert mixture.powers == (power,)


def test_the_share_of_a_learner_is_its_worth():
    proba, _, codes = draw()
    noise = np.random.default_rng(1).dirichlet([1.0] * 3, size=len(proba))
    shares = fit_mixture([proba, noise], T, codes).shares
    assert_allclose(shares.sum(), 1)
    assert shares[0] > 0.9
    both = fit_mixture([proba, proba], T, codes)
    assert_allclose(both.shares, 0.5)
    halves = np.arange(len(proba)) % 2 == 0
    expert = [np.where(half[:, None], proba, 1 / 3) for half in (halves, ~halves)]
    assert_allclose(fit_mixture(expert, T, codes).shares, 0.5, atol=0.05)
    weighted = fit_mixture(expert, T, codes, np.where(halves, 1.0, 0.0)).shares
    assert weighted[0] > 0.9


def test_a_mixture_is_the_weighted_mean_of_powers():
    proba = np.array([[0.5, 0.3, 0.2]])
    other = np.array([[0.1, 0.1, 0.8]])
    found = Mixture((2.0, 1.0), np.array([0.25, 0.75]))([proba, other])
    assert_allclose(found, 0.25 * proba**2 / (proba**2).sum() + 0.75 * other)


def test_the_answer_is_better_than_the_given_label_and_than_the_learner():
    proba, truth, codes = draw(sharpness=3.0)
    found = answer([normalized(proba**0.3)], codes)
    right = np.mean(found.posterior.argmax(axis=1) == truth)
    assert right > np.mean(codes == truth) + 0.05
    assert right > np.mean(proba.argmax(axis=1) == truth)
    assert_allclose(found.posterior, posterior(found.proba, found.transition, codes))


def test_brier_score():
    targets = one_hot(np.array([0, 1, 1]), 2)
    assert_array_equal(targets, [[1, 0], [0, 1], [0, 1]])
    assert brier_score(targets, targets) == 0
    assert brier_score(1 - targets, targets) == 2
    assert brier_score(np.full((3, 2), 0.5), targets, np.array([1.0, 0, 0])) == 0.5


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5])
def test_the_noise_rate_is_the_share_of_wrong_labels(rate):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 4000)
    proba = 0.7 * np.eye(4)[truth] + 0.3 * rng.dirichlet(np.ones(4), 4000)
    is_wrong = rng.random(4000) < rate
    codes = (truth + is_wrong * rng.integers(1, 4, 4000)) % 4
    assert abs(estimate_noise_rate(proba, codes) - rate) < 0.05
    trusted = ~is_wrong & (rng.random(4000) < 0.5)
    of_others = is_wrong[~trusted].mean()
    assert abs(estimate_noise_rate(proba, codes, trusted=trusted) - of_others) < 0.05
    assert estimate_noise_rate(proba, codes, trusted=np.ones(4000, bool)) == 0


def test_rows_without_weight_do_not_count_in_the_noise_rate():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 1000)
    proba = np.eye(2)[truth] * 0.8 + 0.1
    is_wrong = np.arange(1000) < 500
    codes = np.where(is_wrong, 1 - truth, truth)
    assert estimate_noise_rate(proba, codes, np.where(is_wrong, 0.0, 1.0)) < 0.01

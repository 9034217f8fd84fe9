"""Whether labels can be predicted from the rows."""

import numpy as np
import pytest

from sknoisy.cleaning.held_out import beats_chance


@pytest.mark.parametrize("shares", [[0.25] * 4, [0.5, 0.5], [0.8, 0.2], [0.6, 0.3, 0.1]], ids=str)
def test_pure_noise_passes_once_in_44(shares):
    """Labels and predictions are drawn independently; two standard errors are 2.3 % one-sided."""
    rng = np.random.default_rng(0)
    n_samples, n_draws = 600, 2000
    draws = rng.choice(len(shares), (2, n_draws, n_samples), p=shares)
    passes = sum(beats_chance(given, predicted) for given, predicted in zip(*draws, strict=True))
    error = np.sqrt(0.0228 * 0.9772 / n_draws)
    assert passes / n_draws == pytest.approx(0.0228, abs=4 * error)


@pytest.mark.parametrize("seed", range(5))
def test_a_little_agreement_in_many_rows_is_more_than_chance(seed):
    rng = np.random.default_rng(seed)
    given = rng.integers(0, 4, 2000)
    predicted = np.where(rng.random(2000) < 0.15, given, rng.integers(0, 4, 2000))
    assert beats_chance(given, predicted)
    assert not beats_chance(given, (predicted + 1) % 4)  # less than chance


def test_agreement_with_a_rare_class_counts():
    """Nine rows of ten are of one class: by accuracy alone, these predictions are no good."""
    rng = np.random.default_rng(0)
    given = (np.arange(400) < 40).astype(int)
    predicted = np.where(rng.random(400) < 0.2, given, rng.permutation(given))
    assert np.mean(predicted == given) < 0.9
    assert beats_chance(given, predicted)


@pytest.mark.parametrize(
    ("given", "predicted"),
    [([0, 1] * 50, [0] * 100), ([0] * 100, [0] * 100), ([0] * 100, [0, 1] * 50), ([1], [0])],
)
def test_the_same_answer_for_all_rows_is_no_more_than_chance(given, predicted):
    assert beats_chance(np.array(given), np.array(predicted)) is False


def test_the_same_answer_is_found_out_whatever_the_shares():
    """Its standard error is zero, up to what is lost in rounding."""
    for n in range(3, 200):
        given = np.arange(n) % 3
        assert not beats_chance(given, np.zeros(n, int))
        assert not beats_chance(np.zeros(n, int), given)

"""The share of wrong labels: near the truth with noise, and no claim without."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from sknoisy import audit_labels
from sknoisy.audit.share import count_transition, estimate_share, least_share
from sknoisy.learners.forest import Forest
from sknoisy.learners.probabilities import one_hot
from sknoisy.noise import pairflip, symmetric


def held_out(X, codes, seed):
    """Out-of-bag probabilities of a forest."""
    X = np.ascontiguousarray(X, dtype=np.float32)
    return Forest(100, 1, seed).fit_held_out(X, one_hot(codes, codes.max() + 1))


def clean_tables(seed):
    """Tables without wrong labels; classes of the last two overlap, by 7 and by 16 %."""
    for load in (load_iris, load_wine, load_breast_cancer):
        yield load(return_X_y=True)
    X, y = load_digits(return_X_y=True)
    yield X[:500], y[:500]
    rng = np.random.default_rng(seed)
    for distance in (3.0, 2.0):
        y = np.arange(500) % 2
        X = rng.normal(size=(500, 3))
        X[:, 0] += distance * y
        yield X, y


@pytest.mark.parametrize("step", range(2))
def test_clean_tables_show_no_clear_sign_but_wrong_labels_do(step, global_random_seed):
    seed = global_random_seed + step
    claims, found = [], []
    for X, y in clean_tables(seed):
        for labels, into in ((y, claims), (symmetric(y, 0.2, random_state=seed).y, found)):
            proba, rows = held_out(X, labels, seed), np.arange(len(y))
            into.append(estimate_share(labels, proba, rows, 0, None, seed))
    assert not any(share.is_clear for share in claims)
    assert all(share.noise_rate.low == 0 for share in claims)
    assert found[3].is_clear  # digits; the others are small, or their classes overlap


@pytest.mark.parametrize("rate", [0.1, 0.3])
@pytest.mark.parametrize("noise", [symmetric, pairflip])
def test_the_share_is_near_the_true_one(noise, rate, global_random_seed):
    X, y = load_digits(return_X_y=True)
    noisy = noise(y, rate, random_state=global_random_seed)
    proba = held_out(X, noisy.y, global_random_seed)
    found = estimate_share(noisy.y, proba, np.arange(len(y)), 0, None, 0)
    value, low, high = found.noise_rate
    assert 0 < low <= noisy.mask.mean() <= high
    if noise is symmetric:
        assert abs(value - noisy.mask.mean()) <= 0.03
    # The share of labels that are not predicted is further away: the forest errs, too.
    missed = (proba.argmax(axis=1) != noisy.y).mean()
    assert abs(value - noisy.mask.mean()) < missed - noisy.mask.mean()
    # The accuracy on given labels is corrected to that on true ones.
    truth = np.mean(proba.argmax(axis=1) == y)
    assert found.accuracy.given < truth - rate / 2
    assert abs(found.accuracy.corrected - truth) < 4 * found.accuracy.standard_error


def test_trusted_rows_lower_the_share(global_random_seed):
    X, y = load_digits(return_X_y=True)
    noisy = symmetric(y, 0.2, random_state=global_random_seed).y
    proba = held_out(X, noisy, global_random_seed)
    alone = estimate_share(noisy, proba, np.arange(900), 0, None, 0).noise_rate
    with_trusted = estimate_share(noisy, proba, np.arange(900), 300, None, 0).noise_rate
    np.testing.assert_allclose(with_trusted, 0.75 * np.array(alone))


def test_calibrated_probabilities_explain_their_labels(global_random_seed):
    """Labels drawn from the probabilities exclude nothing; exchanged ones do."""
    rng = np.random.default_rng(global_random_seed)
    proba = rng.dirichlet([0.3, 0.3, 0.3], size=2000)
    drawn = (rng.random((2000, 1)) > proba.cumsum(axis=1)).sum(axis=1).clip(max=2)
    assert least_share(drawn, proba) == 0
    exchanged = np.where(rng.random(2000) < 0.3, rng.integers(3, size=2000), drawn)
    assert 0.08 < least_share(exchanged, proba) < (exchanged != drawn).mean()
    # Each row ten times is no better evidence, if copies count once.
    many, proba_of_many = np.repeat(exchanged[:400], 10), np.repeat(proba[:400], 10, axis=0)
    few = least_share(exchanged[:400], proba[:400])
    assert least_share(many, proba_of_many, 400) == few < least_share(many, proba_of_many)


def test_units_widen_the_interval(global_random_seed):
    """Ten copies of each row tell no more than one."""
    X, y = load_digits(return_X_y=True)
    noisy = symmetric(y, 0.2, random_state=global_random_seed).y[:300]
    proba = held_out(X[:300], noisy, global_random_seed)
    many, proba_of_many = np.repeat(noisy, 5), np.repeat(proba, 5, axis=0)
    rows, units = np.arange(1500), np.repeat(np.arange(300), 5)
    alone = estimate_share(many, proba_of_many, rows, 0, None, 0).noise_rate
    together = estimate_share(many, proba_of_many, rows, 0, units, 0).noise_rate
    assert together.high - together.low > alone.high - alone.low


def test_a_network_is_believed_inside_the_interval_alone(global_random_seed):
    X, y = load_digits(return_X_y=True)
    noisy = symmetric(y, 0.2, random_state=global_random_seed).y
    given = noisy, held_out(X, noisy, global_random_seed), np.arange(len(y)), 0, None, 0
    forest = estimate_share(*given).noise_rate
    inside = (forest.low + forest.high) / 2
    assert estimate_share(*given, inside).noise_rate == (inside, forest.low, forest.high)
    assert estimate_share(*given, forest.low / 2).noise_rate == forest  # it has learned the labels


def test_few_rows_say_nothing():
    proba = np.full((4, 2), 0.5)
    rate, is_clear, _ = estimate_share(np.array([0, 1, 0, 1]), proba, np.arange(4), 0, None, 0)
    assert np.isnan(rate.value)
    assert (rate.low, rate.high) == (0, 1)
    assert not is_clear


def test_the_transition_matrix_counts_and_keeps_absent_classes():
    found = count_transition(np.array([0, 1, 1, 0]), np.array([0, 0, 0, 1]), 3)
    np.testing.assert_allclose(found, [[1 / 3, 2 / 3, 0], [1, 0, 0], [0, 0, 1]])


def test_the_summary_says_that_there_is_no_clear_sign():
    audit = audit_labels(*load_iris(return_X_y=True), method="fast", random_state=0)
    assert not audit.is_clear
    assert "No clear sign of wrong labels" in audit.summary()
    assert "look wrong" not in audit.summary()

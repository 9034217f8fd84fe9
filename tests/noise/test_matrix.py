"""Transition matrix and noise rate without clean labels, against known matrices."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from worked_example import CODES, PROBA

from sknoisy import noise
from sknoisy.noise import bootstrap_interval, estimate_noise_rate, estimate_transition_matrix
from sknoisy.noise._by_probabilities import anchor_estimates
from sknoisy.noise._matrix import _BY_PROBABILITIES

METHODS = list(_BY_PROBABILITIES)
TRUE = {
    "symmetric": noise.symmetric_transition(5, 0.3),
    "pairflip": noise.pairflip_transition(5, 0.4),
    "class_map": noise.class_map_transition(5, {0: 1, 2: 3}, 0.3),
}
every_seed = pytest.mark.parametrize("seed", range(3))
every_noise = pytest.mark.parametrize("transition", TRUE.values(), ids=TRUE)
every_method = pytest.mark.parametrize("method", METHODS)


def make_problem(transition, seed, n=5000):
    """Return noisy labels, clean labels and the true posterior of the clean class."""
    rng = np.random.default_rng(seed)
    centers = np.array([[0, 0], [6, 0], [0, 6], [6, 6], [3, 12]])
    y = rng.integers(5, size=n)
    X = centers[y] + rng.normal(size=(n, 2))
    density = np.exp(-((X[:, None] - centers) ** 2).sum(axis=2) / 2)
    noisy = noise.from_transition(y, transition, random_state=seed).y
    return noisy, y, density / density.sum(axis=1, keepdims=True)


def distance(estimated, transition):
    """Return the mean over rows of the sum of absolute differences."""
    return np.abs(estimated - transition).sum(axis=1).mean()


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("argmax", [[0.6, 0.2, 0.2], [0.25, 0.5, 0.25], [0, 0.333333, 0.666667]]),
        (
            "confident",
            [[0.727273, 0.272727, 0], [0.285714, 0.428571, 0.285714], [0, 0.272727, 0.727273]],
        ),
        ("anchor", [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]),
        (
            "dual",
            [
                [0.505, 0.243333, 0.251667],
                [0.26, 0.453333, 0.286667],
                [0.085, 0.336667, 0.578333],
            ],
        ),
    ],
)
def test_worked_example(method, expected):
    """Each class has four rows, so that a tenth of them is the most probable row alone."""
    assert_allclose(estimate_transition_matrix(CODES, PROBA, method=method), expected, atol=5e-7)


def test_noise_rate_of_the_worked_example():
    rate = estimate_noise_rate(CODES, PROBA, method="confident")
    assert rate == pytest.approx(0.388889, abs=5e-7)
    assert estimate_noise_rate(CODES, PROBA) == pytest.approx(5 / 12)


@every_seed
@every_noise
@pytest.mark.parametrize("method", ["argmax", "confident"])
def test_counts_find_the_matrix_and_the_rate(method, transition, seed):
    noisy, y, clean = make_problem(transition, seed)
    proba = clean @ transition
    assert distance(estimate_transition_matrix(noisy, proba, method=method), transition) < 0.1
    rate = estimate_noise_rate(noisy, proba, method=method)
    assert rate == pytest.approx(np.mean(noisy != y), abs=0.01)
    shuffled = np.random.default_rng(seed).permutation(proba)
    assert distance(estimate_transition_matrix(noisy, shuffled, method=method), transition) > 0.5


@every_seed
@every_noise
def test_anchors_find_the_matrix_where_probabilities_follow_the_noisy_labels(transition, seed):
    noisy, y, clean = make_problem(transition, seed)
    proba = clean @ transition
    estimated = estimate_transition_matrix(noisy, proba, method="anchor")
    assert distance(estimated, transition) < 0.01
    rate = estimate_noise_rate(noisy, proba, method="anchor")
    assert rate == pytest.approx(np.mean(noisy != y), abs=0.03)
    assert distance(estimate_transition_matrix(noisy, clean, method="anchor"), np.eye(5)) < 0.01


def test_anchors_skip_a_tenth_of_the_class():
    """Five of 100 rows carry an error of the classifier; the paper's anchor is one of them."""
    proba = np.repeat([[0.7, 0.3], [0.3, 0.7]], 100, axis=0)
    proba[[3, 50, 60, 70, 80]] = [0.99, 0.01]
    codes = np.repeat([0, 1], 100)
    robust = estimate_transition_matrix(codes, proba, method="anchor")
    assert_allclose(robust, [[0.7, 0.3], [0.3, 0.7]])
    every_row_once = np.ones((1, 200), dtype=np.uint8)
    [(of_paper, _)] = anchor_estimates(codes, proba, 2, every_row_once, share=0)
    assert_allclose(of_paper, [[0.99, 0.01], [0.3, 0.7]])


@every_seed
@every_noise
def test_dual_finds_the_matrix_where_probabilities_follow_the_true_class(transition, seed):
    noisy, y, clean = make_problem(transition, seed)
    assert distance(estimate_transition_matrix(noisy, clean, method="dual"), transition) < 0.1
    rate = estimate_noise_rate(noisy, clean, method="dual")
    assert rate == pytest.approx(np.mean(noisy != y), abs=0.03)
    shuffled = np.random.default_rng(seed).permutation(clean)
    assert distance(estimate_transition_matrix(noisy, shuffled, method="dual"), transition) > 0.5


@every_seed
def test_dual_counts_the_noise_twice_where_probabilities_follow_the_noisy_labels(seed):
    transition = TRUE["pairflip"]
    noisy, _, clean = make_problem(transition, seed)
    estimated = estimate_transition_matrix(noisy, clean @ transition, method="dual")
    assert distance(estimated, transition @ transition) < 0.1


@every_method
@pytest.mark.parametrize(
    "convert",
    [
        lambda codes: np.array(["ant", "bee", "cat"])[codes],
        lambda codes: pd.Series(pd.Categorical.from_codes(codes, ["ant", "bee", "cat"])),
        lambda codes: (codes * 10 - 5).tolist(),
    ],
    ids=["strings", "categories", "integers"],
)
def test_labels_of_any_type(method, convert):
    expected = estimate_transition_matrix(CODES, PROBA, method=method)
    assert_array_equal(estimate_transition_matrix(convert(CODES), PROBA, method=method), expected)


@every_method
def test_booleans_are_two_classes(method):
    proba = np.column_stack([PROBA[:, 0], 1 - PROBA[:, 0]])
    of_codes = estimate_transition_matrix(CODES > 0, proba, method=method)
    assert_array_equal(of_codes, estimate_transition_matrix((CODES > 0) * 1, proba, method=method))


@every_method
def test_classes_sets_the_order_and_may_hold_more(method):
    expected = estimate_transition_matrix(CODES, PROBA, method=method)
    proba = np.column_stack([PROBA[:, 2], PROBA[:, 0], np.zeros(12), PROBA[:, 1]])
    found = estimate_transition_matrix(CODES, proba, method=method, classes=[2, 0, 9, 1])
    assert_allclose(found[np.ix_([1, 3, 0], [1, 3, 0])], expected)
    assert_array_equal(found[2], [0, 0, 1, 0])
    rate = estimate_noise_rate(CODES, proba, method=method, classes=[2, 0, 9, 1])
    assert rate == pytest.approx(estimate_noise_rate(CODES, PROBA, method=method))


@every_method
def test_float32_and_the_largest_few_give_the_same_matrix(method):
    """Four of five probabilities; the fifth, which the sparse array lacks, is below 1e-4."""
    noisy, _, clean = make_problem(TRUE["class_map"], seed=0)
    expected = estimate_transition_matrix(noisy, clean, method=method)
    small = clean.astype(np.float32)
    found = estimate_transition_matrix(noisy, small, method=method)
    assert found.dtype == np.float64
    assert_allclose(found, expected, atol=1e-6)
    top = np.where(clean >= np.sort(clean, axis=1)[:, [1]], clean, 0)
    found = estimate_transition_matrix(noisy, sparse.csr_array(top), method=method)
    assert_allclose(found, expected, atol=1e-3)
    assert_allclose(found.sum(axis=1), 1)


@every_method
def test_equal_rows_have_the_first_as_their_anchor_and_pieces_change_nothing(method, monkeypatch):
    noisy, _, clean = make_problem(TRUE["symmetric"], seed=0, n=500)
    proba = clean.round(1) / clean.round(1).sum(axis=1, keepdims=True)  # many ties
    whole = estimate_transition_matrix(noisy, proba, method=method)
    monkeypatch.setattr("sknoisy.noise.probabilities._PIECE_ENTRIES", 35)  # seven rows
    monkeypatch.setattr("sknoisy.noise._by_probabilities._COLUMN_ENTRIES", 1000)  # two columns
    assert_array_equal(estimate_transition_matrix(noisy, proba, method=method), whole)


@every_method
def test_no_copy_of_the_probabilities_is_made(method, monkeypatch):
    monkeypatch.setattr("sknoisy.noise.probabilities._PIECE_ENTRIES", 2**16)
    monkeypatch.setattr("sknoisy.noise._by_probabilities._COLUMN_ENTRIES", 2**16)
    codes = np.arange(40_000) % 200
    proba = np.full((40_000, 200), 0.5 / 199, dtype=np.float32)
    proba[np.arange(40_000), codes] = 0.5
    tracemalloc.start()
    try:
        rate = estimate_noise_rate(codes, proba, method=method)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0 <= rate <= 1
    assert peak < proba.nbytes / 2


@every_method
def test_each_resample_is_estimated_as_if_its_rows_were_an_array(method):
    noisy, _, clean = make_problem(TRUE["symmetric"], seed=0, n=400)
    proba = clean @ TRUE["symmetric"]
    rng = np.random.default_rng(0)
    drawn = rng.integers(400, size=(5, 400))
    repeats = np.stack([np.bincount(rows, minlength=400) for rows in drawn]).astype(np.uint8)
    estimates = _BY_PROBABILITIES[method](noisy, proba, 5, repeats)
    for rows, (transition, shares) in zip(np.sort(drawn), estimates, strict=True):
        once = np.ones((1, 400), dtype=np.uint8)
        [(expected, of_true)] = _BY_PROBABILITIES[method](noisy[rows], proba[rows], 5, once)
        assert_allclose(transition, expected, atol=1e-12)
        assert_allclose(shares, of_true, atol=1e-9)


@every_method
def test_a_resample_may_lack_a_class(method):
    codes, proba = np.array([0] * 20 + [1]), np.array([[0.8, 0.2]] * 20 + [[0.1, 0.9]])
    repeats = np.array([[1] * 20 + [1], [1] * 19 + [2, 0]], dtype=np.uint8)
    _, (transition, shares) = _BY_PROBABILITIES[method](codes, proba, 2, repeats)
    assert_allclose(transition.sum(axis=1), 1)
    assert_allclose(shares.sum(), 1)


def test_interval_is_that_of_a_binomial_share_where_the_probabilities_are_right():
    """Width 2 * 1.645 * sqrt(p (1 - p) / n) at p = 0.2; 1,000 resamples are within a tenth."""
    y = np.arange(4000) % 4
    noisy = noise.symmetric(y, 0.2, exact_count=True, random_state=0).y
    low, high = bootstrap_interval(noisy, np.eye(4)[y], n_bootstraps=1000, random_state=0)
    assert (high + low) / 2 == pytest.approx(0.2, abs=0.002)
    assert high - low == pytest.approx(2 * 1.645 * np.sqrt(0.2 * 0.8 / 4000), rel=0.1)


def test_interval_covers_the_rate_in_nine_draws_of_ten():
    """Of 100 draws 90 are expected; 80 are more than three standard deviations fewer."""
    y, proba = np.arange(300) % 2, np.eye(2)[np.arange(300) % 2]
    covered = 0
    for seed in range(100):
        noisy = noise.symmetric(y, 0.3, random_state=seed).y
        low, high = bootstrap_interval(noisy, proba, n_bootstraps=100, random_state=seed)
        covered += low <= 0.3 <= high
    assert 80 <= covered < 100


@every_method
def test_interval_of_the_matrix_surrounds_its_estimate(method):
    noisy, _, clean = make_problem(TRUE["symmetric"], seed=0, n=1000)
    arguments = {"method": method, "quantity": "transition", "random_state": 0}
    low, high = bootstrap_interval(noisy, clean, **arguments)
    assert low.shape == high.shape == (5, 5)
    middle = estimate_transition_matrix(noisy, clean, method=method)
    assert ((low <= middle + 0.01) & (middle - 0.01 <= high)).all()
    wide_low, wide_high = bootstrap_interval(noisy, clean, confidence_level=0.99, **arguments)
    assert ((wide_low <= low) & (high <= wide_high)).all()
    assert (wide_high - wide_low).sum() > (high - low).sum()


def test_an_integer_random_state_repeats_the_interval():
    noisy, _, clean = make_problem(TRUE["symmetric"], seed=0, n=1000)
    first, second, other = (bootstrap_interval(noisy, clean, random_state=s) for s in (1, 1, 2))
    assert first == second
    assert other != first
    assert bootstrap_interval(noisy, clean, n_bootstraps=3, random_state=1) != first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "magic"}, r"method='magic' must be one of \['argmax'"),
        ({"proba": None}, "method='argmax' needs proba"),
        ({"proba": PROBA[:, :2]}, r"proba has shape \(12, 2\)"),
        ({"proba": PROBA * 2}, "Row 0 of proba sums to 2 instead of 1"),
        ({"y": CODES * 0, "proba": np.ones((12, 1))}, "at least two classes"),
        ({"y": np.where(CODES > 1, np.nan, CODES)}, "missing"),
        ({"quantity": "matrix"}, "quantity='matrix' must be"),
        ({"n_bootstraps": 1}, "n_bootstraps=1 must be an integer of at least 2"),
        ({"confidence_level": 90}, "confidence_level=90 must lie between 0 and 1"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(**({"y": CODES, "proba": PROBA} | changes))


def test_the_rate_by_neighbors_is_refused():
    with pytest.raises(ValueError, match='method="neighbors" gives a transition matrix alone'):
        estimate_noise_rate(CODES, PROBA, method="neighbors")

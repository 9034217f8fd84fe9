"""Scores of given labels. Golden values: cleanlab 2.9.0 on the same rows, run as a black box."""

import tracemalloc

import numpy as np
import pytest
from audit_cases import CODES, PROBA, THRESHOLDS
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.metrics import roc_auc_score

from sknoisy.audit.scores import (
    adjusted,
    confidence_weighted_entropy,
    normalized_margin,
    self_confidence,
    suggestions,
)
from sknoisy.noise import probabilities

SCORES = [self_confidence, normalized_margin, confidence_weighted_entropy]

GOLDEN = {
    self_confidence: [0.8, 0.7, 0.2, 0.5, 0.8, 0.3, 0.5, 0.8, 0.3, 0.8, 0.4, 0.3],
    normalized_margin: [0.85, 0.75, 0.25, 0.6, 0.85, 0.35, 0.6, 0.85, 0.35, 0.825, 0.475, 0.35],
    confidence_weighted_entropy: [
        *(0.751541, 0.685034, 0.421103, 0.563290, 0.751541, 0.482634),
        *(0.563290, 0.751541, 0.482634, 0.758691, 0.519163, 0.482634),
    ],
}
GOLDEN_ADJUSTED = {
    self_confidence: [
        *(0.733333, 0.644444, 0.2, 0.466667, 0.8, 0.355556),
        *(0.533333, 0.711111, 0.266667, 0.711111, 0.355556, 0.355556),
    ],
    normalized_margin: [
        *(0.777778, 0.688889, 0.244444, 0.555556, 0.844444, 0.4),
        *(0.633333, 0.766667, 0.322222, 0.744444, 0.466667, 0.411111),
    ],
}


@pytest.fixture
def many(global_random_seed):
    """Codes and probabilities of 200 rows of seven classes, without ties."""
    rng = np.random.default_rng(global_random_seed)
    return rng.integers(7, size=200), rng.dirichlet(np.ones(7), size=200)


@pytest.mark.parametrize("score", SCORES)
def test_golden_scores(score):
    assert_allclose(score(CODES, PROBA), GOLDEN[score], atol=5e-7)


@pytest.mark.parametrize("score", GOLDEN_ADJUSTED)
def test_golden_adjusted_scores(score):
    scores = score(CODES, adjusted(PROBA, THRESHOLDS))
    assert_allclose(scores, GOLDEN_ADJUSTED[score], atol=5e-7)


def test_margin_is_below_half_exactly_where_another_class_is_suggested(many):
    codes, proba = many
    suggested = suggestions(codes, proba).codes
    assert_array_equal(normalized_margin(codes, proba) < 0.5, suggested != codes)
    assert_array_equal(suggested, proba.argmax(axis=1))


def test_a_tie_suggests_the_given_label_else_the_first_class():
    proba = np.array([[0.4, 0.4, 0.2]] * 3)
    assert suggestions(np.array([1, 2, -1]), proba).codes.tolist() == [1, 0, 0]
    assert normalized_margin(np.array([1, 2]), proba[:2]).tolist() == [0.5, 0.4]


def test_suggestions_hold_both_probabilities():
    found = suggestions(CODES, PROBA)
    assert np.flatnonzero(found.codes != CODES).tolist() == [2, 5, 8, 10, 11]
    assert_array_equal(found.probability, PROBA.max(axis=1))
    assert_array_equal(found.given_probability, GOLDEN[self_confidence])


def test_entropy_scores_a_certain_prediction_1_even_of_another_class():
    proba = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert confidence_weighted_entropy(np.array([0, 0]), proba).tolist() == [1, 1]
    assert normalized_margin(np.array([0, 0]), proba).tolist() == [1, 0]


@pytest.mark.parametrize("score", SCORES)
def test_rows_without_a_label_have_no_score(score, many):
    codes, proba = many
    some = np.where(np.arange(200) % 3, codes, -1)
    expected = np.where(np.arange(200) % 3, score(codes, proba), np.nan)
    assert_array_equal(score(some, proba), expected)
    assert_array_equal(np.isnan(suggestions(some, proba).given_probability), some < 0)


@pytest.mark.parametrize("score", SCORES)
def test_pieces_and_float32_and_sparse_give_the_same_scores(score, many, monkeypatch):
    codes, proba = many
    expected = score(codes, proba)
    monkeypatch.setattr(probabilities, "_PIECE_ENTRIES", 7 * 30)  # 30 rows at a time
    assert_array_equal(score(codes, proba), expected)
    assert_array_equal(score(codes, sparse.csr_array(proba)), expected)
    single = score(codes, proba.astype(np.float32))
    assert single.dtype == np.float64
    assert_allclose(single, expected, atol=1e-6)


def test_entries_that_a_sparse_array_lacks_are_0(many):
    codes, proba = many
    largest = np.where(proba >= np.sort(proba)[:, [-2]], proba, 0)
    scores = normalized_margin(codes, sparse.csr_array(largest))
    assert_array_equal(scores, normalized_margin(codes, largest))
    # The two largest of a row decide whether its label is the most probable.
    assert_array_equal(scores < 0.5, normalized_margin(codes, proba) < 0.5)


@pytest.mark.parametrize("score", [*SCORES, suggestions])
def test_probabilities_stay_as_they_are_and_are_never_copied(score, monkeypatch):
    monkeypatch.setattr(probabilities, "_PIECE_ENTRIES", 2**18)  # 2 MiB in float64
    proba = np.random.default_rng(0).random((4000, 500), dtype=np.float32)
    before = proba.copy()
    tracemalloc.start()
    score(np.arange(4000) % 500, proba)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.6 * proba.size * 8  # some pieces; a copy in float64 would take 15 MiB
    assert_array_equal(proba, before)


def test_adjusted_rows_sum_to_1_and_are_shifted_by_the_thresholds(many):
    _, proba = many
    thresholds = np.array([0.9, 0.5, 0.3, 0.3, 0.3, 0.3, 0.3])
    rows = adjusted(sparse.csr_array(proba), thresholds)[10:20]
    assert_allclose(rows.sum(axis=1), 1)
    shifted = proba[10:20] + thresholds.max() - thresholds
    assert_allclose(rows, shifted / shifted.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("none", [np.nan, np.inf])
def test_a_class_without_threshold_is_not_raised(none):
    expected = adjusted(PROBA, np.array([0.4, 0.5, 0.5]))[:]
    assert_array_equal(adjusted(PROBA, np.array([0.4, 0.5, none]))[:], expected)
    assert_array_equal(adjusted(PROBA, np.array([none] * 3))[:], PROBA / PROBA.sum(1)[:, None])


def test_margin_ranks_a_beaten_label_below_an_unclear_one():
    """The first label is the most probable one; of the second, another class is more probable."""
    codes, proba = np.array([0, 0]), np.array([[0.4, 0.2, 0.2, 0.2], [0.45, 0.55, 0, 0]])
    assert normalized_margin(codes, proba).argmin() == 1
    assert self_confidence(codes, proba).argmin() == 0


def test_margin_ranks_wrong_labels_first(global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    true = rng.integers(4, size=2000)
    weights = 0.5 + rng.uniform(1, 30, size=(2000, 1)) * np.eye(4)[true]
    proba = np.array([rng.dirichlet(w) for w in weights])
    wrong = rng.random(2000) < 0.2
    codes = np.where(wrong, (true + rng.integers(1, 4, size=2000)) % 4, true)
    assert roc_auc_score(wrong, -normalized_margin(codes, proba)) > 0.95

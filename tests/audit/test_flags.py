"""Which rows are flagged, by each kind of threshold."""

import numpy as np
import pytest
from audit_cases import CODES, JOINT, PROBA
from numpy.testing import assert_array_equal

from sknoisy.audit.flags import flag_rows
from sknoisy.audit.scores import normalized_margin, self_confidence

SCORES = normalized_margin(CODES, PROBA)


def flagged(threshold, scores=SCORES, codes=CODES, trusted=None, joint=JOINT):
    """Indices of the flagged rows among the known ones."""
    flags = flag_rows(codes, PROBA, scores, threshold, trusted, joint=joint)
    assert flags.dtype == bool
    return np.flatnonzero(flags).tolist()


@pytest.mark.parametrize("score", [normalized_margin, self_confidence])
def test_golden_rows(score):
    """The rows that cleanlab 2.9.0 flags by each rule."""
    scores = score(CODES, PROBA)
    assert flagged("per_class", scores) == [2, 5, 8, 11]
    assert flagged("margin", scores) == [2, 5, 8, 10, 11]
    assert flagged(4, scores) == [2, 5, 8, 11]


def test_margin_is_the_same_as_a_margin_below_half():
    assert flagged("margin") == flagged(0.5)


def test_a_float_is_a_limit_that_is_not_flagged_itself():
    assert flagged(0.475) == [2, 5, 8, 11]
    assert flagged(0.0) == []
    assert flagged(1.0) == list(range(12))


def test_an_int_is_a_budget():
    assert flagged(0) == []
    assert flagged(1) == [2]
    assert flagged(2) == [2, 5]  # of equal scores the first
    assert flagged(np.int64(100)) == list(range(12))
    assert flagged(1) != flagged(1.0)


def test_counts_of_the_joint_decide_for_each_class():
    joint = np.array([[4.0, 0, 0], [0, 1.4, 2.6], [2.6, 0, 1.4]])
    assert flagged("per_class", joint=joint) == [5, 6, 8, 9, 10, 11]
    assert flagged("per_class", joint=np.diag([4.0, 4, 4])) == []


@pytest.mark.parametrize("threshold", ["margin", "per_class", 0.5, 12])
def test_trusted_rows_and_rows_without_a_label_are_never_flagged(threshold):
    trusted = np.arange(12) == 5
    assert 5 in flagged(threshold)
    assert 5 not in flagged(threshold, trusted=trusted)
    codes = np.where(trusted, -1, CODES)
    scores = normalized_margin(codes, PROBA)
    rows = flagged(threshold, scores, codes)
    assert 5 not in rows
    assert 2 in rows


def test_a_budget_passes_over_trusted_rows():
    trusted = np.isin(np.arange(12), [2, 8])
    assert flagged(3, trusted=trusted) == [5, 10, 11]
    assert flagged("per_class", trusted=trusted) == [3, 5, 10, 11]


@pytest.mark.parametrize("threshold", ["argmax", -1, 1.5, -0.1, np.nan, True, None])
def test_another_threshold_is_named(threshold):
    with pytest.raises(ValueError, match=r'threshold=.*: pass "margin", "per_class", a float'):
        flagged(threshold)


def test_per_class_asks_for_the_joint():
    with pytest.raises(ValueError, match="needs joint"):
        flagged("per_class", joint=None)


def test_margin_finds_all_wrong_labels_where_the_model_is_right(global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    true = rng.integers(5, size=1000)
    proba = np.array([rng.dirichlet(0.2 + 8 * np.eye(5)[k]) for k in true])
    wrong = rng.random(1000) < 0.2
    codes = np.where(wrong, (true + 1) % 5, true)
    flags = flag_rows(codes, proba, normalized_margin(codes, proba), "margin")
    is_right = proba.argmax(axis=1) == true
    assert is_right.sum() > 900
    assert_array_equal(flags[is_right], wrong[is_right])

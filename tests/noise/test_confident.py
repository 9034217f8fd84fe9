"""Confident learning against a worked example and the limits of its definition."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from worked_example import CODES, PROBA

from sknoisy.noise.confident import calibrated_joint, class_thresholds, confident_joint

# Rows 0, 2 and 4 reach the thresholds (.7, .3, .2) of other classes than their most probable one.
COLLISION_CODES = np.array([0, 0, 1, 1, 2, 2])
COLLISION_PROBA = np.array(
    [
        [0.5, 0.3, 0.2],
        [0.9, 0.05, 0.05],
        [0.5, 0.3, 0.2],
        [0.1, 0.3, 0.6],
        [0.5, 0.25, 0.25],
        [0.6, 0.25, 0.15],
    ]
)


def test_worked_example():
    assert_allclose(class_thresholds(CODES, PROBA, 3), [0.55, 0.475, 0.575], atol=1e-12)
    assert_array_equal(confident_joint(CODES, PROBA, 3), [[2, 1, 0], [1, 2, 1], [0, 1, 2]])
    Q = calibrated_joint(CODES, PROBA, 3)
    third = 4 / 3
    assert_allclose(Q, [[2 * third, third, 0], [1, 2, 1], [0, third, 2 * third]], atol=1e-12)
    joint = Q / len(CODES)
    expected = [[0.222222, 0.111111, 0], [0.083333, 0.166667, 0.083333], [0, 0.111111, 0.222222]]
    assert_allclose(joint, expected, atol=5e-7)
    assert_allclose(joint.sum(axis=0), [0.305556, 0.388889, 0.305556], atol=5e-7)


def test_of_several_confident_classes_the_most_probable_counts():
    assert_allclose(class_thresholds(COLLISION_CODES, COLLISION_PROBA, 3), [0.7, 0.3, 0.2])
    joint = confident_joint(COLLISION_CODES, COLLISION_PROBA, 3)
    assert_array_equal(joint, [[1, 1, 0], [0, 1, 1], [0, 0, 1]])


def test_nobody_is_confident_for_a_class_without_rows():
    proba = np.insert(PROBA, 1, 0.0, axis=1)
    proba[3] = [0.2, 0.8, 0, 0]
    codes = np.array([0, 2, 3])[CODES]
    assert np.isnan(class_thresholds(codes, proba, 4)[1])
    joint = confident_joint(codes, proba, 4)
    assert not joint[1].any()
    assert not joint[:, 1].any()
    assert not calibrated_joint(codes, proba, 4)[1].any()


def test_one_row_counts_for_a_class_whose_rows_are_all_confident_for_others():
    codes, proba = np.array([0, 0, 1, 1]), np.array([[0.8, 0.2]] * 2 + [[0.9, 0.1]] * 2)
    assert_array_equal(confident_joint(codes, proba, 2), [[2, 0], [2, 0]])
    assert_allclose(calibrated_joint(codes, proba, 2), [[2, 0], [4 / 3, 2 / 3]])


def test_calibrated_joint_does_not_count_rows_without_a_label():
    codes, labeled = CODES.copy(), np.ones(len(CODES), dtype=bool)
    codes[[2, 9]], labeled[[2, 9]] = -1, False
    expected = calibrated_joint(CODES[labeled], PROBA[labeled], 3)
    assert_array_equal(calibrated_joint(codes, PROBA, 3), expected)
    assert not np.allclose(expected, calibrated_joint(CODES, PROBA, 3))


@pytest.mark.parametrize("as_given", [np.float32, sparse.csr_array], ids=["float32", "sparse"])
def test_other_kinds_of_arrays_give_the_same_joint(as_given):
    proba = PROBA.astype(as_given) if as_given is np.float32 else as_given(PROBA)
    assert_array_equal(confident_joint(CODES, proba, 3), confident_joint(CODES, PROBA, 3))
    assert_allclose(calibrated_joint(CODES, proba, 3), calibrated_joint(CODES, PROBA, 3))


def test_a_joint_of_many_pieces_is_that_of_one(monkeypatch):
    whole = confident_joint(CODES, PROBA, 3)
    monkeypatch.setattr("sknoisy.noise.probabilities._PIECE_ENTRIES", 15)  # five rows
    assert_array_equal(confident_joint(CODES, PROBA, 3), whole)

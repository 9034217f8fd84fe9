"""Label health by class and pairs of confused classes, of a joint whose counts are known."""

import numpy as np
from audit_cases import CODES, JOINT
from numpy.testing import assert_allclose, assert_array_equal

from sknoisy.audit.classes import class_health, label_health, overlapping_pairs


def test_golden_health():
    assert_allclose(label_health(JOINT), 0.611111, atol=5e-7)
    health = class_health(JOINT)
    assert_allclose(health.noise, [0.333333, 0.5, 0.333333], atol=5e-7)
    assert_allclose(health.inverse_noise, [0.272727, 0.571429, 0.272727], atol=5e-7)


def test_golden_pairs():
    pairs = overlapping_pairs(JOINT)
    assert_array_equal(pairs.first, [0, 1])
    assert_array_equal(pairs.second, [1, 2])
    assert_allclose(pairs.share, [0.194444, 0.194444], atol=5e-7)


def test_health_of_rounded_counts_is_that_of_cleanlab():
    """cleanlab 2.9.0 rounds the counts; its health summary gives these numbers."""
    rounded = np.array([[3.0, 1, 0], [1, 2, 1], [0, 1, 3]])
    assert_allclose(label_health(rounded), 0.666667, atol=5e-7)
    assert_allclose(overlapping_pairs(rounded).share, [0.166667, 0.166667], atol=5e-7)


def test_numbers_are_those_of_known_true_labels(global_random_seed):
    """The joint of given and true labels, and the errors counted row by row."""
    rng = np.random.default_rng(global_random_seed)
    given, true = rng.integers(4, size=200), rng.integers(4, size=200)
    joint = np.zeros((4, 4))
    np.add.at(joint, (given, true), 1)
    wrong = given != true
    health, pairs = class_health(joint), overlapping_pairs(joint)
    assert_allclose(label_health(joint), 1 - wrong.mean())
    assert_array_equal(health.n_given, np.bincount(given))
    assert_array_equal(health.n_true, np.bincount(true))
    assert_array_equal(health.n_wrong, np.bincount(given[wrong]))
    assert_array_equal(health.n_missed, np.bincount(true[wrong]))
    assert_allclose(health.noise, [wrong[given == k].mean() for k in range(4)])
    assert_allclose(health.inverse_noise, [wrong[true == k].mean() for k in range(4)])
    assert pairs.n_rows.sum() == wrong.sum()
    assert_array_equal(pairs.n_rows, np.sort(pairs.n_rows)[::-1])
    worst = {pairs.first[0], pairs.second[0]}
    assert pairs.n_rows[0] == sum({g, t} == worst for g, t in zip(given, true, strict=True))
    assert (pairs.first < pairs.second).all()


def test_a_class_without_rows_has_no_noise_rate():
    joint = np.array([[3.0, 1, 0], [0, 0, 0], [0, 0, 2]])
    health = class_health(joint)
    assert_array_equal(health.noise, [0.25, np.nan, 0])
    assert_array_equal(health.inverse_noise, [0, 1, 0])
    assert np.isnan(class_health(np.diag([1.0, 0])).inverse_noise[1])


def test_right_labels_are_healthy():
    joint = np.diag(np.bincount(CODES).astype(float))
    assert label_health(joint) == 1
    assert len(overlapping_pairs(joint).first) == 0
    assert not class_health(joint).n_wrong.any()

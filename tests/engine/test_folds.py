"""Folds and halves of rows: by class, by group; standard errors of means over groups."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sknoisy._engine.folds import draw_folds, standard_error, stratified_half


def test_half_of_each_class_is_drawn():
    codes = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [1, 2, 9, 40]))
    halves = [stratified_half(codes, np.random.RandomState(seed)) for seed in (0, 0, 1)]
    for half in halves:
        assert_array_equal(np.bincount(codes[half]), [1, 1, 5, 20])
    assert_array_equal(halves[0], halves[1])
    assert (halves[0] != halves[2]).any()


def test_each_row_is_drawn_as_often_as_the_others_of_its_class():
    codes, rng = np.repeat(np.arange(2), [4, 9]), np.random.RandomState(0)
    share = np.mean([stratified_half(codes, rng) for _ in range(3000)], axis=0)
    expected = np.where(codes == 0, 1 / 2, 5 / 9)
    np.testing.assert_allclose(share, expected, atol=4 * np.sqrt(0.25 / 3000))


@pytest.mark.parametrize("n_folds", [2, 3, 5])
def test_folds_do_not_divide_groups_and_are_stratified(n_folds):
    rng = np.random.RandomState(0)
    groups = np.repeat(np.arange(60), 4)
    codes = np.repeat(rng.permutation(np.arange(60) % 3), 4)
    fold = draw_folds(codes, n_folds, rng, groups)
    assert set(fold) == set(range(n_folds))
    assert len(np.unique(np.stack([groups, fold]), axis=1).T) == 60
    shares = np.array([np.bincount(codes[fold == k], minlength=3) for k in range(n_folds)])
    assert np.ptp(shares, axis=0).max() <= 4  # one group
    half = stratified_half(codes, rng, groups)
    assert_array_equal(np.bincount(codes[half]), [40, 40, 40])
    assert set(np.bincount(groups, half)) == {0, 4}


def test_folds_of_groups_follow_the_random_state():
    codes, groups = np.arange(40) % 2, np.arange(40) // 2
    folds = [draw_folds(codes, 4, np.random.RandomState(s), groups) for s in (0, 0, 1)]
    assert_array_equal(folds[0], folds[1])
    assert (folds[0] != folds[2]).any()


@pytest.mark.parametrize("seed", range(5))
def test_every_class_is_left_where_a_fold_of_groups_is_held_out(seed):
    rng = np.random.RandomState(seed)
    groups = rng.randint(6, size=30)
    codes = (groups == 0) + 2 * (groups == 1) * rng.randint(2, size=30)
    fold = draw_folds(codes, 3, rng, groups)
    for k in range(3):
        assert set(codes[fold != k]) == set(codes)
    assert set(fold[groups == 0]) == {-1}


def test_no_more_folds_than_groups_and_none_of_one_group():
    codes = np.arange(20) % 2
    assert set(draw_folds(codes, 5, np.random.RandomState(0), np.arange(20) // 10)) == {0, 1}
    assert set(draw_folds(codes, 5, np.random.RandomState(0), np.zeros(20, int))) == {-1}


def test_standard_error_of_groups():
    rng = np.random.RandomState(0)
    values = rng.normal(size=50)
    single = standard_error(values)
    assert np.isclose(standard_error(values, np.arange(50)), single)
    # Copies of the rows say nothing new.
    copies = np.repeat(values, 4), np.repeat(np.arange(50), 4)
    assert np.isclose(standard_error(*copies), single)
    assert standard_error(copies[0]) < 0.6 * single

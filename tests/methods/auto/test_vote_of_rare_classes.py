"""The vote on rare classes: probabilities are raised until a class keeps its size."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sknoisy.methods.auto.vote import count_votes

N = 400


def votes(n_classes=3, n_rare=30, separated=True):
    """Return probabilities in which the last class is never the most probable one."""
    rng = np.random.default_rng(0)
    codes = np.r_[rng.integers(n_classes - 1, size=N - n_rare), np.full(n_rare, n_classes - 1)]
    proba = rng.dirichlet([1.0] * (n_classes - 1), size=N)
    proba[np.arange(N), codes % (n_classes - 1)] += 1
    rare = rng.uniform(0.001, 0.02, size=N)
    rare[-n_rare:] = np.quantile(rare[:-n_rare], (np.arange(n_rare) + 0.5) / n_rare)
    if separated:
        rare[-n_rare:] += 0.05
    proba *= ((1 - rare) / proba.sum(axis=1))[:, None]
    return np.c_[proba, rare], codes


def count(proba, codes, out_of_bag=None, **changed):
    given = {"share": np.full(N, 0.3), "counted": np.ones(N, bool)} | changed
    out_of_bag = proba if out_of_bag is None else out_of_bag
    return count_votes(proba, out_of_bag, codes, **given)


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_a_rare_class_whose_rows_stand_out_has_as_many_rows_as_before(n_classes):
    proba, codes = votes(n_classes)
    plain = (proba + 0.3 * np.eye(n_classes)[codes]).argmax(axis=1)
    labels = count(proba, codes).argmax(axis=1)
    is_rare = codes == n_classes - 1
    assert 2 * np.sum(plain == n_classes - 1) < is_rare.sum() == np.sum(labels == n_classes - 1)
    assert labels[is_rare].mean() > 0.9 * (n_classes - 1)
    others = ~is_rare & (labels != n_classes - 1)
    np.testing.assert_array_equal(labels[others], plain[others])


def test_a_rare_class_whose_rows_are_like_others_shrinks():
    proba, codes = votes(separated=False)
    expected = proba + 0.3 * np.eye(3)[codes]
    assert_allclose(count(proba, codes), expected / 1.3)


def test_classes_that_keep_their_sizes_are_counted_as_the_formula_says():
    rng = np.random.default_rng(0)
    codes, proba = np.arange(N) % 3, rng.dirichlet([1.0] * 3, size=N)
    proba = (proba + 2 * np.eye(3)[codes]) / 3
    share = rng.uniform(0.1, 0.9, size=N)
    expected = proba + share[:, None] * np.eye(3)[codes]
    expected /= expected.sum(axis=1, keepdims=True)
    assert_allclose(count(proba, codes, share=share), expected, rtol=1e-15)


def test_rows_that_do_not_count_have_no_part_in_the_size():
    proba, codes = votes()
    proba = np.r_[proba, proba[-6:]]
    codes = np.r_[codes, codes[-6:]]
    share, counted = np.full(N + 6, 0.3), np.arange(N + 6) < N
    found = count_votes(proba, proba, codes, share, counted)
    assert_allclose(found[:N], count(proba[:N], codes[:N]))

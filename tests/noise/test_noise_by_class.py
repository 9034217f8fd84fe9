"""Class-conditional noise and transition matrices: counts, maps, groups, estimates."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sknoisy import noise

N = 100_000
Y = np.random.default_rng(0).integers(10, size=N)
TRUE_GROUPS = noise.CIFAR100_SUPERCLASSES

# Coarse label of the fine ids 0..99, as the training file of CIFAR-100 pairs the two.
COARSE_OF_FINE = """
4 1 14 8 0 6 7 7 18 3 3 14 9 18 7 11 3 9 7 11 6 11 5 10 7 6 13 15 3 15 0 11 1 10 12
14 16 9 11 5 5 19 8 8 15 13 14 17 18 10 16 4 17 4 2 0 17 4 18 17 10 3 2 12 12 16 12 1
9 19 2 10 0 1 16 12 9 13 15 13 16 19 2 4 6 19 5 5 8 19 18 1 2 15 6 0 17 8 14 13
"""


# Symmetric


@pytest.mark.parametrize("n_classes", [2, 10, 100])
@pytest.mark.parametrize("rate", [0.2, 0.8])
def test_inclusive_is_exclusive_at_a_smaller_rate(n_classes, rate):
    inclusive = noise.symmetric_transition(n_classes, rate, include_true=True)
    exclusive = noise.symmetric_transition(n_classes, rate * (1 - 1 / n_classes))
    assert_allclose(inclusive, exclusive, atol=1e-12)
    assert noise.noise_rate(inclusive) == pytest.approx(rate * (1 - 1 / n_classes))


def test_rate_one():
    assert noise.symmetric(Y, 1, random_state=0).mask.all()
    unchanged = 1 - noise.symmetric(Y, 1, include_true=True, random_state=0).mask.mean()
    assert abs(unchanged - 0.1) < 4 * math.sqrt(0.1 * 0.9 / N)


def test_exclusive_noise_of_rate_nine_tenths_carries_no_information():
    assert_allclose(noise.symmetric_transition(10, 0.9), 0.1, atol=1e-15)


@pytest.mark.parametrize("n", [100, 997])
@pytest.mark.parametrize("rate", [0.29, 0.4])
def test_exact_count(n, rate):
    # 0.29 * 100 is 28.999999999999996 in floating point, and still 29 samples.
    selected = 29 * n // 100 if rate == 0.29 else 4 * n // 10
    y = Y[:n]
    exclusive = noise.symmetric(y, rate, exact_count=True, random_state=0)
    assert exclusive.mask.sum() == selected
    assert_allclose(exclusive.transition, noise.symmetric_transition(10, selected / n))
    inclusive = [
        noise.symmetric(y, rate, include_true=True, exact_count=True, random_state=s).mask.sum()
        for s in range(5)
    ]
    assert 0 < min(inclusive) < selected
    assert max(inclusive) <= selected


@pytest.mark.parametrize("include_true", [False, True])
def test_balanced_count_deals_replacements_out_evenly(include_true):
    y = np.repeat(np.arange(10), 50)
    result = noise.symmetric(
        y, 0.45, exact_count="balanced", include_true=include_true, random_state=0
    )
    # 22 of the 50 labels of a class are replaced, by the 9 wrong (or all 10) classes in turn.
    confusion = np.histogram2d(y, result.y, bins=10)[0]
    wrong = confusion[~np.eye(10, dtype=bool)]
    assert set(wrong) == {2, 3}
    kept = confusion.diagonal()
    assert set(kept) <= ({28 + 2, 28 + 3} if include_true else {28})


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match="exact_count='yes'"):
        noise.symmetric(Y, 0.2, exact_count="yes")
    with pytest.raises(ValueError, match="exact='ceil'"):
        noise.class_map(Y, {}, 0.2, exact="ceil")
    with pytest.raises(ValueError, match="mode='last'"):
        noise.superclass(Y, [[0, 1]], 0.2, mode="last")
    with pytest.raises(ValueError, match="n_targets=10"):
        noise.random_map(Y, 0.2, n_targets=10)


# Pairflip, maps, groups


def test_pairflip_of_rate_one_is_a_cyclic_permutation():
    P = noise.pairflip_transition(10, 1)
    assert_array_equal(np.linalg.matrix_power(P, 10), np.eye(10))
    assert_array_equal(noise.pairflip(Y, 1).y, (Y + 1) % 10)


@pytest.mark.parametrize("exact", [False, "per_class", "per_class_floor", "global"])
def test_asymmetric_cifar10(exact):
    result = noise.class_map(Y, noise.CIFAR10_ASYMMETRIC, 0.4, exact=exact, random_state=0)
    clean = np.isin(Y, [0, 1, 6, 7, 8])
    assert not result.mask[clean].any()
    assert_array_equal(result.transition[[0, 1, 6, 7, 8]], np.eye(10)[[0, 1, 6, 7, 8]])
    flips = np.unique(np.column_stack([Y, result.y])[result.mask], axis=0)
    assert flips.tolist() == [[2, 0], [3, 5], [4, 7], [5, 3], [9, 1]]
    affected = 1 - clean.mean()
    tolerance = 4 * math.sqrt(0.4 * 0.6 / N)
    assert abs(result.mask.mean() - 0.4 * affected) < tolerance
    assert noise.noise_rate(noise.class_map_transition(10, noise.CIFAR10_ASYMMETRIC, 0.4)) == 0.2


def test_one_way_map_leaves_dogs_clean():
    result = noise.class_map(Y, noise.CIFAR10_ASYMMETRIC_ONE_WAY, 0.4, random_state=0)
    assert not result.mask[Y == 5].any()
    assert (result.y[Y == 3] == 5).any()
    one_way = noise.class_map_transition(10, noise.CIFAR10_ASYMMETRIC_ONE_WAY, 0.4)
    assert noise.noise_rate(one_way) == pytest.approx(0.4 * 4 / 10)


def test_exact_counts_per_class_round_up_or_down():
    y = np.repeat([0, 1, 2], [7, 10, 5])
    rounded = {
        exact: noise.class_map(y, {0: 1, 1: 2}, 0.3, exact=exact, random_state=0)
        for exact in ("per_class", "per_class_floor", "global")
    }
    counts = {
        exact: np.bincount(y[result.mask], minlength=3).tolist()
        for exact, result in rounded.items()
    }
    assert counts["per_class"] == [3, 3, 0]  # ceil(2.1), 3
    assert counts["per_class_floor"] == [2, 3, 0]
    assert sum(counts["global"]) <= 6  # floor(6.6) are selected, class 2 among them
    assert rounded["per_class"].transition[0, 1] == pytest.approx(3 / 7)
    assert rounded["global"].transition[0, 1] == pytest.approx(6 / 22)


def test_global_count_is_random_per_class():
    y = np.repeat([0, 1], 500)
    counts = {
        int(noise.class_map(y, {0: 1}, 0.4, exact="global", random_state=s).mask.sum())
        for s in range(10)
    }
    assert len(counts) > 1
    # Hypergeometric: 400 of 1000 drawn, 500 of class 0; variance 400 / 4 * 600 / 999.
    assert all(abs(n - 200) < 4 * math.sqrt(400 / 4 * 600 / 999) for n in counts)


def test_mnist_map():
    P = noise.class_map_transition(10, noise.MNIST_ASYMMETRIC, 1)
    assert P.argmax(axis=1).tolist() == [0, 1, 7, 8, 4, 6, 5, 1, 8, 9]


def test_cifar100_superclasses_are_those_of_the_data_set():
    coarse = np.array([int(label) for label in COARSE_OF_FINE.split()])
    for index, members in enumerate(TRUE_GROUPS.values()):
        assert_array_equal(members, np.flatnonzero(coarse == index))
    assert noise.CIFAR100_CLASSES[0] == "apple"
    assert noise.CIFAR100_CLASSES[99] == "worm"


def test_true_superclasses_hold_the_flips_and_blocks_do_not():
    y = np.random.default_rng(0).integers(100, size=N)
    group_of = np.empty(100, dtype=int)
    for index, members in enumerate(TRUE_GROUPS.values()):
        group_of[list(members)] = index
    for mode in ("next", "uniform"):
        result = noise.superclass(y, TRUE_GROUPS, 0.4, mode=mode, random_state=0)
        assert_array_equal(group_of[result.y], group_of[y])
        assert abs(result.mask.mean() - 0.4) < 4 * math.sqrt(0.24 / N)
    block = noise.superclass(y, noise.CIFAR100_BLOCKS, 0.4, random_state=0)
    assert (group_of[block.y] != group_of[y]).any()
    assert_array_equal(block.y // 5, y // 5)
    changed = block.mask
    assert_array_equal(block.y[changed] % 5, (y[changed] + 1) % 5)


def test_uniform_superclass_rows():
    P = noise.superclass_transition(100, TRUE_GROUPS, 0.4, mode="uniform")
    beaver_group = list(TRUE_GROUPS["aquatic_mammals"])
    assert_allclose(P[beaver_group[0], beaver_group], [0.6, 0.1, 0.1, 0.1, 0.1])
    assert noise.noise_rate(P) == pytest.approx(0.4)


def test_groups_must_not_overlap_nor_leave_the_classes():
    with pytest.raises(ValueError, match=r"class \[1\] more than once"):
        noise.superclass_transition(3, [[0, 1], [1, 2]], 0.2)
    with pytest.raises(ValueError, match=r"outside 0\.\.2"):
        noise.superclass_transition(3, [[0, 3]], 0.2)
    with pytest.raises(ValueError, match=r"class 3, outside 0\.\.2"):
        noise.class_map_transition(3, {0: 3}, 0.2)


def test_classes_alone_or_in_no_group_stay_clean():
    P = noise.superclass_transition(4, [[0, 1], [2]], 1)
    assert_array_equal(P, [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("n_targets", [1, 2, 9])
def test_random_map_has_a_seed_of_its_own(n_targets):
    first, second = (noise.random_map(Y, 0.3, n_targets, random_state=s) for s in (0, 1))
    assert_array_equal(first.transition, second.transition)
    assert (first.y != second.y).any()
    off_diagonal = np.where(np.eye(10), 0, first.transition)
    assert ((off_diagonal > 0).sum(axis=1) == n_targets).all()
    assert_allclose(off_diagonal[off_diagonal > 0], 0.3 / n_targets)
    other = noise.random_map(Y, 0.3, n_targets, map_seed=2, random_state=0)
    assert np.array_equal(other.transition, first.transition) == (n_targets == 9)


# Transition matrices as such


def test_noise_rate_weighs_classes_by_the_prior():
    P = noise.class_map_transition(2, {0: 1}, 0.5)
    assert noise.noise_rate(P) == 0.25
    assert noise.noise_rate(P, [0.9, 0.1]) == pytest.approx(0.45)
    assert noise.noise_rate(P, [90, 10]) == pytest.approx(0.45)
    for prior in ([1], [0, 0], [-1, 2], [np.nan, 1]):
        with pytest.raises(ValueError, match="prior"):
            noise.noise_rate(P, prior)


def test_estimate_inverts_sampling():
    P = noise.random_map_transition(10, 0.4, n_targets=2)
    estimate = noise.estimate_transition(Y, noise.from_transition(Y, P, random_state=0).y)
    sigma = np.sqrt(P * (1 - P) / np.bincount(Y)[:, None])
    assert (np.abs(estimate - P) <= 4 * sigma).all()


def test_estimate_of_few_labels():
    P = noise.estimate_transition(["a", "a"], ["a", "c"], classes=["a", "b", "c"])
    assert_array_equal(P, [[0.5, 0, 0.5], [0, 1, 0], [0, 0, 1]])
    with pytest.raises(ValueError, match="2 clean but 3 noisy"):
        noise.estimate_transition([0, 1], [0, 1, 1])
    with pytest.raises(TypeError, match="different types"):
        noise.estimate_transition([0, 1], ["0", "1"])


@pytest.mark.parametrize(
    ("P", "message"),
    [
        (np.eye(3), "shape"),
        (np.ones(2), "shape"),
        ([[0.9, 0.1], [0.3, 1.0]], "Row 1 .* sums to 1.3"),
        ([[1.5, -0.5], [0, 1]], "negative"),
        ([[np.nan, 1], [0, 1]], "non-finite"),
    ],
)
def test_invalid_transition_matrices_are_refused(P, message):
    with pytest.raises(ValueError, match=message):
        noise.from_transition([0, 1, 1, 0], P)


class AlwaysZero(np.random.Generator):
    """The smallest uniform draw, which falls on the first step of every distribution."""

    def random(self, size=None):
        return np.zeros(size)


@pytest.mark.parametrize("by_sample", [False, True])
def test_classes_of_probability_zero_are_never_drawn(by_sample):
    P = np.array([[0, 1, 0], [0, 0, 1], [0, 0.5, 0.5]])
    y = [0, 1, 2, 2]
    zeros = AlwaysZero(np.random.PCG64())
    result = noise.from_transition(y, P[y] if by_sample else P, random_state=zeros)
    assert result.y.tolist() == [1, 2, 1, 1]


def test_from_transition_does_not_share_memory():
    P = np.eye(2)
    result = noise.from_transition([0, 1], P)
    result.transition[:] = 0
    assert_array_equal(P, np.eye(2))


def test_human_labels_take_the_form_of_the_others():
    clean, given = np.array([0, 0, 0, 1]), np.array([0, 1, 0, 1])
    result = noise.human(clean, given)
    assert_array_equal(result.y, given)
    assert_array_equal(result.mask, [False, True, False, False])
    assert_allclose(result.transition, [[2 / 3, 1 / 3], [0, 1]])
    result.y[:] = 9
    assert_array_equal(given, [0, 1, 0, 1])

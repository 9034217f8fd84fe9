"""Label-noise generators against their transition matrices, limits and published definitions."""

import zlib

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sknoisy import noise

N = 100_000
Y = np.random.default_rng(0).integers(10, size=N)
POSTERIOR = np.random.default_rng(1).dirichlet(np.ones(10), size=N)

# Every generator as a function of labels, rate and seed alone, on ten classes 0..9.
GENERATORS = {
    "symmetric": noise.symmetric,
    "symmetric, true class included": lambda y, r, **kw: noise.symmetric(
        y, r, include_true=True, **kw
    ),
    "symmetric, exact": lambda y, r, **kw: noise.symmetric(y, r, exact_count=True, **kw),
    "symmetric, balanced": lambda y, r, **kw: noise.symmetric(y, r, exact_count="balanced", **kw),
    "pairflip": noise.pairflip,
    "class_map": lambda y, r, **kw: noise.class_map(y, noise.CIFAR10_ASYMMETRIC, r, **kw),
    "class_map, per class": lambda y, r, **kw: noise.class_map(
        y, noise.CIFAR10_ASYMMETRIC, r, exact="per_class", **kw
    ),
    "class_map, floor": lambda y, r, **kw: noise.class_map(
        y, noise.CIFAR10_ASYMMETRIC, r, exact="per_class_floor", **kw
    ),
    "class_map, global": lambda y, r, **kw: noise.class_map(
        y, noise.CIFAR10_ASYMMETRIC, r, exact="global", **kw
    ),
    "superclass, next": lambda y, r, **kw: noise.superclass(y, [[0, 1, 8, 9], [2, 6]], r, **kw),
    "superclass, uniform": lambda y, r, **kw: noise.superclass(
        y, {"vehicles": [0, 1, 8, 9], "pets": [3, 5]}, r, mode="uniform", **kw
    ),
    "flip": noise.random_map,
    "flip2": lambda y, r, **kw: noise.random_map(y, r, n_targets=2, **kw),
    "from_transition": lambda y, r, **kw: noise.from_transition(
        y, noise.symmetric_transition(10, r), **kw
    ),
    "from_transition, per sample": lambda y, r, **kw: noise.from_transition(
        y, noise.symmetric_transition(10, r)[np.asarray(y)], **kw
    ),
    "instance_dependent": lambda y, r, **kw: noise.instance_dependent(
        np.linspace(-1, 1, len(y))[:, None] * [1, 2, 3], y, r, **kw
    ),
    "polynomial_margin": lambda y, r, **kw: noise.polynomial_margin(
        y, np.eye(10)[np.asarray(y)] * 0.6 + POSTERIOR[: len(y)] * 0.4, r, **kw
    ),
}
every_generator = pytest.mark.parametrize("generate", GENERATORS.values(), ids=GENERATORS)


def per_sample(result, y):
    """Return the transition matrix with one row per sample."""
    P = result.transition
    return P if len(P) == len(y) else P[y]


def assert_follows_transition(result, y):
    """Check that the confusion matrix lies within 4 standard errors of P, and is 0 where P is.

    Small counts are not normal: 16/3 is what Bernstein's inequality adds for them.
    """
    P = per_sample(result, y)
    for k in range(10):
        rows = y == k
        expected = P[rows].sum(axis=0)
        sigma = np.sqrt((P[rows] * (1 - P[rows])).sum(axis=0))
        seen = np.bincount(result.y[rows], minlength=10)
        assert (np.abs(seen - expected) <= 4 * sigma + 16 / 3).all(), k
        assert (seen[expected == 0] == 0).all(), k


# What holds for every generator


@every_generator
def test_transition_is_stochastic_and_the_labels_follow_it(generate):
    result = generate(Y, 0.3, random_state=0)
    assert (result.transition >= 0).all()
    assert_allclose(result.transition.sum(axis=1), 1, atol=1e-12)
    assert_array_equal(result.mask, result.y != Y)
    assert_follows_transition(result, Y)


@every_generator
def test_rate_zero_changes_nothing(generate):
    result = generate(Y[:500], 0, random_state=0)
    assert_array_equal(result.y, Y[:500])
    assert not result.mask.any()
    assert_array_equal(per_sample(result, Y[:500]), np.eye(10)[Y[:500]])


@every_generator
def test_seed_alone_decides(generate):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    y = Y[:2000].copy()
    first, second = (generate(y, 0.4, random_state=7) for _ in range(2))
    assert_array_equal(first.y, second.y)
    assert_array_equal(first.transition, second.transition)
    assert (generate(y, 0.4, random_state=8).y != first.y).any()
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert_array_equal(y, Y[:2000])


@every_generator
def test_generator_and_random_state_objects_are_drawn_from(generate):
    y = Y[:2000]
    for make in (np.random.default_rng, np.random.RandomState):
        expected = generate(y, 0.4, random_state=make(3)).y
        source = make(3)
        assert_array_equal(generate(y, 0.4, random_state=source).y, expected)
        assert (generate(y, 0.4, random_state=source).y != expected).any(), "did not advance"


@every_generator
@pytest.mark.parametrize("rate", [-0.1, 1.1, np.nan, "0.4", True])
def test_rate_outside_the_unit_interval_is_refused(generate, rate):
    with pytest.raises(ValueError, match="must be a number from 0 to 1"):
        generate(Y[:100], rate)


def test_labels_are_the_same_on_every_platform():
    """One uniform PCG64 number per label through the distribution function of its row of P.

    The stream is that of seed 0, spawned with the name of the function. Its first three numbers
    are the same wherever numpy runs.
    """
    seed = np.random.SeedSequence(0, spawn_key=(zlib.crc32(b"symmetric"),))
    uniform = np.random.default_rng(seed).random(10)
    assert_allclose(uniform[:3], [0.1233318839, 0.0178665605, 0.8024091309], atol=1e-10)
    P = noise.symmetric_transition(10, 0.5)
    by_hand = [int(np.flatnonzero(np.cumsum(P[i]) > u)[0]) for i, u in enumerate(uniform)]
    assert noise.symmetric(np.arange(10), 0.5, random_state=0).y.tolist() == by_hand


# Label types


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["ant", "bee", "caterpillar"]),
        np.array(["ant", "bee", "caterpillar"], dtype=object),
        np.array([-1, 5, 300], dtype=np.int16),
        np.array([0.0, 1.0, 2.0], dtype=np.float32),
        np.array([3, 4, 5], dtype=object),
    ],
    ids=lambda labels: str(labels.dtype),
)
def test_labels_of_any_type_give_the_noise_of_their_codes(labels):
    codes = Y[:300] % 3
    result = noise.symmetric(labels[codes], 0.5, random_state=0)
    assert result.y.dtype == labels.dtype
    assert_array_equal(result.y, labels[noise.symmetric(codes, 0.5, random_state=0).y])


def test_two_classes_of_bool():
    y = np.array([True, False, True, True])
    result = noise.pairflip(y, 1)
    assert result.y.dtype == bool
    assert_array_equal(result.y, ~y)


@pytest.mark.parametrize(
    "wrap",
    [list, pd.Series, pl.Series, lambda y: pd.Series(y, dtype="category"), lambda y: y[:, None]],
    ids=["list", "pandas", "polars", "categorical", "column"],
)
@pytest.mark.filterwarnings("ignore:A column-vector y")
def test_containers_of_labels(wrap):
    y = np.array(["a", "b", "c"])[Y[:60] % 3]
    result = noise.pairflip(wrap(y), 1)
    assert_array_equal(result.y.astype(str), np.array(["b", "c", "a"])[Y[:60] % 3])


def test_classes_set_the_order_and_may_be_absent():
    sizes = ["small", "medium", "large"]
    result = noise.pairflip(["small", "medium"], 1, classes=sizes)
    assert result.y.tolist() == ["medium", "large"]
    assert_array_equal(result.transition, [[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    narrow = noise.pairflip(np.array([254, 255], dtype=np.uint8), 1, classes=[254, 255, 256])
    assert narrow.y.tolist() == [255, 256]


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([], ValueError, "empty"),
        ([0.5, 1.5], ValueError, "discrete"),
        ([1.0, np.nan], ValueError, "NaN|missing"),
        (["a", None], TypeError, "missing labels"),
        (np.array([1, np.nan], dtype=object), ValueError, "missing"),
        ([[0, 1], [1, 0]], ValueError, "1d"),
        ([3, 3], ValueError, "at least two classes"),
    ],
)
def test_unusable_labels_are_refused(y, error, message):
    with pytest.raises(error, match=message):
        noise.symmetric(y, 0.3)


def test_wrong_classes_are_refused():
    with pytest.raises(ValueError, match=r"y holds \[2\], not among classes"):
        noise.symmetric([0, 1, 2], 0.3, classes=[0, 1])
    with pytest.raises(ValueError, match="twice"):
        noise.symmetric([0, 1], 0.3, classes=[0, 1, 1])
    with pytest.raises(ValueError, match="convert one side"):
        noise.class_map(["7", "1"], noise.MNIST_ASYMMETRIC, 0.3)
    with pytest.raises(ValueError, match=r"groups names \[9\]"):
        noise.superclass([0, 1], [[0, 9]], 0.3)

"""The built-in data sets."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_digits, make_classification

from sknoisy import noise
from sknoisy.datasets import load_noisy_digits, make_noisy_classification


def test_digits_are_those_of_scikit_learn_with_the_noise_asked_for():
    digits, clean = load_noisy_digits(rate=0.3, random_state=0), load_digits()
    assert_array_equal(digits.data, clean.data)
    assert_array_equal(digits.images.reshape(1797, 64), clean.data)
    assert_array_equal(digits.target_clean, clean.target)
    expected = noise.symmetric(clean.target, 0.3, random_state=0)
    assert_array_equal(digits.target, expected.y)
    assert_array_equal(digits.noise_mask, expected.mask)
    assert_array_equal(digits.transition, expected.transition)
    assert f"{expected.mask.mean():.1%} wrong" in digits.DESCR
    X, y = load_noisy_digits(rate=0.3, random_state=0, return_X_y=True)
    assert_array_equal(X, clean.data)
    assert_array_equal(y, expected.y)


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("pairflip", None, lambda X, y, s: noise.pairflip(y, 0.3, random_state=s)),
        (
            "class_map",
            None,
            lambda X, y, s: noise.class_map(y, noise.MNIST_ASYMMETRIC, 0.3, random_state=s),
        ),
        (
            "class_map",
            {"mapping": {0: 8}, "exact": "per_class"},
            lambda X, y, s: noise.class_map(y, {0: 8}, 0.3, exact="per_class", random_state=s),
        ),
        (
            "superclass",
            {"groups": [[0, 6, 8]]},
            lambda X, y, s: noise.superclass(y, [[0, 6, 8]], 0.3, random_state=s),
        ),
        (
            "random_map",
            {"n_targets": 2},
            lambda X, y, s: noise.random_map(y, 0.3, 2, random_state=s),
        ),
        (
            "instance_dependent",
            {"scale": 0.1},
            lambda X, y, s: noise.instance_dependent(X, y, 0.3, scale=0.1, random_state=s),
        ),
    ],
)
def test_noise_by_name_is_the_function_of_that_name(name, params, expected):
    digits = load_noisy_digits(noise=name, rate=0.3, noise_params=params, random_state=5)
    expected = expected(digits.data, digits.target_clean, 5)
    assert_array_equal(digits.target, expected.y)
    assert_array_equal(digits.transition, expected.transition)


def test_no_noise_and_wrong_noise():
    digits = load_noisy_digits(noise=None)
    assert_array_equal(digits.target, digits.target_clean)
    with pytest.raises(ValueError, match="noise='asym' must be None or one of"):
        load_noisy_digits(noise="asym")
    with pytest.raises(ValueError, match=r"needs noise_params=\{'groups'"):
        load_noisy_digits(noise="superclass")
    with pytest.raises(ValueError, match="rate=2"):
        make_noisy_classification(rate=2)


def test_classification_problem_depends_on_the_seed_alone():
    seed = 3
    X, y, y_clean = make_noisy_classification(500, 10, n_classes=4, rate=0.3, random_state=seed)
    again = make_noisy_classification(500, 10, n_classes=4, rate=0.3, random_state=seed)
    for first, second in zip((X, y, y_clean), again, strict=True):
        assert_array_equal(first, second)
    assert abs((y != y_clean).mean() - 0.3) < 4 * np.sqrt(0.21 / 500)
    other = make_noisy_classification(
        500, 10, n_classes=4, noise="pairflip", rate=0.1, random_state=seed
    )
    assert_array_equal(other[0], X)
    assert_array_equal(other[2], y_clean)
    flipped = other[1] != other[2]
    assert_array_equal(other[1][flipped], (other[2][flipped] + 1) % 4)


def test_classification_problem_is_scikit_learns_without_flips():
    seed = int(np.random.default_rng(3).integers(2**31))
    X, y = make_classification(
        300,
        12,
        n_informative=6,
        n_redundant=0,
        n_classes=3,
        n_clusters_per_class=1,
        weights=[0.6, 0.3, 0.1],
        flip_y=0,
        class_sep=2.0,
        random_state=seed,
    )
    mine = make_noisy_classification(
        300,
        12,
        class_sep=2.0,
        weights=[0.6, 0.3, 0.1],
        noise=None,
        random_state=np.random.default_rng(3),
    )
    assert_array_equal(mine[0], X)
    assert_array_equal(mine[1], y)
    assert_array_equal(mine[2], y)
    assert np.bincount(mine[2]).tolist() == [180, 90, 30]


def test_many_classes_get_enough_informative_features():
    _, _, y_clean = make_noisy_classification(200, 4, n_classes=10, random_state=0)
    assert len(np.unique(y_clean)) == 10
    with pytest.raises(ValueError, match="n_classes"):
        make_noisy_classification(200, 4, n_classes=10, n_informative=3)

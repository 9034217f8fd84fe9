"""Noise does not depend on labels that were drawn with the same seed."""

import inspect
import random

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency

from sknoisy import noise
from sknoisy._engine.construction import random_state_of
from sknoisy.datasets import make_long_tailed

N = 2000
SHARES = [0.25, 0.25, 0.5]


def from_numbers(uniform):
    """Return labels of three classes from numbers between 0 and 1."""
    return np.searchsorted(np.cumsum(SHARES)[:-1], np.asarray(uniform), side="right")


def drawn_by_torch(seed):
    return torch.Generator().manual_seed(seed)


DRAWS = {
    "Generator.choice": lambda s: np.random.default_rng(s).choice(3, N, p=SHARES),
    "Generator.random": lambda s: from_numbers(np.random.default_rng(s).random(N)),
    "Generator.integers": lambda s: np.random.default_rng(s).integers(3, size=N),
    "Generator.permutation": lambda s: np.random.default_rng(s).permutation(np.arange(N) % 3),
    "Generator.normal": lambda s: np.digitize(
        np.random.default_rng(s).normal(size=N), [-0.5, 0.5]
    ),
    "RandomState.choice": lambda s: np.random.RandomState(s).choice(3, N, p=SHARES),
    "RandomState.rand": lambda s: from_numbers(np.random.RandomState(s).rand(N)),
    "RandomState.randint": lambda s: np.random.RandomState(s).randint(3, size=N),
    "random": lambda s: from_numbers([draw.random() for draw in [random.Random(s)] * N]),
    "torch": lambda s: from_numbers(torch.rand(N, generator=drawn_by_torch(s)).numpy()),
}
GENERATORS = {
    "symmetric": lambda y, s: noise.symmetric(y, 0.5, random_state=s),
    "pairflip": lambda y, s: noise.pairflip(y, 0.5, random_state=s),
    "class_map": lambda y, s: noise.class_map(y, {0: 1, 1: 2, 2: 0}, 0.5, random_state=s),
    "superclass": lambda y, s: noise.superclass(y, [[0, 1, 2]], 0.5, random_state=s),
    "random_map": lambda y, s: noise.random_map(y, 0.5, random_state=s),
    "from_transition": lambda y, s: noise.from_transition(
        y, (np.ones((3, 3)) + np.eye(3)) / 4, random_state=s
    ),
    "instance_dependent": lambda y, s: noise.instance_dependent(
        np.random.default_rng(s + 1).normal(size=(N, 4)), y, 0.5, random_state=s
    ),
    "polynomial_margin": lambda y, s: noise.polynomial_margin(
        y, (np.eye(3)[y] + 1) / 4, rate=0.5, random_state=s
    ),
}


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("draw", DRAWS)
def test_the_seed_that_drew_the_labels_does_not_steer_the_noise(draw, generator):
    """The count of changed labels, class by class, is as a coin of the right bias gives it."""
    for seed in range(2):
        y = DRAWS[draw](seed)
        changed = GENERATORS[generator](y, seed).mask
        assert abs(changed.mean() - 0.5) < 5 * 0.5 / np.sqrt(N)
        table = np.array([np.bincount(changed[y == k], minlength=2) for k in range(3)])
        assert chi2_contingency(table).pvalue > 1e-5
        halves = np.array_split(changed, 2)
        assert abs(halves[0].mean() - halves[1].mean()) < 5 / np.sqrt(N)


def test_every_generator_that_takes_a_seed_is_tried():
    public = {name: getattr(noise, name) for name in noise.__all__}
    seeded = {
        name
        for name, function in public.items()
        if inspect.isfunction(function)
        and "random_state" in inspect.signature(function).parameters
    }
    assert seeded - {"bootstrap_interval"} == set(GENERATORS)  # it draws rows, no labels


@pytest.mark.parametrize("draw", DRAWS)
def test_rows_of_a_long_tail_do_not_depend_on_the_seed_of_the_labels(draw):
    y = DRAWS[draw](0)
    _, _, kept = make_long_tailed(np.zeros((N, 1)), y, 4, random_state=0)
    thinned = np.isin(np.arange(N), kept)[y == 2]
    first, second = np.array_split(thinned, 2)
    assert abs(first.mean() - second.mean()) < 5 / np.sqrt(len(thinned))


def test_estimators_draw_from_a_stream_of_their_own():
    own = random_state_of(3).random_sample(100)
    for theirs in (np.random.RandomState(3).rand(100), np.random.default_rng(3).random(100)):
        assert np.isin(own, theirs).sum() == 0
    np.testing.assert_array_equal(own, random_state_of(3).random_sample(100))
    np.testing.assert_array_equal(own, random_state_of(np.int64(3)).random_sample(100))

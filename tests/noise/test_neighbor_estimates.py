"""Transition matrix by neighbours, against its equations and known matrices."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import approx_fprime

from sknoisy import noise
from sknoisy.noise import bootstrap_interval, estimate_transition_matrix
from sknoisy.noise._neighbors import _Agreement, neighbor_codes, neighbors_estimates

TRANSITION = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6]])
SHARES = np.array([0.5, 0.3, 0.2])


def population():
    """Return the frequencies of labels, pairs and triples under TRANSITION and SHARES."""
    T = TRANSITION
    return (
        SHARES @ T,
        np.einsum("i,ik,il->kl", SHARES, T, T),
        np.einsum("i,ik,il,im->klm", SHARES, T, T, T),
    )


def make_problem(transition, seed, n=3000):
    """Return noisy labels and features of well separated classes."""
    n_classes, rng = len(transition), np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n)
    X = 10 * np.eye(n_classes)[y] + rng.normal(size=(n, n_classes))
    return noise.from_transition(y, transition, random_state=seed).y, X


def test_population_of_the_worked_example():
    of_one, of_two, of_three = population()
    assert_allclose(of_one, [0.48, 0.32, 0.2])
    pairs = [[0.334, 0.088, 0.058], [0.088, 0.17, 0.062], [0.058, 0.062, 0.08]]
    assert_allclose(of_two, pairs)
    triples = [[0.2586, 0.041, 0.0344], [0.041, 0.0352, 0.0118], [0.0344, 0.0118, 0.0118]]
    assert_allclose(of_three[0], triples)


def test_population_gives_back_its_matrix_and_shares():
    agreement = _Agreement(3)
    frequencies = [c[tuple(cells)] for c, cells in zip(population(), agreement.cells, strict=True)]
    transition, shares, _ = agreement.fit(frequencies)
    assert_allclose(transition, TRANSITION, atol=5e-7)
    assert_allclose(shares, SHARES, atol=5e-7)


def test_jacobian_is_that_of_finite_differences():
    rng, agreement = np.random.default_rng(0), _Agreement(3)
    frequencies = [c[tuple(k)] for c, k in zip(population(), agreement.cells, strict=True)]
    logits = rng.normal(size=12)
    numeric = approx_fprime(logits, agreement._residuals, 1e-7, frequencies)
    assert_allclose(agreement._jacobian(logits, frequencies), numeric, atol=1e-6)


def test_frequencies_are_means_over_the_orders_of_the_labels():
    codes = np.random.default_rng(0).integers(3, size=(3, 50))
    counts = np.arange(50, dtype=np.uint8) % 4
    agreement = _Agreement(3)
    found = agreement.frequencies(codes, counts)
    tally = np.zeros((3, 3, 3))
    np.add.at(tally, tuple(codes), counts / counts.sum())
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    symmetric = np.mean([tally.transpose(order) for order in orders], axis=0)
    assert_allclose(found, symmetric[tuple(agreement.cells[2])])


def test_neighbors_are_the_two_nearest_other_rows():
    X = np.array([[0.0], [0.0], [1.0], [3.0], [10.0]])
    codes = np.array([0, 1, 2, 3, 4])
    found = neighbor_codes(codes, X)
    assert_array_equal(found[0], codes)
    pairs = [{1, 2}, {0, 2}, {0, 1}, {2}, {3, 2}]
    assert all(expected <= set(pair) for expected, pair in zip(pairs, found[1:].T, strict=True))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "transition",
    [noise.symmetric_transition(5, 0.3), noise.pairflip_transition(5, 0.3), TRANSITION],
    ids=["symmetric", "pairflip", "three classes"],
)
def test_neighbors_find_the_matrix(transition, seed):
    noisy, X = make_problem(transition, seed)
    found = estimate_transition_matrix(noisy, method="neighbors", X=X)
    assert np.abs(found - transition).sum(axis=1).mean() < 0.15
    shuffled = np.random.default_rng(seed).permutation(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the classes are permuted
        found = estimate_transition_matrix(noisy, method="neighbors", X=shuffled)
    assert np.abs(found - transition).sum(axis=1).mean() > 0.3


def test_an_unused_class_is_left_alone():
    noisy, X = make_problem(TRANSITION, seed=0)
    names = np.array(["a", "c", "d"])[noisy]
    classes = ["a", "b", "c", "d"]
    found = estimate_transition_matrix(names, method="neighbors", X=X, classes=classes)
    assert_array_equal(found[1], [0, 1, 0, 0])
    expected = estimate_transition_matrix(noisy, method="neighbors", X=X)
    assert_array_equal(found[np.ix_([0, 2, 3], [0, 2, 3])], expected)


def test_resamples_are_estimated_from_their_rows():
    noisy, X = make_problem(TRANSITION, seed=0, n=600)
    triples = neighbor_codes(noisy, X)
    drawn = np.random.default_rng(0).integers(600, size=600)
    repeats = np.bincount(drawn, minlength=600).astype(np.uint8)[None]
    [(transition, shares)] = neighbors_estimates(triples, 3, repeats)
    once = np.ones((1, 600), dtype=np.uint8)
    [(expected, of_true)] = neighbors_estimates(triples[:, drawn], 3, once)
    assert_allclose(transition, expected, atol=1e-8)
    assert_allclose(shares, of_true, atol=1e-8)


def test_interval_by_neighbors_surrounds_the_estimate():
    noisy, X = make_problem(TRANSITION, seed=0, n=1000)
    low, high = bootstrap_interval(
        noisy, method="neighbors", X=X, quantity="transition", n_bootstraps=20, random_state=0
    )
    middle = estimate_transition_matrix(noisy, method="neighbors", X=X)
    assert ((low < middle) & (middle < high)).mean() > 0.5
    assert (high - low).max() < 0.5


def test_a_matrix_without_dominant_diagonal_warns():
    noisy, X = make_problem(TRANSITION, seed=0)
    X = np.random.default_rng(0).permutation(X)
    with pytest.warns(UserWarning, match="largest entry is off the diagonal") as caught:
        estimate_transition_matrix(noisy, method="neighbors", X=X)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("n", "n_classes", "message"),
    [
        (299, 3, "needs 100 rows for each class; there are 299 rows of 3"),
        (2100, 21, "takes at most 20 classes"),
    ],
)
def test_too_few_rows_and_too_many_classes_are_refused(n, n_classes, message):
    y = np.arange(n) % n_classes
    with pytest.raises(ValueError, match=message):
        estimate_transition_matrix(y, method="neighbors", X=y[:, None])


def test_features_are_needed_for_each_row():
    y = np.arange(400) % 2
    with pytest.raises(ValueError, match="needs X"):
        estimate_transition_matrix(y, method="neighbors")
    with pytest.raises(ValueError, match="X has 399 rows, but there are 400 labels"):
        estimate_transition_matrix(y, method="neighbors", X=np.zeros((399, 1)))

"""Noise that depends on the sample: random projections and small margins."""

import math
import tracemalloc

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import truncnorm
from sklearn.datasets import load_digits

from sknoisy import noise

N = 100_000
DIGITS, Y_DIGITS = load_digits(return_X_y=True)
Y = np.random.default_rng(0).integers(10, size=N)
POSTERIOR = np.random.default_rng(1).dirichlet(np.ones(10), size=N)


# Instance-dependent


def truncated_mean(rate):
    """Mean of a normal distribution around `rate`, standard deviation .1, on [0, 1]."""
    return truncnorm.mean(-rate / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1)


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.3, 0.4, 0.5])
def test_instance_noise_rate_is_the_mean_of_the_truncated_normal(rate):
    expected = {0.1: 0.1288, 0.2: 0.2055, 0.3: 0.3004, 0.4: 0.4, 0.5: 0.5}[rate]
    assert truncated_mean(rate) == pytest.approx(expected, abs=5e-5)
    X = np.random.default_rng(0).random((N, 1))
    result = noise.instance_dependent(X, Y, rate, random_state=0)
    q = 1 - result.transition[np.arange(N), Y]
    assert abs(q.mean() - expected) < 4 * 0.1 / math.sqrt(N) + 5e-5
    assert abs(result.mask.mean() - expected) < 4 * math.sqrt(expected * (1 - expected) / N)


@pytest.mark.parametrize("per_class_weights", [True, False])
def test_identical_samples_share_their_softmax(per_class_weights):
    X, y = np.repeat(DIGITS[:50], 2, axis=0), np.repeat(Y_DIGITS[:50], 2)
    P = noise.instance_dependent(
        X, y, 0.3, scale=0.01, per_class_weights=per_class_weights, random_state=0
    ).transition
    q = 1 - P[np.arange(100), y]
    P[np.arange(100), y] = 0
    shares = P / q[:, None]
    assert_allclose(shares[::2], shares[1::2], atol=1e-12)
    assert (q[::2] != q[1::2]).all()


def test_permuting_samples_permutes_the_transitions():
    q = np.random.default_rng(0).random(300)
    X, y = DIGITS[:300], Y_DIGITS[:300]
    order = np.random.default_rng(1).permutation(300)
    P = noise.instance_dependent(X, y, q, std=0, random_state=0).transition
    permuted = noise.instance_dependent(X[order], y[order], q[order], std=0, random_state=0)
    assert_allclose(permuted.transition, P[order], atol=1e-9)
    assert_allclose(P[np.arange(300), y], 1 - q)


def test_a_class_keeps_its_projection_when_others_leave():
    keep = Y_DIGITS < 5
    whole, part = (
        noise.instance_dependent(X, y, 0.4, std=0, classes=range(10), random_state=0)
        for X, y in [(DIGITS, Y_DIGITS), (DIGITS[keep], Y_DIGITS[keep])]
    )
    assert_allclose(part.transition, whole.transition[keep], atol=1e-9)


def test_shared_weights_give_all_classes_the_same_preferences():
    # Two rows alike but for their class: off both classes the shares are proportional.
    X, y = np.ones((2, 4)), np.array([0, 1])
    shared, own = (
        noise.instance_dependent(
            X, y, 0.5, std=0, per_class_weights=each, classes=range(10), random_state=0
        ).transition[:, 2:]
        for each in (False, True)
    )
    assert_allclose(np.ptp(shared[0] / shared[1]), 0, atol=1e-9)
    assert np.ptp(own[0] / own[1]) > 0.1


def images(n=200):
    return np.random.default_rng(0).integers(256, size=(n, 8, 8, 3), dtype=np.uint8)


def largest_share(P, y):
    """Mean share of the most probable wrong class among the wrong ones."""
    wrong = P.copy()
    wrong[np.arange(len(y)), y] = 0
    return (wrong.max(axis=1) / wrong.sum(axis=1)).mean()


def test_scale_decides_how_certain_the_wrong_class_is():
    X, y = images(), Y[:200]
    share = {
        scale: largest_share(
            noise.instance_dependent(X, y, 0.4, scale=scale, random_state=0).transition, y
        )
        for scale in (1.0, 1 / 255, "standard", 0.0)
    }
    assert share[1.0] > 0.99
    assert share[0.0] == pytest.approx(1 / 9)
    assert share[0.0] < share["standard"] < share[1 / 255] < share[1.0]


def test_standard_scale_does_not_depend_on_units():
    X, y = DIGITS[:, 2:6], Y_DIGITS
    metres, feet = (
        noise.instance_dependent(Z, y, 0.4, scale="standard", random_state=0)
        for Z in (X, X / 0.3048 + [1, 20, 300, 4000])
    )
    assert_allclose(feet.transition, metres.transition, atol=1e-9)


def test_chunks_do_not_show(monkeypatch):
    whole = noise.instance_dependent(DIGITS, Y_DIGITS, 0.4, scale="standard", random_state=0)
    monkeypatch.setattr("sknoisy.noise._instance._CHUNK_ENTRIES", 64 * 7)
    pieces = noise.instance_dependent(DIGITS, Y_DIGITS, 0.4, scale="standard", random_state=0)
    assert_allclose(pieces.transition, whole.transition, atol=1e-9)
    assert_array_equal(pieces.y, whole.y)


def test_memory_stays_far_below_a_float_copy(monkeypatch):
    X = np.zeros((1000, 32, 32, 3), dtype=np.uint8)
    monkeypatch.setattr("sknoisy.noise._instance._CHUNK_ENTRIES", 2**16)
    for scale in (1.0, "standard"):
        tracemalloc.start()
        noise.instance_dependent(X, Y[:1000], 0.4, scale=scale, random_state=0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < X.size * 8 / 5


@pytest.mark.parametrize(
    "wrap",
    [
        lambda X: X.reshape(-1, 8, 8),
        pd.DataFrame,
        pl.DataFrame,
        lambda X: X.astype(np.uint8),
        np.ndarray.tolist,
    ],
    ids=["images", "pandas", "polars", "uint8", "list"],
)
def test_containers_of_features(wrap):
    X, y = DIGITS[:100], Y_DIGITS[:100]
    expected = noise.instance_dependent(X, y, 0.4, random_state=0)
    result = noise.instance_dependent(wrap(X), y, 0.4, random_state=0)
    assert_allclose(result.transition, expected.transition, atol=1e-12)


def test_two_classes_leave_no_choice():
    X = np.random.default_rng(0).normal(size=(50, 3))
    y = np.repeat(["no", "yes"], 25)
    result = noise.instance_dependent(X, y, 0.4, random_state=0)
    q = np.where(y == "no", result.transition[:, 1], result.transition[:, 0])
    assert_allclose(result.transition.sum(axis=1), 1, atol=1e-12)
    assert ((q > 0) & (q < 1)).all()
    assert 0 < result.mask.sum() < 50


@pytest.mark.parametrize(
    ("X", "options", "error", "message"),
    [
        ([[1.0], [np.nan]], {}, ValueError, "NaN"),
        ([[1.0], [np.inf]], {}, ValueError, "infinity"),
        ([[1.0]], {}, ValueError, "inconsistent numbers of samples"),
        (scipy.sparse.csr_array(np.eye(2)), {}, TypeError, "dense|toarray"),
        (np.eye(2), {"rate": [0.1, 0.2, 0.3]}, ValueError, r"shape \(3,\)"),
        (np.eye(2), {"rate": [0.1, 1.2]}, ValueError, "from 0 to 1"),
        (np.eye(2), {"std": -1}, ValueError, "std=-1"),
        (np.eye(2), {"scale": "raw"}, ValueError, "scale='raw'"),
        (np.eye(2), {"scale": np.inf}, ValueError, "scale=inf"),
    ],
)
def test_unusable_features_and_options_are_refused(X, options, error, message):
    options = {"rate": 0.3} | options
    with pytest.raises(error, match=message):
        noise.instance_dependent(X, [0, 1], **options)


# Polynomial margin


@pytest.mark.parametrize(
    ("kind", "flip"),
    [
        ("I", lambda m: -0.5 * m**2 + 0.5),
        ("II", lambda m: 1 - m**3),
        ("III", lambda m: 1 - (m**3 + m**2 + m) / 3),
    ],
)
def test_margin_noise_without_rescaling_is_the_polynomial(kind, flip):
    y = POSTERIOR.argmax(axis=1)
    P = noise.polynomial_margin(y, POSTERIOR, None, kind=kind, classes=range(10)).transition
    top = np.sort(POSTERIOR, axis=1)
    second = np.argsort(POSTERIOR, axis=1)[:, -2]
    expected = flip(top[:, -1] - top[:, -2])
    assert_allclose(P[np.arange(N), second], expected, atol=1e-12)
    assert_allclose(P[np.arange(N), y], 1 - expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["I", "II", "III"])
@pytest.mark.parametrize("rate", [0.05, 0.35, 0.7, 0.95])
def test_margin_noise_hits_the_rate_and_keeps_the_order(kind, rate):
    y = POSTERIOR.argmax(axis=1)
    result = noise.polynomial_margin(
        y, POSTERIOR, rate, kind=kind, classes=range(10), random_state=0
    )
    flip = 1 - result.transition[np.arange(N), y]
    assert flip.mean() == pytest.approx(rate, abs=1e-9)
    assert abs(result.mask.mean() - rate) < 4 * math.sqrt(rate * (1 - rate) / N)
    top = np.sort(POSTERIOR, axis=1)
    by_margin = np.argsort(top[:, -1] - top[:, -2])
    assert (np.diff(flip[by_margin]) <= 1e-9).all()
    # One factor for all: below the cut at 1, the ratio to the polynomial is constant.
    plain = noise.polynomial_margin(y, POSTERIOR, None, kind=kind, classes=range(10)).transition
    below = flip < 1 - 1e-9
    ratio = flip[below] / (1 - plain[np.arange(N), y])[below]
    assert np.ptp(ratio) < 1e-6 * ratio.max()


def test_margin_noise_leaves_labels_that_the_model_contradicts():
    y = np.roll(POSTERIOR.argmax(axis=1), 1)
    agree = y == POSTERIOR.argmax(axis=1)
    result = noise.polynomial_margin(y, POSTERIOR, 0.05, classes=range(10), random_state=0)
    assert not result.mask[~agree].any()
    assert result.mask[agree].any()
    with pytest.raises(ValueError, match=f"only {agree.sum()} of {N} samples"):
        noise.polynomial_margin(y, POSTERIOR, 0.5, classes=range(10))


def test_margin_noise_spares_certain_samples():
    result = noise.polynomial_margin([0, 1, 1, 1], np.eye(2)[[0, 1, 1, 1]], None)
    assert not result.mask.any()
    with pytest.raises(ValueError, match="only 0 of 4"):
        noise.polynomial_margin([0, 1, 1, 1], np.eye(2)[[0, 1, 1, 1]], 0.1)


@pytest.mark.parametrize(
    ("posterior", "message"),
    [
        (np.full((2, 3), 1 / 3), "shape"),
        ([[0.5, 0.4], [1, 0]], "sum to 1"),
        ([[1.5, -0.5], [1, 0]], "sum to 1"),
        ([[np.nan, 1], [1, 0]], "sum to 1"),
    ],
)
def test_unusable_posteriors_are_refused(posterior, message):
    with pytest.raises(ValueError, match=message):
        noise.polynomial_margin([0, 1], posterior, 0.2)
    with pytest.raises(ValueError, match="kind='IV'"):
        noise.polynomial_margin([0, 1], np.eye(2), 0.2, kind="IV")

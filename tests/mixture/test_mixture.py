"""Splits by a mixture of losses: what they recover, and each guard."""

import math
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.mixture import GaussianMixture

from sknoisy.exceptions import MixtureWarning
from sknoisy.mixture import LossSplit, split_by_loss


def two_clusters(n_low=60, n_high=40, n_classes=2):
    """Losses (low ones first) around 0.2 and 3, and targets that alternate."""
    rng = np.random.default_rng(0)
    losses = np.r_[rng.normal(0.2, 0.05, n_low), rng.normal(3, 0.5, n_high)]
    return losses, np.arange(len(losses)) % n_classes


def split(*args, **params):
    """Split with a fixed seed; a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return split_by_loss(*args, **{"random_state": 0, **params})


def fall_back(reason, *args, **params):
    """Split that must fall back for the given reason, without warnings of scikit-learn."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = split_by_loss(*args, **{"random_state": 0, **params})
    assert [warning.category for warning in caught] == [MixtureWarning]
    assert reason in str(caught[0].message)
    assert caught[0].filename == __file__
    return result


# The mixture


@pytest.mark.parametrize("n_high", [5, 40, 95])
def test_two_well_separated_clusters_are_recovered(n_high):
    losses, targets = two_clusters(100 - n_high, n_high)
    result = split(losses, targets, min_per_class=1)
    assert isinstance(result, LossSplit)
    assert_array_equal(result.is_clean, losses < 1)
    assert result.clean_proba.dtype == np.float64
    assert result.is_clean.dtype == np.bool_


def test_posterior_is_that_of_the_fitted_gaussians_between_their_means():
    rng = np.random.default_rng(0)
    losses = np.r_[rng.normal(1, 0.3, 300), rng.normal(2, 0.4, 200)]
    x = np.sort((losses - losses.min()) / np.ptp(losses))
    fitted = GaussianMixture(2, tol=1e-2, reg_covar=5e-4, random_state=0).fit(x[:, None])
    mean, std = fitted.means_.ravel(), np.sqrt(fitted.covariances_.ravel())
    joint = fitted.weights_ * norm.pdf(x[:, None], mean, std)
    low = mean.argmin()
    inside = (x >= mean.min()) & (x <= mean.max())
    assert inside.sum() > 200
    proba = split(np.sort(losses), np.zeros(500)).clean_proba
    assert_allclose(proba[inside], (joint[:, low] / joint.sum(axis=1))[inside], rtol=1e-9)


@pytest.mark.parametrize(("low", "high"), [((1, 0.5), (3, 0.1)), ((1, 0.1), (3, 0.6))])
def test_a_larger_loss_is_never_cleaner(low, high):
    """The odds of two Gaussians of unequal width turn in the outer tail of the wide one."""
    rng = np.random.default_rng(0)
    losses = np.sort(np.r_[rng.normal(*low, 400), rng.normal(*high, 200), -1.0, 5.0])
    x = ((losses - losses[0]) / np.ptp(losses))[:, None]
    raw = GaussianMixture(2, tol=1e-2, reg_covar=5e-4, random_state=0).fit(x)
    posterior = raw.predict_proba(x)[:, raw.means_.argmin()]
    assert np.diff(posterior).max() > 1e-3
    proba = split(losses, np.zeros(len(losses))).clean_proba
    assert np.diff(proba).max() <= 1e-12
    turned = slice(0, posterior.argmax()) if low[1] < high[1] else slice(posterior.argmin(), None)
    untouched = np.ones(len(x), bool)
    untouched[turned] = False
    assert untouched.sum() > 500
    assert_allclose(proba[untouched], posterior[untouched], rtol=1e-9)


def test_order_of_the_rows_has_no_effect():
    losses, targets = two_clusters()
    order = np.random.default_rng(1).permutation(len(losses))
    for params in ({}, {"max_iter": 1, "fallback_share": 0.3}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MixtureWarning)
            expected = split_by_loss(losses, targets, random_state=0, **params)
            result = split_by_loss(losses[order], targets[order], random_state=0, **params)
        assert_array_equal(result.clean_proba, expected.clean_proba[order])
        assert_array_equal(result.is_clean, expected.is_clean[order])


def test_unit_of_the_losses_and_names_of_the_classes_have_no_effect():
    losses, targets = two_clusters()
    expected = split(losses, targets)
    result = split((8 * losses - 2).tolist(), np.array(["b", "a"])[targets])
    assert_allclose(result.clean_proba, expected.clean_proba, rtol=0, atol=1e-9)
    assert_array_equal(result.is_clean, expected.is_clean)


def test_inputs_are_left_alone():
    losses, targets = two_clusters()
    copies = losses.copy(), targets.copy()
    losses.flags.writeable = targets.flags.writeable = False
    split(losses, targets)
    assert_array_equal(losses, copies[0])
    assert_array_equal(targets, copies[1])


def test_threshold():
    rng = np.random.default_rng(0)
    losses = np.r_[rng.normal(1, 0.3, 300), rng.normal(2, 0.4, 200)]
    counts = []
    for threshold in (0.0, 0.2, 0.5, 0.9, 1.0):
        proba, is_clean = split(losses, np.zeros(500), threshold=threshold, min_per_class=1)
        assert is_clean.sum() == max((proba > threshold).sum(), 1)
        counts.append(is_clean.sum())
    assert counts == sorted(set(counts), reverse=True)
    rank = proba.argsort()[400]
    exact = split(losses, np.zeros(500), threshold=proba[rank], min_per_class=1)
    assert not exact.is_clean[rank]  # above means above


def test_random_state_starts_the_mixture():
    """Two components fit three clusters of one size in two ways."""
    rng = np.random.default_rng(0)
    losses = np.concatenate([rng.normal(mean, 0.01, 50) for mean in (0, 0.5, 1)])
    sizes = [
        int(split(losses, np.zeros(150), random_state=seed).is_clean.sum()) for seed in range(16)
    ]
    assert set(sizes) == {50, 100}
    again = split(losses, np.zeros(150), random_state=np.random.RandomState(3))
    assert again.is_clean.sum() == sizes[3]


# Guards of a class


def starved(n_high=30):
    """Class 0 has all low losses, class 1 only high ones, in descending order."""
    losses = np.r_[np.linspace(0.1, 0.3, 50), np.linspace(3.5, 2.5, n_high)]
    return losses, np.repeat([0, 1], [50, n_high])


@pytest.mark.parametrize(
    ("n_high", "min_per_class", "fallback_share", "expected"),
    [
        (30, 1, 0.5, 1),
        (30, 10, 0.5, 10),
        (30, 10, 0.1, 3),
        (30, 99, 0.5, 15),
        (30, 99, 1.0, 30),
        (5, 10, 0.5, 3),  # half of five rows, rounded up
        (1, 10, 0.5, 1),
        (1, 10, 1e-12, 1),
        (30, 0.2, 0.5, 6),  # a share
        (30, 0.07, 0.5, 3),  # rounded up
        (30, 0.9, 0.5, 15),
    ],
)
def test_a_class_of_high_losses_keeps_its_lowest(n_high, min_per_class, fallback_share, expected):
    params = {"min_per_class": min_per_class, "fallback_share": fallback_share}
    proba, is_clean = split(*starved(n_high), **params)
    assert_array_equal(np.flatnonzero(is_clean[50:]), np.arange(n_high - expected, n_high))
    assert is_clean[:50].all()
    assert proba[50:].max() < 0.5  # the posterior stays what it is


def test_default_minimum_per_class_is_ten():
    assert split(*starved()).is_clean[50:].sum() == 10


@pytest.mark.parametrize("n_high", [5, 30, 49])
def test_stratified_each_class_keeps_the_share_of_all_rows_above_the_threshold(n_high):
    losses, targets = starved(n_high)
    proba, is_clean = split(losses, targets, stratify=True, min_per_class=1)
    share = 50 / (50 + n_high)  # class 0 is above the threshold, class 1 is not
    assert_array_equal(proba > 0.5, targets == 0)
    assert_array_equal(is_clean, lowest(losses, targets, share))


def test_stratified_no_class_has_less_than_its_minimum():
    losses, targets = starved(30)
    is_clean = split(losses, targets, stratify=True, threshold=1.0, min_per_class=4).is_clean
    assert_array_equal(np.bincount(targets[is_clean]), [4, 4])


def test_no_class_is_empty_at_any_threshold():
    losses, _ = two_clusters()
    targets = np.random.default_rng(2).integers(0, 25, len(losses))
    is_clean = split(losses, targets, threshold=1.0, min_per_class=1).is_clean
    assert_array_equal(np.bincount(targets[is_clean]), np.ones(25))


# Guards of the mixture


def lowest(losses, targets, share):
    """Rows below the given share of their class, class by class."""
    taken = np.zeros(len(losses), bool)
    for c in np.unique(targets):
        rows = np.flatnonzero(targets == c)
        n_taken = math.ceil(share * len(rows))
        taken[sorted(rows, key=lambda i: losses[i])[:n_taken]] = True
    return taken


UNLIKE_A_MIXTURE = {
    "it did not converge in 1 iterations": (two_clusters()[0], {"max_iter": 1}),
    "it has one component in effect": (np.random.default_rng(0).normal(5, 1, 100), {}),
    "4 rows are fewer than its 5 parameters": (np.array([2.0, 9.0, 1.0, 8.0]), {}),
    "all losses are 0.7": (np.full(20, 0.7), {}),
}


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("reason", UNLIKE_A_MIXTURE)
def test_without_a_mixture_each_class_gives_its_lowest_losses(reason, share):
    losses, params = UNLIKE_A_MIXTURE[reason]
    targets = np.arange(len(losses)) // 3 % 2
    params = {**params, "fallback_share": share, "min_per_class": 1, "threshold": 0.9}
    result = fall_back(reason, losses, targets, **params)
    assert_array_equal(result.is_clean, lowest(losses, targets, share))


def test_the_default_fallback_is_a_split_at_the_median():
    losses = np.random.default_rng(0).normal(5, 1, 100)
    is_clean = fall_back("one component", losses, np.zeros(100)).is_clean
    assert_array_equal(is_clean, losses < np.median(losses))


def test_means_closer_than_one_mode_allows_are_one_component():
    """A narrow and a wide Gaussian of one centre: two by the BIC, yet no lower one."""
    centred = norm.ppf((np.arange(400) + 0.5) / 400)
    losses = np.r_[0.03 * centred, centred]
    x = ((np.sort(losses) - losses.min()) / np.ptp(losses))[:, None]
    two = GaussianMixture(2, tol=1e-2, reg_covar=5e-4, random_state=0).fit(x)
    assert two.bic(x) < GaussianMixture(1, reg_covar=5e-4).fit(x).bic(x)
    fall_back("it has one component in effect", losses, np.zeros(800))


def test_five_rows_are_enough_for_two_clusters():
    losses, targets = [0.1, 5.0, 0.1, 5.0, 0.1], [0, 0, 1, 1, 0]
    assert_array_equal(split(losses, targets).is_clean, [True, False, True, False, True])


def test_losses_equal_to_the_precision_of_the_network_are_equal():
    losses = np.float32(np.log(10)) + np.float32(1e-6) * np.tile(np.float32([0, 1]), 20)
    assert 0 < np.ptp(losses) / losses.min() < 1e-6
    fall_back("all losses are 2.30259", losses, np.arange(40) % 2)
    fall_back("all losses are 0", np.zeros(40), np.arange(40) % 2)


def test_clean_proba_without_a_mixture_is_the_share_of_the_class_above():
    losses, targets = [1.0, 2.0, 2.0, 4.0], [0, 0, 0, 1]
    # Class 0: above 1.0 lie two and half of itself, of three; each 2.0 counts itself and its twin
    # half. The only row of class 1 counts itself half.
    proba = fall_back("4 rows", losses, targets).clean_proba
    assert_allclose(proba, [2.5 / 3, 1 / 3, 1 / 3, 0.5])
    assert_allclose(fall_back("all losses", np.ones(20), np.arange(20) % 3).clean_proba, 0.5)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_one_class_and_few_rows(n):
    result = fall_back(f"{n} rows", np.arange(n), ["only"] * n)
    assert result.is_clean.sum() == math.ceil(n / 2)
    assert result.is_clean[0]


def test_the_iterations_of_em_are_limited_but_not_at_ten():
    losses, targets = two_clusters()
    fall_back("did not converge in 1 iterations", losses, targets, max_iter=1)
    split(losses, targets, max_iter=20)
    split(losses, targets)


# Candidates


def test_rows_that_are_no_candidates_might_as_well_not_be_there():
    losses, targets = two_clusters()
    counts = np.ones(100, bool)
    counts[[0, 5, 70, 99]] = False
    losses[99] = 500  # it would rule the scale
    result = split(losses, targets, candidates=counts)
    expected = split(losses[counts], targets[counts])
    assert_array_equal(result.clean_proba[counts], expected.clean_proba)
    assert_array_equal(result.is_clean[counts], expected.is_clean)
    assert not result.is_clean[~counts].any()
    assert_array_equal(result.clean_proba[~counts] > 0.5, [True, True, False, False])


def test_candidates_in_the_fallback():
    losses, targets = np.array([1.0, 2.0, 3.0, 4.0, 0.0, 7.0]), np.array([0, 0, 0, 0, 0, 1])
    counts = np.array([True, True, True, True, False, False])
    result = fall_back("4 rows", losses, targets, candidates=counts)
    assert_array_equal(result.is_clean, [True, True, False, False, False, False])
    # The fifth row lies below all four candidates; nothing is known of class 1.
    assert_allclose(result.clean_proba, [3.5 / 4, 2.5 / 4, 1.5 / 4, 0.5 / 4, 1.0, 0.5])


# Bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": [1.0, float("nan")]}, "losses contains NaN"),
        ({"losses": [1.0, float("inf")]}, "losses contains infinity"),
        ({"losses": []}, "0 sample"),
        ({"losses": [[1.0, 2.0], [1.0, 2.0]]}, "1d array"),
        ({"targets": [0, 1, 1]}, "inconsistent numbers of samples"),
        ({"threshold": 1.5}, r"threshold must lie in \[0, 1\], got 1.5"),
        ({"threshold": float("nan")}, "threshold"),
        ({"min_per_class": 0}, "min_per_class must be a whole number from 1, .*share.*got 0"),
        ({"min_per_class": 1.5}, "min_per_class.*got 1.5"),
        ({"min_per_class": float("inf")}, "min_per_class.*got inf"),
        ({"fallback_share": 0}, r"fallback_share must lie in \(0, 1\], got 0"),
        ({"fallback_share": 1.1}, "fallback_share"),
        ({"candidates": [True]}, r"one entry per row, \(2,\).*shape \(1,\)"),
        ({"candidates": [0, 1]}, "boolean.*int64"),
        ({"candidates": [False, False]}, "True nowhere"),
        ({"max_iter": 0}, "max_iter must be at least 1, got 0"),
    ],
)
def test_bad_input(changes, message):
    params = {"losses": [1.0, 2.0], "targets": [0, 1], **changes}
    with pytest.raises(ValueError, match=message):
        split_by_loss(**params)

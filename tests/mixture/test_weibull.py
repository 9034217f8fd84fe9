"""The Weibull mixture: its density, what it recovers, and each parameter."""

import itertools
import time
import tracemalloc
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.optimize import approx_fprime, minimize
from scipy.special import logsumexp
from scipy.stats import gaussian_kde, kstest, weibull_min
from sklearn.exceptions import ConvergenceWarning

from sknoisy.mixture import WeibullMixture, shift_scores
from sknoisy.mixture._weibull_fit import _descent
from sknoisy.mixture._weighted_rows import distinct_rows, start_by_density

METHODS = pytest.mark.parametrize("method", ["em", "direct"])


def mixture_of(weights, scales, shapes):
    """A mixture of known parameters, one column."""
    mixture = WeibullMixture(len(weights), n_init=1).fit(np.arange(1.0, 30)[:, None])
    mixture.weights_ = np.asarray(weights, float)
    mixture.scales_, mixture.shapes_ = np.c_[scales].astype(float), np.c_[shapes].astype(float)
    return mixture


def two_weibulls(n=10_000, seed=0):
    """0.7 W(5, 1.5) + 0.3 W(40, 8), as a column."""
    rng = np.random.default_rng(seed)
    is_low = rng.random(n) < 0.7
    return np.where(is_low, 5 * rng.weibull(1.5, n), 40 * rng.weibull(8, n))[:, None]


def epoch_counts(n=4000, n_epochs=20, noise=0.4):
    """Shifted scores of simulated dynamics: clean bits are Bernoulli(0.9), noisy ones 0.2."""
    rng = np.random.default_rng(0)
    n_noisy = round(noise * n)
    ones = np.r_[rng.binomial(n_epochs, 0.2, n_noisy), rng.binomial(n_epochs, 0.9, n - n_noisy)]
    return shift_scores(n_epochs - 2 * ones)[:, None]


def fit(X, *args, sample_weight=None, **params):
    """A mixture of fixed seed whose fit must not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixture = WeibullMixture(*args, **{"random_state": 0, **params})
        return mixture.fit(X, sample_weight=sample_weight)


def parameters(mixture):
    return np.concatenate([mixture.weights_, mixture.scales_.ravel(), mixture.shapes_.ravel()])


# The density


def test_density_and_posterior_are_those_of_scipy():
    weights, scales, shapes = [0.2, 0.5, 0.3], [1, 5, 40], [0.7, 1.5, 8]
    mixture = mixture_of(weights, scales, shapes)
    x = np.geomspace(1e-3, 60, 50)[:, None]
    joint = np.log(weights) + weibull_min.logpdf(x, shapes, scale=scales)
    assert_allclose(mixture.score_samples(x), logsumexp(joint, axis=1), rtol=1e-10)
    posterior = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    assert_allclose(mixture.predict_proba(x), posterior, atol=1e-12)
    assert_array_equal(mixture.predict(x), joint.argmax(axis=1))
    assert set(mixture.predict(x)) == {0, 1, 2}
    assert mixture.score(x) == pytest.approx(logsumexp(joint, axis=1).mean())


def test_columns_are_independent_given_the_component():
    X = np.c_[two_weibulls(500), two_weibulls(500, seed=1) / 10]
    mixture = fit(X)
    columns = weibull_min.logpdf(X[:, None, :], mixture.shapes_, scale=mixture.scales_)
    joint = np.log(mixture.weights_) + columns.sum(axis=2)
    assert mixture.scales_.shape == mixture.shapes_.shape == (2, 2)
    assert_allclose(mixture.score_samples(X), logsumexp(joint, axis=1), rtol=1e-10)


@pytest.mark.parametrize("shape", [0.5, 1, 3, 12])
def test_a_component_has_632_per_mille_below_its_scale_and_all_in_all(shape):
    mixture = mixture_of([0.4, 0.6], [7, 7], [shape, shape])

    def density(x):
        return np.exp(mixture.score_samples([[x]])[0])

    below, above = quad(density, 0, 7)[0], quad(density, 7, np.inf)[0]
    assert below == pytest.approx(0.632121, abs=1e-5)
    assert below + above == pytest.approx(1, abs=1e-5)


def test_shape_1_is_the_exponential_distribution():
    x = np.linspace(0.1, 20, 30)
    mixture = mixture_of([1], [4], [1])
    assert_allclose(mixture.score_samples(x[:, None]), -x / 4 - np.log(4), rtol=1e-12)


def test_far_out_the_component_of_heavier_tail_wins_and_nothing_is_nan():
    mixture = mixture_of([0.5, 0.5], [5, 40], [0.8, 50])
    assert_array_equal(mixture.predict([[1e3], [1e9], [1e300]]), [0, 0, 0])
    both = mixture_of([0.5, 0.5], [5, 40], [50, 40])  # both densities are 0 as floats
    assert_array_equal(both.predict([[1e12], [1e200]]), [1, 1])
    assert np.isfinite(both.score_samples([[1e12], [1e200]])).all()


def test_information_criteria():
    X = two_weibulls(300)
    total = 300 * fit(X).score(X)
    assert fit(X).bic(X) == pytest.approx(-2 * total + 5 * np.log(300))
    assert fit(X).aic(X) == pytest.approx(-2 * total + 2 * 5)
    both = np.c_[X, X[::-1]]
    three = fit(both, 3, tol=1e-4)
    assert three.aic(both) == pytest.approx(-600 * three.score(both) + 2 * (2 + 12))
    assert fit(X).bic(X) < fit(X, 1).bic(X)
    one = fit(5 * np.random.default_rng(0).weibull(2, 300)[:, None], 1)
    assert one.bic(one.sample(2000)[0]) < fit(one.sample(2000)[0]).bic(one.sample(2000)[0])


# What a fit recovers


@METHODS
def test_one_weibull_is_recovered_and_is_the_most_likely_one(method):
    X = 10 * np.random.default_rng(0).weibull(2, 20_000)[:, None]
    mixture = fit(X, 1, method=method, tol=1e-10)
    assert_allclose([mixture.scales_[0, 0], mixture.shapes_[0, 0]], [10, 2], rtol=0.03)
    shape, _, scale = weibull_min.fit(X[:, 0], floc=0)
    assert_allclose([mixture.scales_[0, 0], mixture.shapes_[0, 0]], [scale, shape], rtol=1e-3)


@METHODS
def test_two_weibulls_are_recovered(method):
    X = two_weibulls()
    mixture = fit(X, method=method)
    assert_allclose(mixture.scales_.ravel(), [5, 40], rtol=0.05)
    assert_allclose(mixture.weights_, [0.7, 0.3], atol=0.02)
    assert_allclose(mixture.shapes_.ravel(), [1.5, 8], rtol=0.05)
    assert np.mean(mixture.scales_[-1] >= X) == pytest.approx(0.7 + 0.3 * 0.632, abs=0.015)


@METHODS
@pytest.mark.parametrize("X", [two_weibulls(1500), epoch_counts(1500)], ids=["real", "ties"])
def test_no_neighbour_is_more_likely_by_a_search_without_gradients(method, X):
    """Nelder-Mead on scipy's densities of the expanded data, from the result of the fit."""
    mixture = fit(X, method=method, tol=1e-12, max_iter=3000)
    x = np.where(X == 0, 0.1, X)

    def descent(theta):
        share = 1 / (1 + np.exp(-theta[0]))
        scales, shapes = np.exp(theta[1:3]), np.exp(theta[3:])
        log_density = weibull_min.logpdf(x, shapes, scale=scales)
        return -logsumexp(log_density + np.log([share, 1 - share]), axis=1).mean()

    share = mixture.weights_[0]
    start = np.log([share / (1 - share), *mixture.scales_.ravel(), *mixture.shapes_.ravel()])
    assert descent(start) == pytest.approx(-mixture.lower_bound_, rel=1e-10)
    best = minimize(descent, start, method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-9})
    assert best.fun > -mixture.lower_bound_ - 1e-7
    assert_allclose(best.x, start, atol=5e-3)


def test_both_methods_find_the_same():
    for X in (two_weibulls(2000), epoch_counts(), np.c_[two_weibulls(400), two_weibulls(400)]):
        em, direct = (fit(X, method=method, tol=1e-12) for method in ("em", "direct"))
        assert_allclose(parameters(em), parameters(direct), rtol=1e-3)
        assert em.lower_bound_ == pytest.approx(em.score(X), rel=1e-10)
        assert direct.lower_bound_ == pytest.approx(em.lower_bound_, abs=1e-8)


def test_gradient_of_the_direct_method_is_that_of_finite_differences():
    rows, _ = distinct_rows(np.c_[epoch_counts(50), two_weibulls(50)], None, 0.1)
    theta = (
        np.random.default_rng(0).normal(scale=0.3, size=3 + 6 + 6) + np.r_[np.zeros(3), [2] * 12]
    )
    numerical = approx_fprime(theta, lambda t: _descent(t, rows, (3, 2))[0], 1e-7)
    assert_allclose(_descent(theta, rows, (3, 2))[1], numerical, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "X", [two_weibulls(500), 60 - two_weibulls(500), two_weibulls(500) ** 0.3]
)
def test_first_start_cuts_where_the_density_lies_furthest_below_lines_from_its_peak(X):
    grid = np.linspace(X.min(), X.max(), 512)
    density = gaussian_kde(X[:, 0])(grid)
    ends = [0, density.argmax(), 511]
    cut = grid[(np.interp(np.arange(512), ends, density[ends]) - density).argmax()]
    rows = distinct_rows(X, None, 0.1)[0]
    upper = start_by_density(rows).argmax(axis=0) == 1
    assert 50 < upper @ rows.counts < 450
    assert upper @ rows.counts == pytest.approx((cut < X).sum(), abs=5)


@pytest.mark.parametrize("X", [two_weibulls(500), epoch_counts(500), epoch_counts(500, 3)])
def test_em_never_goes_down(X):
    heights = []
    for max_iter in range(1, 25):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            mixture = WeibullMixture(n_init=1, max_iter=max_iter, tol=0).fit(X)
        heights.append(mixture.lower_bound_)
    assert np.diff(heights).min() > -1e-12
    assert heights[-1] > heights[0]


def test_order_of_the_rows_has_no_effect():
    for X in (two_weibulls(400), epoch_counts(400), np.c_[epoch_counts(400), two_weibulls(400)]):
        order = np.random.default_rng(1).permutation(len(X))
        assert_array_equal(parameters(fit(X[order])), parameters(fit(X)))


@METHODS
def test_weights_count_rows(method):
    X = epoch_counts(600)
    values, counts = np.unique(X, return_counts=True)
    expanded = fit(X, method=method)
    weighted = fit(values[:, None], sample_weight=counts, method=method)
    assert_allclose(parameters(weighted), parameters(expanded), rtol=1e-12)
    for criterion in ("score", "bic", "aic"):
        whole = getattr(expanded, criterion)(X)
        part = getattr(expanded, criterion)(values[:, None], sample_weight=counts)
        assert part == pytest.approx(whole, rel=1e-12)
    extra = np.r_[values, [1e-9, 999]][:, None]  # of weight 0: not even the zeros heed them
    without = fit(extra, sample_weight=np.r_[counts, [0, 0]], method=method)
    assert_array_equal(parameters(without), parameters(weighted))
    assert_array_equal(without.zero_value_, [0.1])


@METHODS
def test_unit_of_the_data_has_no_effect(method):
    X = two_weibulls(800)
    small, large = fit(X, method=method, tol=1e-12), fit(1e6 * X, method=method, tol=1e-12)
    assert_allclose(large.scales_, 1e6 * small.scales_, rtol=1e-4)
    assert_allclose(large.shapes_, small.shapes_, rtol=1e-4)
    if method == "em":
        assert fit(1e6 * X).n_iter_ == fit(X).n_iter_


def test_three_components_are_ordered_by_scale():
    rng = np.random.default_rng(0)
    X = np.r_[90 * rng.weibull(9, 300), 2 * rng.weibull(3, 600), 20 * rng.weibull(6, 900)]
    mixture = fit(X[:, None], n_components=3)
    assert_allclose(mixture.scales_.ravel(), [2, 20, 90], rtol=0.05)
    assert_allclose(mixture.weights_, [1 / 3, 1 / 2, 1 / 6], atol=0.02)
    assert_array_equal(mixture.predict([[1.5], [18], [95]]), [0, 1, 2])
    assert_array_equal(parameters(fit(X[:, None], n_components=3)), parameters(mixture))


# Zeros and the shift


def test_shift_keeps_distances_and_begins_at_zero():
    scores = np.array([3, -5, 1, -5])
    assert_array_equal(shift_scores(scores), [8, 0, 6, 0])
    assert_array_equal(shift_scores(scores - 40), shift_scores(scores))
    assert_array_equal(shift_scores([0, 2]), [0, 2])
    positive = np.array([0.5, 2.0])
    assert_array_equal(shift_scores(positive), positive)
    assert shift_scores(positive) is not positive
    assert shift_scores([1]).dtype == np.float64
    with pytest.raises(ValueError, match="scores contains NaN"):
        shift_scores([np.nan, 1])


def test_zero_value_stands_for_zeros():
    X = epoch_counts()
    assert (X == 0).sum() > 100
    default, other = fit(X), fit(X, zero_value=1.5)
    assert_array_equal(parameters(default), parameters(fit(np.where(X == 0, 0.1, X))))
    assert_array_equal(parameters(other), parameters(fit(np.where(X == 0, 1.0, X))))
    assert_array_equal(other.zero_value_, [1.0])  # half of the smallest positive score, 2
    assert abs(parameters(default) - parameters(other)).max() > 0.01
    assert default.score_samples([[0.0]]) == default.score_samples([[0.1]])


def test_zeros_stay_below_all_other_values():
    X = two_weibulls(500) / 1000
    X[:50] = 0
    mixture = fit(X)
    assert_array_equal(mixture.zero_value_, [X[X > 0].min() / 2])
    far = fit(np.r_[X[50:], X[50:]], zero_value=1e-9)
    assert_array_equal(far.zero_value_, [1e-9])


# Parameters


def test_max_shape_bounds_the_shapes():
    X = np.r_[np.full(50, 3.0), np.full(50, 8.0)][:, None]
    for max_shape in (50, 12.5):
        assert_array_equal(fit(X, max_shape=max_shape).shapes_.ravel(), [max_shape] * 2)
        direct = fit(X, max_shape=max_shape, method="direct")
        assert_allclose(direct.shapes_.ravel(), [max_shape] * 2)
    assert_array_equal(fit(X, 1, max_shape=1).shapes_, [[1]])
    extremes = np.exp(np.linspace(-300, 300, 40))[:, None]
    assert fit(extremes, 1).shapes_[0, 0] == 0.05


@METHODS
def test_max_iter_ends_the_climb_with_a_warning(method):
    X = two_weibulls(300)
    with pytest.warns(ConvergenceWarning, match="max_iter=1 iterations. Raise") as caught:
        stopped = WeibullMixture(method=method, max_iter=1, tol=0, random_state=0).fit(X)
    assert caught[0].filename == __file__
    assert (stopped.converged_, stopped.n_iter_) == (False, 1)
    mixture = fit(X, method=method)
    assert mixture.converged_ is True
    assert mixture.n_iter_ > 1
    assert mixture.lower_bound_ > stopped.lower_bound_


@METHODS
def test_tol_ends_it_earlier(method):
    X = epoch_counts(1000, n_epochs=5)
    loose, tight = (fit(X, method=method, tol=tol, n_init=1) for tol in (1e-2, 1e-10))
    assert loose.n_iter_ < tight.n_iter_
    assert loose.lower_bound_ < tight.lower_bound_


def test_n_init_keeps_the_best_of_several_starts():
    X = epoch_counts(4000, n_epochs=10, noise=0.05)
    heights = [fit(X, n_init=n_init).lower_bound_ for n_init in (1, 2, 5, 20)]
    assert heights == sorted(heights)
    assert heights[-1] > heights[0] + 0.01


def test_random_state_cuts_the_starts_and_draws_samples():
    X = epoch_counts(4000, n_epochs=10, noise=0.05)
    heights = {seed: fit(X, n_init=2, random_state=seed).lower_bound_ for seed in range(8)}
    assert len({round(height, 6) for height in heights.values()}) > 1
    assert fit(X, n_init=2, random_state=3).lower_bound_ == heights[3]
    firsts = {fit(X, n_init=1, random_state=seed).lower_bound_ for seed in range(3)}
    assert len(firsts) == 1  # the first start is not drawn
    mixture = fit(X)
    assert_array_equal(mixture.sample(20)[0], mixture.sample(20)[0])
    other = fit(X).set_params(random_state=1)
    assert (other.sample(20)[0] != mixture.sample(20)[0]).all()


def test_samples_follow_the_density():
    mixture = fit(two_weibulls(2000), random_state=3)
    X, components = mixture.sample(4000)
    assert X.shape == (4000, 1)
    assert_allclose(np.bincount(components) / 4000, mixture.weights_, atol=0.03)
    for k in range(2):
        law = weibull_min(mixture.shapes_[k, 0], scale=mixture.scales_[k, 0])
        assert kstest(X[components == k, 0], law.cdf).pvalue > 0.01
    assert mixture.sample()[0].shape == (1, 1)


# Edges


@METHODS
@pytest.mark.parametrize("value", [0.0, 7.0])
def test_constant_data_give_a_finite_mixture_and_a_warning(method, value):
    X = np.full((10, 1), value)
    with pytest.warns(ConvergenceWarning, match=r"1 distinct row\(s\).*Lower n_components"):
        mixture = WeibullMixture(method=method, random_state=0).fit(X)
    assert np.isfinite(parameters(mixture)).all()
    assert_allclose(mixture.scales_.ravel(), [value or 0.1] * 2, rtol=0.05)
    assert np.isfinite(mixture.score_samples(X)).all()


@METHODS
def test_a_single_epoch_gives_two_atoms(method):
    mixture = fit(shift_scores([-1] * 60 + [1] * 40)[:, None], method=method)
    assert_allclose(mixture.scales_.ravel(), [0.1, 2], rtol=0.02)
    assert_allclose(mixture.weights_, [0.6, 0.4], atol=0.03)


@pytest.mark.parametrize(
    "values", [[1e-300, 1e300], [0, 5e-324], [1, 1, 1, 1, 1e-200], list(range(5))]
)
def test_extreme_data_give_a_finite_mixture(values):
    X = np.array(values, float)[:, None]
    for n_components, method in itertools.product((1, 2), ("em", "direct")):
        mixture = WeibullMixture(n_components, method=method, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", ConvergenceWarning)
            assert np.isfinite(mixture.fit(X).score(X))


# Ten million scores


def test_time_and_memory_are_those_of_a_sort():
    scores = np.random.default_rng(0).permutation(np.resize(epoch_counts(10_000, 70), 10_000_000))
    start = time.process_time()
    mixture = fit(scores[:, None])
    assert time.process_time() - start < 2
    assert_allclose(mixture.scales_, fit(epoch_counts(10_000, 70)).scales_, rtol=1e-9)
    tracemalloc.start()
    fit(scores[:1_000_000, None])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * 8_000_000  # the rows take 8 bytes each

"""Beta mixtures, and two components on losses: what they recover, and each guard."""

import itertools
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize_scalar
from scipy.special import digamma, polygamma
from scipy.stats import beta, kstest
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from sknoisy.exceptions import MixtureWarning
from sknoisy.mixture import BetaMixture, LossMixture, loss_mixture, split_by_loss
from sknoisy.mixture._beta_fit import _fit_betas
from sknoisy.mixture._loss_posterior import _bic_of_one_mode

KINDS = ["gaussian", "beta"]


def draw(share, first, second, n=10_000, seed=0):
    """Draw rows of two betas; the rows of the first come first."""
    rng, n_first = np.random.default_rng(seed), round(share * n)
    return np.r_[rng.beta(*first, n_first), rng.beta(*second, n - n_first)][:, None]


def some_rows():
    return draw(0.7, (1, 9), (6, 4), n=200)


def overlapping():
    return draw(0.5, (1, 6), (2, 3), n=500)


# The fit of betas


@pytest.mark.parametrize(
    ("share", "first", "second"),
    [(0.7, (2, 18), (12, 6)), (0.3, (0.6, 9), (9, 3)), (0.5, (30, 90), (60, 20))],
)
def test_simulated_mixtures_are_recovered(share, first, second):
    """The fit lies within four standard errors of one that is given the components.

    Those are the inverse of the Fisher information; that the components are unknown makes them
    little larger, as these mixtures hardly overlap.
    """
    mixture = BetaMixture(margin=1e-12, random_state=0).fit(draw(share, first, second))
    assert mixture.converged_
    counts = 1e4 * np.array([share, 1 - share])
    assert_allclose(mixture.weights_, counts / 1e4, atol=4 * np.sqrt(share * (1 - share) / 1e4))
    for k, shapes in enumerate([first, second]):
        information = np.diag(polygamma(1, shapes)) - polygamma(1, sum(shapes))
        errors = np.sqrt(np.diag(np.linalg.inv(counts[k] * information)))
        fitted = np.r_[mixture.alphas_[k], mixture.betas_[k]]
        assert (np.abs(fitted - shapes) < 4 * errors).all()


def test_log_likelihood_is_that_of_scipy():
    X = np.c_[draw(0.6, (2, 9), (7, 3), n=400), draw(0.6, (1, 5), (5, 2), n=400, seed=1)]
    X = 6 * X - 2
    mixture = BetaMixture(support=(-2, 4), random_state=0).fit(X)
    density = beta(mixture.alphas_, mixture.betas_, loc=-2, scale=6)
    joint = mixture.weights_ * density.pdf(X[:, None, :]).prod(axis=2)
    assert_allclose(mixture.score_samples(X), np.log(joint.sum(axis=1)), rtol=1e-10, atol=1e-10)
    assert_allclose(mixture.predict_proba(X), joint / joint.sum(axis=1)[:, None], atol=1e-12)
    assert_array_equal(mixture.predict(X), joint.argmax(axis=1))
    assert_allclose(mixture.means_, density.mean())
    assert_allclose(mixture.variances_, density.var())
    assert_allclose(mixture.score(X), np.log(joint.sum(axis=1)).mean())
    assert_allclose(mixture.lower_bound_, mixture.score(X), rtol=1e-12)
    log_likelihood = 400 * mixture.score(X)
    assert_allclose(mixture.bic(X), -2 * log_likelihood + 9 * np.log(400))
    assert_allclose(mixture.aic(X), -2 * log_likelihood + 18)


@pytest.mark.parametrize("shapes", [(0.4, 3), (2, 2), (30, 5)])
def test_one_component_has_the_maximum_likelihood(shapes):
    X = np.random.default_rng(0).beta(*shapes, (300, 1)).clip(1e-4, 1 - 1e-4)
    mixture = BetaMixture(1).fit(X)
    alpha, b = mixture.alphas_.item(), mixture.betas_.item()
    assert_allclose(digamma(alpha) - digamma(alpha + b), np.log(X).mean(), rtol=1e-9)
    assert_allclose(digamma(b) - digamma(alpha + b), np.log1p(-X).mean(), rtol=1e-9)
    assert_allclose((alpha, b), beta.fit(X, floc=0, fscale=1)[:2], rtol=1e-5)


def test_shapes_of_an_m_step_from_afar():
    """Means of log x and log(1 - x) that belong to known shapes, from starts that are far off."""
    grid = np.array(list(itertools.product([0.03, 0.5, 1, 7, 90, 480], repeat=2))).T[..., None]
    mean_T = digamma(grid) - digamma(grid.sum(axis=0))
    for start in (0.02, 1.0, 490.0):
        assert_allclose(_fit_betas(mean_T, np.full_like(grid, start), 1e3), grid, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("X", [some_rows(), overlapping()])
@pytest.mark.parametrize("n_components", [2, 3])
@pytest.mark.parametrize("max_concentration", [10, 1000])
def test_em_never_goes_down(X, n_components, max_concentration):
    params = {"n_init": 1, "max_iter": 100, "max_concentration": max_concentration}
    mixture = BetaMixture(n_components, tol=1e-9, **params).fit(X)
    gains = np.diff(mixture.lower_bounds_)
    assert len(gains) + 1 == mixture.n_iter_ > 10
    assert gains.min() > -1e-12
    assert mixture.lower_bound_ == mixture.lower_bounds_[-1]


def test_the_end_of_a_climb_is_a_maximum():
    X = some_rows()
    mixture = BetaMixture(tol=0, max_iter=5000, random_state=0).fit(X)
    top = mixture.score(X)
    for name in ("alphas_", "betas_"):
        for k, factor in itertools.product(range(2), (0.99, 1.01)):
            values = getattr(mixture, name).copy()
            moved = values.copy()
            moved[k] *= factor
            setattr(mixture, name, moved)
            assert mixture.score(X) < top
            setattr(mixture, name, values)


def test_order_of_the_rows_has_no_effect_and_weights_repeat_them():
    X = some_rows()
    rng = np.random.default_rng(1)
    weights = rng.integers(0, 4, len(X))
    expected = BetaMixture(random_state=0).fit(X, sample_weight=weights)
    repeated = rng.permutation(X.repeat(weights, axis=0))
    fitted = BetaMixture(random_state=0).fit(repeated)
    assert_array_equal(fitted.alphas_, expected.alphas_)
    assert_array_equal(fitted.weights_, expected.weights_)
    assert_allclose(expected.score(X, sample_weight=weights), fitted.score(repeated))
    assert_allclose(expected.bic(X, sample_weight=weights), fitted.bic(repeated))
    assert (BetaMixture(random_state=0).fit(X).alphas_ != expected.alphas_).all()


def test_draws_are_of_the_mixture_and_components_are_ordered_by_mean():
    mixture = BetaMixture(random_state=0).fit(draw(0.4, (20, 5), (2, 9), n=500))
    assert (np.diff(mixture.means_, axis=0) > 0).all()
    X, components = mixture.sample(4000)
    assert_allclose(np.bincount(components) / 4000, mixture.weights_, atol=0.03)
    for k in range(2):
        shapes = mixture.alphas_[k, 0], mixture.betas_[k, 0]
        assert kstest(X[components == k, 0], beta(*shapes).cdf).pvalue > 0.01


# Parameters of the mixture of betas


def test_values_at_the_ends_are_moved_inwards():
    X = some_rows()
    X[0], X[-1] = 0, 1
    moved = X.clip(1e-4, 1 - 1e-4)
    mixture, expected = (BetaMixture(random_state=0).fit(rows) for rows in (X, moved))
    assert_array_equal(mixture.alphas_, expected.alphas_)
    assert_array_equal(mixture.score_samples(X), mixture.score_samples(moved))
    assert np.isfinite(mixture.score_samples([[0.0], [1.0]])).all()
    inside = BetaMixture(random_state=0, margin=0.02).fit(X)
    assert_array_equal(inside.score_samples([[0.0]]), inside.score_samples([[0.02]]))
    assert inside.alphas_[0] > mixture.alphas_[0]  # the steep end is cut off


def test_support_is_a_change_of_unit():
    X = some_rows()
    unit = BetaMixture(random_state=0).fit(X)
    wide = BetaMixture(support=(-1, 3), random_state=0).fit(4 * X - 1)
    assert_allclose(wide.alphas_, unit.alphas_, rtol=1e-6)
    assert_allclose(wide.means_, 4 * unit.means_ - 1, rtol=1e-6)
    assert_allclose(wide.lower_bounds_, unit.lower_bounds_ - np.log(4))
    assert_allclose(wide.score_samples(4 * X - 1), unit.score_samples(X) - np.log(4), rtol=1e-6)
    low, high = wide.sample(1000)[0].min(), wide.sample(1000)[0].max()
    assert -1 <= low < 0 < 2 < high <= 3


def test_concentration_is_bounded_and_the_best_within_the_bound():
    X = np.random.default_rng(0).beta(30, 70, (500, 1))
    mixture = BetaMixture(1, max_concentration=20).fit(X)
    alpha = mixture.alphas_.item()
    assert_allclose(alpha + mixture.betas_.item(), 20)
    best = minimize_scalar(
        lambda a: -beta(a, 20 - a).logpdf(X).mean(), bounds=(0, 20), method="bounded"
    )
    assert_allclose(alpha, best.x, atol=1e-4)
    assert BetaMixture(1).fit(X).alphas_.item() > 25
    points = BetaMixture().fit([[0.3]] * 5 + [[0.6]] * 5)
    assert_allclose(points.alphas_ + points.betas_, 1000)
    assert_allclose(points.means_.ravel(), [0.3, 0.6], atol=1e-3)


def test_components_and_starts():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.beta(200 * m, 200 * (1 - m), 100) for m in (0.1, 0.4, 0.8)])[:, None]
    three = BetaMixture(3, random_state=0).fit(X)
    assert_allclose(three.means_.ravel(), [0.1, 0.4, 0.8], atol=0.02)
    assert BetaMixture(2, random_state=0).fit(X).bic(X) > three.bic(X)
    params = {"n_components": 4, "tol": 1e-4}
    tops = [BetaMixture(**params, n_init=n, random_state=0).fit(X).lower_bound_ for n in (1, 5)]
    assert tops[0] < tops[1]
    seeds = {BetaMixture(**params, n_init=2, random_state=s).fit(X).lower_bound_ for s in range(4)}
    assert len(seeds) > 1


def test_iterations_and_tolerance():
    X = overlapping()
    with pytest.warns(ConvergenceWarning, match=r"max_iter=2 iterations\. Raise max_iter or tol"):
        short = BetaMixture(max_iter=2, random_state=0).fit(X)
    assert (short.n_iter_, short.converged_) == (2, False)
    lengths = [BetaMixture(n_init=1, tol=tol).fit(X).n_iter_ for tol in (1e-2, 1e-4, 1e-6)]
    assert lengths == sorted(set(lengths))
    with pytest.warns(ConvergenceWarning, match=r"1 distinct row\(s\).*Lower n_components"):
        BetaMixture().fit([[0.5], [0.5]])


# Two components on losses


def two_clusters():
    """Losses (low ones first) around 0.2 and 3."""
    rng = np.random.default_rng(0)
    return np.r_[rng.normal(0.2, 0.05, 60), rng.normal(3, 0.5, 40)]


def fit(losses, **params):
    """Fit a mixture with a fixed seed; a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return loss_mixture(losses, **{"random_state": 0, **params})


def unit(losses):
    return ((losses - losses.min()) / np.ptp(losses))[:, None]


@pytest.mark.parametrize("kind", KINDS)
def test_both_kinds_separate_two_clusters(kind):
    losses = two_clusters()
    fitted = fit(losses, kind=kind)
    assert isinstance(fitted, LossMixture)
    assert isinstance(fitted.mixture, BetaMixture if kind == "beta" else GaussianMixture)
    assert_array_equal(fitted.clean_proba > 0.5, losses < 1)
    assert fitted.clean_proba.dtype == np.float64
    assert fitted.loss_range == (losses.min(), losses.max())
    assert fitted.lower == fitted.mixture.means_.argmin()
    assert_allclose(fitted.mixture.weights_[fitted.lower], 0.6, atol=0.02)
    low, high = fitted.loss_range
    mean = low + (high - low) * fitted.mixture.means_[fitted.lower, 0]
    assert_allclose(mean, losses[:60].mean(), atol=0.05)


def test_the_kinds_are_those_of_the_documented_mixtures():
    losses = np.sort(two_clusters())
    gaussians = GaussianMixture(2, tol=1e-2, reg_covar=5e-4, random_state=0).fit(unit(losses))
    betas = BetaMixture(tol=1e-4, random_state=0).fit(unit(losses))
    assert_array_equal(fit(losses).mixture.means_, gaussians.means_)
    assert_array_equal(fit(losses, kind="beta").mixture.alphas_, betas.alphas_)


def test_losses_that_pile_up_at_zero_are_a_case_for_betas():
    """A network that has memorised its rows has losses over four orders of magnitude."""
    right, errors = np.arange(2000) < 1200, dict.fromkeys(KINDS, 0.0)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        losses = np.r_[rng.lognormal(-4, 1.5, 1200), rng.lognormal(0.5, 0.7, 800)]
        for kind in KINDS:
            errors[kind] += ((fit(losses, kind=kind).clean_proba > 0.5) != right).mean() / 5
    assert errors["beta"] < 0.08 < 0.15 < errors["gaussian"]


@pytest.mark.parametrize(
    ("lower", "upper", "end"),
    [((20, 60), (3, 2), "low"), ((2, 4), (60, 20), "high"), ((2, 30), (6, 3), None)],
)
def test_a_larger_loss_is_never_cleaner_by_betas(lower, upper, end):
    """The log odds turn if one component is narrower on both sides, and nowhere else."""
    losses = np.sort(draw(0.6, lower, upper, n=2000).ravel())
    losses[0], losses[-1] = 0, 1
    fitted = fit(losses, kind="beta")
    assert np.diff(fitted.clean_proba).max() <= 1e-12
    raw = fitted.mixture.predict_proba(losses[:, None])[:, 0]
    A, B = (
        shapes[0, 0] - shapes[1, 0] for shapes in (fitted.mixture.alphas_, fitted.mixture.betas_)
    )
    assert (A * B > 0) == (end is not None)
    turned = np.zeros(2000, bool)
    if end is not None:
        assert np.diff(raw).max() > 1e-6
        turned = losses < A / (A + B) if end == "low" else losses > A / (A + B)
        assert_allclose(np.ptp(fitted.clean_proba[turned]), 0)
    assert 0 < (~turned).sum() <= 2000
    assert_allclose(fitted.clean_proba[~turned], raw[~turned], rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_order_and_unit_of_the_losses_have_no_effect(kind):
    losses = two_clusters()
    order = np.random.default_rng(1).permutation(len(losses))
    expected = fit(losses, kind=kind).clean_proba
    assert_array_equal(fit(losses[order], kind=kind).clean_proba, expected[order])
    result = fit((8 * losses - 2).tolist(), kind=kind).clean_proba
    assert_allclose(result, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_no_candidates_have_no_part_in_the_mixture(kind):
    losses = two_clusters()
    losses[0], losses[99] = -50, 500
    counts = np.ones(100, bool)
    counts[[0, 99]] = False
    fitted = fit(losses, kind=kind, candidates=counts)
    assert_array_equal(fitted.clean_proba[1:-1], fit(losses[1:-1], kind=kind).clean_proba)
    assert_array_equal(fitted.clean_proba[[0, 99]] > 0.5, [True, False])


@pytest.mark.parametrize(
    ("kind", "means", "width", "counts"),
    [
        ("gaussian", (0, 0.5, 1), 0.01, (50, 50, 50)),
        ("beta", (0, 0.3, 0.6, 1), 0.03, (20, 60) * 2),
    ],
)
def test_random_state_draws_the_starts(kind, means, width, counts):
    """Two components fit more than two clusters in several ways."""
    rng = np.random.default_rng(0)
    losses = np.concatenate([rng.normal(m, width, n) for m, n in zip(means, counts, strict=True)])
    fits = [fit(losses, kind=kind, random_state=seed) for seed in range(8)]
    assert len({fitted.mixture.weights_[fitted.lower].round(1) for fitted in fits}) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_split_by_loss_stands_on_it(kind):
    losses = np.random.default_rng(0).lognormal(0, 1.5, 400)
    fitted = fit(losses, kind=kind)
    split = split_by_loss(losses, np.zeros(400), kind=kind, min_per_class=1, random_state=0)
    assert_array_equal(split.clean_proba, fitted.clean_proba)
    assert_array_equal(split.is_clean, fitted.clean_proba > 0.5)


# Guards


UNLIKE_A_MIXTURE = {
    "it did not converge in 1 iterations": (two_clusters(), {"max_iter": 1}),
    "it has one component in effect": (np.random.default_rng(0).normal(5, 1, 100), {}),
    "4 rows are fewer than its 5 parameters": (np.array([2.0, 9.0, 1.0, 8.0]), {}),
    "all losses are 0.7": (np.full(20, 0.7), {}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reason", UNLIKE_A_MIXTURE)
def test_without_a_mixture_the_posterior_is_a_rank(reason, kind):
    losses, params = UNLIKE_A_MIXTURE[reason]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = loss_mixture(losses, kind=kind, random_state=0, **params)
    assert [warning.category for warning in caught] == [MixtureWarning]
    assert f"{reason}. clean_proba is the share of rows with a larger loss" in str(
        caught[0].message
    )
    assert caught[0].filename == __file__
    assert fitted.mixture is None
    assert fitted.lower is None
    assert fitted.loss_range == (losses.min(), losses.max())
    above = [((losses > x).mean() + (losses >= x).mean()) / 2 for x in losses]
    assert_allclose(fitted.clean_proba, above, atol=1e-12)


def test_one_beta_with_a_mode_at_each_end_does_not_pass_for_one_component():
    losses = np.array([0.1, 0.2, 0.15, 0.3, 0.2, 0.1, 0.25, 4.0, 5.0, 4.5, 3.8])
    one, two = (BetaMixture(k, random_state=0).fit(unit(losses)) for k in (1, 2))
    assert one.bic(unit(losses)) < two.bic(unit(losses))
    assert max(one.alphas_, one.betas_) < 1
    assert_array_equal(fit(losses, kind="beta").clean_proba > 0.5, losses < 1)
    # The best of one mode, by brute force over a shape when the other one is 1.
    x = unit(losses).clip(1e-4, 1 - 1e-4)
    free, ones = np.geomspace(0.01, 100, 4001), np.ones(4001)
    shapes = np.r_[free, ones], np.r_[ones, free]
    best = beta(*shapes).logpdf(x).sum(axis=0).max()
    assert_allclose(_bic_of_one_mode(one, unit(losses)), -2 * best + 2 * np.log(11), rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": [1.0, float("nan")]}, "losses contains NaN"),
        ({"losses": [[1.0, 2.0], [1.0, 2.0]]}, "1d array"),
        ({"kind": "weibull"}, "kind must be 'gaussian' or 'beta', got 'weibull'"),
        ({"max_iter": 0}, "max_iter must be at least 1, got 0"),
        ({"candidates": [True]}, r"one entry per row, \(2,\).*shape \(1,\)"),
        ({"candidates": [False, False]}, "True nowhere"),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(ValueError, match=message):
        loss_mixture(**{"losses": [1.0, 2.0], **changes})
    if "kind" in changes:
        with pytest.raises(ValueError, match=message):
            split_by_loss([1.0, 2.0], [0, 1], **changes)

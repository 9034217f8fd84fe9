"""The display of learning dynamics, on fits and on given scores; no screen."""

import sys

import numpy as np
import pytest
from matplotlib import pyplot as plt
from scipy.stats import weibull_min
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.tree import DecisionTreeClassifier

from sknoisy import CleanSampleSelector, L2RClassifier, MILDClassifier, PurifiedClassifier
from sknoisy.inspection import LearningDynamicsDisplay
from sknoisy.methods.mild.dynamics import LearningDynamics
from sknoisy.mixture import WeibullMixture, shift_scores

QUICK = {"max_epochs": 6, "n_rounds": 2, "batch_size": 32, "min_per_class": 2}


@pytest.fixture(autouse=True)
def no_screen():
    """The Agg backend, and no figure left open."""
    backend = plt.get_backend()
    plt.switch_backend("Agg")
    yield
    plt.close("all")
    plt.switch_backend(backend)


@pytest.fixture
def noisy(blobs, global_random_seed):
    """Rows in groups, and labels of which a third is wrong."""
    X, y = blobs
    wrong = np.random.default_rng(global_random_seed).random(len(y)) < 1 / 3
    return X, np.where(wrong, (y + 1) % 3, y)


@pytest.fixture
def selector(noisy, global_random_seed):
    """A selector after two rounds."""
    return CleanSampleSelector(**QUICK, stopping=False, random_state=global_random_seed).fit(
        *noisy
    )


def draw_scores(seed, n=4000):
    """Scores of 20 epochs: two thirds of the rows are memorised in nine epochs of ten."""
    rng = np.random.default_rng(seed)
    n_right = rng.binomial(20, np.where(np.arange(n) < 2 * n / 3, 0.9, 0.2))
    return 20.0 - 2 * n_right


def fit_mixture(scores):
    return WeibullMixture(random_state=0).fit(shift_scores(scores)[:, None])


def same_for_all(bits, n_rows):
    """A metric that tells no rows apart."""
    return LearningDynamics(np.ones(n_rows), np.zeros(n_rows))


def heights(display):
    return np.array([bar.get_height() for bar in display.bars_])


def centres(display):
    return np.array([bar.get_x() + bar.get_width() / 2 for bar in display.bars_])


# --- bars ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("round_index", [0, -1])
def test_of_a_fit_it_shows_the_rows_and_the_threshold_of_the_round(selector, round_index):
    display = LearningDynamicsDisplay.from_estimator(selector, round_index=round_index)
    record = selector.rounds_[round_index]
    assert heights(display).sum() == record["n_rows"]
    assert display.threshold_line_.get_xdata() == [record["threshold"]] * 2
    assert display.mixture is record["mixture"]
    tall = heights(display) > 0  # seven scores are possible, one bar each
    np.testing.assert_allclose(centres(display)[tall], record["scores"])
    np.testing.assert_array_equal(heights(display)[tall], record["counts"])


def test_a_classifier_that_selects_is_shown_by_its_selector(noisy, selector, global_random_seed):
    clf = MILDClassifier(
        selector=selector, semi="none", max_epochs=1, random_state=global_random_seed
    ).fit(*noisy)
    by_tree = PurifiedClassifier(selector, DecisionTreeClassifier()).fit(*noisy)
    for fitted, inner in ((clf, clf.selector_), (by_tree, by_tree.cleaner_)):
        display = LearningDynamicsDisplay.from_estimator(fitted)
        assert display.mixture is inner.rounds_[-1]["mixture"]


def test_scores_of_one_parity_have_bars_two_wide_and_others_one():
    even = LearningDynamicsDisplay.from_scores([-4, 0, 2, 2])
    assert centres(even).tolist() == [-4, -2, 0, 2]
    assert heights(even).tolist() == [1, 0, 1, 2]
    mixed = LearningDynamicsDisplay.from_scores([-4, -3, -1])
    assert centres(mixed).tolist() == [-4, -3, -2, -1]


def test_bins_bounds_the_bars_and_each_has_as_many_possible_scores(global_random_seed):
    scores = draw_scores(global_random_seed)  # 21 possible ones
    display = LearningDynamicsDisplay.from_scores(scores, bins=8)
    assert len(display.bars_) <= 8
    assert {bar.get_width() for bar in display.bars_} == {6}  # three scores
    assert heights(display).sum() == len(scores)
    fractions = scores / 3
    assert len(LearningDynamicsDisplay.from_scores(fractions, bins=8).bars_) == 8
    assert heights(LearningDynamicsDisplay.from_scores(fractions)).sum() == len(scores)


@pytest.mark.parametrize("score", [-3.0, 0.25])
def test_a_single_score_is_one_bar(score):
    display = LearningDynamicsDisplay.from_scores([score], [7])
    assert heights(display).tolist() == [7]
    assert centres(display) == pytest.approx([score])


def test_counts_stand_for_repeated_scores(global_random_seed):
    scores = draw_scores(global_random_seed, 500)
    distinct, counts = np.unique(scores, return_counts=True)
    repeated = LearningDynamicsDisplay.from_scores(scores)
    counted = LearningDynamicsDisplay.from_scores(distinct, counts)
    np.testing.assert_array_equal(heights(counted), heights(repeated))
    assert "500 rows" in [text.get_text() for text in counted.ax_.get_legend().get_texts()]


# --- curves -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bins", [50, 7])
def test_the_curve_is_the_density_on_the_scale_of_the_bars(bins, global_random_seed):
    scores = draw_scores(global_random_seed)
    mixture = fit_mixture(scores)
    display = LearningDynamicsDisplay.from_scores(scores, mixture=mixture, bins=bins)
    x, y = display.lines_[0].get_data()
    width = display.bars_[0].get_width()
    parts = [
        share * weibull_min(shape, scale=scale).cdf([x[0] - scores.min(), x[-1] - scores.min()])
        for share, scale, shape in zip(
            mixture.weights_, mixture.scales_[:, 0], mixture.shapes_[:, 0], strict=True
        )
    ]
    below, above = np.sum(parts, axis=0)
    rows = np.trapezoid(y, x) / width
    assert rows == pytest.approx(len(scores) * (above - below), rel=0.01)
    assert rows == pytest.approx(len(scores), rel=0.1)


def test_the_curve_starts_where_zeros_were_fitted_and_ends_with_the_bars(global_random_seed):
    scores = draw_scores(global_random_seed)
    display = LearningDynamicsDisplay.from_scores(scores, mixture=fit_mixture(scores))
    x = display.lines_[0].get_xdata()
    assert x[0] == pytest.approx(scores.min() + 0.1)
    assert x[-1] == scores.max() + 1


def test_positive_scores_are_not_shifted(global_random_seed):
    scores = draw_scores(global_random_seed) + 21
    mixture = fit_mixture(scores)
    display = LearningDynamicsDisplay.from_scores(scores, mixture=mixture)
    assert display.threshold == mixture.scales_[1, 0]
    assert display.lines_[0].get_xdata()[0] == pytest.approx(0.1)


def test_the_components_add_up_to_the_mixture_and_are_named_with_their_shares(global_random_seed):
    scores = draw_scores(global_random_seed)
    mixture = fit_mixture(scores)
    display = LearningDynamicsDisplay.from_scores(scores, mixture=mixture)
    whole, low, high = (line.get_ydata() for line in display.lines_)
    np.testing.assert_allclose(low + high, whole)
    assert low[10] > high[10]
    assert low[-10] < high[-10]
    labels = [line.get_label() for line in display.lines_]
    assert labels == ["mixture", "component 1, 67%", "component 2, 33%"]


def test_no_curve_presses_the_bars_down():
    scores = np.r_[np.full(50, -10.0), np.arange(-8.0, 12, 2)]
    mixture = fit_mixture(scores)
    mixture.shapes_[:], mixture.zero_value_[:] = 0.1, 1e-3  # nearly infinite at 0
    display = LearningDynamicsDisplay.from_scores(scores, mixture=mixture)
    assert display.lines_[0].get_ydata()[0] > 60
    assert display.ax_.get_ylim() == (0, 60)  # a fifth above the tallest bar


# --- threshold ----------------------------------------------------------------------------------


def test_the_threshold_is_that_of_the_selector_unless_another_is_given(selector):
    record = selector.rounds_[0]
    of_record = {name: record[name] for name in ("scores", "counts", "mixture")}
    display = LearningDynamicsDisplay.from_scores(**of_record)
    assert display.threshold == record["threshold"]
    assert display.threshold_line_.get_label() == f"threshold {record['threshold']:.1f}"
    other = LearningDynamicsDisplay.from_scores(**of_record, threshold=1.5)
    assert other.threshold_line_.get_xdata() == [1.5, 1.5]


def test_without_a_mixture_there_are_bars_alone(noisy, global_random_seed):
    alone = LearningDynamicsDisplay.from_scores([-2, 0, 2])
    X, y = noisy
    selector = CleanSampleSelector(metric=same_for_all, **QUICK, random_state=global_random_seed)
    selector.fit(X, y)
    of_fit = LearningDynamicsDisplay.from_estimator(selector)
    for display in (alone, of_fit):
        assert display.threshold_line_ is None
        assert display.lines_ == []
    assert heights(of_fit).tolist() == [len(y)]


# --- drawing ------------------------------------------------------------------------------------


def test_it_draws_into_the_axes_that_it_is_given_and_passes_arguments_on():
    figure, (left, right) = plt.subplots(1, 2)
    display = LearningDynamicsDisplay.from_scores([-2, 0], ax=right, color="red", label="all")
    assert display.ax_ is right
    assert display.figure_ is figure
    assert not left.patches
    assert display.bars_[0].get_facecolor() == (1, 0, 0, 1)
    assert display.bars_.get_label() == "all"
    assert right.get_xlabel() == "score, in epochs"
    assert right.get_ylabel() == "rows"


def test_plot_draws_again_what_was_drawn_before():
    display = LearningDynamicsDisplay(scores=[-2, 0, 0])
    assert not hasattr(display, "ax_")
    assert display.plot() is display
    first = heights(display)
    _, ax = plt.subplots()
    np.testing.assert_array_equal(heights(display.plot(ax)), first)
    assert display.ax_ is ax


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    display = LearningDynamicsDisplay(scores=[-2, 0])
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"sknoisy\[plots\]"):
        display.plot()


# --- errors -------------------------------------------------------------------------------------


def test_an_estimator_without_rounds_is_refused(blobs):
    with pytest.raises(NotFittedError):
        LearningDynamicsDisplay.from_estimator(CleanSampleSelector())
    X, y = blobs
    clf = L2RClassifier(max_epochs=2, n_warmup_epochs=1).fit(
        X, y, clean_mask=np.ones(len(y), bool)
    )
    with pytest.raises(ValueError, match=r"L2RClassifier has no rounds_.*CleanSampleSelector"):
        LearningDynamicsDisplay.from_estimator(clf)


def test_a_round_that_was_not_done_is_refused(selector):
    n = len(selector.rounds_)
    for index in (n, -n - 1):
        with pytest.raises(ValueError, match=rf"round_index={index}, but .* {n} entries.*{n - 1}"):
            LearningDynamicsDisplay.from_estimator(selector, round_index=index)
    selector.rounds_ = []  # as after an interrupt in the first round
    with pytest.raises(ValueError, match=r"rounds_ is empty.*Fit again"):
        LearningDynamicsDisplay.from_estimator(selector)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scores": []}, "0 sample"),
        ({"scores": [0, np.nan]}, "NaN"),
        ({"scores": [1, 2], "counts": [1]}, "1 counts, but 2 scores. Pass one count per score"),
        ({"scores": [1, 2], "counts": [1, -1]}, "values from -1 to 1. Leave them out"),
        ({"scores": [1, 2], "counts": [0, 0]}, "at least one non-zero"),
        ({"scores": [1, 2], "bins": 0}, "bins=0 must be at least 1"),
    ],
)
def test_scores_that_are_none_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LearningDynamicsDisplay.from_scores(**arguments)


def test_a_mixture_of_another_kind_is_refused():
    scores = [-2, 0, 2, 4, 4, 6]
    with pytest.raises(TypeError, match=r"a GaussianMixture.*WeibullMixture.*shift_scores"):
        LearningDynamicsDisplay.from_scores(scores, mixture=GaussianMixture())
    with pytest.raises(NotFittedError):
        LearningDynamicsDisplay.from_scores(scores, mixture=WeibullMixture())
    wide = WeibullMixture(random_state=0).fit(np.arange(20.0).reshape(10, 2) % 7)
    with pytest.raises(ValueError, match=r"fitted to 2 columns.*shift_scores"):
        LearningDynamicsDisplay.from_scores(scores, mixture=wide)

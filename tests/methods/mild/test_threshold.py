"""Which rows a round keeps by their scores, and whether labels have to do with the rows."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sknoisy.cleaning.chance import beats_chance, stratified_half
from sknoisy.methods.mild.threshold import Criteria, choose_rows

N, P = 4000, 20
NEVER_STOP = {"stopping": False, "min_memorized": 0.0}


def choose(scores, memorized=None, codes=None, trusted=None, seed=0, **criteria):
    """The choice by scores; all else is of no importance unless it is given."""
    scores, n = np.asarray(scores, float), len(scores)
    settings = {
        "threshold": "consistent",
        "stopping": True,
        "min_memorized": 0.4,
        "min_per_class": 1,
        **criteria,
    }
    return choose_rows(
        scores,
        np.full(n, 0.5) if memorized is None else np.asarray(memorized, float),
        np.zeros(n, int) if codes is None else np.asarray(codes),
        np.zeros(n, bool) if trusted is None else np.asarray(trusted),
        Criteria(**settings),
        seed,
    )


class Simulation:
    """Dynamics of a network that memorises right labels in 9 epochs of 10, wrong ones in 2."""

    def __init__(self, seed=0, noise=0.4):
        self.rng = np.random.default_rng(seed)
        self.is_right = self.rng.permutation(N) >= noise * N
        self.rows, self.choices = np.arange(N), []

    def ones(self):
        """Epochs in which each row that is left is memorised."""
        return self.rng.binomial(P, np.where(self.is_right[self.rows], 0.9, 0.2))

    def run(self, n_rounds, **criteria):
        """Precision and recall after each round."""
        quality = []
        for _ in range(n_rounds):
            ones = self.ones()
            choice = choose(P - 2.0 * ones, ones / P, **criteria)
            self.choices.append(choice)
            self.rows = self.rows[choice.keep]
            right = self.is_right[self.rows]
            quality.append((right.mean(), right.sum() / self.is_right.sum()))
            if choice.reason is not None:
                break
        return np.array(quality)


# --- the simulation of 40 % noise ---------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_three_rounds_drop_the_wrong_labels_and_hardly_a_right_one(seed):
    precision, recall = Simulation(seed).run(3, **NEVER_STOP).T
    assert (np.diff(precision) >= 0).all()
    assert precision[0] < 0.8  # a round is gentle: it drops a third of the wrong ones, or so
    assert precision[-1] > 0.85
    assert (recall > 0.95).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_guard_ends_the_rounds_before_right_labels_go(seed):
    simulation = Simulation(seed)
    quality = simulation.run(10)
    precision, recall = quality[-1]
    assert len(quality) < 10
    assert simulation.choices[-1].reason == "rows at the threshold are memorised in most epochs"
    assert simulation.choices[-1].threshold < 0 < simulation.choices[0].threshold
    assert precision > 0.98
    assert recall > 0.95


def test_without_a_guard_recall_collapses():
    """Nothing but right labels is left, and every round drops some of them."""
    precision, recall = Simulation().run(6, **NEVER_STOP).T
    assert precision[-1] > 0.999
    assert recall[2] > 0.95
    assert recall[-1] < 0.5


def test_the_released_rule_drops_nothing():
    """It compares scores of at most p with a scale of shifted ones, which go to 2p."""
    simulation = Simulation()
    simulation.run(10, threshold="released")
    (choice,) = simulation.choices
    assert choice.keep.all()
    assert P < choice.threshold < 2 * P
    assert choice.reason == "no row lies above the threshold"


@pytest.mark.parametrize("seed", [0, 1])
def test_right_labels_alone_stay(seed):
    simulation = Simulation(seed, noise=0.0)
    recall = simulation.run(10)[:, 1]
    assert len(recall) == 1
    assert recall[0] > 0.999


# --- the threshold ------------------------------------------------------------------------------


def some_scores(seed=0, n=600):
    ones = np.random.default_rng(seed).binomial(P, np.r_[np.full(n // 3, 0.2), np.full(n, 0.9)])
    return P - 2.0 * ones


def test_rows_up_to_the_larger_scale_are_kept():
    scores = some_scores()
    choice = choose(scores)
    scales = choice.mixture.scales_[:, 0]
    assert choice.threshold == pytest.approx(scales.max() + scores.min())
    assert_array_equal(choice.keep, scores <= choice.threshold)
    # Below the scale of a Weibull lie 1 - 1/e of its rows, so a third of the noisy third goes.
    noisy = np.arange(len(scores)) < 200
    assert choice.keep[noisy].mean() == pytest.approx(1 - 1 / np.e, abs=0.15)
    assert choice.keep[~noisy].all()


@pytest.mark.parametrize("constant", [-7.0, 3.0, 20.0 - 1e-9])
def test_a_constant_added_to_all_scores_changes_nothing(constant):
    """As long as the smallest is not positive: positive ones are not shifted."""
    scores = some_scores()
    assert scores.min() == -20
    kept, moved = (choose(values, stopping=False).keep for values in (scores, scores + constant))
    assert 0 < np.mean(~kept) < 0.2
    assert_array_equal(moved, kept)


def test_a_constant_does_change_what_the_released_rule_keeps():
    scores = some_scores()
    low, high = (
        choose(values, threshold="released").keep for values in (scores - 20, scores + 20 - 1e-9)
    )
    assert low.all()
    assert not high.all()


def test_positive_scores_are_not_shifted():
    scores = np.random.default_rng(0).weibull(3, 500) * 10 + 0.1
    choice = choose(scores)
    assert choice.threshold == choice.mixture.scales_[-1, 0]
    assert 0 < choice.keep.mean() < 1


def test_the_order_of_the_rows_has_no_effect():
    scores = some_scores()
    order = np.random.default_rng(1).permutation(len(scores))
    assert_array_equal(choose(scores[order]).keep, choose(scores).keep[order])


class Fixed:
    """A mixture whose components have the scales 2 and 8, whatever the scores."""

    converged_, scales_ = True, np.array([[2.0], [8.0]])

    def __init__(self, n_components, *, random_state):
        pass

    def fit(self, X):
        assert X.min() == 0


def test_a_row_at_the_threshold_is_kept_and_a_threshold_of_zero_is_no_end(monkeypatch):
    monkeypatch.setitem(choose_rows.__globals__, "WeibullMixture", Fixed)
    for least, is_last in ((0.0, False), (-8.0, False), (-8.5, True)):
        scores = least + np.arange(12)
        choice = choose(scores, min_memorized=1.0)
        assert choice.threshold == least + 8
        assert (choice.reason is not None) == is_last
        expected = scores == least if is_last else scores <= least + 8
        assert_array_equal(choice.keep, expected)


# --- when there is no mixture -------------------------------------------------------------------


@pytest.mark.parametrize("value", [-20.0, 0.0, 20.0])
def test_equal_scores_keep_every_row(value):
    choice = choose(np.full(50, value), memorized=np.zeros(50))
    assert choice.keep.all()
    assert choice.reason == f"all scores are {value:g}"
    assert choice.mixture is None
    assert np.isnan(choice.threshold)
    assert choice.n_spared == 0


@pytest.mark.parametrize("n", [1, 2, 4])
def test_rows_fewer_than_parameters_are_kept(n):
    choice = choose(np.linspace(-4, 4, n))
    assert choice.keep.all()
    assert choice.reason == f"{n} rows are fewer than the mixture's 5 parameters"
    assert choose(np.linspace(-4, 4, 5)).mixture is not None


def test_a_mixture_that_does_not_converge_keeps_every_row(monkeypatch):
    class Hasty(choose_rows.__globals__["WeibullMixture"]):
        def __init__(self, n_components, *, random_state):
            super().__init__(n_components, max_iter=1, random_state=random_state)
            self.tol = 0

    monkeypatch.setitem(choose_rows.__globals__, "WeibullMixture", Hasty)
    choice = choose(some_scores())
    assert choice.keep.all()
    assert choice.reason == "the mixture did not converge in 1 iterations"


@pytest.mark.parametrize("n_wrong", [1, 10, 50])
def test_a_single_epoch_gives_scores_of_one_and_minus_one(n_wrong):
    scores = np.where(np.arange(100) < n_wrong, 1.0, -1.0)
    choice = choose(scores, memorized=scores < 0)
    assert choice.keep[scores < 0].all()
    assert len(set(choice.keep[scores > 0])) == 1  # equal rows have an equal fate


# --- rows that are kept in any case -------------------------------------------------------------


def test_trusted_rows_stay():
    scores = some_scores()
    trusted = np.arange(len(scores)) % 3 == 0
    alone = choose(scores)
    choice = choose(scores, trusted=trusted)
    assert (trusted & ~alone.keep).any()
    assert_array_equal(choice.keep, alone.keep | trusted)
    assert choice.threshold == alone.threshold
    assert choice.n_spared == 0


def test_no_class_is_emptied_and_its_easiest_rows_stay():
    scores = some_scores()
    codes = np.where(scores >= 16, 2, np.arange(len(scores)) % 2)  # a class of hard rows only
    bare = choose(scores).keep
    hard = np.flatnonzero(codes == 2)
    assert len(hard) > 10
    assert not bare[hard].any()
    choice = choose(scores, codes=codes, min_per_class=7)
    assert choice.n_spared == 7
    assert_array_equal(choice.keep[codes < 2], bare[codes < 2])
    kept, dropped = scores[hard][choice.keep[hard]], scores[hard][~choice.keep[hard]]
    assert len(kept) == 7
    assert kept.max() <= dropped.min()
    assert_array_equal(choose(scores, codes=codes, min_per_class=10**6).keep, True)


def test_rows_above_the_threshold_that_are_spared_do_not_end_the_rounds():
    scores = np.r_[np.linspace(-20, -18, 200), np.full(5, 20.0)]
    choice = choose(scores, codes=np.arange(205) // 200, min_per_class=5, stopping=False)
    assert choice.keep[-5:].all()
    assert choice.n_spared == (scores > choice.threshold).sum() - (~choice.keep).sum()


# --- the last round -----------------------------------------------------------------------------


def settled(seed=0):
    """Scores of a round that has hardly a wrong label left, and shares of memorised epochs."""
    rng = np.random.default_rng(seed)
    ones = np.r_[rng.binomial(P, 0.9, 600), rng.binomial(P, 0.25, 12)]
    return P - 2.0 * ones, ones / P


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.8])
def test_the_last_round_drops_what_it_has_hardly_memorised(share):
    scores, memorized = settled()
    choice = choose(scores, memorized, min_memorized=share)
    assert choice.reason == "rows at the threshold are memorised in most epochs"
    assert_array_equal(choice.keep, memorized >= share)


def test_earlier_rounds_do_not_ask_for_a_share():
    scores = some_scores()
    memorized = (P - scores) / 2 / P
    kept = [choose(scores, memorized, min_memorized=share).keep for share in (0.0, 1.0)]
    assert_array_equal(*kept)
    assert (memorized[kept[0]] < 0.4).any()


def test_without_the_guard_no_round_is_the_last_one_for_its_threshold():
    scores, memorized = settled()
    choice = choose(scores, memorized, stopping=False)
    assert choice.threshold < 0
    assert choice.reason is None
    assert_array_equal(choice.keep, scores <= choice.threshold)


# --- half of each class -------------------------------------------------------------------------


def test_half_of_each_class_is_drawn():
    codes = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [1, 2, 9, 40]))
    halves = [stratified_half(codes, np.random.RandomState(seed)) for seed in (0, 0, 1)]
    for half in halves:
        assert_array_equal(np.bincount(codes[half]), [1, 1, 5, 20])
    assert_array_equal(halves[0], halves[1])
    assert (halves[0] != halves[2]).any()


def test_each_row_is_drawn_as_often_as_the_others_of_its_class():
    codes, rng = np.repeat(np.arange(2), [4, 9]), np.random.RandomState(0)
    share = np.mean([stratified_half(codes, rng) for _ in range(3000)], axis=0)
    expected = np.where(codes == 0, 1 / 2, 5 / 9)
    np.testing.assert_allclose(share, expected, atol=4 * np.sqrt(0.25 / 3000))


# --- better than chance -------------------------------------------------------------------------


@pytest.mark.parametrize("shares", [[0.25] * 4, [0.5, 0.5], [0.8, 0.2], [0.6, 0.3, 0.1]], ids=str)
def test_pure_noise_passes_once_in_44(shares):
    """Labels and predictions are drawn independently; two standard errors are 2.3 % one-sided."""
    rng = np.random.default_rng(0)
    n_samples, n_draws = 600, 2000
    draws = rng.choice(len(shares), (2, n_draws, n_samples), p=shares)
    passes = sum(beats_chance(given, predicted) for given, predicted in zip(*draws, strict=True))
    error = np.sqrt(0.0228 * 0.9772 / n_draws)
    assert passes / n_draws == pytest.approx(0.0228, abs=4 * error)


@pytest.mark.parametrize("seed", range(5))
def test_a_little_agreement_in_many_rows_is_more_than_chance(seed):
    rng = np.random.default_rng(seed)
    given = rng.integers(0, 4, 2000)
    predicted = np.where(rng.random(2000) < 0.15, given, rng.integers(0, 4, 2000))
    assert beats_chance(given, predicted)
    assert not beats_chance(given, (predicted + 1) % 4)  # less than chance


def test_agreement_with_a_rare_class_counts():
    """Nine rows of ten are of one class: by accuracy alone, these predictions are no good."""
    rng = np.random.default_rng(0)
    given = (np.arange(400) < 40).astype(int)
    predicted = np.where(rng.random(400) < 0.2, given, rng.permutation(given))
    assert np.mean(predicted == given) < 0.9
    assert beats_chance(given, predicted)


@pytest.mark.parametrize(
    ("given", "predicted"),
    [([0, 1] * 50, [0] * 100), ([0] * 100, [0] * 100), ([0] * 100, [0, 1] * 50), ([1], [0])],
)
def test_the_same_answer_for_all_rows_is_no_more_than_chance(given, predicted):
    assert beats_chance(np.array(given), np.array(predicted)) is False


def test_the_same_answer_is_found_out_whatever_the_shares():
    """Its standard error is zero, up to what is lost in rounding."""
    for n in range(3, 200):
        given = np.arange(n) % 3
        assert not beats_chance(given, np.zeros(n, int))
        assert not beats_chance(np.zeros(n, int), given)

"""The rows that a round of MILD keeps by their scores."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sknoisy.methods.mild.threshold import Criteria, keep_rows
from sknoisy.mixture import WeibullMixture

N, P = 4000, 20
MIXTURE = "sknoisy.methods.mild.threshold.WeibullMixture"
NEVER_STOP = {"stopping": False, "min_memorized": 0.0}


def keep(scores, memorized=None, codes=None, trusted=None, seed=0, **criteria):
    """Keep rows by their scores; nothing else matters unless it is passed."""
    scores, n = np.asarray(scores, float), len(scores)
    settings = {
        "threshold": "consistent",
        "stopping": True,
        "min_memorized": 0.4,
        "min_per_class": 1,
        **criteria,
    }
    return keep_rows(
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
        self.rows, self.rounds = np.arange(N), []

    def ones(self):
        """Epochs in which each row that is left is memorised."""
        return self.rng.binomial(P, np.where(self.is_right[self.rows], 0.9, 0.2))

    def run(self, n_rounds, **criteria):
        """Precision and recall after each round."""
        quality = []
        for _ in range(n_rounds):
            ones = self.ones()
            kept = keep(P - 2.0 * ones, ones / P, **criteria)
            self.rounds.append(kept)
            self.rows = self.rows[kept.mask]
            right = self.is_right[self.rows]
            quality.append((right.mean(), right.sum() / self.is_right.sum()))
            if kept.reason is not None:
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
    assert simulation.rounds[-1].reason == "rows at the threshold are memorised in most epochs"
    assert simulation.rounds[-1].threshold < 0 < simulation.rounds[0].threshold
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
    (kept,) = simulation.rounds
    assert kept.mask.all()
    assert P < kept.threshold < 2 * P
    assert kept.reason == "no row lies above the threshold"


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
    kept = keep(scores)
    scales = kept.mixture.scales_[:, 0]
    assert kept.threshold == pytest.approx(scales.max() + scores.min())
    assert_array_equal(kept.mask, scores <= kept.threshold)
    # Below the scale of a Weibull lie 1 - 1/e of its rows, so a third of the noisy third goes.
    noisy = np.arange(len(scores)) < 200
    assert kept.mask[noisy].mean() == pytest.approx(1 - 1 / np.e, abs=0.15)
    assert kept.mask[~noisy].all()


@pytest.mark.parametrize("constant", [-7.0, 3.0, 20.0 - 1e-9])
def test_a_constant_added_to_all_scores_changes_nothing(constant):
    """As long as the smallest is not positive: positive ones are not shifted."""
    scores = some_scores()
    assert scores.min() == -20
    kept, moved = (keep(values, stopping=False).mask for values in (scores, scores + constant))
    assert 0 < np.mean(~kept) < 0.2
    assert_array_equal(moved, kept)


def test_a_constant_does_change_what_the_released_rule_keeps():
    scores = some_scores()
    low, high = (
        keep(values, threshold="released").mask for values in (scores - 20, scores + 20 - 1e-9)
    )
    assert low.all()
    assert not high.all()


def test_positive_scores_are_not_shifted():
    scores = np.random.default_rng(0).weibull(3, 500) * 10 + 0.1
    kept = keep(scores)
    assert kept.threshold == kept.mixture.scales_[-1, 0]
    assert 0 < kept.mask.mean() < 1


def test_the_order_of_the_rows_has_no_effect():
    scores = some_scores()
    order = np.random.default_rng(1).permutation(len(scores))
    assert_array_equal(keep(scores[order]).mask, keep(scores).mask[order])


class Fixed:
    """A mixture whose components have the scales 2 and 8, whatever the scores."""

    converged_, scales_ = True, np.array([[2.0], [8.0]])

    def __init__(self, n_components, *, random_state):
        pass

    def fit(self, X):
        assert X.min() == 0


def test_a_row_at_the_threshold_is_kept_and_a_threshold_of_zero_is_no_end(monkeypatch):
    monkeypatch.setattr(MIXTURE, Fixed)
    for least, is_last in ((0.0, False), (-8.0, False), (-8.5, True)):
        scores = least + np.arange(12)
        kept = keep(scores, min_memorized=1.0)
        assert kept.threshold == least + 8
        assert (kept.reason is not None) == is_last
        expected = scores == least if is_last else scores <= least + 8
        assert_array_equal(kept.mask, expected)


# --- when there is no mixture -------------------------------------------------------------------


@pytest.mark.parametrize("value", [-20.0, 0.0, 20.0])
def test_equal_scores_keep_every_row(value):
    kept = keep(np.full(50, value), memorized=np.zeros(50))
    assert kept.mask.all()
    assert kept.reason == f"all scores are {value:g}"
    assert kept.mixture is None
    assert np.isnan(kept.threshold)
    assert kept.n_spared == 0


@pytest.mark.parametrize("n", [1, 2, 4])
def test_rows_fewer_than_parameters_are_kept(n):
    kept = keep(np.linspace(-4, 4, n))
    assert kept.mask.all()
    assert kept.reason == f"{n} rows are fewer than the mixture's 5 parameters"
    assert keep(np.linspace(-4, 4, 5)).mixture is not None


def test_a_mixture_that_does_not_converge_keeps_every_row(monkeypatch):
    class Hasty(WeibullMixture):
        def __init__(self, n_components, *, random_state):
            super().__init__(n_components, max_iter=1, random_state=random_state)
            self.tol = 0

    monkeypatch.setattr(MIXTURE, Hasty)
    kept = keep(some_scores())
    assert kept.mask.all()
    assert kept.reason == "the mixture did not converge in 1 iterations"


@pytest.mark.parametrize("n_wrong", [1, 10, 50])
def test_a_single_epoch_gives_scores_of_one_and_minus_one(n_wrong):
    scores = np.where(np.arange(100) < n_wrong, 1.0, -1.0)
    kept = keep(scores, memorized=scores < 0)
    assert kept.mask[scores < 0].all()
    assert len(set(kept.mask[scores > 0])) == 1  # equal rows have an equal fate


# --- rows that are kept in any case -------------------------------------------------------------


def test_trusted_rows_stay():
    scores = some_scores()
    trusted = np.arange(len(scores)) % 3 == 0
    alone = keep(scores)
    kept = keep(scores, trusted=trusted)
    assert (trusted & ~alone.mask).any()
    assert_array_equal(kept.mask, alone.mask | trusted)
    assert kept.threshold == alone.threshold
    assert kept.n_spared == 0


def test_no_class_is_emptied_and_its_easiest_rows_stay():
    scores = some_scores()
    codes = np.where(scores >= 16, 2, np.arange(len(scores)) % 2)  # a class of hard rows only
    bare = keep(scores).mask
    hard = np.flatnonzero(codes == 2)
    assert len(hard) > 10
    assert not bare[hard].any()
    kept = keep(scores, codes=codes, min_per_class=7)
    assert kept.n_spared == 7
    assert_array_equal(kept.mask[codes < 2], bare[codes < 2])
    low, high = scores[hard][kept.mask[hard]], scores[hard][~kept.mask[hard]]
    assert len(low) == 7
    assert low.max() <= high.min()
    assert_array_equal(keep(scores, codes=codes, min_per_class=10**6).mask, True)


def test_rows_above_the_threshold_that_are_spared_do_not_end_the_rounds():
    scores = np.r_[np.linspace(-20, -18, 200), np.full(5, 20.0)]
    kept = keep(scores, codes=np.arange(205) // 200, min_per_class=5, stopping=False)
    assert kept.mask[-5:].all()
    assert kept.n_spared == (scores > kept.threshold).sum() - (~kept.mask).sum()


# --- the last round -----------------------------------------------------------------------------


def settled(seed=0):
    """Scores of a round that has hardly a wrong label left, and shares of memorised epochs."""
    rng = np.random.default_rng(seed)
    ones = np.r_[rng.binomial(P, 0.9, 600), rng.binomial(P, 0.25, 12)]
    return P - 2.0 * ones, ones / P


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.8])
def test_the_last_round_drops_what_it_has_hardly_memorised(share):
    scores, memorized = settled()
    kept = keep(scores, memorized, min_memorized=share)
    assert kept.reason == "rows at the threshold are memorised in most epochs"
    assert_array_equal(kept.mask, memorized >= share)


def test_earlier_rounds_do_not_ask_for_a_share():
    scores = some_scores()
    memorized = (P - scores) / 2 / P
    kept = [keep(scores, memorized, min_memorized=share).mask for share in (0.0, 1.0)]
    assert_array_equal(*kept)
    assert (memorized[kept[0]] < 0.4).any()


def test_without_the_guard_no_round_is_the_last_one_for_its_threshold():
    scores, memorized = settled()
    kept = keep(scores, memorized, stopping=False)
    assert kept.threshold < 0
    assert kept.reason is None
    assert_array_equal(kept.mask, scores <= kept.threshold)

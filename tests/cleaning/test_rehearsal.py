"""The held-out judgement: its rule, and its use by the selector and by DMLPClassifier."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from purified_problems import noisy_blobs
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback
from small_selectors import GIVEN, NAMES, X, kept, quick
from torch import nn

from sknoisy import CLIDMUClassifier, DMLPClassifier, LabelPurifier, MILDClassifier
from sknoisy._engine.problem import Problem
from sknoisy.cleaning.held_out import Verdict, learn_and_predict, rehearse
from sknoisy.exceptions import InterruptedFitWarning, NonFiniteLossError
from sknoisy.methods.dmlp import classifier as dmlp
from sknoisy.methods.dmlp.judge import Judge
from sknoisy.methods.mild import selector as _selector

CODES = np.repeat([0, 1, 2], [30, 20, 10])
SMALL = {"max_epochs": 15, "batch_size": 32, "module_params": {"hidden": (16,)}, "random_state": 0}
FAILURES = [KeyboardInterrupt(), NonFiniteLossError("it became nan")]
HARMFUL = {"stopping": False, "n_rounds": 3}  # drops more than a fourth of the right labels


def jitter(rows, generator):
    """Augment rows by Gaussian noise."""
    return rows + 0.1 * torch.randn(rows.shape, generator=generator)


def keep_all(rows, seed):
    return rows, CODES[rows]


def drop_first(rows, seed):
    return rows[1:], CODES[rows[1:]]


# --- the rule -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_folds", [2, 3])
def test_each_row_is_left_out_once_and_seen_by_nobody(n_folds):
    cleaned, predicted = [], []

    def clean(rows, seed):
        cleaned.append(rows)
        return drop_first(rows, seed)

    def predict(rows, labels, held, seed):
        assert_array_equal(labels, CODES[rows])
        assert not np.isin(held, cleaned[-1]).any()
        assert len(cleaned[-1]) + len(held) == len(CODES)
        assert len(rows) in (len(cleaned[-1]), len(cleaned[-1]) - 1)
        predicted.append(held)
        return CODES[held]

    rng = np.random.RandomState(0)
    assert rehearse(CODES, n_folds, rng, clean, predict) == Verdict(0.0, 0.0)
    assert_array_equal(np.sort(np.concatenate(predicted)), np.repeat(np.arange(60), 2))
    for rows in cleaned:
        assert_array_equal(np.bincount(CODES[rows]) > 0, True)


@pytest.mark.parametrize(("before", "after"), [((0, 1), (0,)), ((0,), (0, 1))])
def test_the_gain_is_the_difference_of_the_shares_that_are_hit(before, after):
    """The networks predict some classes only; the second class has 20 of the 60 rows."""

    def predict(rows, labels, held, seed):
        known = after if len(rows) + len(held) < len(CODES) else before
        return np.where(np.isin(CODES[held], known), CODES[held], -1)

    verdict = rehearse(CODES, 3, np.random.RandomState(0), drop_first, predict)
    assert verdict.gain == pytest.approx(20 / 60 if len(after) == 2 else -20 / 60)
    assert verdict.error == pytest.approx(np.sqrt(1 / 3 * 2 / 3 / 60))
    assert verdict.is_worse == (len(after) == 1)


@pytest.mark.parametrize(
    ("gain", "error", "is_worse"),
    [(-0.02, 0.021, False), (-0.02, 0.019, True), (0.02, 0.01, False), (0.0, 0.0, False)],
)
def test_more_than_a_standard_error_must_be_lost(gain, error, is_worse):
    assert Verdict(gain, error).is_worse == is_worse


def test_where_nothing_is_cleaned_nothing_is_learned():
    def predict(*arguments):
        raise AssertionError("a network was trained")

    rng = np.random.RandomState(0)
    assert rehearse(CODES, 3, rng, keep_all, predict) == Verdict(0.0, 0.0)
    other = CODES.copy()
    other[3] = 2
    with pytest.raises(AssertionError, match="a network was trained"):
        rehearse(CODES, 3, rng, lambda rows, seed: (rows, other[rows]), predict)


def test_a_class_of_fewer_rows_than_folds_is_never_left_out():
    codes = np.r_[CODES, 3, 3]

    def predict(rows, labels, held, seed):
        assert held.max() < 60
        return codes[held]

    def clean(rows, seed):
        assert {60, 61} <= set(rows)
        return rows[1:], codes[rows[1:]]

    assert rehearse(codes, 3, np.random.RandomState(0), clean, predict) is not None
    assert rehearse(codes[-2:] - 3, 3, np.random.RandomState(0), clean, predict) is None


# --- the selector -------------------------------------------------------------------------------


def test_n_folds_takes_back_a_selection_that_costs_more_than_it_brings():
    left, judged = (quick(n_folds=n, **HARMFUL).fit(X, GIVEN) for n in (0, 3))
    assert left.held_out_gain_ is None
    assert len(left.sample_indices_) < 0.6 * len(X)
    assert judged.held_out_gain_.is_worse
    assert_array_equal(judged.sample_indices_, np.arange(len(X)))
    assert judged.clean_mask_.all()
    assert judged.stop_reason_.endswith("so that all rows stay")
    assert kept(judged) == kept(left)
    assert_array_equal(judged.clean_proba_, left.clean_proba_)


@pytest.mark.parametrize("n_folds", [2, 3])
def test_a_selection_that_pays_is_the_same_with_a_judgement(n_folds):
    left, judged = (quick(n_folds=n, max_epochs=30).fit(X, NAMES) for n in (0, n_folds))
    assert not judged.held_out_gain_.is_worse
    assert judged.held_out_gain_.error > 0
    assert len(left.sample_indices_) < len(X)
    assert_array_equal(judged.sample_indices_, left.sample_indices_)
    assert judged.stop_reason_ == left.stop_reason_


def test_many_rows_are_not_judged(monkeypatch):
    monkeypatch.setattr(_selector, "MAX_ROWS", len(X) - 1)
    selector = quick(n_folds=3, **HARMFUL).fit(X, GIVEN)
    assert selector.held_out_gain_ is None
    assert not selector.clean_mask_.all()


@pytest.mark.parametrize("error", FAILURES)
def test_a_judgement_that_fails_leaves_the_selection(monkeypatch, error):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(_selector, "rehearse", fail)
    left, judged = (quick(n_folds=n, **HARMFUL) for n in (0, 3))
    left.fit(X, GIVEN)
    if isinstance(error, KeyboardInterrupt):
        with pytest.warns(
            InterruptedFitWarning, match="in the judgement; the selection is that of round 3"
        ):
            judged.fit(X, GIVEN)
    else:
        judged.fit(X, GIVEN)
    assert_array_equal(judged.sample_indices_, left.sample_indices_)
    assert judged.held_out_gain_ is None


class InterruptsFit(nn.Linear):
    """Raises KeyboardInterrupt in the first forward pass of the network with number ``at``."""

    n_made, at = 0, 0

    def __init__(self, n_features, n_classes):
        super().__init__(n_features, n_classes)
        InterruptsFit.n_made += 1
        self.number = InterruptsFit.n_made

    def forward(self, x):
        if self.number == InterruptsFit.at:
            raise KeyboardInterrupt
        return super().forward(x)


@pytest.mark.parametrize("after", [1, 4])  # in the rounds of a part, in its network
def test_ctrl_c_in_the_judgement_leaves_the_selection(monkeypatch, after):
    params = {"module": InterruptsFit, "module_params": None, "stopping": False, "n_rounds": 3}
    monkeypatch.setattr(InterruptsFit, "n_made", 0)
    monkeypatch.setattr(InterruptsFit, "at", 0)
    left = quick(**params).fit(X, GIVEN)
    n_before = InterruptsFit.n_made
    assert n_before == 4  # three rounds, and the check of the first
    monkeypatch.setattr(InterruptsFit, "n_made", 0)
    monkeypatch.setattr(InterruptsFit, "at", n_before + after)
    where = "fit was interrupted in the judgement, fold 1 of 3.*; the selection is that of round 3"
    with pytest.warns(InterruptedFitWarning, match=where):
        judged = quick(n_folds=3, **params).fit(X, GIVEN)
    assert InterruptsFit.n_made == n_before + after
    assert_array_equal(judged.sample_indices_, left.sample_indices_)
    assert judged.held_out_gain_ is None


def test_networks_of_the_judgement_have_none_of_the_callbacks():
    class Count(Callback):
        begun = []

        def on_train_begin(self, net, **kwargs):
            Count.begun.append(net)

    judged = quick(n_folds=3, callbacks=[Count()], **HARMFUL).fit(X, GIVEN)
    assert judged.held_out_gain_ is not None
    assert len(Count.begun) == judged.n_iter_ == 3


def test_networks_that_are_compared_begin_alike_and_leave_the_data_as_they_are():
    clf = CLIDMUClassifier(weighting=None, n_ensemble=0, augment=jitter, **SMALL).fit(X, GIVEN)
    problem = Problem(X, GIVEN, GIVEN, clf.classes_, None, None, torch.device("cpu"), 0)
    data = clf._training_data(problem)
    before, started = data.generator.get_state(), []

    def build(rng, callbacks):
        net = clf._build_net(data, rng, callbacks, max_epochs=1)
        started.append(net.module.fc.weight.detach().clone())
        return net

    parts = np.arange(100), np.arange(100, 180)
    said = [learn_and_predict(build, data, *parts, seed=seed) for seed in (3, 3, 4)]
    assert torch.equal(started[0], started[1])
    assert not torch.equal(started[0], started[2])
    assert_array_equal(said[0], said[1])
    assert torch.equal(data.generator.get_state(), before)


def test_mild_learns_all_rows_if_the_selection_is_taken_back(monkeypatch):
    monkeypatch.setattr(_selector, "rehearse", lambda *arguments: Verdict(-0.1, 0.05))
    clf = MILDClassifier(**SMALL).fit(X, GIVEN)
    assert clf.clean_mask_.all()
    assert clf.semi_ == "none"
    plain = CLIDMUClassifier(weighting=None, n_ensemble=0, **SMALL).fit(X, GIVEN)
    assert_array_equal(clf.predict(X), plain.predict(X))


# --- DMLPClassifier -----------------------------------------------------------------------------


class Turns(BaseEstimator):
    """A purifier that replaces every label by the next class."""

    def __init__(self, device="cpu", verbose=0, random_state=None):
        self.device, self.verbose, self.random_state = device, verbose, random_state
        self.interrupted_ = False

    def fit(self, X, y):
        classes, codes = np.unique(y, return_inverse=True)
        self.purified_labels_ = classes[(codes + 1) % len(classes)]
        return self

    def fit_resample(self, X, y, clean_mask=None):
        return X, self.fit(X, y).purified_labels_


def test_purified_labels_that_tell_less_of_others_are_not_learned(monkeypatch):
    turned = DMLPClassifier(purifier=Turns(), **SMALL).fit(X, NAMES)
    assert turned.held_out_gain_ is None
    assert (turned.purified_labels_ != NAMES).all()
    monkeypatch.setattr(dmlp, "LabelPurifier", Turns)
    clf = DMLPClassifier(**SMALL).fit(X, NAMES)
    assert clf.held_out_gain_.is_worse
    assert_array_equal(clf.purified_labels_, NAMES)
    plain = CLIDMUClassifier(weighting=None, n_ensemble=0, **SMALL).fit(X, NAMES)
    assert_array_equal(clf.predict_proba(X), plain.predict_proba(X))


def test_labels_of_which_no_part_is_purified_are_not_learned(monkeypatch):
    """The purifier changes labels of all rows together, but none of any part."""

    class TurnsAll(Turns):
        def fit(self, X, y):
            super().fit(X, y)
            if len(y) < 180:
                self.purified_labels_ = y
            return self

    monkeypatch.setattr(dmlp, "LabelPurifier", TurnsAll)
    clf = DMLPClassifier(**SMALL).fit(X, NAMES)
    assert clf.held_out_gain_ == (0, 0)
    assert_array_equal(clf.purified_labels_, NAMES)


def test_trusted_rows_judge_instead_and_many_rows_do_without(monkeypatch):
    monkeypatch.setattr(dmlp, "LabelPurifier", Turns)
    trusted = np.arange(len(X)) < 20
    clf = DMLPClassifier(**SMALL).fit(X, NAMES, clean_mask=trusted)
    assert clf.held_out_gain_ is None
    assert (clf.purified_labels_ != NAMES)[~trusted].all()
    monkeypatch.setattr(dmlp, "MAX_ROWS", len(X) - 1)
    assert (DMLPClassifier(**SMALL).fit(X, NAMES).purified_labels_ != NAMES).all()


def test_rows_of_weight_zero_judge_nothing(monkeypatch):
    """Their labels agree with the replaced ones, but are not counted."""
    monkeypatch.setattr(dmlp, "LabelPurifier", Turns)
    weight = np.where(np.arange(len(X)) % 2, 1.0, 0.0)
    y = np.where(weight > 0, GIVEN, (GIVEN + 1) % 3)
    gains = []
    for seed in range(3):
        small = SMALL | {"random_state": seed}
        clf = DMLPClassifier(**small).fit(X, y, sample_weight=weight)
        alone = DMLPClassifier(**small).fit(X[weight > 0], GIVEN[weight > 0])
        assert clf.held_out_gain_.is_worse == alone.held_out_gain_.is_worse is True
        gains.append([clf.held_out_gain_.gain, alone.held_out_gain_.gain])
    weighted, left_out = np.mean(gains, axis=0)
    assert weighted == pytest.approx(left_out, abs=0.1)


@pytest.mark.parametrize("augment", ["auto", jitter])
def test_the_judgement_has_no_part_in_the_training(augment):
    rows, given, clean = noisy_blobs(0.2)
    params = {"augment": augment, **SMALL}
    judged = DMLPClassifier(**params).fit(rows, given)
    alone = DMLPClassifier(purifier=LabelPurifier(), **params).fit(rows, given)
    assert not judged.held_out_gain_.is_worse
    assert np.mean(judged.purified_labels_ == clean) > 0.9
    assert_array_equal(judged.purified_labels_, alone.purified_labels_)
    assert_array_equal(judged.predict_proba(rows), alone.predict_proba(rows))


def test_purified_labels_stand_if_their_judgement_fails(monkeypatch):
    def fail(*arguments):
        raise NonFiniteLossError("it became nan")

    monkeypatch.setattr(dmlp, "LabelPurifier", Turns)
    monkeypatch.setattr(dmlp, "rehearse", fail)
    clf = DMLPClassifier(**SMALL).fit(X, NAMES)
    assert (clf.purified_labels_ != NAMES).all()


@pytest.mark.parametrize(
    ("at", "where"), [(1, "the purification"), (2, "the judgement, fold 1 of 3")]
)
def test_ctrl_c_in_a_purification_ends_the_fit(monkeypatch, at, where):
    """Before the network is trained nothing can predict."""
    fitted = []

    class Interrupted(Turns):
        def fit(self, X, y):
            fitted.append(len(y))
            if len(fitted) == at:
                raise KeyboardInterrupt
            return super().fit(X, y)

    monkeypatch.setattr(dmlp, "LabelPurifier", Interrupted)
    clf = DMLPClassifier(**SMALL)
    message = f"fit was interrupted in {where}; DMLPClassifier is not fitted"
    with (
        pytest.warns(InterruptedFitWarning, match=message) as caught,
        pytest.raises(KeyboardInterrupt),
    ):
        clf.fit(X, NAMES)
    assert caught[0].filename == __file__
    assert len(fitted) == at
    with pytest.raises(NotFittedError):
        check_is_fitted(clf)


def test_the_purifier_says_whether_it_was_interrupted(monkeypatch):
    rows, given, _ = noisy_blobs(0.2)
    assert not LabelPurifier(random_state=0).fit(rows, given).interrupted_

    def stop(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Judge, "plan_round", stop)
    with pytest.warns(InterruptedFitWarning):
        assert LabelPurifier(random_state=0).fit(rows, given).interrupted_


def test_the_judgement_is_said(capsys, monkeypatch):
    monkeypatch.setattr(dmlp, "LabelPurifier", Turns)
    DMLPClassifier(verbose=1, **SMALL).fit(X, NAMES)
    told = capsys.readouterr().err
    assert "judged by 3 parts" in told
    assert "given labels are learned" in told
    quick(n_folds=2, verbose=1, **HARMFUL).fit(X, GIVEN)
    assert "judged by 2 parts" in capsys.readouterr().err


# --- the judge of the purifier ------------------------------------------------------------------


def judge_of(lead_of_given, lead_of_purified):
    """Return a judge of 100 rows; leads are over purified labels, and over the class shares.

    Both have a standard deviation of 1, so their standard error is 0.1.
    """
    noise = torch.cat([torch.ones(50), -torch.ones(50)]).double() * (99 / 100) ** 0.5
    judge = Judge.__new__(Judge)
    judge.runs, judge.likelihoods, judge._weights = [None], [-1.0], torch.ones(100).double()
    judge._best = torch.full((100,), -1.0).double()
    judge._unchanged = judge._best + lead_of_given + noise
    judge._guessed = judge._best - lead_of_purified + noise
    return judge


@pytest.mark.parametrize(
    ("lead", "stay"), [(-0.5, False), (0, False), (0.19, False), (0.21, True)]
)
def test_labels_stay_if_they_predict_others_better_by_two_standard_errors(lead, stay):
    assert judge_of(lead, 1.0).keep_given_labels == stay


@pytest.mark.parametrize(("lead", "stay"), [(-0.5, True), (0, True), (0.09, True), (0.11, False)])
def test_labels_stay_unless_others_are_predicted_better_than_by_class_shares(lead, stay):
    assert judge_of(0.0, lead).keep_given_labels == stay


def test_groups_are_held_out_as_a_whole():
    groups = np.arange(len(CODES)) // 3
    learned = []

    def drop_first(rows, seed):
        learned.append(rows)
        return rows[1:], CODES[rows[1:]]

    def predict(rows, labels, held, seed):
        assert not set(groups[rows]) & set(groups[held])
        return CODES[held]

    rng = np.random.RandomState(0)
    assert rehearse(CODES, 3, rng, drop_first, predict, groups) == Verdict(0.0, 0.0)
    assert len(learned) == 3
    for rows in learned:
        assert set(np.bincount(groups[rows])) <= {0, 3, np.sum(groups == groups.max())}

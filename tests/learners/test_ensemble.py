"""The ensemble: honest looks, learners that are let in, and that its ideas matter."""

import functools
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from sknoisy.learners import ensemble, posterior, second_look
from sknoisy.learners.ensemble import Ensemble
from sknoisy.learners.noisy_rows import NoisyRows
from sknoisy.learners.probabilities import one_hot
from sknoisy.noise import pairflip, symmetric

pytestmark = pytest.mark.usefixtures("small_forests")


def problem(seed=0, n=600, noise=pairflip, rate=0.35):
    """Return training rows, given and clean labels; test rows and clean labels."""
    X, y = make_classification(
        n + 1000, 8, n_informative=6, n_redundant=0, n_classes=4, class_sep=2.0, random_state=seed
    )
    X = (X / X.std(axis=0)).astype(np.float32)
    return X[:n], noise(y[:n], rate, random_state=seed).y, y[:n], X[n:], y[n:]


def fit(X, given, **changed):
    return Ensemble(0).fit(X, given, given.max() + 1, **changed)


@functools.cache
def fitted_on(seed):
    """Return the ensemble on pairflip that several tests read."""
    return fit(*problem(seed)[:2])


def test_it_repairs_labels_and_finds_the_transition_matrix():
    """Over three draws of pairflip."""
    found, errors = [], []
    for seed in range(3):
        clean, fitted = problem(seed)[2], fitted_on(seed)
        found.append(np.mean(fitted.distribution_.argmax(axis=1) == clean))
        true = 0.65 * np.eye(4) + 0.35 * np.roll(np.eye(4), 1, axis=1)
        errors.append(np.abs(fitted.transition_ - true).mean())
    assert np.mean(found) > 0.85  # 0.65 are given right
    assert np.mean(errors) < 0.08


def test_probabilities_are_calibrated_by_the_transition_matrix(monkeypatch):
    """Without it, the same learners follow the wrong labels; over three draws."""
    ensembles = [fitted_on(seed) for seed in range(3)]
    monkeypatch.setattr(posterior, "estimate_transition", lambda proba, *given: np.eye(4))
    ensembles += [fit(*problem(seed)[:2]) for seed in range(3)]
    scores = []
    for seed, fitted in zip([0, 1, 2] * 2, ensembles, strict=True):
        _, _, _, X_test, y_test = problem(seed)
        proba = fitted.predict_proba(X_test)
        scores.append(((proba - one_hot(y_test, 4)) ** 2).sum(axis=1).mean())
    assert np.mean(scores[:3]) < 0.8 * np.mean(scores[3:])


def test_no_learner_judges_a_row_that_it_has_seen(monkeypatch):
    """Each fold is judged by learners of other rows, and all rows are judged once."""
    X, given, _, _, _ = problem(n=90)
    learned, judged = [], []

    class Spy(LogisticRegression):
        def fit(self, X, y, sample_weight=None):
            learned.append({row.tobytes() for row in X})
            return super().fit(X, y, sample_weight)

        def predict_proba(self, X):
            judged.append({row.tobytes() for row in X})
            assert not learned[-1] & judged[-1]
            return super().predict_proba(X)

    monkeypatch.setattr(second_look, "_CLEARLY", -np.inf)  # let it in
    data = NoisyRows(X, given, one_hot(given, 4), None, None, None)
    members = ensemble.pick_members(X, data.targets, None, None, 0, None)
    further = {"spy": lambda: ensemble.HardLabels(Spy())}
    look = second_look.look_again(data, members, further, 0)
    assert list(look.builds)[-1] == "spy"
    assert sum(map(len, judged)) == len(set.union(*judged)) == 90


def test_a_label_does_not_come_back_to_its_row():
    """Of rows without structure, the second look knows nothing, and all labels are kept."""
    rng = np.random.default_rng(0)
    X, given = rng.normal(size=(300, 5)).astype(np.float32), rng.integers(0, 2, size=300)
    data = NoisyRows(X, given, one_hot(given, 2), None, None, None)
    members = ensemble.pick_members(X, data.targets, None, None, 0, None)
    found = second_look.look_again(data, members, {}, 0).answer
    agreeing = np.mean(found.proba.argmax(axis=1) == given)
    assert abs(agreeing - 0.5) < 3 * np.sqrt(0.25 / 300)
    fitted = fit(X, given)
    assert not fitted.is_informed_
    assert_array_equal(fitted.distribution_, data.targets)
    assert_array_equal(fitted.transition_, np.eye(2))


def test_further_classifiers_are_let_in_by_the_likelihood():
    """One that knows the clean labels enters; one that knows only sizes of classes does not."""
    X, given, clean, X_test, y_test = problem(noise=symmetric)
    truth = {row.tobytes(): label for row, label in zip(X, clean, strict=True)}
    truth |= {row.tobytes(): label for row, label in zip(X_test, y_test, strict=True)}

    class Oracle(LogisticRegression):
        def predict_proba(self, X):
            labels = np.array([truth[row.tobytes()] for row in X])
            return 0.9 * one_hot(labels, 4) + 0.025

    further = {"oracle": Oracle(), "sizes": DummyClassifier(strategy="prior")}
    fitted = Ensemble(0, further=further).fit(X, given, 4)
    shares = {candidate.name: candidate.share for candidate in fitted.candidates_}
    assert shares["oracle"] > 0.4
    assert shares["sizes"] == 0
    alone = fit(X, given)
    right = [np.mean(e.predict_proba(X_test).argmax(axis=1) == y_test) for e in (fitted, alone)]
    assert right[0] > right[1] + 0.02


def test_a_learner_that_knows_nothing_is_left_out():
    members = [ensemble.Member(str(k), {}, None, None, None, None) for k in range(3)]
    mixture = posterior.Mixture((1.0, 2.0, 3.0), np.array([0.02, 0.49, 0.49]))
    left, rest = ensemble._without_idle(members, mixture)
    assert [member.name for member in left] == ["1", "2"]
    assert rest.powers == (2.0, 3.0)
    assert_allclose(rest.shares, 0.5)


def test_the_share_of_the_purified_labels_follows_their_lead():
    """It is 0.73 without a lead, and rows that do not count have no part."""
    codes = np.zeros(100, int)

    def share(n_before, n_after, weights=None, groups=None):
        looks = [
            posterior.Answer(None, None, one_hot((np.arange(100) >= n_right).astype(int), 2), None)
            for n_right in (n_before, n_after)
        ]
        data = NoisyRows(None, codes, one_hot(codes, 2), weights, None, groups)
        return ensemble._share_of_second(*looks, data)

    assert share(50, 50) == pytest.approx(0.731, abs=1e-3)
    assert share(50, 20) < 0.05
    assert share(50, 80) > 0.95
    assert share(50, 60, (np.arange(100) < 50).astype(float)) == share(50, 50)


def test_predictions_are_the_mixture_of_both_kinds_of_learners():
    X, given, _, X_test, _ = problem(n=200)
    fitted = fit(X, given)
    parts = [predictor.predict_proba(X_test) for predictor in (fitted._given, fitted._purified)]
    expected = (1 - fitted._share) * parts[0] + fitted._share * parts[1]
    assert_array_equal(fitted.predict_proba(X_test), expected)
    assert np.abs(parts[0] - parts[1]).max() > 0.05


def test_verbose_shows_the_folds(capsys):
    X, given, _, _, _ = problem(n=60)
    fit(X, given)
    assert capsys.readouterr().err == ""
    Ensemble(0, verbose=1).fit(X, given, 4)
    assert "Second look" in capsys.readouterr().err


def test_a_group_that_holds_a_class_keeps_its_labels():
    """Learners that have not seen it have not seen the class."""
    codes = np.array([0, 0, 1, 1, 2, 2, 2])
    groups = np.array([0, 1, 1, 2, 3, 3, 4])
    weights = np.array([1.0, 1, 1, 1, 1, 1, 0])  # of class 2, group 3 alone counts
    data = NoisyRows(None, codes, one_hot(codes, 3), weights, None, groups)
    assert_array_equal(data.judged(), [True] * 4 + [False] * 3)
    wrong = one_hot((codes + 1) % 3, 3)
    found = data.answer([0.8 * wrong + 0.1, 0.7 * wrong + 0.15])
    assert_array_equal(found.posterior[4:6], data.targets[4:6])
    assert found.proba[:4].argmax(axis=1).tolist() == [1, 1, 2, 2]
    X, given, _, _, _ = problem()
    fitted = fit(X, given, groups=given)
    assert not fitted.is_informed_
    assert_array_equal(fitted.distribution_.argmax(axis=1), given)


@pytest.mark.parametrize("n_counted", [2, 3])
def test_weight_on_few_rows_is_enough(n_counted):
    X, given, _, _, _ = problem(n=60)
    first = [np.flatnonzero(given == k)[0] for k in range(n_counted)]
    weights = np.zeros(60)
    weights[first] = 1.0
    fitted = fit(X, given, weights=weights)
    assert_allclose(fitted.distribution_.sum(axis=1), 1)
    assert_allclose(fitted.predict_proba(X).sum(axis=1), 1)


def test_it_is_pickled_whole():
    X, given, _, X_test, _ = problem(n=60)
    fitted = pickle.loads(pickle.dumps(fit(X, given)))
    assert_array_equal(fitted.predict_proba(X_test), fit(X, given).predict_proba(X_test))

"""The ensemble of many rows: what learns which rows, what enters, and what is kept in memory."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from sknoisy._engine.indexing import take_rows
from sknoisy._engine.streams import Stream
from sknoisy.learners import many_rows, probabilities
from sknoisy.learners.cross_fit import CrossFit
from sknoisy.learners.ensemble import Ensemble
from sknoisy.learners.many_rows import LargeEnsemble
from sknoisy.learners.noisy_rows import NoisyRows
from sknoisy.learners.posterior import Mixture, posterior
from sknoisy.learners.probabilities import brier_score, one_hot
from sknoisy.noise import symmetric

pytestmark = pytest.mark.usefixtures("small_forests")


class ArrayStream(Stream):
    """An array that is read as a stream."""

    def __init__(self, X):
        self.X, self.shape, self.dtype = X, X.shape, X.dtype

    def check(self, estimator):
        return self.X[:1]

    def _read(self, rows):
        return self.X[rows]


def problem(n=1000, n_classes=4, seed=0):
    """Return training rows as a stream, given and clean labels; test rows and clean labels."""
    X, y = make_classification(
        n + 1000,
        8,
        n_informative=6,
        n_redundant=0,
        n_classes=n_classes,
        class_sep=2.0,
        random_state=seed,
    )
    X = (X / X.std(axis=0)).astype(np.float32)
    given = symmetric(y[:n], 0.35, random_state=seed).y
    return ArrayStream(X[:n]), given, y[:n], X[n:], y[n:]


def noisy_rows(X, codes, **given):
    return NoisyRows(X, codes, None, *(given.get(k) for k in ("weights", "trusted", "groups")))


@pytest.mark.parametrize("groups", [None, np.arange(300) // 2])
def test_no_classifier_judges_a_row_that_it_has_seen(groups):
    """Nearest neighbours know the label of each row that they have seen, and only those."""
    rng = np.random.RandomState(0)
    X = ArrayStream(rng.randn(300, 3).astype(np.float32))
    codes = rng.randint(4, size=300)
    if groups is not None:  # rows of a group are nearly the same
        X.X[1::2], codes[1::2] = X.X[::2] + 1e-4, codes[::2]
    nearest = [KNeighborsClassifier(1)] * 2
    fitted = CrossFit(nearest, 0).fit(noisy_rows(X, codes, groups=groups), 4)
    held_out = fitted.held_out(X, np.arange(300), np.zeros((300, 4)))
    assert np.mean(held_out.argmax(axis=1) == codes) < 0.35
    seen = [fitted.fitted_[k].predict(X.X[fitted.fold_ != k]) for k in range(2)]
    assert all((seen[k] == codes[fitted.fold_ != k]).all() for k in range(2))


def test_the_mean_of_the_classifiers_predicts():
    X, given, _, X_test, _ = problem()
    fitted = CrossFit([LogisticRegression(), DummyClassifier()], 0)
    fitted.fit(noisy_rows(X, given), 4)
    parts = [clf.predict_proba(X_test) for clf in fitted.fitted_.values()]
    assert_allclose(fitted.predict_proba(X_test), (parts[0] + parts[1]) / 2)


def test_rows_that_all_classifiers_have_seen_are_judged_otherwise():
    """A group that holds a class is in no fold."""
    X, given, _, _, _ = problem(n=200)
    groups = np.where(given == 3, 0, 1 + np.arange(200))
    fitted = CrossFit([LogisticRegression()] * 2, 0).fit(noisy_rows(X, given, groups=groups), 4)
    otherwise = np.full((200, 4), 0.25)
    held_out = fitted.held_out(X, np.arange(200), otherwise)
    assert_array_equal((held_out == 0.25).all(axis=1), given == 3)


def test_a_class_that_a_fold_lacks_has_no_probability():
    X, given, _, X_test, _ = problem(n=200)
    given %= 3
    given[7] = 3  # one row
    fitted = CrossFit([LogisticRegression()] * 2, 0).fit(noisy_rows(X, given), 4)
    lacking = fitted.fold_[7]
    parts = {k: clf.predict_proba(X_test).shape[1] for k, clf in fitted.fitted_.items()}
    assert parts == {lacking: 3, 1 - lacking: 4}
    assert_allclose(fitted.predict_proba(X_test).sum(axis=1), 1, rtol=1e-6)


def test_folds_without_which_no_row_is_left_have_no_classifier():
    X, _, _, _, _ = problem()
    codes = np.arange(6)  # rows of their own class are all in the first fold
    part = noisy_rows(take_rows(X, codes), codes)
    fitted = CrossFit([LogisticRegression()] * 2, 0).fit(part, 6)
    assert not fitted.fitted_


def test_learners_learn_some_rows_and_all_are_judged(monkeypatch):
    """Labels of rows that no learner has seen become as right as those of the others."""
    monkeypatch.setattr(many_rows, "_MAX_ROWS", 400)
    X, given, clean, _, _ = problem(n=1200)
    seen = []
    fit = Ensemble.fit
    monkeypatch.setattr(Ensemble, "fit", lambda self, X, *a: seen.append(X) or fit(self, X, *a))
    fitted = LargeEnsemble(Ensemble(0), [], 0).fit(X, given, 4)
    assert [len(rows) for rows in seen] == [400]
    numbers = {row.tobytes(): number for number, row in enumerate(X.X)}
    learned = np.zeros(1200, dtype=bool)
    learned[[numbers[row.tobytes()] for row in seen[0]]] = True
    right = fitted.distribution_.argmax(axis=1) == clean
    assert right[learned].mean() > 0.85 < right[~learned].mean()  # 0.65 are given right
    expected = posterior(fitted.predict_proba(X), fitted.transition_, given)
    assert_allclose(fitted.distribution_[~learned], expected[~learned], rtol=1e-5)


def test_networks_are_let_in_by_the_likelihood():
    """Those that know the clean labels enter; those that know only sizes of classes do not."""
    X, given, clean, X_test, y_test = problem(500)
    known = dict(
        zip(map(bytes, [*X.X, *X_test]), [*clean, *y_test], strict=True)  # rows by their bytes
    )

    class Oracle(LogisticRegression):
        def predict_proba(self, X):
            return 0.9 * one_hot(np.array([known[bytes(row)] for row in X]), 4) + 0.025

    informed, ignorant, alone = (
        LargeEnsemble(Ensemble(0), [clf] * 2 if clf else [], 0).fit(X, given, 4)
        for clf in (Oracle(), DummyClassifier(), None)
    )
    assert informed.candidates_[-1].share > 0.4
    knows = Oracle().predict_proba(X.X)
    assert informed.candidates_[-1].brier_score == pytest.approx(
        brier_score(knows, one_hot(given, 4))
    )
    assert ignorant.candidates_[-1].share == 0
    assert_array_equal(ignorant.predict_proba(X_test), alone.predict_proba(X_test))
    for fitted in (informed, alone):
        assert sum(candidate.share for candidate in fitted.candidates_) == pytest.approx(1)
    right = [np.mean(e.predict_proba(X_test).argmax(axis=1) == y_test) for e in (informed, alone)]
    assert right[0] > right[1] + 0.02
    right = [np.mean(e.distribution_.argmax(axis=1) == clean) for e in (informed, alone)]
    assert right[0] > right[1] + 0.02


def test_learners_without_a_share_are_not_asked(monkeypatch):
    """They would cost the most of a prediction."""
    X, given, _, X_test, _ = problem(500)
    fitted = LargeEnsemble(Ensemble(0), [LogisticRegression()] * 2, 0)
    monkeypatch.setattr(
        many_rows,
        "_best_mixture",
        lambda mixture, *_: mixture._replace(shares=np.array([0.0, 1.0])),
    )
    monkeypatch.setattr(many_rows, "admit", lambda data, judged, known, further: further)
    fitted.fit(X, given, 4)
    expected = fitted._networks.predict_proba(X_test)
    monkeypatch.setattr(Ensemble, "predict_proba", None)
    found = fitted.predict_proba(X_test)
    assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))


def test_the_share_is_the_one_that_predicts_most_labels():
    """Learners and networks that know half of the labels each, or one of them all."""
    rng = np.random.RandomState(0)
    codes = rng.randint(3, size=900)
    sure = 0.9 * one_hot(codes, 3) + 0.1 / 3
    wrong = 0.6 * one_hot((codes + 1) % 3, 3) + 0.4 / 3
    first = np.arange(900)[:, None] < 450
    even = Mixture((1.0, 1.0), np.array([0.5, 0.5]))
    data = NoisyRows(None, codes, one_hot(codes, 3), None, None, None)
    halves = [np.where(first, sure, wrong), np.where(first, wrong, sure)]
    assert 0.3 < many_rows._best_mixture(even, data, halves).shares[0] < 0.7
    assert many_rows._best_mixture(even, data, [wrong, sure]).shares[0] == 0
    assert many_rows._best_mixture(even, data, [sure, wrong]).shares[0] > 0.3
    weighted = data._replace(weights=first[:, 0].astype(float))
    assert many_rows._best_mixture(even, weighted, halves[::-1]).shares[0] < 0.5


def test_trusted_rows_keep_their_labels_and_weightless_rows_have_no_say(monkeypatch):
    monkeypatch.setattr(many_rows, "_MAX_ROWS", 300)
    X, given, _, _, _ = problem()
    trusted, weights = np.arange(1000) < 50, np.ones(1000)
    weights[50:100] = 0
    fits = []
    for shift in (0, 1):
        changed = np.where(weights > 0, given, (given + shift) % 4)
        whole = LargeEnsemble(Ensemble(0), [LogisticRegression()] * 2, 0)
        monkeypatch.setattr("sknoisy.learners.cross_fit._given", lambda *args: {})
        fits.append(whole.fit(X, changed, 4, weights, trusted).distribution_)
    assert_array_equal(fits[0], fits[1])
    assert_array_equal(fits[0][:50], one_hot(given[:50], 4))


def test_a_group_that_holds_a_class_keeps_its_labels_among_many_rows(monkeypatch):
    monkeypatch.setattr(many_rows, "_MAX_ROWS", 300)
    X, given, _, _, _ = problem()
    groups = np.where(given == 3, 0, 1 + np.arange(1000) // 2)
    fitted = LargeEnsemble(Ensemble(0), [LogisticRegression()] * 2, 0)
    monkeypatch.setattr("sknoisy.learners.cross_fit._given", lambda *args: {})
    fitted.fit(X, given, 4, groups=groups)
    kept = given == 3
    assert_array_equal(fitted.distribution_[kept], one_hot(given[kept], 4))


def test_learners_of_a_part_know_the_rare_classes(monkeypatch):
    """A class of 6 rows among 2,000 would have one at most among 200 that are drawn."""
    monkeypatch.setattr(many_rows, "_MAX_ROWS", 200)
    rng = np.random.RandomState(0)
    clean = np.r_[np.full(6, 3), rng.randint(3, size=1994)]
    X = (rng.randn(2000, 4) + 5 * np.eye(4)[clean]).astype(np.float32)
    given = np.where((rng.rand(2000) < 0.2) & (clean < 3), (clean + 1) % 3, clean)
    fitted = LargeEnsemble(Ensemble(0), [], 0).fit(ArrayStream(X), given, 4)
    new = (rng.randn(100, 4) + 5 * np.eye(4)[3]).astype(np.float32)
    assert (fitted.predict_proba(new).argmax(axis=1) == 3).mean() > 0.9


def test_labels_of_classes_that_no_learner_knows_are_kept(monkeypatch):
    """The rows of a class are in two groups, which do not fit into the part."""
    monkeypatch.setattr(many_rows, "_MAX_ROWS", 100)
    X, given, _, _, _ = problem()
    groups = np.where(given == 3, np.arange(1000) % 2, 2 + np.arange(1000) // 2)
    assert np.bincount(groups)[:2].min() > 100
    fitted = LargeEnsemble(Ensemble(0), [], 0).fit(X, given, 4, groups=groups)
    unknown = given == 3
    assert_array_equal(fitted.distribution_[unknown], one_hot(given[unknown], 4))
    assert (fitted.distribution_[~unknown].argmax(axis=1) != given[~unknown]).any()


def test_a_group_that_fits_alone_is_no_part(monkeypatch):
    """Rows of one group could not be judged by those of another one."""
    monkeypatch.setattr(many_rows, "_MAX_ROWS", 500)
    X, given, clean, _, _ = problem()
    whole = LargeEnsemble(Ensemble(0), [], 0).fit(X, given, 4, groups=np.arange(1000) % 2)
    assert whole.is_informed_
    assert (whole.distribution_.argmax(axis=1) == clean).mean() > (given == clean).mean() + 0.05


@pytest.mark.parametrize("n_networks", [0, 2])
def test_groups_that_are_too_large_are_divided(monkeypatch, n_networks):
    """Networks judge the other group; without them, labels of rows that are not drawn are kept."""
    monkeypatch.setattr(many_rows, "_MAX_ROWS", 300)
    monkeypatch.setattr("sknoisy.learners.cross_fit._given", lambda *args: {})
    X, given, clean, X_test, y_test = problem()
    seen = []
    fit = Ensemble.fit
    monkeypatch.setattr(Ensemble, "fit", lambda self, X, *a: seen.append(X) or fit(self, X, *a))
    networks = [KNeighborsClassifier(40)] * n_networks
    groups = np.arange(1000) % 2
    groups[:5] = 2  # a group that fits, of far too few rows
    whole = LargeEnsemble(Ensemble(0), networks, 0).fit(X, given, 4, groups=groups)
    assert len(seen[0]) == 300
    drawn = np.isin(X.X[:, 0], seen[0][:, 0])
    labels = whole.distribution_.argmax(axis=1)
    assert (labels[drawn] == clean[drawn]).mean() > 0.8  # 0.65 are given right
    if n_networks:
        assert whole._networks is not None
        assert (labels[~drawn] == clean[~drawn]).mean() > 0.8
    else:
        kept = ~drawn & (groups < 2)
        assert_array_equal(labels[kept], given[kept])
    assert (whole.predict_proba(X_test).argmax(axis=1) == y_test).mean() > 0.8


def test_labels_stay_where_many_rows_say_nothing():
    rng = np.random.RandomState(0)
    X, given = ArrayStream(rng.randn(600, 3).astype(np.float32)), rng.randint(3, size=600)
    fitted = LargeEnsemble(Ensemble(0), [LogisticRegression()] * 2, 0).fit(X, given, 3)
    assert not fitted.is_informed_
    assert_array_equal(fitted.distribution_, one_hot(given, 3))
    assert_array_equal(fitted.transition_, np.eye(3))


def test_the_probabilities_of_all_rows_are_held_once(monkeypatch):
    """Peak memory of a fit, in arrays of all rows and classes in float32.

    800 rows that the learners learn take some 15 MB, 6 arrays. Learners of all rows take 60.
    """
    n, n_classes = 40_000, 16
    X, given, _, _, _ = problem(n, n_classes)
    monkeypatch.setattr(many_rows, "_MAX_ROWS", 800)
    monkeypatch.setattr(probabilities, "_BLOCK_ROWS", 1024)
    tracemalloc.start()
    try:
        LargeEnsemble(Ensemble(0), [GaussianNB()] * 2, 0).fit(X, given, n_classes)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * (4 * n * n_classes)

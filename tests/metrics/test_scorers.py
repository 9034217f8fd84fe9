"""The scorers for model selection on noisy labels, with scikit-learn's own tools."""

import re
from functools import partial

import numpy as np
import pytest
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    StratifiedKFold,
    cross_validate,
)

from sknoisy.meta import CLIDObjective
from sknoisy.metrics import (
    agreement_scorer,
    clid,
    clid_scorer,
    trusted_accuracy,
    trusted_accuracy_score,
)

FOLDS = StratifiedKFold(2)


@pytest.fixture
def noisy_blobs(blobs, global_random_seed):
    """String labels of which a fifth are wrong, and the true ones."""
    X, y = blobs
    wrong = np.random.default_rng(global_random_seed).random(len(y)) < 0.2
    names = np.array(["ant", "bee", "cat"])
    return X, names[np.where(wrong, (y + 1) % 3, y)], names[y]


@pytest.fixture
def mask(blobs):
    """Forty trusted rows, some of each class in each half."""
    return np.arange(len(blobs[1])) % 3 == 0


# --- CLID ---------------------------------------------------------------------------------------


class Fitted:
    """Stub of a fitted network, with features and predictions as arrays."""

    def __init__(self, features, proba):
        self._features, self._proba = features, proba

    def features(self, X):
        return self._features[X]

    def predict_proba(self, X):
        return self._proba[X]


def relative_clid(features, proba, temperature=0.03):
    """Return CLID divided by its value for equal predictions."""
    of_equal_rows = clid(features, np.full_like(proba, 1 / proba.shape[1]), temperature)
    return clid(features, proba, temperature) / of_equal_rows


def test_clid_scorer_reads_features_and_predictions_but_no_labels(quick, noisy_blobs):
    X, y, _ = noisy_blobs
    clf = quick().fit(X, y)
    score = clid_scorer(clf, X)
    assert score == clid_scorer(clf, X, y) == clid_scorer(clf, X, y[::-1])
    assert score == pytest.approx(-relative_clid(clf.features(X), clf.predict_proba(X)))


def test_clid_scorer_takes_X_for_the_features_of_other_classifiers(noisy_blobs):
    X, y, _ = noisy_blobs
    model = LogisticRegression().fit(X, y)
    assert clid_scorer(model, X) == pytest.approx(-relative_clid(X, model.predict_proba(X)))


def test_clid_scorer_does_not_depend_on_the_scale_of_features_nor_on_orders(global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    features, proba = rng.normal(size=(30, 8)), rng.dirichlet(np.ones(4), size=30)
    rotation = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    same = Fitted(features @ rotation * rng.uniform(0.1, 10, size=(30, 1)), proba[:, ::-1])
    rows = np.arange(30)
    expected = clid_scorer(Fitted(features, proba), rows)
    assert clid_scorer(same, rng.permutation(rows)) == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [0.03, 0.5])
def test_clid_scorer_is_minus_one_for_what_has_learnt_nothing(temperature, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    features, proba = rng.normal(size=(40, 8)), rng.dirichlet(np.ones(4), size=40)
    score = partial(clid_scorer, X=np.arange(40), temperature=temperature)
    assert score(Fitted(np.outer(rng.uniform(1, 2, size=40), features[0]), proba)) == (
        pytest.approx(-1)
    )
    assert score(Fitted(features, np.tile(proba[0], (40, 1)))) == pytest.approx(-1)


def test_clid_scorer_prefers_right_predictions_to_wide_features():
    """The temperature is low because at 0.5 the network that spreads its classes further wins."""
    y = np.repeat(np.arange(4), 25)
    one_hot = np.eye(4)[y]
    right = Fitted(one_hot + 1, one_hot)  # cosine of two classes: 6 / 7
    contradicts = np.arange(100) % 5 == 0
    wide = Fitted(one_hot, np.eye(4)[np.where(contradicts, (y + 1) % 4, y)])  # cosine 0
    rows = np.arange(100)
    assert clid_scorer(right, rows) > clid_scorer(wide, rows)
    at_half = partial(clid_scorer, temperature=0.5)
    assert at_half(right, rows) < at_half(wide, rows)


@pytest.mark.parametrize("hidden", [(16,), (16,) * 8])
def test_barely_trained_network_loses(quick, noisy_blobs, hidden):
    """It loses on each fold; eight layers make its features parallel, so CLID prefers it."""
    X, y, y_true = noisy_blobs
    trained = quick(max_epochs=20)
    barely = quick(max_epochs=1, lr=1e-4, n_warmup_epochs=0, module_params={"hidden": hidden})
    for train, test in FOLDS.split(X, y):
        models = [clf.fit(X[train], y[train]) for clf in (trained, barely)]
        good, bad = (clf.score(X[test], y_true[test]) for clf in models)
        assert good > bad
        good, bad = (clid_scorer(clf, X[test]) for clf in models)
        assert good > bad
        if len(hidden) > 1:
            good, bad = (
                clid(clf.features(X[test]), clf.predict_proba(X[test]), temperature=0.03)
                for clf in models
            )
            assert bad < good


def test_grid_search_by_clid_with_two_workers(quick, noisy_blobs):
    """Scores and the chosen model equal those of fits by hand; string labels come back."""
    X, y, _ = noisy_blobs
    grid = {"meta_objective": [CLIDObjective(0.2), CLIDObjective(0.5)], "lr": [0.02, 0.05]}
    search = GridSearchCV(quick(), grid, scoring=clid_scorer, cv=FOLDS, n_jobs=2).fit(X, y)
    for i, params in enumerate(search.cv_results_["params"]):
        for fold, (train, test) in enumerate(FOLDS.split(X, y)):
            clf = quick(**params).fit(X[train], y[train])
            expected = clid_scorer(clf, X[test])
            assert search.cv_results_[f"split{fold}_test_score"][i] == pytest.approx(expected)
    best = search.cv_results_["params"][search.cv_results_["mean_test_score"].argmax()]
    clf = quick(**best).fit(X, y)
    np.testing.assert_array_equal(search.predict_proba(X), clf.predict_proba(X))
    assert search.predict(X).tolist() == clf.classes_[clf.predict_proba(X).argmax(1)].tolist()


# --- trusted rows -------------------------------------------------------------------------------


def test_trusted_accuracy_score_counts_trusted_rows_only():
    y_true, y_pred = list("aabb"), list("abab")
    assert trusted_accuracy_score(y_true, y_pred, clean_mask=[True, False, True, True]) == 2 / 3
    with pytest.raises(ValueError, match=r"boolean.*\(4,\).*int64"):
        trusted_accuracy_score(y_true, y_pred, clean_mask=[1, 0, 1, 1])
    with pytest.raises(ValueError, match=r"one entry per row, \(4,\).*shape \(2,\)"):
        trusted_accuracy_score(y_true, y_pred, clean_mask=[True, False])
    with pytest.raises(ValueError, match=r"True nowhere.*stratify"):
        trusted_accuracy_score(y_true, y_pred, clean_mask=[False] * 4)


def trusted_by_hand(clf, X, y, mask, fit_mask):
    """Score on the trusted rows of each fold; the mask may go to fit as well."""
    scores = []
    for train, test in FOLDS.split(X, y):
        fit_params = {"clean_mask": mask[train]} if fit_mask else {}
        model = clone(clf).fit(X[train], y[train], **fit_params)
        trusted = test[mask[test]]
        scores.append(np.mean(model.predict(X[trusted]) == y[trusted]))
    return scores


@pytest.mark.parametrize("fit_mask", [True, False])
def test_mask_is_routed_and_sliced(quick, noisy_blobs, mask, fit_mask):
    X, y, y_true = noisy_blobs
    y = np.where(mask, y_true, y)
    clf = quick(meta_objective="cross_entropy" if fit_mask else "clid")
    expected = trusted_by_hand(clf, X, y, mask, fit_mask)
    with config_context(enable_metadata_routing=True):
        clf.set_fit_request(clean_mask=fit_mask)
        results = cross_validate(
            clf,
            X,
            y,
            cv=FOLDS,
            scoring=trusted_accuracy,
            params={"clean_mask": mask},
            return_estimator=True,
        )
    np.testing.assert_array_equal(results["test_score"], expected)
    for estimator, (train, _) in zip(results["estimator"], FOLDS.split(X, y), strict=True):
        np.testing.assert_array_equal(estimator.clean_proba_ == 1, mask[train] & fit_mask)


def test_grid_search_by_trusted_accuracy(quick, noisy_blobs, mask):
    X, y, y_true = noisy_blobs
    y = np.where(mask, y_true, y)
    grid = {"lr": [1e-4, 0.05]}
    with config_context(enable_metadata_routing=True):
        clf = quick().set_fit_request(clean_mask=True)
        search = GridSearchCV(clf, grid, scoring=trusted_accuracy, cv=FOLDS, n_jobs=2)
        search.fit(X, y, clean_mask=mask)
    expected = [
        np.mean(trusted_by_hand(quick(lr=lr), X, y, mask, fit_mask=True)) for lr in grid["lr"]
    ]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected)
    assert search.best_params_["lr"] == grid["lr"][np.argmax(expected)]
    np.testing.assert_array_equal(search.best_estimator_.clean_proba_ == 1, mask)


def test_scorer_without_its_mask(quick, noisy_blobs):
    X, y, _ = noisy_blobs
    clf = quick(max_epochs=1).fit(X, y)
    with pytest.raises(TypeError, match=r"got no clean_mask\. Enable metadata routing"):
        trusted_accuracy(clf, X, y)


# --- agreement ----------------------------------------------------------------------------------


class Predicts:
    """Stub of a fitted classifier with given predictions."""

    def __init__(self, labels):
        self._labels = np.asarray(labels)

    def predict(self, X):
        return self._labels


def test_agreement_by_hand():
    """Two votes each: rows 0 to 2 are near, and so are rows 3 to 5, of which one is labelled a."""
    X = np.array([[0.0], [0.1], [0.21], [5.0], [5.1], [5.21]])
    y = list("aaabba")
    # Votes of the two others of the group: a a a, then b+a tied, b+a tied, b.
    score = partial(agreement_scorer, X=X, y=y, n_neighbors=2)
    assert score(Predicts(list("aaabbb"))) == pytest.approx((3 + 0.5 + 0.5 + 1) / 6)
    assert score(Predicts(list("aaaaaa"))) == pytest.approx((3 + 0.5 + 0.5 + 0) / 6)
    assert score(Predicts(list("cccccc"))) == 0


def test_agreement_ignores_the_label_of_the_row_itself():
    """Each row contradicts its only neighbour: right on itself is wrong on the vote."""
    X, y = np.array([[0.0], [0.1], [5.0], [5.1]]), list("abab")
    assert agreement_scorer(Predicts(y), X, y, n_neighbors=1) == 0
    assert agreement_scorer(Predicts(list("baba")), X, y, n_neighbors=1) == 1


def test_agreement_takes_no_more_neighbors_than_there_are():
    X, y = np.arange(4.0)[:, None], list("aabb")
    few, many = (agreement_scorer(Predicts(y), X, y, n_neighbors=n) for n in (3, 10))
    assert few == many == 0  # the three others outvote each row


def test_agreement_prefers_right_predictions_where_accuracy_prefers_the_noise(noisy_blobs):
    X, y, y_true = noisy_blobs
    assert np.mean(y_true == y) < 0.9
    assert agreement_scorer(Predicts(y_true), X, y) > agreement_scorer(Predicts(y), X, y) + 0.1


def test_agreement_refuses_what_it_cannot_use(noisy_blobs):
    X, y, y_true = noisy_blobs
    with pytest.raises(ValueError, match="n_neighbors=0 must be at least 1"):
        agreement_scorer(Predicts(y_true), X, y, n_neighbors=0)
    with pytest.raises(ValueError, match="at least two rows"):
        agreement_scorer(Predicts(y_true[:1]), X[:1], y[:1])


# --- all scorers --------------------------------------------------------------------------------


@pytest.mark.parametrize("scorer", [agreement_scorer, clid_scorer])
@pytest.mark.parametrize(
    "X",
    [
        [["a long text"], ["another"]],
        np.zeros((2, 4, 4)),
        np.array([[1.0, np.nan], [0, 1]]),
        sparse.csr_array(np.eye(2)),
    ],
    ids=["text", "images", "missing", "sparse"],
)
def test_scorers_explain_that_X_must_be_a_table(scorer, X):
    message = (
        rf"{scorer.__name__} compares .* no table of finite numbers for Predicts: .* Encode X"
    )
    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)):
        scorer(Predicts(["a", "b"]), X, ["a", "b"])


def test_clid_scorer_takes_what_a_network_takes(images, quick):
    X, y = images
    clf = quick(max_epochs=1, module=None).fit(X, y)
    assert -2 < clid_scorer(clf, X, y) < 0


@pytest.mark.parametrize("search", [GridSearchCV, HalvingGridSearchCV])
@pytest.mark.parametrize("scorer", [agreement_scorer, clid_scorer])
def test_searches_of_both_kinds(search, scorer, noisy_blobs):
    """The first C predicts nearly equal probabilities and one class for all rows."""
    X, y, _ = noisy_blobs
    found = search(LogisticRegression(), {"C": [1e-6, 1]}, scoring=scorer, cv=3).fit(X, y)
    assert found.best_params_ == {"C": 1}
    assert found.score(X, y) == scorer(found.best_estimator_, X, y)


def test_halving_search_by_trusted_accuracy(noisy_blobs, mask):
    X, y, y_true = noisy_blobs
    y = np.where(mask, y_true, y)
    with config_context(enable_metadata_routing=True):
        model = LogisticRegression()
        search = HalvingGridSearchCV(
            model,
            {"C": [1e-6, 1]},
            scoring=trusted_accuracy,
            cv=3,
            min_resources=60,
            random_state=0,
        )
        search.fit(X, y, clean_mask=mask)
    assert search.best_params_ == {"C": 1}

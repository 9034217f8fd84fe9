"""Rows are cleaned within each training fold, in pipelines and meta-estimators."""

import pickle

import imblearn.pipeline
import numpy as np
import pytest
import sklearn
import sklearn.pipeline
from imblearn.under_sampling import EditedNearestNeighbours
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from small_cleaners import MajorityLabels

from sknoisy import LabelPurifier, PurifiedClassifier
from sknoisy.methods.dmlp import PurificationVariant
from sknoisy.pipeline import make_pipeline

FOLDS = KFold(3)


@pytest.fixture
def noisy(blobs, global_random_seed):
    """Return the blobs with a quarter of wrong labels, as words, with a mask and weights."""
    X, y = blobs
    rng = np.random.default_rng(global_random_seed)
    wrong = rng.random(len(y)) < 0.25
    y = np.array(["ape", "bee", "cat"])[np.where(wrong, (y + 1) % 3, y)]
    return X, y, ~wrong & (rng.random(len(y)) < 0.5), rng.uniform(0.5, 2, size=len(y))


# n_folds=0: no round is judged, so the given labels are never kept.
PURIFIER = LabelPurifier(n_components=32, n_epochs=10, n_folds=0, device="cpu", random_state=0)
CLEANERS = {
    "purifies": PURIFIER,
    "relabels": MajorityLabels(),
    "drops": EditedNearestNeighbours(n_neighbors=1),
}
VARIANTS = [PurificationVariant(correction_momentum=momentum) for momentum in (0.0, 1.0)]
EACH_CLEANER = pytest.mark.parametrize("cleaner", CLEANERS.values(), ids=CLEANERS)


def holders(cleaner):
    """Return the cleaner between a scaler and a forest, in the three ways that work."""
    cleaner, forest = clone(cleaner), RandomForestClassifier(5, random_state=0)
    return {
        "pipeline": make_pipeline(StandardScaler(), cleaner, forest),
        "classifier": PurifiedClassifier(cleaner, forest),
        "classifier in a plain pipeline": sklearn.pipeline.make_pipeline(
            StandardScaler(), PurifiedClassifier(cleaner, forest)
        ),
    }


POISON_MAY_COST_A_CLASS = pytest.mark.filterwarnings("ignore:.* left no row of the classes")
EACH_HOLDER = pytest.mark.parametrize("holder", holders(PURIFIER))


def test_the_cleaners_do_something(noisy):
    X, y, _, _ = noisy
    purified = clone(PURIFIER).fit(X, y)
    assert 0 < purified.changed_mask_.mean() < 0.5
    assert len(clone(CLEANERS["drops"]).fit_resample(X, y)[0]) < 0.9 * len(X)


def fits(model, X, y, **options):
    """Return the fitted models of the folds."""
    scores = cross_validate(
        model, X, y, cv=FOLDS, return_estimator=True, error_score="raise", **options
    )
    return scores["estimator"]


# --- folds know nothing of each other -----------------------------------------------------------


@POISON_MAY_COST_A_CLASS
@EACH_CLEANER
@EACH_HOLDER
def test_a_poisoned_fold_leaves_no_trace_in_the_model_that_is_scored_on_it(noisy, cleaner, holder):
    X, y, _, _ = noisy
    model = holders(cleaner)[holder]
    before = [pickle.dumps(fit) for fit in fits(model, X, y)]
    for k, (_, held_out) in enumerate(FOLDS.split(X)):
        poisoned, wrong = X.copy(), y.copy()
        poisoned[held_out] = 1e5 * (1 + poisoned[held_out])
        wrong[held_out] = np.roll(y, 1)[held_out]
        after = [pickle.dumps(fit) for fit in fits(model, poisoned, wrong)]
        assert after[k] == before[k]
        assert all(a != b for i, (a, b) in enumerate(zip(after, before, strict=True)) if i != k)


def test_a_poisoned_fold_leaves_no_trace_through_metadata(noisy):
    X, y, mask, weights = noisy
    clf = PurifiedClassifier(PURIFIER, LogisticRegression())
    before = fits(clf, X, y, params={"clean_mask": mask, "sample_weight": weights})
    for k, (_, held_out) in enumerate(FOLDS.split(X)):
        other_mask, other_weights = mask.copy(), weights.copy()
        other_mask[held_out] ^= True
        other_weights[held_out] *= 100
        params = {"clean_mask": other_mask, "sample_weight": other_weights}
        assert pickle.dumps(fits(clf, X, y, params=params)[k]) == pickle.dumps(before[k])


@POISON_MAY_COST_A_CLASS
@EACH_CLEANER
@pytest.mark.parametrize("routing", [False, True])
def test_rows_that_a_bag_leaves_out_leave_no_trace_in_its_member(noisy, cleaner, routing):
    """Out-of-bag rows have weight zero, or are not passed if the ensemble draws rows.

    Their own entries in the attributes about labels are predictions, which differ.
    """
    X, y, _, _ = noisy
    clf = PurifiedClassifier(cleaner, GaussianNB())
    bag = BaggingClassifier(clf, n_estimators=3, random_state=0)
    with sklearn.config_context(enable_metadata_routing=routing):
        before = bag.fit(X, y)
        member, drawn = before.estimators_[1], before.estimators_samples_[1]
        out = np.setdiff1d(np.arange(len(y)), drawn)
        assert len(out) > len(y) / 4
        X, y = X.copy(), y.copy()
        X[out], y[out] = 1e5, np.roll(y, 1)[out]
        after = clone(bag).fit(X, y)
    of_bag = slice(None) if routing else drawn
    for name in ("label_distribution_", "purified_labels_", "clean_proba_"):
        found, expected = (vars(e).pop(name)[of_bag] for e in (after.estimators_[1], member))
        np.testing.assert_array_equal(found, expected)
    assert pickle.dumps(after.estimators_[1]) == pickle.dumps(member)
    assert pickle.dumps(after.estimators_[0]) != pickle.dumps(before.estimators_[0])


def test_two_workers_find_what_one_finds(noisy):
    X, y, _, _ = noisy
    model = holders(PURIFIER)["classifier in a plain pipeline"]
    one = cross_validate(model, X, y, cv=FOLDS, return_estimator=True)
    two = cross_validate(model, X, y, cv=FOLDS, return_estimator=True, n_jobs=2)
    np.testing.assert_array_equal(one["test_score"], two["test_score"])
    for a, b in zip(one["estimator"], two["estimator"], strict=True):
        np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))
        purified = [fit[-1].cleaner_.purified_labels_ for fit in (a, b)]
        np.testing.assert_array_equal(*purified)


# --- meta-estimators ----------------------------------------------------------------------------


def test_a_search_over_cleaner_and_classifier_in_one_pipeline(noisy):
    X, y, _, _ = noisy
    model = holders(PURIFIER)["pipeline"]
    grid = {"labelpurifier__variant": VARIANTS, "randomforestclassifier__max_depth": [1, 4]}
    search = GridSearchCV(model, grid, cv=FOLDS, error_score="raise").fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    for parameters, score in zip(search.cv_results_["params"], scores, strict=True):
        alone = cross_validate(clone(model).set_params(**parameters), X, y, cv=FOLDS)
        assert score == alone["test_score"].mean()
    assert len(set(scores)) > 1
    refitted = clone(model).set_params(**search.best_params_).fit(X, y)
    np.testing.assert_array_equal(search.predict_proba(X), refitted.predict_proba(X))


def test_a_search_over_cleaner_and_estimator_in_a_plain_pipeline(noisy):
    X, y, _, _ = noisy
    model = holders(PURIFIER)["classifier in a plain pipeline"]
    grid = {
        "purifiedclassifier__cleaner__variant": VARIANTS,
        "purifiedclassifier__estimator__max_depth": [1, 4],
    }
    search = GridSearchCV(model, grid, cv=FOLDS, error_score="raise").fit(X, y)
    in_one = holders(PURIFIER)["pipeline"]
    grid = {"labelpurifier__variant": VARIANTS, "randomforestclassifier__max_depth": [1, 4]}
    other = GridSearchCV(in_one, grid, cv=FOLDS, error_score="raise").fit(X, y)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], other.cv_results_["mean_test_score"]
    )
    np.testing.assert_array_equal(search.predict_proba(X), other.predict_proba(X))


@EACH_CLEANER
def test_a_vote_is_the_mean_of_its_members(noisy, cleaner):
    X, y, _, weights = noisy
    clf = PurifiedClassifier(cleaner, LogisticRegression())
    tree = DecisionTreeClassifier(max_depth=3, random_state=0)
    vote = VotingClassifier([("clean", clf), ("tree", tree)], voting="soft")
    vote.fit(X, y, sample_weight=weights)
    members = [clone(m).fit(X, y, sample_weight=weights).predict_proba(X) for m in (clf, tree)]
    np.testing.assert_array_equal(vote.predict_proba(X), np.mean(members, axis=0))


@EACH_CLEANER
def test_calibration_cleans_the_rows_of_each_fold(noisy, cleaner):
    X, y, _, weights = noisy
    clf = PurifiedClassifier(cleaner, LogisticRegression())
    calibrated = CalibratedClassifierCV(clf, cv=FOLDS).fit(X, y, sample_weight=weights)
    assert calibrated.classes_.tolist() == ["ape", "bee", "cat"]
    for (train, _), fit in zip(FOLDS.split(X), calibrated.calibrated_classifiers_, strict=True):
        alone = clone(clf).fit(X[train], y[train], sample_weight=weights[train])
        np.testing.assert_array_equal(fit.estimator.predict_proba(X), alone.predict_proba(X))


@EACH_CLEANER
def test_bagging_cleans_what_each_member_has_drawn(noisy, cleaner):
    X, y, _, _ = noisy
    clf = PurifiedClassifier(cleaner, LogisticRegression())
    bag = BaggingClassifier(clf, n_estimators=3, random_state=0).fit(X, y)
    codes = np.unique(y, return_inverse=True)[1]
    for member, drawn in zip(bag.estimators_, bag.estimators_samples_, strict=True):
        rows, times = np.unique(drawn, return_counts=True)
        alone = clone(member).fit(X[rows], codes[rows], sample_weight=times)  # its random state
        np.testing.assert_array_equal(member.predict_proba(X), alone.predict_proba(X))


# --- metadata in pipelines ----------------------------------------------------------------------


def test_the_mask_of_each_fold_reaches_the_purifier_of_a_pipeline(noisy):
    X, y, mask, _ = noisy
    with sklearn.config_context(enable_metadata_routing=True):
        purifier = clone(PURIFIER).set_fit_resample_request(clean_mask=True)
        purifier.set_fit_request(clean_mask=False)  # imbalanced-learn requires it
        model = make_pipeline(StandardScaler(), purifier, LogisticRegression())
        fitted = fits(model, X, y, params={"clean_mask": mask})
    for (train, _), fit in zip(FOLDS.split(X), fitted, strict=True):
        np.testing.assert_array_equal(fit[1].validation_rows_, np.flatnonzero(mask[train]))


@pytest.mark.parametrize("routing", [False, True])
def test_mask_and_weights_of_each_fold_reach_the_purified_classifier(noisy, routing):
    X, y, mask, weights = noisy
    with sklearn.config_context(enable_metadata_routing=routing):
        purifier, estimator = clone(PURIFIER), LogisticRegression()
        if routing:
            purifier.set_fit_resample_request(clean_mask=True)
            estimator.set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        clf = PurifiedClassifier(purifier, estimator)
        fitted = fits(clf, X, y, params={"clean_mask": mask, "sample_weight": weights})
    for (train, _), fit in zip(FOLDS.split(X), fitted, strict=True):
        by_hand = clone(PURIFIER).fit(X[train], y[train], clean_mask=mask[train])
        alone = LogisticRegression().fit(X[train], by_hand.purified_labels_, weights[train])
        np.testing.assert_array_equal(fit.predict_proba(X), alone.predict_proba(X))


def test_without_routing_imbalanced_learns_pipeline_loses_the_mask_and_ours_refuses_it(noisy):
    """The behaviour of imbalanced-learn 0.14, for which our pipeline exists."""
    X, y, mask, _ = noisy
    steps = [clone(PURIFIER), LogisticRegression()]
    model = imblearn.pipeline.make_pipeline(*steps).fit(X, y, labelpurifier__clean_mask=mask)
    blind = clone(PURIFIER).fit(X, y)
    np.testing.assert_array_equal(model[0].validation_rows_, blind.validation_rows_)
    assert not np.array_equal(blind.validation_rows_, np.flatnonzero(mask))
    with pytest.raises(TypeError, match="'labelpurifier__clean_mask' was passed"):
        make_pipeline(*steps).fit(X, y, labelpurifier__clean_mask=mask)


# --- what does not work -------------------------------------------------------------------------


def test_a_plain_pipeline_refuses_a_bare_cleaner(noisy):
    X, y, _, _ = noisy
    model = sklearn.pipeline.make_pipeline(LabelPurifier(), LogisticRegression())
    with pytest.raises(TypeError, match="should be transformers and implement fit and transform"):
        model.fit(X, y)

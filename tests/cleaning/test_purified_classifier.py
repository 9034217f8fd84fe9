"""PurifiedClassifier cleans, fits, and keeps rows, weights and classes in step."""

import copy
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import get_tags
from sklearn.utils._param_validation import InvalidParameterError
from small_cleaners import DropClasses, DropRows, MajorityLabels, Recorder, rows_kept

from sknoisy import PurifiedClassifier


@pytest.fixture
def weights(blobs, global_random_seed):
    """Return positive weights of the rows of blobs."""
    return np.random.default_rng(global_random_seed).uniform(0.5, 2, size=len(blobs[1]))


def state(estimator):
    """Return the attributes of an object, as bytes."""
    return pickle.dumps(vars(estimator))


# --- what is fitted ---------------------------------------------------------------------------


@pytest.mark.parametrize("cleaner", [MajorityLabels(), DropRows()], ids=["relabels", "drops"])
def test_it_is_the_estimator_fitted_on_what_the_cleaner_returns(blobs, cleaner):
    X, y = blobs
    clf = PurifiedClassifier(cleaner, LogisticRegression()).fit(X, y)
    by_hand = LogisticRegression().fit(*clone(cleaner).fit_resample(X, y))
    np.testing.assert_array_equal(clf.estimator_.coef_, by_hand.coef_)
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        np.testing.assert_array_equal(getattr(clf, method)(X), getattr(by_hand, method)(X))
    assert clf.score(X, y) == by_hand.score(X, y)


def test_predict_does_not_clean(blobs):
    X, y = blobs
    clf = PurifiedClassifier(DropRows(), LogisticRegression()).fit(X, y)
    assert len(rows_kept(X)) < len(X) == len(clf.predict(X))


def test_what_was_passed_stays_as_it_was(blobs, weights):
    X, y = blobs
    weights[::7] = 0
    mask = y == 1
    cleaner, estimator = DropRows(), LogisticRegression()
    passed = copy.deepcopy((X, y, weights, mask))
    before = state(cleaner), state(estimator)
    clf = PurifiedClassifier(cleaner, estimator)
    clf.fit(X, y, sample_weight=weights, clean_mask=mask).predict_proba(X)
    assert (state(cleaner), state(estimator)) == before
    assert clf.cleaner is cleaner is not clf.cleaner_
    assert clf.estimator is estimator is not clf.estimator_
    for now, then in zip((X, y, weights, mask), passed, strict=True):
        np.testing.assert_array_equal(now, then)


def test_clone_and_pickle(blobs):
    X, y = blobs
    clf = PurifiedClassifier(MajorityLabels(n_neighbors=3), LogisticRegression(C=2)).fit(X, y)
    fresh = clone(clf)
    assert not hasattr(fresh, "estimator_")
    assert fresh.get_params()["cleaner__n_neighbors"] == 3
    assert fresh.set_params(estimator__C=5).estimator.C == 5
    assert clf.estimator.C == 2
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    np.testing.assert_array_equal(again.sample_indices_, clf.sample_indices_)


@pytest.mark.parametrize(
    "parameters", [(StandardScaler(), LogisticRegression()), (DropRows(), StandardScaler())]
)
def test_other_objects_are_refused(blobs, parameters):
    with pytest.raises(InvalidParameterError, match="must be an object implementing"):
        PurifiedClassifier(*parameters).fit(*blobs)


# --- rows, and what belongs to them -------------------------------------------------------------


def test_sample_indices(blobs):
    X, y = blobs
    rows = PurifiedClassifier(DropRows(), Recorder()).fit(X, y).sample_indices_
    np.testing.assert_array_equal(rows, rows_kept(X))
    rows = PurifiedClassifier(MajorityLabels(), Recorder()).fit(X, y).sample_indices_
    np.testing.assert_array_equal(rows, np.arange(len(X)))
    few = np.flatnonzero((y != 2) | (np.arange(len(y)) % 3 == 0))
    clf = PurifiedClassifier(SMOTE(random_state=0), Recorder()).fit(X[few], y[few])
    assert len(clf.estimator_.given_["X"]) > len(few)  # rows that nobody passed
    assert clf.sample_indices_ is None


def test_weights_follow_the_rows(blobs, weights):
    X, y = blobs
    clf = PurifiedClassifier(DropRows(), Recorder()).fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(clf.estimator_.given_["sample_weight"], weights[rows_kept(X)])
    alone = LogisticRegression().fit(X[rows_kept(X)], y[rows_kept(X)], weights[rows_kept(X)])
    np.testing.assert_array_equal(clf.estimator_.model_.coef_, alone.coef_)


@pytest.mark.parametrize("kind", [list, pd.Series, lambda w: pd.Series(w, index=w.argsort())])
def test_weights_of_any_type_follow_the_rows_by_position(blobs, weights, kind):
    X, y = blobs
    clf = PurifiedClassifier(DropRows(), Recorder()).fit(X, y, sample_weight=kind(weights))
    given = clf.estimator_.given_["sample_weight"]
    np.testing.assert_array_equal(np.asarray(given), weights[rows_kept(X)])


def test_weights_of_repeated_rows_are_repeated(blobs, weights):
    X, y = blobs
    few = np.flatnonzero((y != 2) | (np.arange(len(y)) % 3 == 0))
    cleaner = RandomOverSampler(random_state=0)
    clf = PurifiedClassifier(cleaner, Recorder())
    given = clf.fit(X[few], y[few], sample_weight=weights[few]).estimator_.given_
    assert len(np.unique(clf.sample_indices_)) < len(clf.sample_indices_)
    np.testing.assert_array_equal(given["X"], X[few][clf.sample_indices_])
    np.testing.assert_array_equal(given["sample_weight"], weights[few][clf.sample_indices_])


def test_a_cleaner_that_does_not_say_which_rows_it_kept_takes_no_weights(blobs, weights):
    X, y = blobs
    clf = PurifiedClassifier(DropRows(says_which=False), LogisticRegression())
    alone = LogisticRegression().fit(X[rows_kept(X)], y[rows_kept(X)])
    np.testing.assert_array_equal(clf.fit(X, y).predict_proba(X), alone.predict_proba(X))
    assert clf.sample_indices_ is None
    with pytest.raises(ValueError, match=r"DropRows .*sample_indices_.*: sample_weight cannot"):
        clf.fit(X, y, sample_weight=weights)


def test_sample_indices_that_do_not_fit_are_refused(blobs):
    class Wrong(DropRows):
        def fit_resample(self, X, y):
            result = super().fit_resample(X, y)
            self.sample_indices_ = np.isin(np.arange(len(X)), self.sample_indices_)
            return result

    with pytest.raises(ValueError, match=r"Wrong .*shape \(121,\) and dtype bool"):
        PurifiedClassifier(Wrong(), Recorder()).fit(*blobs)


@pytest.mark.parametrize("cleaner", [MajorityLabels(), DropRows()], ids=["relabels", "drops"])
def test_a_row_of_weight_zero_is_not_there(blobs, weights, cleaner):
    X, y = blobs
    out = np.arange(len(y)) % 4 == 0
    weights[out] = 0
    rows = np.flatnonzero(~out)
    clf = PurifiedClassifier(cleaner, LogisticRegression())
    without = clone(clf).fit(X[rows], y[rows], sample_weight=weights[rows])
    X[out], y[out] = 1e6, 0  # the cleaner would notice
    clf.fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(clf.predict_proba(X[rows]), without.predict_proba(X[rows]))
    np.testing.assert_array_equal(clf.sample_indices_, rows[without.sample_indices_])


def test_a_mask_is_cut_to_the_rows_that_count(blobs, weights):
    X, y = blobs
    mask = np.arange(len(y)) % 5 < 2
    weights[::4] = 0
    clf = PurifiedClassifier(MajorityLabels(), Recorder())
    clf.fit(X, y, clean_mask=mask, sample_weight=weights)
    np.testing.assert_array_equal(clf.cleaner_.clean_mask_, mask[weights > 0])


def test_weights_must_leave_a_row(blobs):
    X, y = blobs
    clf = PurifiedClassifier(DropRows(), LogisticRegression())
    with pytest.raises(ValueError, match="at least one non-zero number"):
        clf.fit(X, y, sample_weight=np.zeros(len(y)))


# --- what goes to whom ----------------------------------------------------------------------


def test_clean_mask_goes_to_the_cleaner_alone(blobs):
    X, y = blobs
    mask = np.arange(len(y)) % 2 == 0
    y = np.where(mask, (y + 1) % 3, y)
    clf = PurifiedClassifier(MajorityLabels(), Recorder()).fit(X, y, clean_mask=mask)
    given = clf.estimator_.given_
    np.testing.assert_array_equal(given["y"][mask], y[mask])  # trusted, though wrong
    assert (given["y"][~mask] != y[~mask]).any()
    assert given["clean_mask"] is None


def test_what_is_not_taken_is_refused(blobs, weights):
    X, y = blobs
    clf = PurifiedClassifier(RandomUnderSampler(), LogisticRegression())
    with pytest.raises(TypeError, match=r"RandomUnderSampler\.fit_resample does not take it"):
        clf.fit(X, y, clean_mask=y == 1)
    clf = PurifiedClassifier(DropRows(), KNeighborsClassifier())
    with pytest.raises(TypeError, match=r"KNeighborsClassifier\.fit does not take it"):
        clf.fit(X, y, sample_weight=weights)


def test_score_takes_weights(blobs, weights):
    X, y = blobs
    clf = PurifiedClassifier(MajorityLabels(), LogisticRegression()).fit(X, y)
    right = clf.predict(X) == y
    assert clf.score(X, y, sample_weight=weights) == pytest.approx(
        weights[right].sum() / weights.sum()
    )


# --- X ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [pd.DataFrame, pl.DataFrame, scipy.sparse.csr_array, scipy.sparse.coo_array]
)
def test_X_is_indexed_and_never_converted(blobs, kind):
    X, y = blobs
    names = [f"x{i}" for i in range(X.shape[1])]
    made = kind(X, **({"columns": names} if kind is pd.DataFrame else {}))
    if kind is pl.DataFrame:
        made.columns = names
    clf = PurifiedClassifier(DropRows(), Recorder())
    given = clf.fit(made, y).estimator_.given_["X"]
    assert type(given) is (scipy.sparse.csr_array if kind is scipy.sparse.coo_array else kind)
    weights = np.ones(len(y))
    weights[5] = 0
    given = clf.fit(made, y, sample_weight=weights).estimator_.given_["X"]
    dense = given.toarray() if scipy.sparse.issparse(given) else given.to_numpy()
    np.testing.assert_array_equal(dense, X[clf.sample_indices_])


def test_images_are_not_flattened(images):
    X, y = images
    clf = PurifiedClassifier(DropClasses(), Recorder()).fit(X, y)
    np.testing.assert_array_equal(clf.estimator_.given_["X"], X)  # of four dimensions
    weights = np.arange(40) % 4
    clf.fit(X, y, sample_weight=weights)
    assert clf.estimator_.given_["X"].shape == (30, 8, 8, 3)
    np.testing.assert_array_equal(clf.predict(X), clf.estimator_.predict(X))


def test_names_of_columns_are_those_of_the_last_fit(blobs):
    X, y = blobs
    frame = pd.DataFrame(X, columns=list("abcdef"))
    clf = PurifiedClassifier(DropRows(), LogisticRegression()).fit(frame, y)
    assert clf.feature_names_in_.tolist() == list("abcdef")
    assert clf.n_features_in_ == 6
    clf.fit(X[:, :4], y)
    assert not hasattr(clf, "feature_names_in_")
    assert clf.n_features_in_ == 4
    clf.set_params(estimator=Recorder()).fit(X, y)
    assert not hasattr(clf, "n_features_in_")


def test_a_kernel_loses_columns_with_its_rows(blobs):
    X, y = blobs
    weights = np.where(np.arange(len(y)) % 6, 1.0, 0)
    kernel = X @ X.T
    clf = PurifiedClassifier(DropRows(), SVC(kernel="precomputed"))
    assert get_tags(clf).input_tags.pairwise
    assert not get_tags(PurifiedClassifier(DropRows(), SVC())).input_tags.pairwise
    clf.fit(kernel, y, sample_weight=weights)
    rows = clf.sample_indices_
    assert 0 < len(rows) < weights.sum()
    alone = SVC(kernel="precomputed").fit(kernel[np.ix_(rows, rows)], y[rows], weights[rows])
    expected = alone.decision_function(kernel[:, rows])
    np.testing.assert_array_equal(clf.decision_function(kernel), expected)
    assert clf.n_features_in_ == len(y)
    with pytest.raises(ValueError, match=r"shape \(121, 100\).*expecting 121 features"):
        clf.predict(kernel[:, :100])


# --- what it says of itself -------------------------------------------------------------------


def test_it_has_the_methods_of_the_estimator():
    methods = ("predict_proba", "predict_log_proba", "decision_function")
    for estimator in (LogisticRegression(), RidgeClassifier(), DecisionTreeClassifier()):
        clf = PurifiedClassifier(DropRows(), estimator)
        assert [hasattr(clf, m) for m in methods] == [hasattr(estimator, m) for m in methods]


def test_tags_are_what_both_can_do():
    def tags(cleaner, estimator):
        return get_tags(PurifiedClassifier(cleaner, estimator))

    class Any(DropRows):
        def __sklearn_tags__(self):
            tags = super().__sklearn_tags__()
            tags.input_tags.allow_nan = True
            return tags

    boosting = HistGradientBoostingClassifier()  # takes NaN, but no sparse matrices
    assert tags(Any(), boosting).input_tags.allow_nan
    assert not tags(DropRows(), boosting).input_tags.allow_nan
    assert not tags(Any(), LogisticRegression()).input_tags.allow_nan
    assert tags(DropRows(), LogisticRegression()).input_tags.sparse
    assert not tags(DropRows(), boosting).input_tags.sparse
    assert not tags(DropClasses(), LogisticRegression()).input_tags.sparse
    assert tags(DropRows(), DummyClassifier()).classifier_tags.poor_score
    assert not tags(DropRows(), LogisticRegression()).classifier_tags.poor_score

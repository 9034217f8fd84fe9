"""PurifiedClassifier routes metadata, with scikit-learn's routing on and off."""

import numpy as np
import pytest
import scipy.sparse
import sklearn
from sklearn.decomposition import PCA
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from small_cleaners import DropRows, MajorityLabels, Recorder, rows_kept

from sknoisy import PurifiedClassifier


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.fixture
def metadata(blobs, global_random_seed):
    """Return a mask and positive weights, with one entry for each row of blobs."""
    rng = np.random.default_rng(global_random_seed)
    n = len(blobs[1])
    return {"clean_mask": rng.random(n) < 0.3, "sample_weight": rng.uniform(0.5, 2, size=n)}


def asking():
    """Return a classifier that routes the mask to the cleaner, the weights to the estimator."""
    cleaner = DropRows().set_fit_resample_request(clean_mask=True)
    estimator = Recorder().set_fit_request(clean_mask=False, sample_weight=True)
    return PurifiedClassifier(cleaner, estimator.set_score_request(sample_weight=True))


def assert_given(fitted, X, metadata, rows):
    """Assert that the cleaner got the mask of these rows, the estimator weights of the kept."""
    np.testing.assert_array_equal(fitted.cleaner_.clean_mask_, metadata["clean_mask"][rows])
    kept = rows[rows_kept(X[rows])]
    given = fitted.estimator_.given_
    np.testing.assert_array_equal(given["X"], X[kept])
    np.testing.assert_array_equal(given["sample_weight"], metadata["sample_weight"][kept])
    assert given["clean_mask"] is None


# --- fit ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("routing")
def test_each_gets_what_it_requests(blobs, metadata):
    X, y = blobs
    assert_given(asking().fit(X, y, **metadata), X, metadata, np.arange(len(y)))


@pytest.mark.usefixtures("routing")
def test_an_estimator_may_request_the_mask(blobs, metadata):
    X, y = blobs
    clf = PurifiedClassifier(
        DropRows().set_fit_resample_request(clean_mask=False),
        Recorder().set_fit_request(clean_mask=True),
    )
    clf.fit(X, y, clean_mask=metadata["clean_mask"])
    assert clf.cleaner_.clean_mask_ is None
    given = clf.estimator_.given_["clean_mask"]
    np.testing.assert_array_equal(given, metadata["clean_mask"][rows_kept(X)])


@pytest.mark.usefixtures("routing")
def test_other_metadata_follow_the_rows_if_they_have_one_entry_for_each(blobs):
    X, y = blobs
    clf = PurifiedClassifier(
        DropRows().set_fit_resample_request(cost="price"), Recorder().set_fit_request(cost=True)
    )
    rows = rows_kept(X)
    of_rows = scipy.sparse.coo_array(np.arange(2 * len(y)).reshape(-1, 2))
    clf.fit(X, y, cost=of_rows, price=list(range(len(y))))
    assert clf.cleaner_.cost_ == list(range(len(y)))
    np.testing.assert_array_equal(clf.estimator_.given_["cost"].toarray(), of_rows.toarray()[rows])
    for of_none in (3.5, [1, 2, 3], None):
        clf.fit(X, y, cost=of_none)
        assert clf.estimator_.given_["cost"] is of_none


@pytest.mark.usefixtures("routing")
def test_weights_under_another_name_count_as_weights(blobs, metadata):
    X, y = blobs
    clf = PurifiedClassifier(DropRows(), Recorder().set_fit_request(sample_weight="importance"))
    weights = np.where(np.arange(len(y)) % 3, metadata["sample_weight"], 0)
    clf.fit(X, y, importance=weights)
    some = np.flatnonzero(weights)
    np.testing.assert_array_equal(clf.sample_indices_, some[rows_kept(X[some])])


@pytest.mark.usefixtures("routing")
def test_what_nobody_asked_for_is_an_error(blobs, metadata):
    X, y = blobs
    clf = PurifiedClassifier(DropRows(), LogisticRegression())
    with pytest.raises(UnsetMetadataPassedError, match=r"DropRows\.set_fit_resample_request"):
        clf.fit(X, y, clean_mask=metadata["clean_mask"])
    with pytest.raises(UnsetMetadataPassedError, match=r"LogisticRegression\.set_fit_request"):
        clf.fit(X, y, sample_weight=metadata["sample_weight"])
    with pytest.raises(TypeError, match=r"unexpected argument\(s\) {'groups'}"):
        clf.fit(X, y, groups=y)
    clf = PurifiedClassifier(DropRows(), KNeighborsClassifier())
    with pytest.raises(TypeError, match=r"unexpected argument\(s\) {'sample_weight'}"):
        clf.fit(X, y, sample_weight=metadata["sample_weight"])


@pytest.mark.usefixtures("routing")
def test_rows_that_are_not_known_stop_metadata_alone(blobs, metadata):
    X, y = blobs
    clf = asking().set_params(cleaner__says_which=False)
    clf.fit(X, y, clean_mask=metadata["clean_mask"])  # the cleaner sees all rows
    with pytest.raises(ValueError, match=r"DropRows .*: sample_weight cannot follow"):
        clf.fit(X, y, **metadata)


def test_without_routing_there_are_no_other_metadata(blobs):
    X, y = blobs
    clf = PurifiedClassifier(DropRows(), Recorder())
    with pytest.raises(ValueError, match=r"PurifiedClassifier\.fit is only supported if"):
        clf.fit(X, y, cost=y)
    clf.fit(X, y)
    with pytest.raises(ValueError, match=r"PurifiedClassifier\.predict is only supported if"):
        clf.predict(X, shift=1)
    with pytest.raises(ValueError, match=r"PurifiedClassifier\.predict is only supported if"):
        clf.predict(X, sample_weight=y)
    with pytest.raises(ValueError, match=r"PurifiedClassifier\.score is only supported if"):
        clf.score(X, y, cost=y)


@pytest.mark.usefixtures("routing")
def test_requests_are_made_on_the_parts():
    """A request on PurifiedClassifier would have no effect, so there is no method for it."""
    clf = asking()
    assert not hasattr(clf, "set_fit_request")
    assert not hasattr(clf, "set_score_request")
    router = clf.get_metadata_routing()
    assert router.consumes("fit", ["clean_mask", "sample_weight", "cost"]) == {
        "clean_mask",
        "sample_weight",
    }
    assert router.consumes("score", ["clean_mask", "sample_weight"]) == {"sample_weight"}
    assert router.consumes("predict", ["clean_mask", "sample_weight"]) == set()


# --- predict and score --------------------------------------------------------------------------


@pytest.mark.usefixtures("routing")
def test_predict_and_score_hand_on_what_is_requested(blobs, metadata):
    X, y = blobs
    recorder = Recorder().set_predict_request(shift=True).set_predict_proba_request(shift="by")
    recorder.set_score_request(sample_weight=True, cost="price")
    clf = PurifiedClassifier(DropRows(), recorder).fit(X, y)
    clf.predict(X, shift=2)
    assert clf.estimator_.shift_ == 2
    clf.predict_proba(X, by=3)
    assert clf.estimator_.shift_ == 3
    weights = metadata["sample_weight"]  # not cut: these rows are not cleaned
    assert clf.score(X, y, sample_weight=weights, price=5) == clf.score(X, y, weights)
    clf.score(X, y, sample_weight=weights, price=5)
    assert clf.estimator_.scored_with_ == {"sample_weight": weights, "cost": 5}


# --- folds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("enabled", [False, True])
def test_cross_validation_cuts_metadata_to_the_fold(blobs, metadata, enabled):
    X, y = blobs
    folds = KFold(3)
    with sklearn.config_context(enable_metadata_routing=enabled):
        clf = asking() if enabled else PurifiedClassifier(DropRows(), Recorder())
        fitted = cross_validate(
            clf, X, y, cv=folds, params=metadata, return_estimator=True, error_score="raise"
        )["estimator"]
    for (train, _), fit in zip(folds.split(X), fitted, strict=True):
        assert_given(fit, X, metadata, train)


@pytest.mark.parametrize("enabled", [False, True])
def test_a_search_cuts_metadata_to_the_fold_and_refits_with_all(blobs, metadata, enabled):
    X, y = blobs
    with sklearn.config_context(enable_metadata_routing=enabled):
        clf = asking() if enabled else PurifiedClassifier(DropRows(), Recorder())
        search = GridSearchCV(clf, {"cleaner__says_which": [True]}, error_score="raise")
        search.fit(X, y, **metadata)
    assert_given(search.best_estimator_, X, metadata, np.arange(len(y)))


@pytest.mark.parametrize("enabled", [False, True])
def test_a_plain_pipeline_hands_metadata_on(blobs, metadata, enabled):
    X, y = blobs
    with sklearn.config_context(enable_metadata_routing=enabled):
        clf = asking() if enabled else PurifiedClassifier(DropRows(), Recorder())
        prefix = "" if enabled else "purifiedclassifier__"
        params = {prefix + name: value for name, value in metadata.items()}
        model = make_pipeline(PCA(), clf).fit(X, y, **params)
    assert_given(model[-1], model[0].transform(X), metadata, np.arange(len(y)))


@pytest.mark.usefixtures("routing")
def test_one_cleans_within_another(blobs, metadata):
    """Of two nested cleaners, the second receives the mask of the rows that the first kept."""
    X, y = blobs
    again = MajorityLabels().set_fit_resample_request(clean_mask=True)
    inner = PurifiedClassifier(again, LogisticRegression())
    clf = PurifiedClassifier(DropRows().set_fit_resample_request(clean_mask=False), inner)
    clf.fit(X, y, clean_mask=metadata["clean_mask"])
    given = clf.estimator_.cleaner_.clean_mask_
    np.testing.assert_array_equal(given, metadata["clean_mask"][rows_kept(X)])

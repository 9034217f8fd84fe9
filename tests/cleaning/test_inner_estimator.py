"""The user's estimator learns the user's labels, or codes if it takes only these."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from code_classifier import CodeClassifier
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from small_cleaners import DropClasses

from sknoisy import NoisyLabelClassifier, PurifiedClassifier

LABELS = {
    "strings": np.array(["a", "b", "c"]),
    "objects": np.array(["a", "b", "c"], dtype=object),
    "from one": np.array([1, 2, 3]),
    "far apart": np.array([-7, 5, 100]),
    "floats": np.array([0.0, 1.0, 4.0]),
    "codes": np.array([0, 1, 2]),
}
over_labels = pytest.mark.parametrize("classes", LABELS.values(), ids=LABELS)
NETWORKS = {"module_params": {"hidden": (8,)}, "max_epochs": 3}

pytestmark = pytest.mark.usefixtures("small_forests")


def wrappers(estimator, **parameters):
    """Return a voting classifier and a cleaning one around an estimator."""
    return [
        NoisyLabelClassifier(
            estimator=estimator, network_params=NETWORKS, random_state=0, **parameters
        ),
        PurifiedClassifier(DropClasses(), estimator),
    ]


def labels_learned(clf, y):
    return getattr(clf, "purified_labels_", y)


@over_labels
@pytest.mark.parametrize("which", [0, 1])
def test_an_estimator_that_takes_only_codes_predicts_the_labels(blobs, classes, which):
    X, codes = blobs
    y = classes[codes]
    clf = wrappers(CodeClassifier())[which].fit(X, y)
    alone = LogisticRegression().fit(X, labels_learned(clf, y))
    assert_array_equal(clf.classes_, classes)
    assert_array_equal(clf.predict(X), alone.predict(X))
    assert clf.predict(X).dtype == y.dtype
    assert_allclose(clf.predict_proba(X), alone.predict_proba(X), atol=1e-7)
    assert clf.score(X, y) == alone.score(X, y)


@over_labels
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("kind", [LogisticRegression, CodeClassifier])
def test_class_weights_of_the_estimator_are_those_of_the_labels(blobs, classes, which, kind):
    X, codes = blobs
    y, weights = classes[codes], dict(zip(classes.tolist(), [20, 1, 3], strict=True))
    clf = wrappers(make_pipeline(StandardScaler(), kind(class_weight=weights)))[which].fit(X, y)
    alone = make_pipeline(StandardScaler(), LogisticRegression(class_weight=weights))
    alone.fit(X, labels_learned(clf, y))
    assert_allclose(clf.predict_proba(X), alone.predict_proba(X), atol=1e-7)


@over_labels
@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("kind", [LogisticRegression, CodeClassifier])
def test_a_class_that_cleaning_has_lost_leaves_the_others_right(blobs, classes, lost, kind):
    X, codes = blobs
    y, left = classes[codes], codes != lost
    weights = {label: 2.0 for label in classes.tolist() if label == classes[lost]}
    cleaner = DropClasses(labels=classes[[lost]].tolist())
    with pytest.warns(UserWarning, match="left no row"):
        clf = PurifiedClassifier(cleaner, kind(class_weight=weights)).fit(X, y)
    alone = LogisticRegression().fit(X[left], y[left])
    assert_array_equal(clf.classes_, classes)
    assert_array_equal(clf.predict(X), alone.predict(X))
    expected = np.insert(alone.predict_proba(X), lost, 0, axis=1)
    assert_allclose(clf.predict_proba(X), expected, atol=1e-7)
    assert clf.score(X, y) == alone.score(X, y)  # rows of the lost class count as wrong


@pytest.mark.parametrize("wrap", [list, pd.Series, np.asarray])
def test_labels_of_any_container_are_encoded(blobs, wrap):
    X, codes = blobs
    y = wrap(LABELS["strings"][codes].tolist())
    clf = PurifiedClassifier(Keeps(), CodeClassifier()).fit(X, y)
    assert set(clf.predict(X)) == {"a", "b", "c"}
    assert clf.score(X, y) == np.mean(clf.predict(X) == np.asarray(y))


class Keeps(DropClasses):
    """Returns what it was given."""

    def fit_resample(self, X, y):
        return X, y


def test_a_search_within_the_estimator_is_encoded(blobs):
    X, codes = blobs
    y = LABELS["strings"][codes]
    search = GridSearchCV(CodeClassifier(), {"class_weight": [None, "balanced"]}, cv=2)
    assert PurifiedClassifier(DropClasses(), search).fit(X, y).score(X, y) > 0.8
    scores = cross_val_score(PurifiedClassifier(DropClasses(), CodeClassifier()), X, y, cv=2)
    assert scores.min() > 0.8


@pytest.mark.parametrize("which", [0, 1])
def test_an_error_that_the_labels_do_not_cause_is_the_estimators_own(blobs, which):
    X, codes = blobs
    y, weights = LABELS["strings"][codes], {"a": 2, "z": 3}  # "z" is no label
    with pytest.raises(ValueError, match=r"b.*c.* are not in class_weight"):
        wrappers(LogisticRegression(class_weight=weights))[which].fit(X, y)
    with pytest.raises(ValueError, match="Invalid classes inferred") as found:
        wrappers(CodeClassifier(class_weight=weights))[which].fit(X, y)
    assert "With the labels 0 to 2, fit raises: The classes" in found.value.__notes__[0]


def test_no_fit_is_made_twice_where_the_labels_are_taken(blobs):
    X, codes = blobs
    CodeClassifier.refused = 0
    PurifiedClassifier(DropClasses(), CodeClassifier()).fit(X, codes)
    assert CodeClassifier.refused == 0
    PurifiedClassifier(DropClasses(), CodeClassifier()).fit(X, codes + 1)
    assert CodeClassifier.refused == 1


def test_the_weight_of_label_one_falls_on_label_one():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5))
    y = 1 + (X[:, 0] + rng.normal(size=300) > 0)
    clf = wrappers(LogisticRegression(class_weight={1: 20}))[0].fit(X, y)
    alone = LogisticRegression(class_weight={1: 20}).fit(X, clf.purified_labels_)
    new = rng.normal(size=(500, 5))
    assert_array_equal(clf.predict(new), alone.predict(new))
    assert (clf.predict(new) == 1).mean() > 0.5


def test_class_weights_of_a_network_are_those_of_the_labels(blobs):
    X, codes = blobs
    y, params = codes + 1, {"class_weight": {1: 20}, "n_warmup_epochs": 1, **NETWORKS}
    clf = NoisyLabelClassifier(
        method="meta_weight_net", network_params=params, random_state=0
    ).fit(X, y)
    alone = clf.estimator_.__class__(**clf.estimator_.get_params()).fit(X, y)
    assert_array_equal(clf.predict_proba(X), alone.predict_proba(X))


class ArrowLabels(BaseEstimator):
    """A cleaner that returns its labels as an array of pyarrow."""

    def fit_resample(self, X, y):
        return X, pa.array(y.tolist())


def test_a_cleaner_may_return_labels_of_pyarrow(blobs):
    X, codes = blobs
    y = LABELS["strings"][codes]
    clf = PurifiedClassifier(ArrowLabels(), CodeClassifier()).fit(X, y)
    alone = LogisticRegression().fit(X, y)
    assert_array_equal(clf.predict(X), alone.predict(X))
    assert clf.score(X, pa.array(y.tolist())) == alone.score(X, y)

"""Groups of rows whose labels may be wrong together are not divided where rows are left out."""

import inspect
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from estimators import assert_same, fit, over_estimators, reference, takes
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_validate
from small_cleaners import MajorityLabels

from sknoisy import LabelPurifier, PurifiedClassifier

pytestmark = pytest.mark.usefixtures("small_forests")

JUDGES = {
    *(
        "LabelAuditor",
        "NoisyLabelClassifier",
        "DMLPClassifier",
        "MILDClassifier",
        "PurifiedClassifier",
    ),
    *("LabelPurifier", "CleanSampleSelector"),
}
over_judges = over_estimators("groups", takes("groups"))


@over_estimators("who_takes_groups", lambda estimator: True)
def test_everything_that_judges_by_rows_left_out_takes_groups(estimator):
    for method in ("fit", "fit_resample"):
        parameters = inspect.signature(getattr(estimator, method, len)).parameters
        name = type(estimator).__name__
        assert ("groups" in parameters) == (name in JUDGES and hasattr(estimator, method))


@over_judges
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda groups: groups[:-1], r"groups has shape \(120,\), but X has 121 rows"),
        (lambda groups: groups[:, None].repeat(2, axis=1), r"groups has shape \(121, 2\)"),
        (lambda groups: np.where(groups == 5, np.nan, groups), "missing value in row 5:"),
        (lambda groups: [None, *groups.tolist()[1:]], "missing value in row 0:"),
        (lambda groups: pd.Series(groups, dtype="Int64").replace(7, pd.NA), "value in row 7:"),
        (lambda groups: 0 * groups, "only one group, 0, .* Pass at least 2 groups, or groups=N"),
    ],
)
def test_bad_groups_are_refused_by_name(estimator, blobs, spoil, message):
    X, y = blobs
    with pytest.raises(ValueError, match=message):
        fit(estimator, X, y, groups=spoil(np.arange(len(y)) % 30))


@over_judges
@pytest.mark.parametrize("container", [pa.array, lambda groups: pd.DataFrame({"patient": groups})])
def test_groups_come_in_the_containers_of_y(estimator, blobs, container):
    X, y = blobs
    groups = [f"patient {i // 4}" for i in range(len(y))]
    fitted = fit(estimator, X, y, groups=container(groups))
    assert_same(fitted, X, fit(estimator, X, y, groups=groups), X)


@over_judges
def test_names_of_groups_make_no_difference(estimator, blobs):
    X, y = blobs
    groups = np.arange(len(y)) // 4
    numbered = fit(estimator, X, y, groups=groups)
    names = pd.Series([f"patient {i}" for i in groups], index=np.arange(len(y))[::-1])
    assert_same(numbered, X, fit(estimator, X, y, groups=names), X)
    mixed = [i if i % 2 else f"patient {i}" for i in groups.tolist()]
    assert_same(numbered, X, fit(estimator, X, y, groups=mixed), X)


@over_judges
def test_no_groups_are_groups_of_none(estimator, blobs):
    X, y = blobs
    assert_same(reference(estimator, X, y), X, fit(estimator, X, y, groups=None), X)


@over_estimators(
    "groups_are_routed",
    lambda e: takes("groups")(e) and any(hasattr(e, name) for name in ("predict", "fit_resample")),
)
def test_groups_are_routed_and_sliced_with_the_folds(estimator, blobs, monkeypatch):
    """The splitter of cross-validation requests groups, too: a fold holds whole groups."""
    X, y = blobs
    groups = np.arange(len(y)) % 17
    if not hasattr(estimator, "predict"):
        estimator = PurifiedClassifier(estimator, LogisticRegression())
    seen = []
    cls = type(estimator)
    given = cls.fit

    def spy(self, X, y, **params):
        seen.append((X, params.get("groups")))
        return given(self, X, y, **params)

    with config_context(enable_metadata_routing=True):
        asking = clone(estimator)
        if cls is PurifiedClassifier:
            cleaner = asking.cleaner
            if not isinstance(cleaner, MajorityLabels):
                cleaner.set_fit_resample_request(groups=True)
        else:
            asking.set_fit_request(groups=True)
        monkeypatch.setattr(cls, "fit", spy)
        cv = GroupKFold(2)
        cross_validate(asking, X, y, cv=cv, params={"groups": groups}, error_score="raise")
    folds = list(cv.split(X, y, groups))
    assert len(seen) == 2
    for (rows, sliced), (train, _) in zip(seen, folds, strict=True):
        np.testing.assert_array_equal(rows, X[train])
        np.testing.assert_array_equal(sliced, groups[train])


def test_a_cleaner_that_takes_no_groups_refuses_them(blobs):
    X, y = blobs
    clf = PurifiedClassifier(MajorityLabels(), LogisticRegression())
    message = re.escape("groups was passed, but MajorityLabels.fit_resample does not take it.")
    with pytest.raises(TypeError, match=message):
        clf.fit(X, y, groups=np.arange(len(y)))


def test_groups_reach_the_cleaner_with_the_rows_that_count(blobs):
    X, y = blobs
    groups, weights = np.arange(len(y)) // 4, (np.arange(len(y)) % 5 > 0).astype(float)
    y = np.where(groups % 5 == 0, np.roll(y, 1), y)
    purifier = LabelPurifier(n_components=32, n_epochs=10, random_state=0)
    clf = PurifiedClassifier(purifier, LogisticRegression())
    clf.fit(X, y, groups=groups, sample_weight=weights)
    counted = weights > 0
    alone = clone(purifier).fit(X[counted], y[counted], groups=groups[counted])
    np.testing.assert_array_equal(clf.cleaner_.clean_proba_, alone.clean_proba_)
    without = clone(purifier).fit(X[counted], y[counted])
    assert not np.array_equal(alone.clean_proba_, without.clean_proba_)

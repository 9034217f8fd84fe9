"""Where the probabilities come from: no row may be judged by its own copy or its own group."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from sknoisy import CLIDMUClassifier, audit_labels
from sknoisy.audit import sources
from sknoisy.audit.units import draw_unit_folds, join_units

NEAREST = KNeighborsClassifier(1)


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(sources, "_N_TREES", 60)


@pytest.fixture
def copies(global_random_seed):
    """Two clear classes; 4 rows have nine copies, all with the same wrong label."""
    rng = np.random.default_rng(global_random_seed)
    truth = np.arange(140) % 2
    X = rng.normal(size=(140, 3))
    X[:, 0] += 8 * truth
    given = truth.copy()
    for row in range(4):
        X[row:40:4] = X[row]
        given[row:40:4] = 1 - truth[row]
    return X, given


@pytest.mark.parametrize("options", [{"method": "fast"}, {"estimator": NEAREST}])
def test_copies_do_not_vouch_for_each_other(copies, options, monkeypatch):
    X, y = copies
    kept_together = audit_labels(X, y, random_state=0, **options).flagged[:40].mean()
    monkeypatch.setattr("sknoisy.audit.findings.join_units", lambda identical, groups: None)
    alone = audit_labels(X, y, random_state=0, **options).flagged[:40].mean()
    assert kept_together >= 0.75  # three of the four rows
    assert alone <= 0.25


@pytest.mark.parametrize("options", [{"method": "fast"}, {"estimator": NEAREST}])
def test_rows_of_a_group_do_not_vouch_for_each_other(copies, options, global_random_seed):
    X, y = copies
    rng = np.random.default_rng(global_random_seed + 1)
    X += 0.01 * rng.normal(size=X.shape)  # nearly copies: only the groups know
    groups = np.r_[np.tile(np.arange(4), 10), np.arange(4, 104)]
    grouped = audit_labels(X, y, groups=groups, random_state=0, **options).flagged[:40].mean()
    alone = audit_labels(X, y, random_state=0, **options).flagged[:40].mean()
    assert grouped >= 0.75
    assert alone <= 0.25


def test_units_join_copies_and_groups():
    identical = np.array([0, 0, 2, 3, 4, 4])
    groups = np.array([5, 6, 6, 7, 8, 9])
    assert join_units(identical, groups).tolist() == [0, 0, 0, 1, 2, 2]
    assert join_units(np.arange(4), None) is None
    assert join_units(None, None) is None
    assert join_units(None, np.array([1, 0, 1])).tolist() == [1, 0, 1]


@pytest.mark.parametrize("grouped", [False, True])
def test_folds_keep_units_together_and_leave_rows_without_labels_out(grouped, global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    units = rng.randint(40, size=120)
    codes = rng.randint(3, size=120)
    codes[::10] = -1
    fold = draw_unit_folds(codes, 5, rng, units, grouped=grouped)
    assert (fold[codes < 0] == -1).all()
    assert {*fold[codes >= 0]} == set(range(5))
    for unit in range(40):
        assert len({*fold[(units == unit) & (codes >= 0)]}) <= 1


def test_a_group_that_holds_a_class_is_not_judged(copies):
    X, y = copies
    y[100:110] = 2
    groups = np.arange(140)
    groups[100:110] = 100
    audit = audit_labels(X, y, groups=groups, estimator=LogisticRegression(), random_state=0)
    assert not audit.flagged[100:110].any()
    reasons = audit.to_dict()["reason"][100:110]
    assert all("Its group holds all other rows of this class: not judged." in r for r in reasons)


def test_cross_validated_probabilities_are_those_of_the_folds(copies):
    """An independent reference: the classifier of the rows outside of a fold."""
    X, y = copies
    codes = y.copy()
    codes[-5:] = -1
    judged = sources.of_classifier(
        LogisticRegression(), X, codes, np.array([0, 1]), None,
        cv=3, grouped=False, seed=1, n_jobs=None,
    )  # fmt: skip
    fold = draw_unit_folds(codes, 3, np.random.RandomState(1), None, grouped=False)
    mean = np.zeros((5, 2))
    for k in range(3):
        train = (fold != k) & (codes >= 0)
        clf = LogisticRegression().fit(X[train], y[train])
        np.testing.assert_allclose(judged.proba[fold == k], clf.predict_proba(X[fold == k]))
        mean += clf.predict_proba(X[-5:]) / 3
    np.testing.assert_allclose(judged.proba[-5:], mean)


def test_a_fitted_estimator_gives_its_distribution(copies):
    X, y = copies
    clf = CLIDMUClassifier(max_epochs=2, random_state=0).fit(X, y)
    audit = audit_labels(X, y, estimator=clf)
    np.testing.assert_allclose(audit.probability, clf.clean_proba_)
    assert "fitted CLIDMUClassifier" in audit.origin
    with pytest.raises(ValueError, match="fitted on 140 rows, but X has 90"):
        audit_labels(X[:90], y[:90], estimator=clf)
    with pytest.raises(ValueError, match=r"fitted on the classes \[0, 1\], but y holds"):
        audit_labels(X, np.array(["no", "yes"])[y], estimator=clf)

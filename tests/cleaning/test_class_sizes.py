"""Classes that shrink in cleaning: found, compared with other rows, and reported."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.metrics import roc_auc_score

from sknoisy import CleanSampleSelector, LabelPurifier, NoisyLabelClassifier
from sknoisy.cleaning.class_sizes import separations, shrunken_classes, warn_of_shrunken_classes
from sknoisy.exceptions import ShrunkenClassWarning


def test_a_class_has_shrunk_below_half_of_its_rows():
    given = np.repeat([0, 1, 2], [60, 20, 20])
    left = given.copy()
    left[60:70], left[80:91] = 0, 0  # ten of class 1, eleven of class 2
    assert shrunken_classes(given, left, 3).tolist() == [2]
    assert shrunken_classes(given, given, 3).tolist() == []
    assert shrunken_classes(given, np.zeros(100, int), 3).tolist() == [1, 2]


def test_where_rows_are_dropped_their_share_counts():
    given = np.repeat([0, 1], 50)
    few = np.repeat([0, 1], [15, 14])  # both classes lose more than half
    assert shrunken_classes(given, few, 2).tolist() == []
    assert shrunken_classes(given, np.repeat([0, 1], [45, 14]), 2).tolist() == [1]


def test_separation_is_the_area_under_the_roc_curve_within_the_next_class():
    rng = np.random.default_rng(0)
    given = rng.integers(3, size=300)
    proba = rng.dirichlet([1, 1, 1], size=300).round(1)  # with ties
    lost = (given == 2) & (np.arange(300) % 2 == 0)
    nearest = proba[:, :2].argmax(axis=1)
    expected = 0.0
    for k in (0, 1):
        rows = (nearest == k) & (lost | (given != 2))
        expected += roc_auc_score(lost[rows], proba[rows, 2]) * lost[rows].sum() / lost.sum()
    assert separations(proba, given, lost, np.array([2]))[0] == pytest.approx(expected, abs=1e-12)


def test_separation_is_one_half_where_no_row_can_be_compared():
    proba = np.array([[0.5, 0.0, 0.5], [0.0, 0.4, 0.6], [0.9, 0.0, 0.1]])
    lost = np.array([False, True, False])
    assert separations(proba, np.array([0, 2, 0]), lost, np.array([2])).tolist() == [0.5]


def test_the_warning_names_the_classes_and_points_at_the_user():
    given = np.arange(40) % 20
    left = np.where(given < 12, 12, given)
    message = r"A left less than half of these classes: 'a' \(0 of 2 rows\).* and 2 more"
    with pytest.warns(ShrunkenClassWarning, match=message) as caught:
        warn_of_shrunken_classes("A", given, left, np.array(list("abcdefghijklmnopqrst")))
    assert caught[0].filename == __file__


# --- the three cleaners ---------------------------------------------------------------------


def rare(n=800, n_positive=24, n_missed=4, shift=3.0):
    """Return rows of which few are positive, given labels, and true ones."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 5))
    clean = (np.arange(n) < n_positive).astype(int)
    X[:n_positive, :2] += shift
    given = clean.copy()
    given[:n_missed], given[-n_missed:] = 0, 1
    return X, given, clean


def swollen(n=800, n_wrong=120, n_right=20):
    """Return rows of a far smaller class that many wrong labels have swollen."""
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(size=(n - n_right, 4)), rng.normal(8, 1, size=(n_right, 4))]
    clean = np.repeat([0, 1], [n - n_right, n_right])
    given = clean.copy()
    given[:n_wrong] = 1
    return X, given, clean


NETWORKS = {"max_epochs": 3, "module_params": {"hidden": (16,)}}
CLEANERS = {
    "purifier": lambda: LabelPurifier(n_components=64, n_epochs=15, random_state=0),
    "selector": lambda: CleanSampleSelector(max_epochs=15, n_folds=0, random_state=0),
    "ensemble": lambda: NoisyLabelClassifier(network_params=NETWORKS, random_state=0),
}


def labels_left(cleaner, given):
    """Return the labels after cleaning, and the rows that have them."""
    if isinstance(cleaner, CleanSampleSelector):
        return given[cleaner.sample_indices_], cleaner.sample_indices_
    return cleaner.purified_labels_, np.arange(len(given))


@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.CollapseWarning")
@pytest.mark.usefixtures("small_forests")
@pytest.mark.parametrize("name", CLEANERS)
def test_positives_are_purified_at_least_as_well_as_they_were_given(name):
    X, given, clean = rare()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ShrunkenClassWarning)
        cleaner = CLEANERS[name]().fit(X, given)
    labels, rows = labels_left(cleaner, given)
    right = np.sum(labels * clean[rows])
    before = np.sum(given * clean)
    assert right / clean[rows].sum() >= before / clean.sum()  # recall
    assert right / labels.sum() >= before / given.sum()  # precision


@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.CollapseWarning")
@pytest.mark.usefixtures("small_forests")
@pytest.mark.parametrize("name", CLEANERS)
def test_a_class_of_mostly_wrong_labels_shrinks_with_a_warning(name):
    X, given, clean = swollen()
    with pytest.warns(ShrunkenClassWarning, match=r"1 \(\d+ of 140 rows\)") as caught:
        cleaner = CLEANERS[name]().fit(X, given)
    assert caught[0].filename == __file__
    labels, rows = labels_left(cleaner, given)
    assert 15 <= labels.sum() < 40
    assert np.mean(labels == clean[rows]) > 0.95


def test_a_round_spares_a_class_that_its_net_has_not_learned():
    """After few epochs, the net predicts the frequent class everywhere."""
    X, clean = make_classification(
        4000, 12, n_informative=8, weights=[0.98], class_sep=1.4, flip_y=0, random_state=11
    )
    rng, given = np.random.default_rng(0), clean.copy()
    given[rng.choice(np.flatnonzero(clean == 1), 16, replace=False)] = 0
    given[rng.choice(np.flatnonzero(clean == 0), 16, replace=False)] = 1
    selector = CleanSampleSelector(max_epochs=5, random_state=0).fit(X, given)
    assert selector.clean_mask_[given == 1].all()
    assert sum(entry["n_spared"] for entry in selector.rounds_) > 0

"""MLNT: the mentor of the second and later iterations."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from small_mlnt import X, Y, fit, proba, small
from torch.testing import assert_close

from sknoisy.methods.mlnt import Mentoring, blend_targets
from sknoisy.methods.mlnt.mentoring import believed_rows

NAMES = np.array(["ape", "bee", "cat"], dtype=object)
# A mentor that was trained for so few epochs doubts whole classes.
pytestmark = pytest.mark.filterwarnings("ignore:The mentor believes hardly any label")


def test_blended_target():
    teacher, mentor = torch.tensor([[0.8, 0.2]]), torch.tensor([[0.4, 0.6]])
    assert torch.equal(blend_targets(teacher, mentor, 1.0), teacher)
    assert torch.equal(blend_targets(teacher, mentor, 0.0), mentor)
    assert_close(blend_targets(teacher, mentor, 0.25), torch.tensor([[0.5, 0.5]]))
    assert blend_targets(teacher, None, 0.0) is teacher


# --- the labels that it believes ---


@pytest.mark.parametrize("threshold", ["auto", 0.36])
def test_mentor_filters_by_its_probability(threshold):
    """The mentor is the network of a fit of one iteration."""
    mentor = fit(max_epochs=12)
    p = mentor.predict_proba(X)
    expected = mentor.predict(X) == Y if threshold == "auto" else p[np.arange(len(Y)), Y] > 0.36
    clf = fit(n_iterations=2, mentoring=Mentoring(threshold), max_epochs=12)
    assert_array_equal(clf.kept_rows_, expected)
    assert 30 < expected.sum() < 110
    assert clf.n_iterations_ == 2
    assert fit(n_iterations=2, mentoring=Mentoring(-1.0)).kept_rows_.all()
    assert not hasattr(fit(), "kept_rows_")


def test_lost_classes_have_a_floor_and_trusted_rows_are_kept():
    with pytest.warns(UserWarning, match=r"label of class \[0, 1, 2\].*keeps more than 2\.0"):
        clf = fit(n_iterations=2, mentoring=Mentoring(2.0))
    of_given = proba()[np.arange(len(Y)), Y]
    for label in range(3):
        kept = clf.kept_rows_ & (label == Y)
        assert kept.sum() == 10
        assert of_given[kept].min() >= of_given[~clf.kept_rows_ & (label == Y)].max()
    trusted = np.arange(len(Y)) % 2 == 0
    clf = fit(trusted, n_iterations=2, mentoring=Mentoring(2.0), epoch_selection="last")
    assert_array_equal(clf.kept_rows_, trusted)


def test_floor_is_half_of_a_small_class_and_of_rows_that_count():
    p = np.tile([0.9, 0.1], (8, 1)) + np.linspace(0, 0.05, 8)[:, None] * [-1, 1]
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    counts = np.arange(8) != 7
    never = np.zeros(8, dtype=bool)
    classes = np.array(["a", "b"])
    with pytest.warns(UserWarning, match=r"class \['b'\]"):
        kept = believed_rows(p, labels, "auto", never, counts, classes)
    assert_array_equal(kept, [True, True, True, False, False, True, True, False])


def test_cross_entropy_is_that_of_the_kept_rows():
    """The labels that remain are easier to learn."""
    clf = fit(n_synthetic=0, n_iterations=2, max_epochs=8)
    assert 0 < clf.kept_rows_.sum() < len(Y)
    weights = dict(zip(*np.unique(clf.kept_rows_, return_counts=True), strict=True))
    assert weights[False] > 10
    assert (
        clf.history_[-1, "train_loss"]
        < 0.8 * fit(n_synthetic=0, max_epochs=8).history_[-1, "train_loss"]
    )


def test_a_class_that_the_mentor_doubts_is_named_as_the_user_names_it():
    labels = np.arange(30) % 3
    proba = np.full((30, 3), 0.1)
    proba[:, 0] = 0.8  # the mentor believes in class 0 alone
    none, every = np.zeros(30, bool), np.ones(30, bool)
    with pytest.warns(UserWarning, match=r"class \['bee', 'cat'\]"):
        kept = believed_rows(proba, labels, "auto", none, every, NAMES)
    assert_array_equal(np.bincount(labels[kept]), [10, 5, 5])


def test_labels_that_are_objects_pass_the_mentor():
    with pytest.warns(UserWarning, match="mentor believes hardly any label"):
        clf = small(n_iterations=2, mentoring=Mentoring(0.99)).fit(X, NAMES[Y])
    assert set(clf.predict(X)) <= set(NAMES)

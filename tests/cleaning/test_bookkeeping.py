"""Soft labels keep every given class."""

import numpy as np

from sknoisy.cleaning.bookkeeping import keep_classes


def test_a_class_that_would_be_lost_keeps_its_most_probable_row():
    given = np.array([0, 0, 1, 1, 2])
    soft = np.array(
        [[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.8, 0.2, 0.0], [0.7, 0.3, 0.0], [0.1, 0.0, 0.9]]
    )
    kept = keep_classes(soft.copy(), given)
    changed = [0.28, 0.72, 0.0]  # 0.4 times the row, and 0.6 on class 1
    np.testing.assert_allclose(kept[3], changed)
    np.testing.assert_array_equal(np.delete(kept, 3, axis=0), np.delete(soft, 3, axis=0))


def test_a_row_that_is_given_to_one_class_may_be_the_last_of_another():
    """Row 0 is the only one of class 1 and the most probable one of class 0."""
    given = np.array([0, 1, 2])
    soft = np.array([[0.4, 0.6, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    kept = keep_classes(soft.copy(), given)
    np.testing.assert_array_equal(kept.argmax(axis=1), given)
    np.testing.assert_allclose(kept.sum(axis=1), 1)


def test_a_tie_keeps_the_given_label():
    given = np.array([0, 1, 2, 2])
    soft = np.array([[0.5, 0.5, 0.0], [0.4, 0.4, 0.2], [0.4, 0.2, 0.4], [0.5, 0.5, 0.0]])
    kept = keep_classes(soft.copy(), given)
    assert kept.argmax(axis=1).tolist() == [0, 1, 2, 0]
    np.testing.assert_array_max_ulp(kept, soft, maxulp=1)


class CountedArray(np.ndarray):
    """Array that counts its passes over all rows."""

    n_passes = 0

    def argmax(self, *args, **kwargs):
        CountedArray.n_passes += self.ndim == 2
        return np.asarray(self).argmax(*args, **kwargs)


def test_soft_labels_are_passed_over_once(monkeypatch):
    monkeypatch.setattr(CountedArray, "n_passes", 0)
    given = np.arange(600) % 300
    kept = keep_classes(np.eye(300)[given].view(CountedArray), given)
    assert CountedArray.n_passes == 1
    np.testing.assert_array_equal(kept, np.eye(300)[given])
    keep_classes(np.eye(300)[np.zeros(600, int)].view(CountedArray), given)  # 299 are lost
    assert CountedArray.n_passes == 2

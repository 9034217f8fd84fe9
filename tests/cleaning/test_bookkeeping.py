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

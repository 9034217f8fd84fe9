"""TransitionMLCClassifier: the learned transition matrix and its step size."""

import numpy as np
from numpy.testing import assert_allclose
from small_family import noisy_blobs, small


def transition(seed=0, **parameters):
    X, y, trusted = noisy_blobs(seed=seed)
    clf = small("TransitionMLC", random_state=seed, max_epochs=8, **parameters)
    return clf.fit(X, y, clean_mask=trusted).transition_


def test_the_transition_is_larger_where_labels_were_flipped():
    """Wrong labels of class c are of class c + 1 and never of class c + 2, modulo 3."""
    mean = np.mean([transition(seed) for seed in range(3)], axis=0)
    true = np.arange(3)
    assert (mean.argmax(axis=1) == true).all()
    to_next, to_other = mean[true, (true + 1) % 3], mean[true, (true + 2) % 3]
    # Half of the smallest difference of five seeds, 0.00039.
    assert to_next.mean() > to_other.mean() + 0.00019


def test_rows_of_the_transition_are_distributions():
    """In float64: single precision, or columns of sum 1 as in training, are further from it."""
    found = transition()
    assert found.dtype == np.float64
    assert_allclose(found.sum(axis=1), 1, rtol=1e-15)
    assert abs(found.sum(axis=0) - 1).max() > 1e-6


def test_the_step_size_moves_the_transition_away_from_the_identity():
    assert_allclose(transition(meta_lr=1e-6), np.eye(3), atol=1e-7)
    moved = [1 - transition(meta_lr=rate).trace() / 3 for rate in (1.0, 10.0)]
    assert 5 * moved[0] < moved[1] < 20 * moved[0]

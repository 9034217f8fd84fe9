"""MetaWeightNetClassifier: the loss and the weights of classes, above all on a long tail."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from small_family import noisy_blobs, small

from sknoisy.datasets import make_long_tailed
from sknoisy.meta import LDAMLoss


@pytest.fixture(scope="module")
def tail():
    """Return classes of about 200, 45 and 10 rows, five of each trusted, and an even test set."""
    X, y, _ = noisy_blobs(900, rate=0.0, margin=1.5)
    rows, labels, _ = make_long_tailed(X[:600], y[:600], imbalance_factor=20, random_state=0)
    trusted = np.zeros(len(labels), bool)
    for c in range(3):
        trusted[(labels == c).nonzero()[0][:5]] = True
    assert np.bincount(labels).argmin() == 2
    return (rows, labels, trusted), (X[600:], y[600:])


def fit_tail(tail, **parameters):
    (rows, labels, trusted), _ = tail
    return small("MW-Net", **parameters).fit(rows, labels, clean_mask=trusted)


def test_balanced_classes_make_the_rarest_more_probable(tail):
    _, (X, y) = tail
    settings = [{}, {"class_weight": "balanced"}]
    clfs = [fit_tail(tail, max_epochs=20, **s) for s in settings]
    plain, balanced = (clf.predict_proba(X)[y == 2, 2].mean() for clf in clfs)
    assert balanced > plain + 0.15  # half of the smallest gain of five seeds, 0.313


def test_margins_of_ldam_push_the_rarest_class_away_from_the_others(tail):
    (rows, labels, _), _ = tail
    clfs = [fit_tail(tail, max_epochs=40, lr=0.1, loss=name) for name in ("cross_entropy", "ldam")]
    loss = dict(clfs[1].net_.callbacks_)["meta"].meta_model_.loss
    assert_array_equal(loss.margins, LDAMLoss(np.bincount(labels)).margins)
    probas = [clf.predict_proba(rows)[labels == 2, 2] for clf in clfs]
    plain, ldam = (np.log(p / (1 - p)).mean() for p in probas)
    assert ldam > plain + 0.059  # half of the smallest gain of five seeds, 0.118


@pytest.mark.parametrize("value", [-1, np.nan, np.inf])
def test_class_weights_that_are_negative_or_not_finite_or_all_0_are_refused(value):
    X, y, trusted = noisy_blobs()
    with pytest.raises(ValueError, match=r"class_weight=.* must give weights of 0 or more"):
        small("MW-Net", class_weight={0: value}).fit(X, y, clean_mask=trusted)
    with pytest.raises(ValueError, match="and not all 0"):
        small("MW-Net", class_weight={0: 0, 1: 0, 2: 0}).fit(X, y, clean_mask=trusted)

"""``max_time`` ends a fit at a batch and leaves the estimator fitted."""

import time
import warnings

import numpy as np
import pytest
from estimators import has, over_estimators, quick_estimators
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from skorch.callbacks import Callback

from sknoisy import PurifiedClassifier
from sknoisy.base import NetworkClassifier
from sknoisy.exceptions import InterruptedFitWarning


class CountBatches(Callback):
    """Count the batches of all trainings."""

    n_batches = 0

    def on_batch_end(self, net, **kwargs):
        CountBatches.n_batches += 1


@pytest.fixture(autouse=True)
def count_from_zero(monkeypatch):
    monkeypatch.setattr(CountBatches, "n_batches", 0)


def ends_of(fit):
    """The messages of the InterruptedFitWarnings of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit()
    return [str(w.message) for w in caught if w.category is InterruptedFitWarning]


@pytest.mark.usefixtures("small_forests")
@over_estimators("max_time", has("max_time"))
def test_a_fit_without_time_is_fitted_after_a_batch_of_each_training(estimator, data):
    X, y = data(estimator)
    fitted = clone(estimator).set_params(max_time=1e-9)
    (message,) = ends_of(lambda: fitted.fit(X, y))
    assert message.startswith("fit was ended by max_time")
    assert "is not fitted" not in message
    for name in ("predict_proba", "transform"):
        if hasattr(fitted, name):
            assert np.isfinite(getattr(fitted, name)(X)).all()


def test_training_ends_at_the_next_batch(blobs):
    class Slow(CountBatches):
        def on_batch_end(self, net, **kwargs):
            super().on_batch_end(net)
            time.sleep(0.02)

    X, y = blobs
    clf = NetworkClassifier(max_time=0.5, batch_size=2, callbacks=[Slow()], random_state=0)
    start = time.monotonic()
    (message,) = ends_of(lambda: clf.fit(X, y))
    assert 0.5 < time.monotonic() - start < 2
    assert 2 < CountBatches.n_batches < 26
    assert "after 0 of 60 epochs; the estimator is fitted" in message


def test_enough_time_changes_nothing(blobs):
    X, y = blobs
    models = [
        NetworkClassifier(max_epochs=2, max_time=limit, random_state=0) for limit in (None, 1000)
    ]
    assert ends_of(lambda: [model.fit(X, y) for model in models]) == []
    np.testing.assert_array_equal(*(model.predict_proba(X) for model in models))


def test_loops_of_others_go_on_with_the_next_fit(blobs):
    """After Ctrl-C they must not, but each fit has a time of its own."""
    clf = NetworkClassifier(max_time=1e-9, callbacks=[CountBatches()], random_state=0)
    assert len(ends_of(lambda: cross_val_score(clf, *blobs, cv=3))) == 3
    assert CountBatches.n_batches == 3


def test_the_time_of_an_inner_fit_does_not_end_the_outer_one(blobs):
    cleaner = quick_estimators()["CleanSampleSelector"]
    inner = clone(cleaner).set_params(max_time=1e-9, callbacks=None)
    outer = NetworkClassifier(max_epochs=2, callbacks=[CountBatches()], batch_size=10)
    clf = PurifiedClassifier(inner, outer)
    (message,) = ends_of(lambda: clf.fit(*blobs))
    assert message.startswith("fit was ended by max_time in the cleaner")
    assert clf.estimator_.n_iter_ == 2


@pytest.mark.parametrize("limit", [0, -1.0, "1 h"])
def test_a_time_that_is_none_is_refused(blobs, limit):
    with pytest.raises(ValueError, match="'max_time' parameter"):
        NetworkClassifier(max_time=limit).fit(*blobs)

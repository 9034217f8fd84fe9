"""Batch size and learning rate "auto": what they stand for, and that every network has them."""

import numpy as np
import pytest
from estimators import over_estimators
from sklearn.base import clone

from sknoisy.base import NetworkClassifier, NetworkEstimator


def is_network(estimator):
    return isinstance(estimator, NetworkEstimator)


def one_epoch(n_rows, **params):
    """Return a tiny network after one epoch on a table of two columns."""
    X = np.random.default_rng(0).normal(size=(n_rows, 2)).astype(np.float32)
    params = {"module_params": {"hidden": ()}, "max_epochs": 1, "random_state": 0, **params}
    return NetworkClassifier(**params).fit(X, X[:, 0] > 0)


@over_estimators("auto_steps_are_those_of_the_network", is_network)
def test_auto_steps_are_those_of_the_network(estimator, data):
    X, y = data("table")
    fitted = clone(estimator).set_params(batch_size="auto", lr="auto").fit(X, y)
    assert (fitted.batch_size_, fitted.lr_) == (100, 0.05)
    assert (fitted.net_.batch_size, fitted.net_.lr) == (100, 0.05)


@over_estimators("given_steps_are_kept", is_network)
def test_given_steps_are_kept(estimator, data):
    X, y = data("table")
    fitted = clone(estimator).set_params(batch_size=40, lr=0.03).fit(X, y)
    assert (fitted.batch_size_, fitted.lr_) == (40, 0.03)
    assert (fitted.net_.batch_size, fitted.net_.lr) == (40, 0.03)


@pytest.mark.parametrize(("n_rows", "batch_size"), [(20_000, 100), (30_000, 150)])
def test_an_epoch_of_a_large_table_has_200_batches(n_rows, batch_size):
    net = one_epoch(n_rows).net_
    assert net.batch_size == batch_size
    assert len(net.history[0, "batches"]) == 200


def test_variance_of_a_step_does_not_grow_with_the_batch():
    clf = one_epoch(80_000)
    assert clf.lr_**2 / clf.batch_size_ == pytest.approx(0.05**2 / 100)


def test_rate_has_a_bound():
    assert one_epoch(100, batch_size=10**6).lr_ == 0.2


def test_images_keep_the_batch_size():
    clf = NetworkClassifier(max_epochs=1)
    clf._resolve_steps(10**6, is_table=False)
    assert (clf.batch_size_, clf.lr_) == (100, 0.05)


def test_messages_name_the_values(capsys):
    one_epoch(30_000, verbose=1)
    assert "batch_size=150, lr=0.0612" in capsys.readouterr().err

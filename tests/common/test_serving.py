"""Predicting only reads: threads and forked processes get the answers of one thread."""

import os
import pickle
import signal
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from estimators import assert_same, fit, has, outputs, over_estimators, reference
from skorch.callbacks import Callback
from torch import nn
from torch.autograd import forward_ad

from sknoisy._engine.construction import seeded

pytestmark = [
    pytest.mark.usefixtures("small_forests"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

METHODS = ("predict_proba", "predict", "features", "transform")


def predicts(estimator):
    return any(hasattr(estimator, name) for name in METHODS)


def answers(fitted, X):
    return [getattr(fitted, name)(X) for name in METHODS if hasattr(fitted, name)]


def networks(fitted):
    """The networks of an estimator."""
    nets = getattr(fitted, "nets_", [fitted.net_] if hasattr(fitted, "net_") else [])
    return [net.module_ for net in nets]


def check_that_it_can_be_trained_on(module, x):
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in module.parameters())
    module(x).sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    module.zero_grad()


# --- threads ------------------------------------------------------------------------------------


@over_estimators("threads_get_the_answers_of_one_thread", predicts)
def test_threads_get_the_answers_of_one_thread(estimator, data):
    X, y = data(estimator)
    expected = answers(reference(estimator, X, y), X)
    fitted = pickle.loads(pickle.dumps(reference(estimator, X, y)))  # nobody has asked it yet
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: answers(fitted, X), range(24)):
            for one, other in zip(expected, found, strict=True):
                np.testing.assert_array_equal(one, other)
    for module in networks(fitted):
        check_that_it_can_be_trained_on(module, torch.randn(2, X.shape[1]))


def state_of(fitted):
    """Which tensors the networks hold, and how often each was written to."""
    return [
        (name, id(part), part._version, module.training)
        for module in networks(fitted)
        for name, part in (*module.named_parameters(), *module.named_buffers())
    ]


@over_estimators("predicting_changes_no_network", has("batch_size", "predict"))
def test_predicting_changes_no_network(estimator, data):
    X, y = data(estimator)
    fitted = fit(estimator, X, y)
    before, attributes = state_of(fitted), set(vars(fitted))
    answers(fitted, X)
    assert state_of(fitted) == before
    assert set(vars(fitted)) == attributes


@over_estimators("training_on_changes_no_prediction", has("batch_size", "predict"))
def test_training_on_changes_no_prediction(estimator, data):
    """The networks that predict share no memory with those of ``nets_``."""
    X, y = data(estimator)
    fitted = fit(estimator, X, y)
    expected = answers(fitted, X)
    for module in networks(fitted):
        for tensor in module.train().state_dict().values():
            tensor.fill_(7)
    for one, other in zip(expected, answers(fitted, X), strict=True):
        np.testing.assert_array_equal(one, other)


@over_estimators("skops_is_refused_with_the_way_to_do_it", has("batch_size"))
def test_skops_is_refused_with_the_way_to_do_it(estimator, data):
    fitted = reference(estimator, *data(estimator))
    if not networks(fitted):
        pytest.skip("It keeps no network.")
    with pytest.raises(TypeError, match=r"skops cannot write .* pickle or joblib, or save net_"):
        fitted.net_.__reduce__()  # skops calls it for each object


def test_skops_itself_raises_our_error(quick, blobs):
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    with pytest.raises(TypeError, match="skops cannot write"):
        skops.dumps(quick().fit(*blobs))


# --- forks --------------------------------------------------------------------------------------


def check_in_a_fork(check):
    """Run `check` in a forked process, which must end within a minute."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends a child that hangs
        try:
            check()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@contextmanager
def another_thread_in_a_meta_step():
    """A thread that holds the lock of fits and is in forward mode."""
    inside, over = threading.Event(), threading.Event()

    def hold():
        with seeded(0, torch.device("cpu")), forward_ad.dual_level():
            inside.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    try:
        yield
    finally:
        over.set()
        thread.join()


@forks
@over_estimators("a_fork_in_a_fit_of_another_thread", has("random_state"))
def test_a_fork_in_a_fit_of_another_thread(estimator, data):
    """The child predicts and fits as if no thread had fitted."""
    X, y = data(estimator)
    fitted = reference(estimator, X, y)
    expected = outputs(fitted, X)

    def check():
        for name, found in outputs(fitted, X).items():
            np.testing.assert_array_equal(found, expected[name])
        assert_same(fitted, X, fit(estimator, X, y), X)

    with another_thread_in_a_meta_step():
        check_in_a_fork(check)
    fit(estimator, X, y)  # the parent's lock is free again


class Pause(Callback):
    """Stop in the second epoch until the test goes on."""

    def __init__(self, inside, over):
        self.inside, self.over = inside, over

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            self.inside.set()
            self.over.wait()


@forks
def test_a_fork_in_the_middle_of_a_fit(quick, blobs):
    X, y = blobs
    expected = quick().fit(X, y)
    inside, over = threading.Event(), threading.Event()
    training = quick(callbacks=[Pause(inside, over)])
    with ThreadPoolExecutor(1) as pool:
        fitting = pool.submit(training.fit, X, y)
        inside.wait()
        try:
            check_in_a_fork(lambda: assert_same(expected, X, quick().fit(X, y), X))
        finally:
            over.set()
        assert_same(expected, X, fitting.result(), X)


@forks
def test_a_fork_after_parallel_loops(quick, blobs):
    """The child has none of OpenMP's threads, for which torch would wait."""
    X, y = blobs
    clf = quick().fit(X, y)
    many = np.tile(X, (100, 1))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = clf.predict_proba(many)
        torch.ones(10**5).exp()
        check_in_a_fork(lambda: np.testing.assert_array_equal(clf.predict_proba(many), expected))
        check_in_a_fork(lambda: torch.ones(10**5).exp())
    finally:
        torch.set_num_threads(threads)

"""Threads of torch in a fit: one for small networks on tables, unless somebody chose a number."""

import os

import pytest
import torch
from skorch.callbacks import Callback
from torch import nn

from sknoisy.exceptions import NonFiniteLossError
from sknoisy.representation import SCARF


class Threads(Callback):
    """Record the number of threads in each epoch."""

    def __init__(self):
        self.seen = []

    def on_epoch_begin(self, net, **kwargs):
        self.seen.append(torch.get_num_threads())


class FewThenInterrupted(Threads):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


@pytest.fixture
def two_cores(monkeypatch):
    """A machine of two cores on which nobody chose a number of threads."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_THREAD_LIMIT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def threads_in(clf, X, y, recorder=None):
    recorder = Threads() if recorder is None else recorder
    clf.set_params(callbacks=[recorder]).fit(X, y)
    return set(recorder.seen)


def test_a_small_network_trains_on_one_thread(quick, blobs, two_cores):
    assert threads_in(quick(), *blobs) == {1}
    assert torch.get_num_threads() == 2


def test_a_large_network_keeps_the_threads(quick, blobs, two_cores):
    """121 rows a batch, 2,000 x 500 weights: more than 10^8 multiplications."""
    hidden = {"hidden": (2000, 500)}
    clf = quick(module_params=hidden, batch_size=128, max_epochs=2)
    assert threads_in(clf, *blobs) == {2}
    assert threads_in(clf.set_params(batch_size=32), *blobs) == {1}


def test_images_keep_the_threads(quick, images, two_cores):
    clf = quick(module=lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), max_epochs=2)
    assert threads_in(clf, *images) == {2}


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_a_number_from_the_environment_is_kept(name, quick, blobs, two_cores, monkeypatch):
    """joblib sets it in its workers."""
    monkeypatch.setenv(name, "2")
    assert threads_in(quick(), *blobs) == {2}


def test_a_number_that_torch_was_given_is_kept(quick, blobs, two_cores):
    torch.set_num_threads(3)
    assert threads_in(quick(), *blobs) == {3}


def test_the_threads_come_back_after_an_error_and_an_interruption(quick, blobs, two_cores):
    clf = quick(lr=1e30)
    with pytest.raises(NonFiniteLossError):
        clf.fit(*blobs)
    assert torch.get_num_threads() == 2
    with pytest.warns(UserWarning, match="interrupted"):
        assert threads_in(quick(), *blobs, FewThenInterrupted()) == {1}
    assert torch.get_num_threads() == 2


def test_representations_train_on_one_thread_too(blobs, two_cores, monkeypatch):
    recorder = Threads()
    SCARF(max_epochs=2, callbacks=[recorder], random_state=0).fit(blobs[0])
    assert set(recorder.seen) == {1}
    assert torch.get_num_threads() == 2

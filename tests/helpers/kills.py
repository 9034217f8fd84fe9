"""Fits that are killed between two batches, wherever they train."""

import json

import numpy as np
import pytest
import torch
from estimators import assert_same
from numpy.testing import assert_array_equal
from sklearn.base import clone

from sknoisy._engine import net as net_module
from sknoisy._engine.checkpoint import Training
from sknoisy._engine.checkpoint_file import from_bytes, read_file


class Killed(Exception):
    """Stands for the end of the process."""


class Kills:
    """Counts the batches of a fit in all its trainings, and kills it after one of them.

    ``n_seen`` is the number of batches of this fit, ``n_saved`` that of the batches before the
    last checkpoint, in the fits before, too.
    """

    def __init__(self, monkeypatch):
        self.n_saved = self.n_seen = self.n_before = 0
        self.last = None
        note, write = net_module._Run.note, Training.write

        def note_and_kill(run, batch, *args, **kwargs):
            note(run, batch, *args, **kwargs)
            self.n_seen += 1
            if self.last is not None and self.n_before + self.n_seen >= self.last:
                raise Killed

        def write_and_count(training, *args, **kwargs):
            write(training, *args, **kwargs)
            self.n_saved = self.n_before + self.n_seen

        monkeypatch.setattr(net_module._Run, "note", note_and_kill)
        monkeypatch.setattr(Training, "write", write_and_count)

    def fit(self, estimator, X, y, after=None, **params):
        """Return a fitted clone; it must be killed if `after`, a number of batches, is given."""
        self.n_seen, self.n_before, self.last = 0, self.n_saved, after
        fitted = clone(estimator)
        if after is None:
            return fitted.fit(X, y, **params)
        with pytest.raises(Killed):
            fitted.fit(X, y, **params)
        return None


_TIMES = {"dur", "batches", "epoch_timer"}


def contents(path):
    """Return all that a checkpoint holds, except times, as arrays and plain values by name."""
    found = {}

    def collect(name, value):
        if isinstance(value, dict):
            for key in value.keys() - _TIMES:
                collect(f"{name}.{key}", value[key])
        elif isinstance(value, (list, tuple)):
            for i, entry in enumerate(value):
                collect(f"{name}.{i}", entry)
        elif name.endswith("history"):
            collect(f"{name} of epoch", json.loads(value))
        else:
            found[name] = value.numpy() if isinstance(value, torch.Tensor) else value

    collect("training", [from_bytes(training) for training in read_file(path)["trainings"]])
    return found


def assert_same_content(first, second):
    """Check that two checkpoints hold the same, bit for bit."""
    expected, found = contents(first), contents(second)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert_array_equal(found[name], value, err_msg=name)


def numbers_of(classifier):
    """Return the fitted attributes that are numbers, by name."""
    fitted = {name: value for name, value in vars(classifier).items() if name.endswith("_")}
    return {name: value for name, value in fitted.items() if isinstance(value, int | float)}


def assert_same_fit(first, second, X):
    """Check that two fitted network classifiers are equal bit for bit."""
    assert_same(first, X, second, X)
    assert numbers_of(first) == numbers_of(second)
    members = [classifier._members.networks for classifier in (first, second)]
    for one, other in zip(*members, strict=True):
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name


def moments(n_batches, n_kills, seed):
    """Return increasing numbers of batches after which a fit is killed: random ones, and all."""
    drawn = np.random.default_rng(seed).choice(n_batches - 1, n_kills - 1, replace=False)
    return [*sorted(1 + drawn), n_batches]


def check_kills(kills, classifier, X, y, folder, seed, *, n_kills=3, **params):
    """Kill a fit at random moments; it must end as the unbroken one, and not be longer."""
    unbroken, broken = folder / "unbroken.pt", folder / "broken.pt"
    expected = kills.fit(clone(classifier).set_params(checkpoint=unbroken), X, y, **params)
    n_batches, kills.n_saved = kills.n_seen, 0
    saved = clone(classifier).set_params(checkpoint=broken)
    torch.rand(seed % 5 + 1)  # global generators have no say
    for moment in moments(n_batches, n_kills, seed):
        kills.fit(saved, X, y, after=moment, **params)
    n_saved = kills.n_saved
    resumed = kills.fit(saved, X, y, **params)
    assert kills.n_seen == n_batches - n_saved
    assert_same_fit(expected, resumed, X)
    assert_same_content(unbroken, broken)
    if n_kills == 1:
        return
    again = kills.fit(saved, X, y, **params)
    assert kills.n_seen == 0
    assert_same_fit(expected, again, X)

"""Fits that are killed between two batches, wherever they train."""

import numpy as np
import pytest
import torch
from estimators import assert_same
from sklearn.base import clone

from sknoisy._engine import net as net_module
from sknoisy._engine.checkpoint import Training


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


def without_times(classifier):
    """Return what the histories of all nets hold, except times."""
    times = {"dur", "batches"}
    return [
        [{key: epoch[key] for key in epoch if key not in times} for epoch in net.history]
        for net in classifier.nets_
    ]


def assert_same_fit(first, second, X):
    """Check that two fitted network classifiers are equal bit for bit."""
    assert_same(first, X, second, X)
    assert without_times(first) == without_times(second)
    members = [classifier._members.networks for classifier in (first, second)]
    for one, other in zip(*members, strict=True):
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name


def moments(n_batches, n_kills, seed):
    """Draw increasing numbers of batches after which a fit is killed."""
    drawn = np.random.default_rng(seed).choice(n_batches, n_kills, replace=False)
    return sorted(1 + drawn)


def check_kills(kills, classifier, X, y, path, seed, **params):
    """Kill a fit at three random moments; it must end as the unbroken one, and not be longer."""
    expected = kills.fit(classifier, X, y, **params)
    n_batches, kills.n_saved = kills.n_seen, 0
    saved = clone(classifier).set_params(checkpoint=path)
    torch.rand(seed % 5 + 1)  # global generators have no say
    for moment in moments(n_batches, 3, seed):
        kills.fit(saved, X, y, after=moment, **params)
    n_saved = kills.n_saved
    resumed = kills.fit(saved, X, y, **params)
    assert kills.n_seen == n_batches - n_saved
    assert_same_fit(expected, resumed, X)
    again = kills.fit(saved, X, y, **params)
    assert kills.n_seen == 0
    assert_same_fit(expected, again, X)

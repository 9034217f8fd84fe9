"""The line that says how long training takes."""

from types import SimpleNamespace

import pytest

from sknoisy.base import NetworkClassifier
from sknoisy.callbacks import progress


class Clock:
    """A clock that each reading moves on."""

    def __init__(self, seconds_per_reading):
        self.now, self.step = 0.0, seconds_per_reading

    def __call__(self):
        self.now += self.step
        return self.now


def told(monkeypatch, capsys, X, y, seconds_per_batch, **parameters):
    """The lines about the time of a fit of 3 epochs of 10 batches."""
    clock = SimpleNamespace(monotonic=Clock(seconds_per_batch))
    monkeypatch.setattr(progress, "time", clock)
    settings = {"module_params": {"hidden": (8,)}, "max_epochs": 3, "random_state": 0}
    NetworkClassifier(**settings, batch_size=len(y) // 10, **parameters).fit(X, y)
    return [line for line in capsys.readouterr().err.splitlines() if "take about" in line]


@pytest.mark.parametrize(("seconds", "minutes"), [(4.0, 2), (12.0, 6)])
def test_a_long_fit_says_how_long_it_takes(monkeypatch, capsys, blobs, seconds, minutes):
    (line,) = told(monkeypatch, capsys, *blobs, seconds, verbose=1)
    assert f"NetworkClassifier: 3 epochs take about {minutes} min." in line


def test_short_and_silent_fits_say_nothing(monkeypatch, capsys, blobs):
    assert told(monkeypatch, capsys, *blobs, 1.0, verbose=1) == []
    assert told(monkeypatch, capsys, *blobs, 12.0, verbose=0) == []

"""Votes with a shorter selection by MILD, whose default takes most of the time of a vote."""

import pytest

from sknoisy import CleanSampleSelector
from sknoisy.methods.auto import classifier


@pytest.fixture
def let_mild_select(monkeypatch):
    """A function that gives MILD a selector of these parameters in every vote."""

    def patch(**parameters):
        networks = classifier.networks

        def with_selector(seed, **shared):
            members = networks(seed, **shared)
            selector = CleanSampleSelector(device="cpu", **parameters)
            return {**members, "mild": members["mild"].set_params(selector=selector)}

        monkeypatch.setattr(classifier, "networks", with_selector)

    return patch


@pytest.fixture
def quick_selection(let_mild_select):
    """Two short rounds of selection."""
    let_mild_select(max_epochs=15, n_rounds=2, n_folds=2, batch_size=32)

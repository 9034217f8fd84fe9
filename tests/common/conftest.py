"""A fixture for all tests of this folder."""

from functools import partial

import pytest
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

from sknoisy.methods.auto import vote


@pytest.fixture(autouse=True)
def small_forests(monkeypatch):
    """Let NoisyLabelClassifier grow 20 trees a forest, not 100: most of its time is theirs."""
    for forest in (ExtraTreesClassifier, RandomForestClassifier):
        monkeypatch.setattr(vote, forest.__name__, partial(forest, n_estimators=20))

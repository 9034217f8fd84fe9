"""Selection from memory maps, Parquet files and data sets equals that from the array."""

import tracemalloc

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from streamed_rows import CONTAINERS, Items, stored
from torch.utils.data import Subset

from sknoisy import (
    CleanSampleSelector,
    LabelPurifier,
    MILDClassifier,
    NoisyLabelClassifier,
    PurifiedClassifier,
)
from sknoisy.base import NetworkClassifier
from sknoisy.methods.mild.selection import SelectionState
from sknoisy.pipeline import make_pipeline

SMALL = {"module_params": {"hidden": (8,)}, "random_state": 0}
SELECTOR = CleanSampleSelector(max_epochs=8, n_rounds=3, n_folds=0, **SMALL)
NETWORK = NetworkClassifier(max_epochs=2, **SMALL)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=700)
    X = rng.normal(size=(700, 6)).astype(np.float32)
    X[:, 0] += 4 * (y == 1)
    X[:, 1] += 4 * (y == 2)
    return X, np.where(rng.random(700) < 0.2, (y + 1) % 3, y)


@pytest.fixture(params=CONTAINERS)
def streamed(request, problem, tmp_path):
    """The rows of the problem in a container that is read in batches."""
    return stored(problem[0], request.param, tmp_path)


@pytest.fixture(scope="module")
def expected(problem):
    """The selection from the array."""
    return SELECTOR.fit(*problem)


def test_the_selection_is_that_of_the_array(problem, streamed, expected):
    _, y = problem
    selector = CleanSampleSelector(**SELECTOR.get_params())
    np.testing.assert_array_equal(selector.select(streamed, y), expected.sample_indices_)
    assert 100 < len(selector.sample_indices_) < 700
    for name in ("clean_mask_", "memorization_", "forgetting_", "clean_proba_"):
        np.testing.assert_array_equal(getattr(selector, name), getattr(expected, name))
    np.testing.assert_array_equal(selector.label_distribution_, expected.label_distribution_)
    assert len(selector.rounds_) == len(expected.rounds_)


def test_the_selected_rows_come_in_a_type_that_networks_take(problem, streamed, expected):
    X, y = problem
    part, labels = CleanSampleSelector(**SELECTOR.get_params()).fit_resample(streamed, y)
    rows = expected.sample_indices_
    np.testing.assert_array_equal(labels, y[rows])
    if isinstance(part, Subset):
        assert part.indices == rows.tolist()
    else:
        np.testing.assert_array_equal(np.asarray(part), X[rows])
    np.testing.assert_array_equal(
        NETWORK.fit(part, labels).predict_proba(X), NETWORK.fit(X[rows], y[rows]).predict_proba(X)
    )


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("make", [PurifiedClassifier, make_pipeline])
def test_a_network_learns_from_the_selected_rows(problem, streamed, make):
    X, y = problem
    of_array = make(SELECTOR, NETWORK).fit(X, y).predict_proba(X)
    model = make(SELECTOR, NETWORK).fit(streamed, y)
    np.testing.assert_array_equal(model.predict_proba(streamed), of_array)
    assert model.score(streamed, y) == (of_array.argmax(axis=1) == y).mean()


@pytest.mark.parametrize(
    "parts", [(SELECTOR, NoisyLabelClassifier()), (LabelPurifier(representation="scarf"), NETWORK)]
)
def test_what_reads_X_as_a_whole_is_refused_before_the_cleaning(parts, problem, monkeypatch):
    X, y = problem
    monkeypatch.setattr(CleanSampleSelector, "fit", None)
    name = type(parts[0] if parts[1] is NETWORK else parts[1]).__name__
    with pytest.raises(TypeError, match=f"{name} reads X as a whole.* Pass an array or a memory"):
        PurifiedClassifier(*parts).fit(Items(X), y)


def test_a_memory_map_goes_with_any_estimator(problem, tmp_path):
    X, y = problem
    np.save(tmp_path / "X.npy", X)
    on_disk = np.load(tmp_path / "X.npy", mmap_mode="r")
    models = [PurifiedClassifier(SELECTOR, LogisticRegression()).fit(x, y) for x in (X, on_disk)]
    np.testing.assert_array_equal(*(model.predict_proba(X) for model in models))


def test_rows_of_weight_zero_are_left_out_of_a_file_without_loading_it(
    problem, streamed, monkeypatch
):
    """They were indexed like an array, so that all others were in memory at once."""
    X, y = problem
    weight = (np.arange(700) % 7 > 0).astype(float)
    clf = MILDClassifier(selector=SELECTOR, max_epochs=2, **SMALL)
    of_array = clf.fit(X, y, sample_weight=weight).sample_indices_
    seen, fit = [], CleanSampleSelector.fit

    def spy(self, X, *args, **kwargs):
        seen.append(X)
        return fit(self, X, *args, **kwargs)

    monkeypatch.setattr(CleanSampleSelector, "fit", spy)
    np.testing.assert_array_equal(
        clf.fit(streamed, y, sample_weight=weight).sample_indices_, of_array
    )
    assert len(seen[0]) == weight.sum()
    assert isinstance(seen[0], np.ndarray) == isinstance(streamed, np.ndarray)


# --- memory -------------------------------------------------------------------------------------


def test_the_label_distribution_is_made_without_copies(monkeypatch):
    """Of numpy's memory alone, a clipped copy of the probabilities took half as much more."""
    n_rows, n_classes = 60_000, 50
    X = np.random.default_rng(0).random(size=(n_rows, 4), dtype=np.float32)
    label_distribution, peaks = SelectionState.label_distribution, []

    def measure(self, *args):
        tracemalloc.start()
        try:
            result = label_distribution(self, *args)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        return result

    monkeypatch.setattr(SelectionState, "label_distribution", measure)
    selector = CleanSampleSelector(max_epochs=1, n_rounds=1, n_folds=0, batch_size=1000, **SMALL)
    selector.fit(X, np.arange(n_rows) % n_classes)
    assert peaks[0] < 1.2 * selector.label_distribution_.nbytes

"""A fit leaves the world as it was: global state, the caller's arrays and parameters."""

import copy
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from side_effects import global_state
from sklearn.base import clone
from small_family import FAMILY, noisy_blobs, small
from torch import nn

METHODS = pytest.mark.parametrize(
    "method", [{}, {"weighting": "vri"}, {"weighting": None}], ids=["wnet", "vri", "no meta"]
)


class Sequence(nn.Module):
    """An LSTM and attention, whose forward-mode passes switch backends for a moment."""

    def __init__(self, n_classes):
        super().__init__()
        self.lstm = nn.LSTM(1, 8, batch_first=True)
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.fc = nn.Linear(8, n_classes)

    def forward(self, x):
        return self.fc(self.attention(self.lstm(x[..., None])[0]).mean(1))


@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.CollapseWarning")  # four epochs
@METHODS
@pytest.mark.parametrize("random_state", [0, None])
@pytest.mark.parametrize("kind", ["table", "images", "sequence", "memory map"])
def test_global_state_is_as_it_was(problem, method, random_state, kind, tmp_path):
    clf, X, y = problem("images" if kind == "images" else "table", **method)
    clf.set_params(random_state=random_state)
    if kind == "sequence":
        clf.set_params(module=Sequence, module_params=None)
    if kind == "memory map":
        np.save(tmp_path / "X.npy", X)
        X = np.load(tmp_path / "X.npy", mmap_mode="r")
    before = global_state()
    clf.fit(X, y).predict(X)
    clf.features(X)
    pickle.loads(pickle.dumps(clf))
    assert global_state() == before


@METHODS
def test_another_default_dtype_does_no_harm(quick, blobs, method):
    """Rows are float32, so is the network."""
    X, y = blobs
    torch.set_default_dtype(torch.float64)
    try:
        clf = quick(**method).fit(X, y)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {p.dtype for p in clf.net_.module_.parameters()} == {torch.float32}
    np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1)


def test_global_state_is_as_it_was_after_an_error(quick, blobs):
    before = global_state()
    with pytest.raises(ArithmeticError):
        quick(lr=1e30).fit(*blobs)
    assert global_state() == before


@METHODS
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8 images", "float32 images"])
def test_the_callers_arrays_are_as_they_were(problem, method, dtype):
    """float32 is what the network reads: no copy is needed, but one must be made."""
    dtype, *images = dtype.split()
    clf, X, y = problem("images" if images else "table", standardize=False, **method)
    X, mask, weights = X.astype(dtype), np.arange(len(y)) % 3 == 0, np.linspace(1, 2, len(y))
    given = {"X": X, "y": y, "clean_mask": mask, "sample_weight": weights}
    before = copy.deepcopy(given)
    clf.fit(**given).predict(X)
    for name, array in given.items():
        np.testing.assert_array_equal(array, before[name])
        assert array.flags.writeable


def test_a_frame_is_as_it_was(quick, blobs):
    frame, labels = pd.DataFrame(blobs[0], columns=list("abcdef")), pd.Series(blobs[1])
    frame_before, labels_before = frame.copy(), labels.copy()
    quick().fit(frame, labels).predict(frame)
    pd.testing.assert_frame_equal(frame, frame_before)
    pd.testing.assert_series_equal(labels, labels_before)


def test_parameters_are_as_they_were(quick, blobs):
    parameters = {
        "module_params": {"hidden": (16,)},
        "optimizer_params": {"weight_decay": 0.1},
        "callbacks": [],
    }
    before = copy.deepcopy(parameters)
    clf = quick(**parameters).fit(*blobs)
    assert parameters == before
    assert all(clf.get_params()[name] is value for name, value in parameters.items())


def test_fits_in_threads_of_one_process_take_turns(problem):
    """Torch's generator and its forward mode are the process's."""
    reference, X, y = problem("table")
    expected = reference.fit(X, y).predict_proba(X)
    with ThreadPoolExecutor(2) as pool, warnings.catch_warnings():
        warnings.simplefilter("error")
        fits = [pool.submit(clone(reference).fit, X, y) for _ in range(4)]
        found = [fit.result().predict_proba(X) for fit in fits]
    for proba in found:
        np.testing.assert_array_equal(proba, expected)


@pytest.mark.parametrize("method", FAMILY)
def test_the_family_leaves_the_random_state_alone(method):
    """With pseudo-clean rows, whose mixtures draw, too."""
    X, y, _ = noisy_blobs()
    before = global_state()
    small(method).fit(X, y)
    assert global_state() == before

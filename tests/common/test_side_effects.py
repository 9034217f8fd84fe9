"""A fit leaves the world as it was: global state, the caller's arrays and parameters."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
import torch._dynamo  # its first import sets an environment variable, which is not sknoisy's doing
from estimators import (
    assert_same,
    fit,
    has,
    is_mixture,
    outputs,
    over_estimators,
    reference,
    takes,
)
from side_effects import global_state
from sklearn.base import clone
from torch import nn

pytestmark = pytest.mark.usefixtures("small_forests")


class Sequence(nn.Module):
    """An LSTM and attention, whose forward-mode passes switch backends for a moment."""

    def __init__(self, n_classes):
        super().__init__()
        self.lstm = nn.LSTM(1, 8, batch_first=True)
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.fc = nn.Linear(8, n_classes)

    def forward(self, x):
        return self.fc(self.attention(self.lstm(x[..., None])[0]).mean(1))


@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.MixtureWarning")
@over_estimators("global_state_is_as_it_was", images=True)
def test_global_state_is_as_it_was(estimator, kind, data):
    X, y = data(estimator, kind)
    before = global_state()
    for random_state in (0, None):
        if hasattr(estimator, "random_state") and not is_mixture(estimator):
            estimator = clone(estimator).set_params(random_state=random_state)
        fitted = fit(estimator, X, y)
        outputs(fitted, X)
        pickle.loads(pickle.dumps(fitted))
        assert global_state() == before


@pytest.mark.filterwarnings("ignore::sknoisy.exceptions.CollapseWarning")  # four epochs
@pytest.mark.parametrize("weighting", ["wnet", "vri", None])
@pytest.mark.parametrize("kind", ["sequence", "memory map"])
def test_global_state_is_as_it_was_after_other_forms(problem, weighting, kind, tmp_path):
    clf, X, y = problem("table", weighting=weighting)
    if kind == "sequence":
        clf.set_params(module=Sequence, module_params=None)
    else:
        np.save(tmp_path / "X.npy", X)
        X = np.load(tmp_path / "X.npy", mmap_mode="r")
    before = global_state()
    for random_state in (0, None):
        fitted = clone(clf).set_params(random_state=random_state).fit(X, y)
        outputs(fitted, X)
        pickle.loads(pickle.dumps(fitted))
        assert global_state() == before


@over_estimators("another_default_dtype_does_no_harm", has("batch_size", "predict"))
def test_another_default_dtype_does_no_harm(estimator, data):
    """Rows are float32, and so is the network."""
    X, y = data(estimator)
    torch.set_default_dtype(torch.float64)
    try:
        clf = fit(estimator, X, y)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {p.dtype for p in clf.net_.module_.parameters()} == {torch.float32}
    np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1)


@over_estimators("global_state_is_as_it_was_after_an_error", has("batch_size"))
def test_global_state_is_as_it_was_after_an_error(estimator, data):
    X, y = data(estimator)
    before = global_state()
    with pytest.raises(ArithmeticError):
        clone(estimator).set_params(lr=1e30).fit(X, y)
    assert global_state() == before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@over_estimators("the_callers_arrays_are_as_they_were")
def test_the_callers_arrays_are_as_they_were(estimator, data, dtype):
    """float32 is what the network reads: no copy is needed, but one must be made."""
    X, y = data(estimator)
    if hasattr(estimator, "standardize"):
        estimator = clone(estimator).set_params(standardize=False)
    check_arrays(estimator, X.astype(dtype), y)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("weighting", ["wnet", "vri", None])
def test_the_callers_images_are_as_they_were(problem, weighting, dtype):
    clf, X, y = problem("images", standardize=False, weighting=weighting)
    check_arrays(clf, X.astype(dtype), y)


def check_arrays(estimator, X, y):
    """Check that fitting and predicting leave what they are given as it is, and writeable."""
    optional = {
        "clean_mask": np.arange(len(y)) % 3 == 0,
        "sample_weight": np.linspace(1, 2, len(y)),
    }
    given = {"X": X, "y": y} | {n: v for n, v in optional.items() if takes(n)(estimator)}
    before = copy.deepcopy(given)
    outputs(fit(estimator, **given), X)
    if hasattr(estimator, "fit_resample"):
        given.pop("sample_weight", None)
        clone(estimator).fit_resample(**given)
    for name, array in given.items():
        np.testing.assert_array_equal(array, before[name])
        assert array.flags.writeable


@over_estimators("a_frame_is_as_it_was")
def test_a_frame_is_as_it_was(estimator, data):
    X, y = data(estimator)
    frame, labels = pd.DataFrame(X, columns=list("abcdef")[: X.shape[1]]), pd.Series(y)
    frame_before, labels_before = frame.copy(), labels.copy()
    outputs(fit(estimator, frame, labels), frame)
    pd.testing.assert_frame_equal(frame, frame_before)
    pd.testing.assert_series_equal(labels, labels_before)


@over_estimators("parameters_are_as_they_were")
def test_parameters_are_as_they_were(estimator, data):
    """Containers are the same objects with the same contents, nested estimators stay unfitted."""
    fitted = clone(estimator)
    if "optimizer_params" in fitted.get_params():
        fitted.set_params(optimizer_params={"weight_decay": 0.1}, callbacks=[])
    parameters = fitted.get_params()
    before = {n: v for n, v in copy.deepcopy(parameters).items() if not hasattr(v, "get_params")}
    fitted.fit(*data(estimator))
    after = fitted.get_params()
    assert all(after[name] is value for name, value in parameters.items())
    for name, value in after.items():
        if name in before:
            assert value == before[name]
        else:
            assert not any(attribute.endswith("_") for attribute in vars(value))


@pytest.mark.filterwarnings("error", "ignore::sknoisy.exceptions.MixtureWarning")
@over_estimators("fits_in_threads_of_one_process_take_turns")
def test_fits_in_threads_of_one_process_take_turns(estimator, data):
    """Torch's generator and its forward mode are the process's."""
    X, y = data(estimator)
    expected = reference(estimator, X, y)
    with ThreadPoolExecutor(2) as pool:
        fits = [pool.submit(fit, estimator, X, y) for _ in range(2)]
        for found in fits:
            assert_same(expected, X, found.result(), X)

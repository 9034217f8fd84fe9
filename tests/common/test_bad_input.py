"""Bad input gets a clear answer: what was wrong, with the value, and the cure."""

import re
from datetime import date
from enum import Enum
from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError
from skorch.callbacks import Callback
from torch import nn

from sknoisy import CLIDMUClassifier


def words(*parts):
    """A pattern that finds the parts in this order."""
    return "(?s)" + ".*".join(map(re.escape, parts))


# --- X ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", ["array", "frame", "sparse", "images", "float16"])
def test_nan_and_infinity_in_X(quick, blobs, images, form, value):
    X, y = images if form == "images" else blobs
    X = X.astype(np.float16 if form == "float16" else float)
    X.flat[-1] = value
    X = {"frame": pd.DataFrame, "sparse": sp.csr_array}.get(form, np.asarray)(X)
    with pytest.raises(
        ValueError, match="Input X contains " + ("NaN" if value != value else "inf")
    ):
        quick().fit(X, y)


def test_nan_in_X_of_predict(quick, blobs):
    X, y = blobs
    clf = quick(max_epochs=1).fit(X, y)
    X[3, 2] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        clf.predict(X)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((0, 6), words("0 sample(s)", "(0, 6)", "minimum of 1")),
        ((0, 8, 8, 3), words("0 sample(s)", "(0, 8, 8, 3)", "minimum of 1")),
        ((9, 0), words("0 feature(s)", "(9, 0)", "minimum of 1")),
        ((9,), words("Expected 2D array", "reshape(-1, 1)")),
        ((9, 8, 8), words("dim 3", "(9, 8, 8)", "X[..., None]")),
        (
            (9, 8, 8, 5),
            words("(9, 8, 8, 5)", "1, 3 or 4 channels", "(n, H, W, C) or (n, C, H, W)"),
        ),
        ((9, 2, 2, 2, 2), words("dim 5", "dim <= 2")),
    ],
)
def test_shape_of_X(quick, shape, message):
    with pytest.raises(ValueError, match=message):
        quick().fit(np.ones(shape), np.arange(shape[0]) % 2)


def test_X_without_numbers(quick, blobs):
    X, y = blobs
    with pytest.raises(ValueError, match="could not convert string to float: 'red'"):
        quick().fit(np.full(X.shape, "red", dtype=object), y)


# --- y ------------------------------------------------------------------------------------------


class Insect(Enum):
    ANT, BEE, CICADA = range(3)


@pytest.mark.parametrize(
    "missing",
    [
        lambda y: np.where(y == 0, np.nan, y),
        lambda y: np.where(y == 0, np.inf, y),
        lambda y: np.where(y == 0, None, y),
        lambda y: np.where(y == 0, np.nan, y.astype(str).astype(object)),
        lambda y: pd.Series(np.where(y == 0, None, y.astype(str)), dtype="string"),
        lambda y: pd.Series(np.where(y == 0, None, y), dtype="Int64"),
        lambda y: pd.Categorical.from_codes(y - 1, ["b", "c"]),
    ],
    ids=["NaN", "inf", "None", "object NaN", "string NA", "Int64 NA", "Categorical"],
)
def test_missing_labels(quick, blobs, missing):
    X, y = blobs
    with pytest.raises(ValueError, match=r"Input y contains .*NaN.*every row needs a label"):
        quick().fit(X, missing(y))


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (lambda y: y[:-1], ValueError, words("[121, 120]", "one label for each row of X")),
        (lambda y: np.eye(3)[y], ValueError, words("1d array", "(121, 3)")),
        (lambda y: y + 0.5, ValueError, words("Unknown label type: continuous")),
        (
            lambda y: np.where(y == 0, "a", y.astype(object)),
            TypeError,
            words("types ['int', 'str']", "convert them to one type"),
        ),
        (lambda y: None, ValueError, words("CLIDMUClassifier", "requires y", "None")),
        (lambda y: [Insect(i) for i in y], TypeError, words("type Insect", "convert them")),
        (lambda y: [date(2020, 1, 1 + i) for i in y], TypeError, words("type date", "convert")),
        (lambda y: y.astype("M8[D]"), TypeError, words("type datetime64", "convert them")),
        (lambda y: y.astype("S"), TypeError, words("type bytes_, such as", "convert them to")),
        (lambda y: y.astype("S").astype(object), TypeError, words("type bytes", "convert them")),
        (lambda y: np.array([], dtype=object), ValueError, words("[121, 0]", "one label")),
    ],
    ids=[
        "length",
        "one-hot",
        "continuous",
        "mixed",
        "None",
        "enum",
        "date",
        "datetime64",
        "bytes",
        "object bytes",
        "empty",
    ],
)
def test_y_that_is_no_column_of_labels(quick, blobs, bad, error, message):
    X, y = blobs
    with pytest.raises(error, match=message):
        quick().fit(X, bad(y))


@pytest.mark.parametrize(("label", "shown"), [(7, "7"), ("ant", "'ant'")])
@pytest.mark.parametrize("n_rows", [1, 10])
def test_one_class(quick, blobs, label, shown, n_rows):
    message = words("one class", f"only {shown} ", f"={n_rows}", "at least 2 classes")
    with pytest.raises(ValueError, match=message):
        quick().fit(blobs[0][:n_rows], np.full(n_rows, label))


def test_two_rows_of_two_classes_are_enough(quick):
    """The least that can be learned: each row is its own class."""
    X, y = np.array([[-1.0], [1.0]]), ["low", "high"]
    assert quick(max_epochs=30, weighting=None).fit(X, y).predict(X).tolist() == y


# --- parameters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("module", 3),
        ("module_params", "wide"),
        ("optimizer", "sdg"),
        ("optimizer_params", ["momentum"]),
        ("lr", 0.0),
        ("lr", "auto"),
        ("lr_schedule", "linear"),
        ("max_epochs", 0),
        ("max_epochs", 2.5),
        ("batch_size", 1),
        ("augment", "flip"),
        ("standardize", "yes"),
        ("device", 0),
        ("callbacks", Callback()),
        ("verbose", -1),
        ("random_state", "seed"),
        ("weighting", "mlp"),
        ("normalize", 1.5),
        ("n_meta", 1),
        ("meta_objective", "accuracy"),
        ("meta_lr", -0.1),
        ("meta_batch_size", 1),
        ("meta_every", 0),
        ("n_warmup_epochs", -1),
        ("n_ensemble", -1),
        ("gradient", "backward"),
        ("meta_objective", 3),
    ],
)
def test_parameter_values_that_are_not_known(quick, blobs, name, value):
    message = words(
        f"The {name!r} parameter of CLIDMUClassifier must be", f"Got {value!r} instead"
    )
    if isinstance(value, Callback):
        message = words(f"The {name!r} parameter of CLIDMUClassifier must be", "'list' or None")
    with pytest.raises(InvalidParameterError, match=message):
        quick(**{name: value}).fit(*blobs)


def test_every_parameter_is_constrained():
    assert CLIDMUClassifier._parameter_constraints.keys() == CLIDMUClassifier().get_params().keys()


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda")])
def test_cuda_without_a_cuda_device(quick, blobs, device):
    message = words(f"device={device!r}", "sees no CUDA device", 'device="auto" or "cpu"')
    with pytest.raises(ValueError, match=message):
        quick(device=device).fit(*blobs)


@pytest.mark.parametrize("device", ["gpu", "cpu:x"])
def test_device_that_torch_does_not_know(quick, blobs, device):
    with pytest.raises(
        ValueError, match=words(f"device={device!r} cannot be used", 'device="auto"')
    ):
        quick(device=device).fit(*blobs)


# --- sample_weight and clean_mask ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w[:-1], words("sample_weight.shape == (120,)", "expected (121,)")),
        (lambda w: w - 1.5, words("Negative values", "sample_weight")),
        (lambda w: w * np.nan, words("sample_weight contains NaN")),
        (lambda w: w * 0, words("at least one non-zero")),
    ],
    ids=["length", "negative", "NaN", "all zero"],
)
def test_bad_sample_weights(quick, blobs, change, message):
    X, y = blobs
    with pytest.raises(ValueError, match=message):
        quick().fit(X, y, sample_weight=change(np.ones(len(y))))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mask, y: mask[:-1], words("shape (120,)", "shape (121,)", "one entry per row")),
        (lambda mask, y: mask[:, None], words("shape (121, 1)", "one entry per row")),
        (lambda mask, y: mask.astype(int), words("boolean", "int64", "mask[indices] = True")),
        (lambda mask, y: np.flatnonzero(mask), words("boolean", "int64", "mask[indices] = True")),
        (lambda mask, y: mask & (y != "bee"), words("class ['bee']", "clean_mask=None")),
        (lambda mask, y: ~(mask | True), words("class ['ant', 'bee', 'cat']", "clean_mask=None")),
    ],
    ids=["length", "column", "0 and 1", "indices", "class without", "nowhere"],
)
def test_bad_clean_masks(quick, blobs, change, message):
    X, y = blobs
    y = np.array(["ant", "bee", "cat"])[y]
    with pytest.raises(ValueError, match=message):
        quick().fit(X, y, clean_mask=change(np.arange(len(y)) % 2 == 0, y))


# --- modules ------------------------------------------------------------------------------------


class Returns(nn.Module):
    """A linear layer whose output goes through a function."""

    def __init__(self, change, n_features=6, n_outputs=3):
        super().__init__()
        self.fc, self.change = nn.Linear(n_features, n_outputs), change

    def forward(self, x):
        return self.change(self.fc(x))


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (Returns(lambda z: (z, z)), TypeError, words("Returns", "(n, 3)", "got tuple")),
        (Returns(lambda z: {"logits": z}), TypeError, words("Returns", "(n, 3)", "got dict")),
        (Returns(lambda z: None), TypeError, words("Returns", "(n, 3)", "got NoneType")),
        (Returns(lambda z: z, 6, 5), ValueError, words("(2, 5)", "3 classes", "(2, 3)")),
        (Returns(lambda z: z[:, None]), ValueError, words("(2, 1, 3)", "3 classes", "(2, 3)")),
        (Returns(lambda z: z.mean()), ValueError, words("()", "3 classes", "(2, 3)")),
        (
            nn.Sequential(nn.Linear(6, 3), nn.Softmax(dim=1)),
            ValueError,
            words("returned probabilities, not logits", "Take away the last Softmax:"),
        ),
        (
            nn.Sequential(nn.Linear(6, 3), nn.LogSoftmax(dim=1)),
            ValueError,
            words("returned log-probabilities, not logits", "Take away the last LogSoftmax:"),
        ),
    ],
    ids=["tuple", "dict", "None", "classes", "3-D", "scalar", "softmax", "log-softmax"],
)
def test_module_that_returns_no_logits(quick, blobs, module, error, message):
    with pytest.raises(error, match=message):
        quick(module=module).fit(*blobs)


@pytest.mark.parametrize("optimizer", [torch.optim.LBFGS, partial(torch.optim.LBFGS, max_iter=2)])
def test_optimizer_that_needs_a_closure(quick, blobs, optimizer):
    with pytest.raises(ValueError, match=words("optimizer=LBFGS", "closure", "torch.optim.SGD")):
        quick(optimizer=optimizer).fit(*blobs)


def test_factory_that_makes_no_module(quick, blobs):
    with pytest.raises(TypeError, match=words("must give an nn.Module", "got dict")):
        quick(module=lambda n_classes: {}).fit(*blobs)


def test_module_params_of_an_instance(quick, blobs):
    module = nn.Linear(6, 3)
    message = words("module_params={'bias': False}", "instance of Linear", "pass the class")
    with pytest.raises(ValueError, match=message):
        quick(module=module, module_params={"bias": False}).fit(*blobs)


def test_image_augmentation_of_a_table(quick, blobs):
    with pytest.raises(ValueError, match=words("(32, 6)", "augment=None")):
        quick(augment="crop").fit(*blobs)


# --- predict ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["predict", "predict_proba", "features"])
def test_predict_before_fit(quick, blobs, method):
    message = words("This CLIDMUClassifier instance is not fitted yet", "'fit'")
    with pytest.raises(NotFittedError, match=message):
        getattr(quick(), method)(blobs[0])


@pytest.mark.parametrize(
    ("fitted", "given", "message"),
    [
        ((9, 6), (9, 5), words("X has 5 features", "expecting 6 features")),
        ((9, 48), (9, 4, 4, 3), words("images of shape (4, 4, 3)", "fitted on tables")),
        ((9, 8, 8, 3), (9, 192), words("shape (9, 192)", "fitted on images of shape (8, 8, 3)")),
        ((9, 8, 8, 3), (9, 7), words("shape (9, 7)", "fitted on images of shape (8, 8, 3)")),
        ((9, 8, 8, 3), (9, 8, 9, 3), words("(8, 9, 3)", "fitted on images of shape (8, 8, 3)")),
        ((9, 8, 8, 3), (9, 3, 8, 8), words("(3, 8, 8)", "fitted on images of shape (8, 8, 3)")),
    ],
)
def test_predict_on_rows_of_another_shape(quick, fitted, given, message):
    clf = quick(module_params=None, max_epochs=1, weighting=None)
    clf.fit(np.random.default_rng(0).normal(size=fitted), np.arange(9) % 2)
    with pytest.raises(ValueError, match=message):
        clf.predict(np.zeros(given))


@pytest.mark.parametrize("method", ["predict", "predict_proba", "features"])
@pytest.mark.parametrize("row", [3, 2000])
def test_rows_beyond_float32_are_named(quick, blobs, method, row):
    """Row 2000 is in the second pass."""
    X, y = blobs
    clf = quick(max_epochs=1, weighting=None).fit(X, y)
    X = np.tile(X, (20, 1))
    X[row:] *= 1e60
    with pytest.raises(ValueError, match=words(f"row {row} of X is not finite", "float32")):
        getattr(clf, method)(X)

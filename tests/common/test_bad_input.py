"""Bad input gets a clear answer: what was wrong, with the value, and the cure."""

import re
from datetime import date
from enum import Enum
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from estimators import fit, has, is_mixture, over_estimators, takes
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags
from sklearn.utils._param_validation import InvalidParameterError
from skorch.callbacks import Callback
from torch import nn

pytestmark = pytest.mark.usefixtures("small_forests")


def words(*parts):
    """A pattern that finds the parts in this order."""
    return "(?s)" + ".*".join(map(re.escape, parts))


# --- X ------------------------------------------------------------------------------------------


FORMS = {
    "array": np.asarray,
    "frame": pd.DataFrame,
    "sparse": sp.csr_array,
    "float16": lambda X: X.astype(np.float16),
}


def takes_nan(estimator):
    return get_tags(estimator).input_tags.allow_nan


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@over_estimators("nan_and_infinity_in_X", images=True)
def test_nan_and_infinity_in_X(estimator, kind, data, value):
    """NaN is a missing value in tables, where an estimator takes it."""
    X, y = data(estimator, kind)
    if np.isnan(value) and kind == "table" and takes_nan(estimator):
        return
    X = X.astype(float)
    X.flat[-1] = value
    for form, convert in FORMS.items():
        if kind == "images" and form in {"frame", "sparse"}:
            continue
        if form == "sparse" and not get_tags(estimator).input_tags.sparse:
            continue
        with pytest.raises(ValueError, match="X contains " + ("NaN" if value != value else "inf")):
            fit(estimator, convert(X), y)


@over_estimators("nan_in_X_of_predict", lambda estimator: not takes_nan(estimator))
def test_nan_in_X_of_predict(estimator, data):
    X, y = data(estimator)
    fitted = fit(estimator, X, y)
    X[3, -1] = np.nan
    for method in methods_of(fitted):
        with pytest.raises(ValueError, match="Input X contains NaN"):
            getattr(fitted, method)(X)


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


@over_estimators("X_without_numbers", is_mixture)
def test_X_without_numbers(estimator, data):
    """Mixtures take one column of losses, which nobody would encode."""
    X, y = data(estimator)
    with pytest.raises(ValueError, match="could not convert string to float: 'red'"):
        fit(estimator, np.full(X.shape, "red", dtype=object), y)


# --- y ------------------------------------------------------------------------------------------


class Insect(Enum):
    ANT, BEE, CICADA = range(3)


MISSING = [
    lambda y: np.where(y == 0, np.nan, y),
    lambda y: np.where(y == 0, np.inf, y),
    lambda y: np.where(y == 0, None, y),
    lambda y: np.where(y == 0, np.nan, y.astype(str).astype(object)),
    lambda y: pd.Series(np.where(y == 0, None, y.astype(str)), dtype="string"),
    lambda y: pd.Series(np.where(y == 0, None, y), dtype="Int64"),
    lambda y: pd.Categorical.from_codes(y - 1, ["b", "c"]),
]
LEARNS_LABELS = takes("clean_mask")


@over_estimators("missing_labels", LEARNS_LABELS)
def test_missing_labels(estimator, data):
    X, y = data(estimator)
    for missing in MISSING:
        with pytest.raises(ValueError, match=r"Input y contains .*NaN.*every row needs a label"):
            fit(estimator, X, missing(y))


# What is no column of labels, the error and the words of its message.
NO_LABELS = {
    "length": (lambda y: y[:-1], ValueError, words("[121, 120]", "one label for each row of X")),
    "continuous": (lambda y: y + 0.5, ValueError, words("Unknown label type: continuous")),
    "mixed": (
        lambda y: np.where(y == 0, "a", y.astype(object)),
        TypeError,
        words("types ['int', 'str']", "convert them to one type"),
    ),
    "None": (lambda y: None, ValueError, words("requires y", "None")),
    "enum": (lambda y: [Insect(i) for i in y], TypeError, words("type Insect", "convert them")),
    "date": (
        lambda y: [date(2020, 1, 1 + i) for i in y],
        TypeError,
        words("type date", "convert"),
    ),
    "datetime64": (
        lambda y: y.astype("M8[D]"),
        TypeError,
        words("type datetime64", "convert them"),
    ),
    "bytes": (
        lambda y: y.astype("S"),
        TypeError,
        words("type bytes_, such as", "convert them to"),
    ),
    "object bytes": (
        lambda y: y.astype("S").astype(object),
        TypeError,
        words("type bytes", "convert them"),
    ),
    "empty": (
        lambda y: np.array([], dtype=object),
        ValueError,
        words("[121, 0]", "one label"),
    ),
}


@pytest.mark.parametrize("case", NO_LABELS)
@over_estimators("y_that_is_no_column_of_labels", LEARNS_LABELS)
def test_y_that_is_no_column_of_labels(estimator, data, case):
    X, y = data(estimator)
    bad, error, message = NO_LABELS[case]
    with pytest.raises(error, match=message):
        fit(estimator, X, bad(y))


@over_estimators("one_class", LEARNS_LABELS)
def test_one_class(estimator, data):
    X, _ = data(estimator)
    for label, n_rows in product((7, "ant"), (1, 10)):
        message = words("one class", f"only {label!r} ", f"={n_rows}", "at least 2 classes")
        with pytest.raises(ValueError, match=message):
            fit(estimator, X[:n_rows], np.full(n_rows, label))


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
        ("lr", "fast"),
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


@over_estimators("every_parameter_is_constrained")
def test_every_parameter_is_constrained(estimator):
    assert estimator._parameter_constraints.keys() == estimator.get_params(deep=False).keys()


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda")])
@over_estimators("cuda_without_a_cuda_device", has("device"))
def test_cuda_without_a_cuda_device(estimator, data, device):
    message = words(f"device={device!r}", "sees no CUDA device", 'device="auto" or "cpu"')
    with pytest.raises(ValueError, match=message):
        clone(estimator).set_params(device=device).fit(*data(estimator))


@pytest.mark.parametrize("device", ["gpu", "cpu:x"])
@over_estimators("device_that_torch_does_not_know", has("device"))
def test_device_that_torch_does_not_know(estimator, data, device):
    with pytest.raises(
        ValueError, match=words(f"device={device!r} cannot be used", 'device="auto"')
    ):
        clone(estimator).set_params(device=device).fit(*data(estimator))


# --- sample_weight and clean_mask ---------------------------------------------------------------


BAD_WEIGHTS = {
    "length": (lambda w: w[:-1], words("sample_weight.shape == (120,)", "expected (121,)")),
    "negative": (lambda w: w - 1.5, words("Negative values", "sample_weight")),
    "NaN": (lambda w: w * np.nan, words("sample_weight contains NaN")),
    "text": (lambda w: "balanced", words("holds 'balanced', which is no", "compute_sample_we")),
    "complex": (lambda w: w * 1j, words("sample_weight holds 1j, which is no real number")),
    "all zero": (lambda w: w * 0, words("at least one non-zero")),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
@over_estimators("bad_sample_weights", takes("sample_weight"))
def test_bad_sample_weights(estimator, data, case):
    X, y = data(estimator)
    change, message = BAD_WEIGHTS[case]
    with pytest.raises(ValueError, match=message):
        fit(estimator, X, y, sample_weight=change(np.ones(len(y))))


BAD_MASKS = {
    "length": (lambda m, y: m[:-1], words("shape (120,)", "shape (121,)", "one entry per row")),
    "column": (lambda m, y: m[:, None], words("shape (121, 1)", "one entry per row")),
    "0 and 1": (
        lambda m, y: m.astype(int),
        words("boolean", "int64", "looks like a mask", "astype(bool)"),
    ),
    "0.0 and 1.0": (lambda m, y: m * 1.0, words("boolean", "float64", "looks like a mask")),
    "strings": (lambda m, y: m.astype(str), words("boolean", "<U5", "one boolean for each row")),
    "NA": (
        lambda m, y: pd.Series(m, dtype="boolean").mask(~m),
        words("60 missing entries (NA", "in row 1", "clean_mask.fillna(False)"),
    ),
    "null": (
        lambda m, y: pl.Series(np.where(m, m, None).tolist()),
        words("60 missing entries (NA", "in row 1", "clean_mask.fillna(False)"),
    ),
    "indices": (
        lambda m, y: np.flatnonzero(m),
        words("boolean", "int64", "mask[indices] = True"),
    ),
    "class without": (lambda m, y: m & (y != "bee"), words("class ['bee']", "clean_mask=None")),
}


@pytest.mark.parametrize("case", BAD_MASKS)
@over_estimators("bad_clean_masks", takes("clean_mask"))
def test_bad_clean_masks(estimator, data, case):
    X, y = data(estimator)
    y = np.array(["ant", "bee", "cat"])[y]
    change, message = BAD_MASKS[case]
    with pytest.raises(ValueError, match=message):
        fit(estimator, X, y, clean_mask=change(np.arange(len(y)) % 2 == 0, y))


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


def methods_of(estimator):
    """Return the methods that take rows after a fit."""
    names = ("predict", "predict_proba", "features", "transform", "score_samples")
    return [name for name in names if hasattr(estimator, name)]


@over_estimators("predict_before_fit")
def test_predict_before_fit(estimator, data):
    X, _ = data(estimator)
    message = words(f"This {type(estimator).__name__} instance is not fitted yet", "'fit'")
    for method in methods_of(estimator):
        with pytest.raises(NotFittedError, match=message):
            getattr(clone(estimator), method)(X)


@over_estimators("predict_on_rows_of_another_width")
def test_predict_on_rows_of_another_width(estimator, data):
    X, y = data(estimator)
    fitted = fit(estimator, X, y)
    n = X.shape[1]
    for method in methods_of(fitted):
        message = words(f"X has {n + 1} features", f"expecting {n} features")
        with pytest.raises(ValueError, match=message):
            getattr(fitted, method)(X[:, [*range(n), 0]])


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

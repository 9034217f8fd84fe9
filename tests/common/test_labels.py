"""One way for y and clean_mask: what every estimator takes, refuses and gives back."""

import warnings
from collections import deque

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
import torch
from estimators import (
    assert_same,
    fit,
    has,
    is_mixture,
    over_estimators,
    quick_estimators,
    reference,
    takes,
)
from numpy.testing import assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import FunctionTransformer
from test_bad_input import words

from sknoisy._engine.labels import check_clean_mask, encode_labels, labels_like, take_labels
from sknoisy._engine.validation import check_sample_weight
from sknoisy.exceptions import LabelWarning
from sknoisy.pipeline import make_pipeline

pytestmark = pytest.mark.usefixtures("small_forests")

LEARNS_LABELS = takes("clean_mask")
INDEX = [f"row {i}" for i in range(6)]
CODES = np.array([0, 1, 2, 0, 1, 2])
NAMES = np.array(["ant", "bee", "cat"])[CODES]

# Each holds three classes in the order of CODES. New labels come back in it.
CONTAINERS = {
    "array": CODES,
    "column": CODES[:, None],
    "uint8": CODES.astype(np.uint8),
    "float": CODES.astype(float),
    "strings": NAMES,
    "objects": NAMES.astype(object),
    "list": CODES.tolist(),
    "list of strings": NAMES.tolist(),
    "tuple": tuple(NAMES.tolist()),
    "Series": pd.Series(CODES, index=INDEX, name="label"),
    "Int64": pd.Series(CODES, index=INDEX, name="label", dtype="Int64"),
    "str": pd.Series(NAMES, index=INDEX, name="label"),
    "string": pd.Series(NAMES, index=INDEX, dtype="string"),
    "arrow string": pd.Series(NAMES, index=INDEX, dtype=pd.ArrowDtype(pa.string())),
    "arrow int": pd.Series(CODES, dtype="int64[pyarrow]"),
    "category": pd.Series(pd.Categorical(NAMES), index=INDEX, name="label"),
    "Categorical": pd.Categorical(NAMES),
    "extension array": pd.array(CODES.tolist(), dtype="Int64"),
    "Index": pd.Index(NAMES, name="label"),
    "DataFrame": pd.DataFrame({"label": pd.array(CODES.tolist(), dtype="Int64")}, index=INDEX),
    "polars": pl.Series("label", CODES),
    "polars strings": pl.Series("label", NAMES),
    "polars category": pl.Series("label", NAMES, dtype=pl.Categorical),
    "polars enum": pl.Series("label", NAMES, dtype=pl.Enum(["cat", "bee", "ant"])),
    "polars DataFrame": pl.DataFrame({"label": CODES}),
    "LazyFrame": pl.LazyFrame({"label": NAMES}),
    "arrow array": pa.array(NAMES.tolist()),
    "chunked array": pa.chunked_array([NAMES[:4].tolist(), NAMES[4:].tolist()]),
    "dictionary": pa.chunked_array([pa.array(NAMES.tolist()).dictionary_encode()]),
    "arrow table": pa.table({"label": CODES}),
    "tensor": torch.from_numpy(CODES),
}


def plain(y):
    """Return labels of any container as a list, by the ways of its own library."""
    if isinstance(y, pl.LazyFrame):
        y = y.collect()
    if isinstance(y, (pd.DataFrame, pl.DataFrame)):
        return np.ravel(y.to_numpy()).tolist()
    if isinstance(y, pa.Table):
        y = y.column(0)
    if isinstance(y, (pa.Array, pa.ChunkedArray)):
        return y.to_pylist()
    return np.ravel(np.asarray(y)).tolist()


def description(y):
    """Return all that a container has beside its labels, its index left out."""
    if isinstance(y, pl.LazyFrame):
        return pl.LazyFrame, y.collect_schema()
    dtypes = getattr(y, "schema", None) or getattr(y, "dtypes", None)
    if isinstance(dtypes, pd.Series):
        dtypes = dtypes.to_dict()
    arrow_type = y.type if isinstance(y, (pa.Array, pa.ChunkedArray)) else None
    names = ("dtype", "name", "categories")
    return type(y), str(dtypes), arrow_type, *(str(getattr(y, name, None)) for name in names)


# --- containers ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_are_read_and_written_alike(name):
    y = CONTAINERS[name]
    classes, encoded = encode_labels(y, 6, "Estimator")
    assert encoded.tolist() == CODES.tolist()
    assert classes.dtype.kind in "iufUO"
    if not isinstance(y, pl.LazyFrame):  # no metric of scikit-learn takes one
        assert accuracy_score(y, classes[encoded]) == 1

    changed = labels_like(y, classes, classes[::-1][CODES])
    assert plain(changed) == classes[::-1][CODES].tolist()
    part = take_labels(y, np.array([1, 4, 5]))
    assert plain(part) == classes[[1, 1, 2]].tolist()
    for found in (changed, part):
        assert description(found) == description(y)
    if isinstance(y, (pd.Series, pd.DataFrame)):
        assert changed.index.equals(y.index)
        assert part.index.equals(y.index[[1, 4, 5]])


@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
@over_estimators("cleaners_return_the_container_that_came_in", has("fit_resample"))
def test_cleaners_return_the_container_that_came_in(estimator, blobs, monkeypatch):
    """With the results of one fit: that containers are read alike is the test above."""
    X, codes = blobs
    fitted = reference(estimator, X, codes)
    X_left, y_left = clone(estimator).fit_resample(X, codes)

    def fit_nothing(self, X, y, *, clean_mask=None, groups=None):
        vars(self).update(vars(fitted))
        self.classes_, _ = encode_labels(y, len(codes), "Estimator")
        if hasattr(fitted, "purified_labels_"):
            self.purified_labels_ = self.classes_[fitted.purified_labels_]

    monkeypatch.setattr(type(estimator), "fit", fit_nothing)
    for container in CONTAINERS.values():
        y = take_labels(container, codes)
        X_found, found = clone(estimator).fit_resample(X, y)
        assert description(found) == description(y)
        names = np.asarray(plain(container)[:3])
        assert plain(found) == names[y_left].tolist()
        assert_array_equal(X_found, X_left)


@over_estimators("cleaners_take_arrow_arrays", has("fit_resample"))
def test_cleaners_take_arrow_arrays(estimator, blobs):
    X, y = blobs
    _, expected = clone(estimator).fit_resample(X, y)
    _, found = clone(estimator).fit_resample(X, pa.array(y))
    assert found.equals(pa.array(expected))


# --- refusals -----------------------------------------------------------------------------------


ONE_HOT = words("(121, 3)", "one 1 in each row", "one-hot", "y.argmax(axis=1)")
MULTI_LABEL = words("multi-label", "sklearn.multioutput.MultiOutputClassifier")
ANNOTATORS = words("several annotators", "majority vote", "consensus", "MultiOutputClassifier")
OBJECTS = words("Unknown label type", "dtype object", "metrics of scikit-learn", "pass y.astype(")

# What is refused, the error and the words of its message; y holds 121 codes below 3.
REFUSED = {
    "objects of int": (lambda y: y.astype(object), TypeError, OBJECTS + r"int\)"),
    "objects of float": (lambda y: y.astype(float).astype(object), TypeError, OBJECTS + r"float"),
    "Series of bool": (lambda y: pd.Series(y == 0, dtype=object), TypeError, OBJECTS + "bool"),
    "polars objects": (lambda y: pl.Series(y.tolist(), dtype=pl.Object), TypeError, OBJECTS),
    "StringDType": (
        lambda y: y.astype(np.dtypes.StringDType()),
        TypeError,
        words("StringDType", "y.astype(str)"),
    ),
    "mixed list": (
        lambda y: ["a" if label == 0 else int(label) for label in y],
        TypeError,
        words("types ['int', 'str']", "convert them to one type"),
    ),
    "mixed tuple": (
        lambda y: tuple("a" if label == 0 else float(label) for label in y),
        TypeError,
        words("types ['float', 'str']", "convert them to one type"),
    ),
    "mixed deque": (
        lambda y: deque("a" if label == 0 else int(label) for label in y),
        TypeError,
        words("types ['int', 'str']", "convert them to one type"),
    ),
    "mixed column": (
        lambda y: [["a"] if label == 0 else [int(label)] for label in y],
        TypeError,
        words("types ['int', 'str']", "convert them to one type"),
    ),
    "bool and int": (
        lambda y: [True if label == 0 else int(label) for label in y],
        TypeError,
        words("types ['bool', 'int']", "convert them to one type"),
    ),
    "big int": (
        lambda y: [2**63 if label == 0 else -int(label) for label in y],
        ValueError,
        words("64 bits", str(2**63), "strings"),
    ),
    "NaN among strings": (
        lambda y: ["a" if label == 0 else float("nan") for label in y],
        ValueError,
        words("y contains None or NaN", "every row needs a label"),
    ),
    "masked": (
        lambda y: np.ma.array(y, mask=y == 0),
        ValueError,
        words("y contains None or NaN", "every row needs a label"),
    ),
    "arrow null": (
        lambda y: pa.array([None if label == 0 else "a" for label in y]),
        ValueError,
        words("y contains None or NaN", "every row needs a label"),
    ),
    "one-hot": (lambda y: np.eye(3)[y], ValueError, ONE_HOT),
    "one-hot list": (
        lambda y: np.eye(3, dtype=int)[y].tolist(),
        ValueError,
        words("one-hot", "numpy.argmax(y, axis=1)"),
    ),
    "one-hot sparse": (lambda y: sp.csr_array(np.eye(3)[y]), ValueError, ONE_HOT),
    "one-hot frame": (lambda y: pd.get_dummies(pd.Series(y)), ValueError, words("one-hot")),
    "multi-label": (lambda y: 1 - np.eye(3, dtype=int)[y], ValueError, MULTI_LABEL),
    "multi-label sparse": (lambda y: sp.coo_array(1 - np.eye(3)[y]), ValueError, MULTI_LABEL),
    "multi-label sets": (
        lambda y: [{0, int(label)} for label in y],
        ValueError,
        words("a set of labels in each row", "multi-label", "MultiLabelBinarizer"),
    ),
    "multi-label lists": (
        lambda y: [["a"] * (1 + label) for label in y],
        ValueError,
        words("a list of labels in each row", "multi-label", "MultiLabelBinarizer"),
    ),
    "soft": (
        lambda y: np.full((len(y), 3), 0.2) + 0.4 * np.eye(3)[y],
        ValueError,
        words("(121, 3)", "soft labels", "y.argmax(axis=1)", "sample_weight"),
    ),
    "annotators": (lambda y: np.stack([y, y, (y + 1) % 3], axis=1), ValueError, ANNOTATORS),
    "annotators with gaps": (
        lambda y: np.stack([y, np.where(y == 0, np.nan, y)], axis=1),
        ValueError,
        ANNOTATORS,
    ),
    "annotators in a frame": (
        lambda y: pl.DataFrame({"Ann": y.astype(str), "Bob": y.astype(str)}),
        ValueError,
        ANNOTATORS,
    ),
    "two answers": (lambda y: np.ones((len(y), 2), int), ValueError, words("several annotators")),
    "maps": (lambda y: np.ones((len(y), 4, 4)), ValueError, words("(121, 4, 4)", "(n_samples,)")),
    "no column": (lambda y: np.ones((len(y), 0)), ValueError, words("(121, 0)", "(n_samples,)")),
    "dict": (lambda y: dict(enumerate(y)), TypeError, words("type dict", "a series or a list")),
    "gradient": (
        lambda y: torch.ones(len(y), requires_grad=True),
        TypeError,
        words("type Tensor", "numpy array", "detach"),
    ),
}


@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
@over_estimators("labels_that_are_refused", LEARNS_LABELS)
def test_labels_that_are_refused(estimator, blobs):
    X, y = blobs
    for name, (convert, error, message) in REFUSED.items():
        with pytest.raises(error, match=message) as caught:
            fit(estimator, X, convert(y))
        assert "\n" not in str(caught.value), name


@over_estimators("labels_that_no_metric_takes_leave_no_silent_nan", is_classifier)
def test_labels_that_no_metric_takes_leave_no_silent_nan(estimator, blobs):
    X, y = blobs
    with pytest.raises(ValueError, match=words("All the 2 fits failed", "pass y.astype(int)")):
        cross_val_score(clone(estimator), X, y.astype(object), cv=2)


# --- suspicions ---------------------------------------------------------------------------------


def refuse(X):
    raise ValueError("the width is 7")


def label_warnings(call):
    """Return the messages of the LabelWarnings of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(w.message) for w in caught if issubclass(w.category, LabelWarning)]


@over_estimators("a_label_that_may_mean_unlabelled_is_named_once", LEARNS_LABELS)
def test_a_label_that_may_mean_unlabelled_is_named_once(estimator, blobs):
    """Once, although selections, purifiers and members are fitted inside."""
    X, y = blobs
    (message,) = label_warnings(lambda: fit(estimator, X, y - 1))
    assert "y holds -1" in message
    assert "X[y != -1]" in message


def test_an_inner_fit_that_fails_does_not_silence_the_next_fit(blobs):
    X, y = blobs
    clf = clone(quick_estimators()["PurifiedClassifier-purifier"])
    with pytest.raises(ValueError, match="the width is 7"):
        clf.set_params(cleaner__representation=FunctionTransformer(refuse)).fit(X, y)
    assert len(label_warnings(lambda: encode_labels(y - 1, len(y), "Estimator"))) == 1


@pytest.mark.parametrize(
    ("labels", "words_of_it"),
    [
        ([-1, 0], ["-1"]),
        ([-1.0, 0.0, 3.0], ["-1"]),
        (["cat", "cat ", "dog"], ["case or surrounding blanks", "['cat', 'cat ']"]),
        (["Cat", "cat", "dog"], ["case or surrounding blanks", "['Cat', 'cat']"]),
        (["caf\u00e9", "cafe\u0301"], ["case or surrounding blanks"]),
        (["nan", "dog"], ["['nan']", "missing labels"]),
        (["", "dog"], ["['']", "missing labels"]),
        ([-1, 1], None),
        ([-2, -1, 0], None),
        ([0, 1], None),
        ([False, True], None),
        (["cat", "cats"], None),
        (["nano", "dog"], None),
    ],
)
def test_suspicious_labels(labels, words_of_it):
    found = label_warnings(lambda: encode_labels(labels, len(labels), "Estimator"))
    assert len(found) == (words_of_it is not None)
    for part in words_of_it or ():
        assert part in found[0]


def test_a_pipeline_of_cleaner_and_classifier_repeats_the_same_words(blobs):
    """So that Python's default filter shows them once."""
    X, y = blobs
    steps = [clone(quick_estimators()[name]) for name in ("LabelPurifier", "MLCClassifier")]
    found = label_warnings(lambda: make_pipeline(*steps).fit(X, y - 1))
    assert len(set(found)) == 1


# --- trusted rows -------------------------------------------------------------------------------


@over_estimators("a_mask_without_trusted_rows_is_no_mask", LEARNS_LABELS)
def test_a_mask_without_trusted_rows_is_no_mask(estimator, blobs):
    X, y = blobs
    clf = fit(estimator, X, y, clean_mask=np.zeros(len(y), bool))
    assert_same(reference(estimator, X, y), X, clf, X)


MASK = np.array([True, True, True, False, False, False])
MASKS = {
    "list": MASK.tolist(),
    "Series": pd.Series(MASK, index=INDEX),
    "boolean": pd.Series(MASK, dtype="boolean"),
    "arrow bool": pd.Series(MASK, dtype="bool[pyarrow]"),
    "objects": MASK.astype(object),
    "polars": pl.Series(MASK),
    "arrow": pa.array(MASK),
    "tensor": torch.from_numpy(MASK),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_of_any_container(name):
    found = check_clean_mask(MASKS[name], CODES, np.arange(3))
    assert found.dtype == bool
    assert found.tolist() == MASK.tolist()


# --- weights ------------------------------------------------------------------------------------


def test_weights_at_the_ends_of_float64_count_by_their_ratios():
    weights, X = np.array([1.0, 2.0, 3.0]), np.zeros((3, 1))
    expected = check_sample_weight(weights, X)
    assert expected.sum() == pytest.approx(3)
    for unit in (2.0**-1074, 2.0**1022):
        found = check_sample_weight(weights * unit, X)
        assert_array_equal(found, expected)


@over_estimators("weights_that_vanish_beside_the_largest", takes("sample_weight", "clean_mask"))
def test_weights_that_vanish_beside_the_largest(estimator, blobs):
    X, y = blobs
    weights = np.ones(len(y))
    weights[::2] = 1e-40
    weights[1:4] = 1e250
    message = words("sample_weight", "from 1e-40 to 1e+250", "all but 3 of 121", "Clip")
    with pytest.raises(ValueError, match=message):
        fit(estimator, X, y, sample_weight=weights)


@over_estimators(
    "weights_whose_sum_overflows_are_refused_where_their_size_counts",
    lambda estimator: is_mixture(estimator) or has("cleaner")(estimator),
)
def test_weights_whose_sum_overflows_are_refused_where_their_size_counts(estimator, data):
    X, y = data(estimator)
    for weight, total in ((1.7e308, "inf"), (1e-320, "1.2")):
        message = words("sum of sample_weight is " + total, "divide the weights by their largest")
        weights = np.full(len(y), weight)
        with pytest.raises(ValueError, match=message):
            fit(estimator, X, y, sample_weight=weights)

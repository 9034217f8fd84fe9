"""The form of X, y and sample weights makes no difference, for any estimator."""

import contextlib
import tracemalloc
import warnings

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
    outputs,
    over_estimators,
    quick_estimators,
    reference,
    rows_for,
    takes,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.utils import get_tags

from sknoisy._engine.rows import ArrayRows, TensorRows
from sknoisy.exceptions import MixtureWarning

pytestmark = pytest.mark.usefixtures("small_forests")

COLUMNS = list("abcdef")


@contextlib.contextmanager
def no_warnings():
    """Every warning is an error, that of torch's first forward-mode pass included.

    Not so that losses after three epochs do not separate the rows.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", MixtureWarning)
        yield


# --- tables -------------------------------------------------------------------------------------


DTYPES = ["uint8", "int8", "int64", ">i4", "float16", "float32", ">f8"]


@over_estimators(
    "dtype_of_a_table_makes_no_difference", lambda estimator: not is_mixture(estimator)
)
def test_dtype_of_a_table_makes_no_difference(estimator, blobs):
    """Values that every dtype holds exactly give the model of the same values in float64."""
    X, y = blobs
    for dtypes, values in ((DTYPES, X.clip(0, 7).round()), (["bool"], X > 1.5)):
        expected = fit(estimator, values.astype(float), y)
        for dtype in dtypes:
            same = values.astype(dtype)
            assert_same(expected, values.astype(float), fit(estimator, same, y), same)


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "strided": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "negative stride": lambda X: X[::-1].copy()[::-1],
    "read-only": lambda X: np.frombuffer(X.tobytes()).reshape(X.shape),
    "list": lambda X: X.tolist(),
    "torch": torch.from_numpy,
}


@over_estimators("memory_layout_makes_no_difference")
def test_memory_layout_makes_no_difference(estimator, blobs):
    X, y = blobs
    X = np.ascontiguousarray(rows_for(estimator, X))
    expected = reference(estimator, X, y)
    for convert in LAYOUTS.values():
        converted = convert(X)
        with no_warnings():
            clf = fit(estimator, converted, y)
        assert_same(expected, X, clf, converted, atol=1e-9)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
@over_estimators("frames_give_the_model_of_their_values_and_column_names")
def test_frames_give_the_model_of_their_values_and_column_names(estimator, blobs, frame):
    X, y = blobs
    X = rows_for(estimator, X)
    names = COLUMNS[: X.shape[1]]
    rows = frame(dict(zip(names, X.T, strict=True)))
    clf = fit(estimator, rows, y)
    assert clf.feature_names_in_.tolist() == names
    assert_same(reference(estimator, X, y), X, clf, rows, atol=1e-9)
    others = frame(dict(zip(reversed(names), X.T, strict=True)))
    if X.shape[1] == 1:
        others = frame({"another": X[:, 0]})
    for method in {"predict", "features", "transform"} & {*dir(clf)}:
        with pytest.raises(ValueError, match=r"must be in the same order|unseen at fit time"):
            getattr(clf, method)(others)


def test_column_names_of_an_earlier_fit_are_forgotten(quick, blobs, images):
    clf = quick(module_params=None, max_epochs=1).fit(
        pd.DataFrame(blobs[0], columns=COLUMNS), blobs[1]
    )
    clf.fit(*images)
    assert not hasattr(clf, "feature_names_in_")
    assert (clf.n_features_in_, clf.image_shape_) == (8 * 8 * 3, (8, 8, 3))


@over_estimators(
    "sparse_gives_the_model_of_the_dense_table",
    lambda estimator: get_tags(estimator).input_tags.sparse,
)
def test_sparse_gives_the_model_of_the_dense_table(estimator, blobs):
    """Means and scales of columns are summed in another order, hence the tolerance."""
    X, y = blobs
    X = np.where(X > 0.5, X, 0)
    dense = fit(estimator, X, y)
    for make in (sp.csr_array, sp.csc_matrix):
        sparse = fit(estimator, make(X), y)
        for rows in (X, make(X)):
            assert_same(dense, X, sparse, rows, atol=1e-4)


@pytest.mark.parametrize("make", [sp.csr_matrix, sp.csr_array, sp.csc_matrix, sp.csc_array])
@pytest.mark.parametrize("standardize", [True, False])
def test_every_sparse_format_is_the_dense_table(quick, blobs, make, standardize):
    """Bit for bit without standardisation."""
    X, y = blobs
    X = np.where(X > 0.5, X, 0)
    dense, sparse = (quick(standardize=standardize).fit(rows, y) for rows in (X, make(X)))
    for rows in (X, make(X)):
        assert_allclose(
            sparse.predict_proba(rows), dense.predict_proba(X), atol=1e-5 if standardize else 0
        )


def test_a_sparse_matrix_is_never_made_dense_whole(quick):
    """100 MB as a dense float64 table, of which a batch of 100 rows is 1 MB."""
    rng = np.random.default_rng(0)
    cells = rng.integers(10_000, size=12_500), rng.integers(1250, size=12_500)
    X = sp.csr_array((rng.random(12_500), cells), shape=(10_000, 1250))
    y = np.arange(10_000) % 2
    clf = quick(max_epochs=1, batch_size=100, weighting=None, n_ensemble=0)
    assert peak_memory(lambda: clf.fit(X, y)) < 40e6


def test_standardised_columns_of_any_offset_and_scale_are_the_same(quick, blobs):
    """float32 resolves 1e9 only to 64: the offset must go before the cast."""
    X, y = blobs
    moved = X * [1e-6, 1, 1e6, 1, 1, 1] + [0, 1e9, 0, -1e6, 0, 0]
    reference = quick().fit(X, y).predict_proba(X)
    assert_allclose(quick().fit(moved, y).predict_proba(moved), reference, atol=1e-4)


# --- images -------------------------------------------------------------------------------------


@pytest.fixture
def quick_cnn(quick):
    return lambda: quick(module_params=None, max_epochs=2, n_warmup_epochs=1)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_channels_first_or_last_is_the_same_model(quick_cnn, images, dtype):
    last, y = images[0].astype(dtype), images[1]
    first = np.moveaxis(last, 3, 1)
    assert_same(quick_cnn().fit(last, y), last, quick_cnn().fit(first, y), first)


class Duck:
    """An array to those that ask for one, without a shape."""

    def __init__(self, X):
        self.X = X

    def __array__(self, dtype=None, copy=None):
        return self.X


@pytest.mark.parametrize(
    ("convert", "dtype"),
    [(list, "uint8"), (tuple, "uint8"), (np.ndarray.tolist, "int"), (Duck, "uint8")],
)
def test_sequences_of_images_are_images(quick_cnn, images, convert, dtype):
    X, y = images
    reference = quick_cnn().fit(X.astype(dtype), y)
    assert_same(reference, X, quick_cnn().fit(convert(X), y), convert(X))
    with pytest.raises(ValueError, match=r"dim 3, of shape \(40, 8, 8\).*X\[..., None\]"):
        quick_cnn().fit(convert(X[..., 0]), y)


@pytest.mark.parametrize("convert", [lambda X: X / 255, lambda X: X.astype("float32"), np.int64])
def test_images_of_other_scale_and_type_are_standardised_to_the_same(quick_cnn, images, convert):
    X, y = images
    same = convert(X)
    assert_allclose(
        quick_cnn().fit(same, y).predict_proba(same),
        quick_cnn().fit(X, y).predict_proba(X),
        atol=1e-3,
    )


# --- memory maps --------------------------------------------------------------------------------


def memory_map(X, path):
    np.save(path, X)
    return np.load(path, mmap_mode="r")


def peak_memory(function):
    """Bytes that numpy allocated at a time; torch tensors made from arrays are among them."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@over_estimators("memory_map_gives_the_model_of_the_array")
def test_memory_map_gives_the_model_of_the_array(estimator, blobs, tmp_path):
    """Bit for bit, although a network's batches come through a DataLoader."""
    X, y = blobs
    X = rows_for(estimator, X)
    on_disk = memory_map(X, tmp_path / "X.npy")
    with no_warnings():
        clf = fit(estimator, on_disk, y)
    assert_same(reference(estimator, X, y), X, clf, on_disk)


@pytest.mark.parametrize("kind", ["table", "images"])
def test_memory_map_draws_the_dropout_and_augmentation_of_the_array(problem, kind, tmp_path):
    clf, X, y = problem(kind)
    on_disk = memory_map(X, tmp_path / "X.npy")
    with no_warnings():
        of_map = fit(clf, on_disk, y)
    assert_same(clf.fit(X, y), X, of_map, on_disk)


class SeeRows:
    """Note the store of the rows of each fit."""

    def __init__(self, monkeypatch):
        self.seen = []
        from sknoisy.base import _classifier, _estimator

        make_rows = _estimator.make_rows

        def spy(*args, **kwargs):
            self.seen.append(make_rows(*args, **kwargs))
            return self.seen[-1]

        for of_base in (_estimator, _classifier):
            monkeypatch.setattr(of_base, "make_rows", spy)


def test_memory_map_stays_on_the_disk(quick, tmp_path, monkeypatch, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    X = rng.normal(size=(60_000, 100)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    on_disk = memory_map(X, tmp_path / "X.npy")
    quick(max_epochs=1).fit(X[:100], y[:100])  # torch imports some modules in the first fit
    stores = SeeRows(monkeypatch).seen
    clf = quick(max_epochs=1, batch_size=1000)
    assert peak_memory(lambda: clf.fit(on_disk, y).predict(on_disk)) < X.nbytes / 2
    clf.fit(X, y).predict(X)
    assert [type(rows) for rows in stores] == [ArrayRows, ArrayRows, TensorRows, ArrayRows]
    assert stores[2].tensor.nbytes == X.nbytes  # torch's memory, which is not counted above


def test_a_large_array_stays_the_only_one(quick, monkeypatch):
    X = np.random.default_rng(0).random(size=(100_000, 100), dtype=np.float32)  # 40 MB
    y = (X[:, 0] > 0.5).astype(int)
    clf = quick(max_epochs=1, batch_size=1000)
    small = clf.fit(X[:5000], y[:5000]).predict_proba(X[:100])
    stores = SeeRows(monkeypatch).seen
    assert peak_memory(lambda: clf.fit(X, y)) < X.nbytes / 2
    assert [type(rows) for rows in stores] == [ArrayRows]
    monkeypatch.setattr("sknoisy._engine.rows._COPIED_BYTES", 0)
    np.testing.assert_array_equal(clf.fit(X[:5000], y[:5000]).predict_proba(X[:100]), small)
    assert isinstance(stores[-1], ArrayRows)


# --- labels -------------------------------------------------------------------------------------


# What the labels are, and the kind of the dtype in which they come back.
LABELS = {
    "str": (np.array(["ant", "bee", "cat"]), "U"),
    "object": (np.array(["ant", "bee", "cat"], dtype=object), "O"),
    "int with gaps": (np.array([-7, 0, 1000]), "i"),
    "float": (np.array([1.0, 2.0, 5.0]), "f"),
    "uint8": (np.array([3, 200, 255], dtype=np.uint8), "u"),
}


def assert_same_but_for_labels(plain, clf, X, labels):
    """Check that all is the same, and that labels are those of the plain model by another name."""
    expected, found = outputs(plain, X), outputs(clf, X)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        value = labels[value] if name in {"classes_", "predict", "purified_labels_"} else value
        assert_array_equal(found[name], value, err_msg=name)


@over_estimators("labels_of_any_type_come_back_in_their_type", is_classifier)
def test_labels_of_any_type_come_back_in_their_type(estimator, blobs):
    X, y = blobs
    plain = reference(estimator, X, y)
    for labels, kind in LABELS.values():
        clf = fit(estimator, X, labels[y])
        assert clf.classes_.tolist() == labels.tolist()
        assert clf.predict(X).dtype.kind == kind
        assert_same_but_for_labels(plain, clf, X, labels)


@over_estimators("labels_of_any_type_leave_fit_resample_in_their_type", has("fit_resample"))
def test_labels_of_any_type_leave_fit_resample_in_their_type(estimator, blobs):
    """In the dtype in which they came."""
    X, y = blobs
    X_plain, y_plain = clone(estimator).fit_resample(X, y)
    for labels, _ in LABELS.values():
        X_left, y_left = clone(estimator).fit_resample(X, labels[y])
        assert y_left.dtype == labels.dtype
        assert_array_equal(y_left, labels[y_plain])
        assert_array_equal(X_left, X_plain)


@over_estimators("boolean_labels", is_classifier)
def test_boolean_labels(estimator, blobs):
    X, y = blobs
    plain, clf = (fit(estimator, X, (y == 0).astype(dtype)) for dtype in (int, bool))
    assert clf.predict(X).dtype == bool
    assert_same_but_for_labels(plain, clf, X, np.array([False, True]))


CONTAINERS = [
    (lambda y: y.tolist(), "int64"),
    (lambda y: pd.Series(y, index=y), "int64"),
    (lambda y: pd.Series(y, dtype="Int64"), "int64"),
    (lambda y: pd.Series(np.array(list("abc"))[y], dtype="string"), "O"),
    (lambda y: pd.Categorical.from_codes(y, list("abc")), "O"),
    (lambda y: pd.Series(pd.Categorical.from_codes(y, list("abc"))), "O"),
    (lambda y: pl.Series(y), "int64"),
    (lambda y: pl.Series(np.array(list("abc"))[y], dtype=pl.Categorical), "O"),
    (torch.from_numpy, "int64"),
    (lambda y: pa.chunked_array([y[:50], y[50:]]), "int64"),
    (lambda y: pl.LazyFrame({"label": y}), "int64"),
]


@over_estimators("containers_of_labels", is_classifier)
def test_containers_of_labels(estimator, blobs):
    X, y = blobs
    plain = reference(estimator, X, y)
    for convert, dtype in CONTAINERS:
        clf = fit(estimator, X, convert(y))
        assert clf.classes_.dtype == dtype
        assert_same_but_for_labels(plain, clf, X, clf.classes_)


@over_estimators("a_column_of_labels_is_taken_with_a_warning", is_classifier)
def test_a_column_of_labels_is_taken_with_a_warning(estimator, blobs):
    X, y = blobs
    with pytest.warns(UserWarning, match="column-vector y was passed"):
        clf = fit(estimator, X, y[:, None])
    assert_same(reference(estimator, X, y), X, clf, X)


# --- sample weights -----------------------------------------------------------------------------


def assert_same_up_to_rounding(first, second, X):
    """Check that all is the same, of a mixture that its probabilities are nearly so."""
    if is_mixture(first):
        assert_allclose(second.predict_proba(X), first.predict_proba(X), atol=1e-3)
    else:
        assert_same(first, X, second, X)


@over_estimators("equal_weights_equal_none", takes("sample_weight"))
def test_equal_weights_equal_none(estimator, blobs):
    """Bit for bit but for mixtures, whose sums are rounded."""
    X, y = blobs
    X = rows_for(estimator, X)
    expected = reference(estimator, X, y)
    for weight in (1, 1.0, 0.7):
        clf = fit(estimator, X, y, sample_weight=np.full(len(y), weight))
        assert_same_up_to_rounding(expected, clf, X)


@over_estimators("only_ratios_of_weights_count", takes("sample_weight"))
def test_only_ratios_of_weights_count(estimator, blobs, global_random_seed):
    """A factor that is a power of two leaves no rounding error."""
    X, y = blobs
    X = rows_for(estimator, X)
    weights = np.random.default_rng(global_random_seed).uniform(0.5, 2, len(y))
    expected = fit(estimator, X, y, sample_weight=weights)
    beyond = () if is_mixture(estimator) else (2.0**1022,)  # the sum overflows
    for factor in (4, *beyond):
        clf = fit(estimator, X, y, sample_weight=factor * weights)
        assert_same_up_to_rounding(expected, clf, X)
    plain = outputs(reference(estimator, X, y), X)
    assert not np.array_equal(plain["predict_proba"], clf.predict_proba(X))


@over_estimators(
    "labels_of_rows_without_weight_do_not_matter",
    lambda estimator: is_classifier(estimator) and takes("sample_weight")(estimator),
)
def test_labels_of_rows_without_weight_do_not_matter(estimator, blobs):
    """Their gradient is exactly zero."""
    X, y = blobs
    weights = np.arange(len(y)) % 4 / 2.0
    poisoned = np.where(weights == 0, (y + 1) % 3, y)
    expected = fit(estimator, X, y, sample_weight=weights)
    clf = fit(estimator, X, poisoned, sample_weight=weights)
    assert_array_equal(expected.predict_proba(X), clf.predict_proba(X))


def test_weights_move_the_decision(quick, blobs, global_random_seed):
    """Rows of one blob carry two labels; the heavier label wins."""
    rng = np.random.default_rng(global_random_seed)
    X, y = rng.normal(size=(200, 2)), np.arange(200) % 2
    for heavy in (0, 1):
        weights = np.where(y == heavy, 5.0, 1.0)
        clf = quick(weighting=None).fit(X, y, sample_weight=weights)
        assert (clf.predict(X) == heavy).mean() > 0.9


def test_weights_of_the_ensemble_need_no_request(blobs):
    """With metadata routing, the classifier passes weights on to its own parts."""
    X, y = blobs
    estimator = quick_estimators()["NoisyLabelClassifier-ensemble"]
    weights = np.where(np.arange(len(y)) < 5, 0.5, 1.0)
    expected = fit(estimator, X, y, sample_weight=weights).predict_proba(X)
    with config_context(enable_metadata_routing=True):
        found = fit(estimator, X, y, sample_weight=weights).predict_proba(X)
    assert_array_equal(found, expected)


# --- silence ------------------------------------------------------------------------------------


@over_estimators("an_ordinary_fit_warns_of_nothing")
def test_an_ordinary_fit_warns_of_nothing(estimator, blobs):
    X, y = blobs
    X, mask = np.ascontiguousarray(rows_for(estimator, X)), np.arange(len(y)) % 5 == 0
    for array in (X, y, mask):
        array.setflags(write=False)
    masks = {"clean_mask": mask} if takes("clean_mask")(estimator) else {}
    with no_warnings():
        outputs(fit(estimator, X, y, **masks), X)


@pytest.mark.parametrize("weighting", ["wnet", "vri", None])
def test_an_ordinary_fit_on_images_warns_of_nothing(quick, images, weighting):
    X, y = images
    mask = np.arange(len(y)) % 5 == 0
    for array in (X, y, mask):
        array.setflags(write=False)
    with no_warnings():
        clf = quick(module_params=None, n_warmup_epochs=3, weighting=weighting)
        clf.fit(X, y, clean_mask=mask)
        clf.predict(X)
        clf.features(X)

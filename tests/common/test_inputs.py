"""Which X, y and sample weights are taken, and that their form makes no difference."""

import contextlib
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch

from sknoisy._engine.rows import ArrayRows, TensorRows

COLUMNS = list("abcdef")


def assert_same_model(first, X_first, second, X_second):
    np.testing.assert_array_equal(first.predict_proba(X_first), second.predict_proba(X_second))
    np.testing.assert_array_equal(first.clean_proba_, second.clean_proba_)


@contextlib.contextmanager
def no_warnings():
    """Every warning is an error, that of torch's first forward-mode pass included."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# --- tables -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int64", "float16", "float32"])
def test_dtype_of_a_table_makes_no_difference(quick, blobs, dtype):
    """Values that every dtype holds exactly give the model of the same values in float64."""
    X, y = blobs
    X = (X > 1.5) if dtype == "bool" else X.clip(0, 7).round()
    same = X.astype(dtype)
    reference = quick().fit(X.astype(float), y)
    assert_same_model(reference, X.astype(float), quick().fit(same, y), same)


@pytest.mark.parametrize(
    "convert",
    [
        np.asfortranarray,
        lambda X: np.repeat(X, 2, axis=1)[:, ::2],
        lambda X: X[::-1].copy()[::-1],
        lambda X: np.frombuffer(X.tobytes()).reshape(X.shape),
        lambda X: X.tolist(),
        torch.from_numpy,
    ],
    ids=["Fortran order", "strided", "negative stride", "read-only", "list", "torch"],
)
def test_memory_layout_makes_no_difference(quick, blobs, convert):
    X, y = blobs
    converted = convert(X)
    with no_warnings():
        clf = quick().fit(converted, y)
    assert_same_model(quick().fit(X, y), X, clf, converted)


@pytest.mark.parametrize(
    "frame",
    [lambda X: pd.DataFrame(X, columns=COLUMNS), lambda X: pl.DataFrame(X, schema=COLUMNS)],
    ids=["pandas", "polars"],
)
def test_frames_give_the_model_of_their_values_and_column_names(quick, blobs, frame):
    X, y = blobs
    clf = quick().fit(frame(X), y)
    assert clf.feature_names_in_.tolist() == COLUMNS
    assert_same_model(quick().fit(X, y), X, clf, frame(X))
    swapped = frame(X)[["b", "a", "c", "d", "e", "f"]]
    with pytest.raises(ValueError, match="must be in the same order"):
        clf.predict(swapped)


def test_column_names_of_an_earlier_fit_are_forgotten(quick, blobs, images):
    clf = quick(module_params=None, max_epochs=1).fit(
        pd.DataFrame(blobs[0], columns=COLUMNS), blobs[1]
    )
    clf.fit(*images)
    assert not hasattr(clf, "feature_names_in_")
    assert (clf.n_features_in_, clf.image_shape_) == (8 * 8 * 3, (8, 8, 3))


@pytest.mark.parametrize("make", [sp.csr_matrix, sp.csr_array, sp.csc_matrix, sp.csc_array])
@pytest.mark.parametrize("standardize", [True, False])
def test_sparse_gives_the_model_of_the_dense_table(quick, blobs, make, standardize):
    """Means and scales of columns are summed in another order, hence the tolerance."""
    X, y = blobs
    X = np.where(X > 0.5, X, 0)
    dense = quick(standardize=standardize).fit(X, y)
    sparse = quick(standardize=standardize).fit(make(X), y)
    for rows in (X, make(X)):
        np.testing.assert_allclose(
            sparse.predict_proba(rows), dense.predict_proba(X), atol=1e-5 if standardize else 0
        )


def test_a_sparse_matrix_is_never_made_dense_whole(quick):
    """100 MB as a dense float64 table, of which a batch of 100 rows is 1 MB."""
    X = sp.random_array((10_000, 1250), density=1e-3, format="csr", rng=0)
    y = np.arange(10_000) % 2
    clf = quick(max_epochs=1, batch_size=100, weighting=None, n_ensemble=0)
    assert peak_memory(lambda: clf.fit(X, y)) < 40e6


def test_standardised_columns_of_any_offset_and_scale_are_the_same(quick, blobs):
    """float32 resolves 1e9 only to 64: the offset must go before the cast."""
    X, y = blobs
    moved = X * [1e-6, 1, 1e6, 1, 1, 1] + [0, 1e9, 0, -1e6, 0, 0]
    reference = quick().fit(X, y).predict_proba(X)
    np.testing.assert_allclose(quick().fit(moved, y).predict_proba(moved), reference, atol=1e-4)


# --- images -------------------------------------------------------------------------------------


@pytest.fixture
def quick_cnn(quick):
    return lambda: quick(module_params=None, max_epochs=2, n_warmup_epochs=1)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_channels_first_or_last_is_the_same_model(quick_cnn, images, dtype):
    last, y = images[0].astype(dtype), images[1]
    first = np.moveaxis(last, 3, 1)
    assert_same_model(quick_cnn().fit(last, y), last, quick_cnn().fit(first, y), first)


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
    assert_same_model(reference, X, quick_cnn().fit(convert(X), y), convert(X))
    with pytest.raises(ValueError, match=r"dim 3, of shape \(40, 8, 8\).*X\[..., None\]"):
        quick_cnn().fit(convert(X[..., 0]), y)


@pytest.mark.parametrize("convert", [lambda X: X / 255, lambda X: X.astype("float32"), np.int64])
def test_images_of_other_scale_and_type_are_standardised_to_the_same(quick_cnn, images, convert):
    X, y = images
    same = convert(X)
    np.testing.assert_allclose(
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


@pytest.mark.parametrize("kind", ["table", "images"])
def test_memory_map_gives_the_model_of_the_array(quick, blobs, images, kind, tmp_path):
    """Bit for bit, although its batches come through a DataLoader; dropout draws, too."""
    X, y = blobs if kind == "table" else images
    params = {"hidden": (16,), "dropout": 0.3} if kind == "table" else None
    on_disk = memory_map(X, tmp_path / "X.npy")
    with no_warnings():
        clf = quick(module_params=params).fit(on_disk, y)
    assert_same_model(quick(module_params=params).fit(X, y), X, clf, on_disk)


class SeeRows:
    """Note the store of the rows of each fit."""

    def __init__(self, monkeypatch):
        self.seen = []
        from sknoisy import _network_estimator, base

        make_rows = base.make_rows

        def spy(*args, **kwargs):
            self.seen.append(make_rows(*args, **kwargs))
            return self.seen[-1]

        for module in (_network_estimator, base):  # of fit and of predict
            monkeypatch.setattr(module, "make_rows", spy)


def test_memory_map_stays_on_the_disk(quick, tmp_path, monkeypatch, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    X = rng.normal(size=(60_000, 100)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    on_disk = memory_map(X, tmp_path / "X.npy")
    stores = SeeRows(monkeypatch).seen
    peaks = [
        peak_memory(
            lambda rows=rows: quick(max_epochs=1, batch_size=1000).fit(rows, y).predict(rows)
        )
        for rows in (on_disk, X)
    ]
    assert [type(rows) for rows in stores] == [ArrayRows, ArrayRows, TensorRows, ArrayRows]
    assert peaks[0] < X.nbytes / 2 < X.nbytes < peaks[1]


# --- labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (np.array(["ant", "bee", "cat"]), "U"),
        (np.array(["ant", "bee", "cat"], dtype=object), "O"),
        (np.array([-7, 0, 1000]), "i"),
        (np.array([1.0, 2.0, 5.0]), "f"),
        (np.array([3, 200, 255], dtype=np.uint8), "u"),
        (np.array([-7, 0, 1000], dtype=object), "i"),
        (np.array([1.0, 2.0, 5.0], dtype=object), "f"),
        (np.array([*np.arange(3, dtype=np.int32)], dtype=object), "i"),
    ],
    ids=[
        "str",
        "object",
        "int with gaps",
        "float",
        "uint8",
        "object of int",
        "object of float",
        "object of int32",
    ],
)
def test_labels_of_any_type_come_back_in_their_type(quick, blobs, labels, kind):
    X, y = blobs
    clf = quick().fit(X, labels[y])
    assert clf.classes_.tolist() == labels.tolist()
    assert clf.predict(X).dtype.kind == kind
    plain = quick().fit(X, y)
    np.testing.assert_array_equal(clf.predict(X), labels[plain.predict(X)])
    assert_same_model(plain, X, clf, X)


@pytest.mark.parametrize("dtype", [bool, object])
def test_boolean_labels(quick, blobs, dtype):
    X, y = blobs
    clf = quick().fit(X, (y == 0).astype(dtype))
    assert clf.predict(X).dtype == bool
    assert_same_model(quick().fit(X, (y == 0).astype(int)), X, clf, X)


@pytest.mark.parametrize(
    ("convert", "dtype"),
    [
        (lambda y: y.tolist(), "int64"),
        (lambda y: pd.Series(y, index=y), "int64"),
        (lambda y: pd.Series(y, dtype="Int64"), "int64"),
        (lambda y: pd.Series(np.array(list("abc"))[y], dtype="string"), "O"),
        (lambda y: pd.Categorical.from_codes(y, list("abc")), "O"),
        (lambda y: pd.Series(pd.Categorical.from_codes(y, list("abc"))), "O"),
        (lambda y: pl.Series(y), "int64"),
        (lambda y: pl.Series(np.array(list("abc"))[y], dtype=pl.Categorical), "O"),
        (torch.from_numpy, "int64"),
    ],
)
def test_containers_of_labels(quick, blobs, convert, dtype):
    X, y = blobs
    clf = quick().fit(X, convert(y))
    assert clf.classes_.dtype == dtype
    assert_same_model(quick().fit(X, y), X, clf, X)


def test_a_column_of_labels_is_taken_with_a_warning(quick, blobs):
    X, y = blobs
    with pytest.warns(UserWarning, match="column-vector y was passed"):
        clf = quick().fit(X, y[:, None])
    assert_same_model(quick().fit(X, y), X, clf, X)


# --- sample weights -----------------------------------------------------------------------------

METHODS = pytest.mark.parametrize(
    "method", [{}, {"weighting": "vri"}, {"weighting": None}], ids=["wnet", "vri", "no meta"]
)


@METHODS
@pytest.mark.parametrize("weight", [1, 1.0, 0.7])
def test_equal_weights_equal_none_bit_for_bit(quick, blobs, method, weight):
    X, y = blobs
    reference = quick(**method).fit(X, y)
    clf = quick(**method).fit(X, y, sample_weight=np.full(len(y), weight))
    assert_same_model(reference, X, clf, X)


@METHODS
def test_only_ratios_of_weights_count(quick, blobs, method, global_random_seed):
    """A factor that is a power of two leaves no rounding error."""
    X, y = blobs
    weights = np.random.default_rng(global_random_seed).uniform(0.5, 2, len(y))
    reference = quick(**method).fit(X, y, sample_weight=weights)
    clf = quick(**method).fit(X, y, sample_weight=4 * weights)
    assert_same_model(reference, X, clf, X)
    assert not np.array_equal(quick(**method).fit(X, y).predict_proba(X), clf.predict_proba(X))


@METHODS
def test_labels_of_rows_without_weight_do_not_matter(quick, blobs, method):
    """Their gradient is exactly zero."""
    X, y = blobs
    weights = np.arange(len(y)) % 4 / 2.0
    poisoned = np.where(weights == 0, (y + 1) % 3, y)
    reference = quick(**method).fit(X, y, sample_weight=weights)
    clf = quick(**method).fit(X, poisoned, sample_weight=weights)
    np.testing.assert_array_equal(reference.predict_proba(X), clf.predict_proba(X))


def test_weights_move_the_decision(quick, blobs, global_random_seed):
    """Rows of one blob carry two labels; the heavier label wins."""
    rng = np.random.default_rng(global_random_seed)
    X, y = rng.normal(size=(200, 2)), np.arange(200) % 2
    for heavy in (0, 1):
        weights = np.where(y == heavy, 5.0, 1.0)
        clf = quick(weighting=None).fit(X, y, sample_weight=weights)
        assert (clf.predict(X) == heavy).mean() > 0.9


# --- silence ------------------------------------------------------------------------------------


@METHODS
@pytest.mark.parametrize("kind", ["table", "images"])
def test_an_ordinary_fit_warns_of_nothing(quick, blobs, images, method, kind):
    X, y = blobs if kind == "table" else images
    params = {"hidden": (16,)} if kind == "table" else None
    mask = np.arange(len(y)) % 5 == 0
    for array in (X, y, mask):
        array.setflags(write=False)
    with no_warnings():
        clf = quick(module_params=params, n_warmup_epochs=3, **method)
        clf.fit(X, y, clean_mask=mask)
        clf.predict(X)
        clf.features(X)

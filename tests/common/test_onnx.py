"""ONNX files give in onnxruntime what predict_proba gives."""

import json
import sys
from collections import Counter

import numpy as np
import pytest
import scipy.sparse
from estimators import over_estimators, quick_estimators, reference
from own_networks import ROWS_FOR
from torch import nn

import sknoisy
from sknoisy._engine import onnx_file
from sknoisy.base import NetworkClassifier
from sknoisy.exceptions import PrecisionWarning
from sknoisy.methods.registry import METHODS
from sknoisy.networks.precision import set_precision

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

ATOL = 1e-5


@pytest.fixture
def export(tmp_path):
    """A factory of onnxruntime sessions."""

    def make(fitted, **parameters):
        path = tmp_path / "classifier.onnx"
        fitted.export_onnx(path, **parameters)
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    return make


def check(session, fitted, X, rows=None):
    """Compare with predict_proba for 1, 2 and all rows; `rows` are those of the graph."""
    rows = X if rows is None else rows
    for n in (1, 2, len(rows)):
        (found,) = session.run(["probabilities"], {"X": rows[:n]})
        expected = fitted.predict_proba(X[:n])
        np.testing.assert_allclose(found, expected, rtol=0, atol=ATOL)
        np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))


def trained(X, y, **parameters):
    settings = {"max_epochs": 2, "batch_size": 32, "random_state": 0}
    return NetworkClassifier(**{**settings, **parameters}).fit(X, y)


# --- classifiers --------------------------------------------------------------------------------


def is_network(estimator):
    return isinstance(estimator, NetworkClassifier)


@over_estimators("a_graph_gives_the_probabilities", is_network)
def test_a_graph_gives_the_probabilities(estimator, data, export):
    X, y = data(estimator)
    fitted = reference(estimator, X, y)
    rng = np.random.default_rng(1)
    many = X[rng.integers(len(X), size=5000)] + rng.normal(size=(5000, X.shape[1]))
    check(export(fitted), fitted, many.astype(np.float32))


def test_every_method_is_among_them():
    tested = Counter(type(e).__name__ for e in quick_estimators().values() if is_network(e))
    assert tested.keys() == {method.estimator for method in METHODS.values()}
    assert tested.total() >= len(METHODS) + 4  # CLID-MU's weightings and frameworks


def test_all_members_count(blobs, quick, export):
    X, y = blobs
    fitted = quick(n_ensemble=2).fit(X, y)
    X = X.astype(np.float32)
    check(export(fitted), fitted, X)
    proba = fitted.predict_proba(X)
    del fitted._members.networks[1]
    assert np.abs(fitted.predict_proba(X) - proba).max() > ATOL


def test_labels_are_metadata(blobs, export):
    X, y = blobs
    for labels in (np.array(["no", "yes", "ähm"]), np.array([True, False, True]), [2, 3, 5]):
        fitted = trained(X, np.asarray(labels)[y])
        classes = export(fitted).get_modelmeta().custom_metadata_map["classes"]
        assert json.loads(classes) == fitted.classes_.tolist()


def test_classifiers_around_networks(blobs, export):
    X, y = blobs
    settings = {"max_epochs": 2, "batch_size": 32}
    auto = sknoisy.NoisyLabelClassifier(method="l2r", network_params=settings, random_state=0)
    auto.fit(X, y)
    check(export(auto), auto, X.astype(np.float32))
    cleaner = sknoisy.LabelPurifier(n_components=64, n_epochs=5, random_state=0)
    inner = NetworkClassifier(random_state=0, **settings)
    purified = sknoisy.PurifiedClassifier(cleaner, inner).fit(X, y)
    check(export(purified.estimator_), purified, X.astype(np.float32))


def test_an_ensemble_of_learners_is_no_network(blobs, tmp_path, small_forests):
    auto = sknoisy.NoisyLabelClassifier(random_state=0).fit(*blobs)
    with pytest.raises(ValueError, match=r'"ensemble", because X is a table.* method="famus"'):
        auto.export_onnx(tmp_path / "classifier.onnx")
    assert list(tmp_path.iterdir()) == []


# --- tables -------------------------------------------------------------------------------------


def hard_table(X):
    """A table with gaps, a column without values, one beyond float32, and a constant one."""
    extra = np.column_stack([X[:, :3], np.full(len(X), np.nan), np.full(len(X), 7.0)])
    X = np.column_stack([X, extra])
    X[::5, 0] = X[1::7, 4] = np.nan
    X[:, 6] *= 1e150
    return X


@pytest.mark.parametrize("standardize", [True, False])
def test_missing_and_extreme_values(blobs, export, standardize):
    X, y = hard_table(blobs[0]), blobs[1]
    with pytest.warns(sknoisy.exceptions.ConstantColumnWarning):
        fitted = trained(X, y, standardize=standardize)
    X[0, 8] = X[2] = np.nan  # missing where none was missed, and everywhere
    X[3, 9] = 5.0
    check(export(fitted, dtype="float64"), fitted, X)
    with pytest.raises(ValueError, match=r'hold column 6. Pass dtype="float64"'):
        export(fitted)


def test_an_offset_is_subtracted_in_float64(blobs, export):
    X, y = blobs
    X[:, 1] += 1e6
    fitted = trained(X, y)
    rounded = X.astype(np.float32)
    with pytest.warns(PrecisionWarning, match=r"digits of column 1, .*dtype=\"float64\""):
        check(export(fitted), fitted, rounded)
    assert np.abs(fitted.predict_proba(rounded) - fitted.predict_proba(X)).max() > ATOL
    check(export(fitted, dtype="float64"), fitted, X)


def test_integers_are_taken_as_such(blobs, export):
    X, y = blobs
    X = np.rint(10 * X).astype(np.int64) + 2**40  # float32 has 24 digits
    fitted = trained(X, y)
    check(export(fitted, dtype="int64"), fitted, X)
    small = np.abs(X - 2**40).astype(np.uint8)
    fitted = trained(small, y)
    check(export(fitted, dtype="uint8"), fitted, small)
    check(export(fitted), fitted, small, small.astype(np.float32))


@pytest.mark.parametrize("n_columns", [6, 300])
def test_sparse_rows_are_passed_as_dense_ones(n_columns, export):
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    X = rng.poisson(0.02 if n_columns > 6 else 0.5, size=(90, n_columns)).astype(np.float64)
    X[np.arange(90), y] += 3
    sparse = scipy.sparse.csr_matrix(X)
    fitted = trained(sparse, y)
    assert (fitted._scaling.reduction_ is not None) == (n_columns == 300)
    check(export(fitted), fitted, sparse, X.astype(np.float32))


# --- images -------------------------------------------------------------------------------------


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_images_of_uint8(images, export, layout, standardize):
    X, y = images
    X = X if layout == "NHWC" else np.moveaxis(X, 3, 1).copy()
    fitted = trained(X, y, standardize=standardize)
    session = export(fitted)
    assert session.get_inputs()[0].type == "tensor(uint8)"
    check(session, fitted, X)
    check(export(fitted, dtype="float32"), fitted, X, X.astype(np.float32))


def test_images_of_floats(images, export):
    X, y = images
    X = (X / 255).astype(np.float32)
    fitted = trained(X, y)
    check(export(fitted), fitted, X)


# --- networks of the user's own -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["series", "tokens"])
def test_networks_of_ones_own(kind, export, tmp_path, capfd):
    network, X, y = ROWS_FOR[kind](np.random.default_rng(0))
    fitted = trained(X, y, module=network)
    rows = X.astype(np.float32) if X.dtype == np.float64 else X
    before = fitted.predict_proba(rows)
    session = export(fitted)
    assert session.get_inputs()[0].type == f"tensor({rows.dtype.name.replace('float32', 'float')})"
    np.testing.assert_array_equal(fitted.predict_proba(rows), before)
    check(session, fitted, rows)
    assert b".py" not in (tmp_path / "classifier.onnx").read_bytes(), "traces of this machine"
    assert capfd.readouterr() == ("", "")


class Flat(nn.Module):
    def __init__(self, n_features, n_classes):
        super().__init__()
        self.fc = nn.Linear(n_features, n_classes)


class Branch(Flat):
    def forward(self, x):
        return self.fc(x if x.mean() > 0 else 2 * x)


class Length(Flat):
    def forward(self, x):
        return self.fc(x.view(len(x), -1))


class Noise(Flat):
    def forward(self, x):
        return self.fc(nn.functional.dropout(x, 0.5, training=True))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Branch, "data-dependent.*torch.where in place of if on values, or save .* by pickle"),
        (Length, "Use x.shape.0. in place of len.x"),
        (Noise, "differ by .* draw no random numbers"),
    ],
)
def test_networks_without_a_graph(blobs, tmp_path, capfd, module, message):
    fitted = trained(*blobs, module=module)
    path = tmp_path / "classifier.onnx"
    path.write_text("before")
    with pytest.raises(ValueError, match=f"The network, {module.__name__}, cannot .*{message}"):
        fitted.export_onnx(path)
    assert path.read_text() == "before"
    assert capfd.readouterr() == ("", "")


def test_bfloat16_is_written_as_float32(blobs, export):
    X, y = blobs
    X = X.astype(np.float32)
    fitted = trained(X, y, precision="bfloat16")
    session, halved = export(fitted), fitted.predict_proba(X)
    for network in fitted._members.networks:
        set_precision(network, "float32")
    check(session, fitted, X)
    assert ATOL < np.abs(fitted.predict_proba(X) - halved).max() < 0.05


# --- input of the method ------------------------------------------------------------------------


def test_bad_dtypes(blobs, tmp_path):
    with pytest.raises(ValueError, match=r"dtype must be None or one of .*, got 'half'"):
        trained(*blobs).export_onnx(tmp_path / "a.onnx", dtype="half")


def test_a_path_that_cannot_be_written_is_refused_before_any_work(blobs, tmp_path, monkeypatch):
    fitted = NetworkClassifier(max_epochs=1).fit(*blobs)
    monkeypatch.setattr(onnx_file, "_exported", None)
    with pytest.raises(FileNotFoundError, match=r"no folder for the ONNX file.*missing'"):
        fitted.export_onnx(tmp_path / "missing" / "1.onnx")
    with pytest.raises(IsADirectoryError, match="not that of a folder"):
        fitted.export_onnx(tmp_path)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_names_the_extra(blobs, tmp_path, monkeypatch, package):
    fitted = trained(*blobs)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'package {package}: pip install "sknoisy\[onnx\]"'):
        fitted.export_onnx(tmp_path / "a.onnx")

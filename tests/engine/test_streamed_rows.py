"""Parquet files and data sets as X: read in blocks, shuffled in windows, kept where needed."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

from sknoisy import CLIDMUClassifier, DivideMixClassifier, MILDClassifier, NoisyLabelClassifier
from sknoisy._engine import parquet_rows, streams
from sknoisy._engine.batches import Batches, TrainingData
from sknoisy._engine.parquet_rows import ParquetRows
from sknoisy._engine.rows import ArrayRows
from sknoisy._engine.scaling import InputScaling
from sknoisy._engine.streams import Windows
from sknoisy.base import NetworkClassifier

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

CPU = torch.device("cpu")
SMALL = {"module_params": {"hidden": (8,)}, "max_epochs": 3, "random_state": 0}


class Items(Dataset):
    """A map-style data set of rows, or of pairs of row and label."""

    def __init__(self, X, y=None):
        self.X, self.y = X, y

    def __len__(self):
        return len(self.X)

    def __getitem__(self, number):
        x = torch.from_numpy(np.array(self.X[number]))
        return x if self.y is None else (x, self.y[number])


@pytest.fixture
def table():
    """Rows of three classes, with missing values."""
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=600)
    X = rng.normal(size=(600, 6)).astype(np.float32)
    X[:, 0] += 3 * y
    X[rng.random(600) < 0.1, 2] = np.nan
    return X, y


@pytest.fixture
def written(tmp_path):
    """A function that writes rows into a Parquet file and returns its path."""

    def write(X, row_group_size=50, name="X.parquet"):
        path = tmp_path / name
        columns = {f"c{j}": column for j, column in enumerate(np.asarray(X).T)}
        parquet.write_table(pa.table(columns), path, row_group_size=row_group_size)
        return path

    return write


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(parquet_rows, "_BLOCK_ROWS", 50)


# --- the same model, whatever the container -----------------------------------------------------


def test_files_and_data_sets_give_the_model_of_a_memory_map(table, written, tmp_path):
    X, y = table
    np.save(tmp_path / "X.npy", X)
    on_disk = np.load(tmp_path / "X.npy", mmap_mode="r")
    path = written(X)
    clf = CLIDMUClassifier(n_warmup_epochs=1, **SMALL)
    expected = clf.fit(on_disk, y).predict_proba(X)
    for rows in (path, str(path), parquet.ParquetFile(path), Items(X), Items(X, y)):
        np.testing.assert_array_equal(clf.fit(rows, y).predict_proba(rows), expected)


def test_the_length_of_a_block_does_not_matter_within_a_window(table, written):
    X, y = table
    paths = [written(X, size, f"{size}.parquet") for size in (7, 600)]
    models = [NetworkClassifier(**SMALL).fit(path, y).predict_proba(X[:9]) for path in paths]
    np.testing.assert_array_equal(*models)


@pytest.mark.usefixtures("small_blocks")
def test_several_windows_learn_as_well(table, written):
    X, y = table
    clf = CLIDMUClassifier(n_warmup_epochs=1, **{**SMALL, "max_epochs": 16})
    path = written(X)
    assert len(ParquetRows(path).windows) == 2
    windowed = clf.fit(path, y).score(path, y)
    assert windowed > 0.9
    assert abs(windowed - clf.fit(X, y).score(X, y)) < 0.03


def test_images_of_a_data_set_equal_the_array():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=40)
    images = (
        rng.integers(0, 100, size=(40, 8, 8, 1), dtype=np.uint8) + 100 * y[:, None, None, None]
    )
    images = images.astype(np.uint8)
    clf = NetworkClassifier(max_epochs=1, random_state=0)
    expected = clf.fit(images, y).predict_proba(images)
    np.testing.assert_array_equal(clf.fit(Items(images), y).predict_proba(Items(images)), expected)
    assert clf.image_shape_ == (8, 8, 1)


def test_methods_that_hand_on_X_read_files(table, written):
    X, y = table
    path = written(X)
    clf = MILDClassifier(max_epochs=2, module_params={"hidden": (8,)}, random_state=0)
    np.testing.assert_array_equal(
        clf.fit(path, y).predict_proba(path), clf.fit(X, y).predict_proba(X)
    )


def test_column_names_are_those_of_the_file(table, written):
    X, y = table
    clf = NetworkClassifier(**SMALL).fit(written(X), y)
    assert clf.feature_names_in_.tolist() == [f"c{j}" for j in range(6)]
    other = written(X[:, :5], name="other.parquet")
    with pytest.raises(ValueError, match="feature names should match"):
        clf.predict(other)
    with pytest.raises(ValueError, match="X has 5 features, but NetworkClassifier is expecting 6"):
        NetworkClassifier(**SMALL).fit(X, y).predict(Items(X[:, :5]))


# --- windows ------------------------------------------------------------------------------------


def test_windows_hold_all_rows_of_their_blocks_in_a_random_order():
    windows = Windows(np.array([0, 10, 20, 35, 40]), 2)
    order = windows.order(None, torch.Generator().manual_seed(0)).numpy()
    assert sorted(order) == list(range(40))
    blocks = np.searchsorted(windows.starts, order, side="right")
    first = len(set(range(1, 5)) - {*blocks[-10:]})
    assert first == 2, "the end of an epoch is of two blocks"
    assert (np.diff(order) != 1).any()


def test_windows_of_some_rows_hold_these_rows():
    windows, active = Windows(np.array([0, 10, 20, 30]), 1), np.array([3, 4, 11, 25, 29])
    order = windows.order(active, torch.Generator().manual_seed(0)).numpy()
    assert sorted(order) == active.tolist()
    assert {*zip(order // 10, order // 10, strict=True)} == {(0, 0), (1, 1), (2, 2)}


@pytest.mark.usefixtures("small_blocks")
def test_an_epoch_reads_each_row_group_once(table, written, monkeypatch):
    X, y = table
    stream, read = ParquetRows(written(X)), []
    read_groups = stream._file.read_row_groups

    class File:
        def read_row_groups(self, groups, **kwargs):
            read.extend(groups)
            return read_groups(groups, **kwargs)

    stream._file = File()
    rows = ArrayRows(stream, InputScaling(False), CPU)
    data = TrainingData(rows, torch.from_numpy(y))
    batches = [batch for batch in Batches(data, 37, torch.Generator().manual_seed(0))]
    assert sorted(read) == list(range(12))
    order = torch.cat([batch.rows for batch in batches])
    np.testing.assert_array_equal(torch.cat([batch[0] for batch in batches]), X[order])
    read.clear()
    kept = torch.tensor([599, 1, 300, 1])
    rows.keep(kept, "meta")
    read.clear()
    np.testing.assert_array_equal(rows.take(kept.flip(0)), X[[1, 300, 1, 599]])
    assert read == [], "kept rows are not read again"


@pytest.mark.usefixtures("small_blocks")
def test_meta_updates_read_no_further_row_groups(table, written, monkeypatch):
    """A meta batch of rows from everywhere would read the whole file at each step."""
    X, y = table
    read = []
    block = ParquetRows._block

    def count(self, k):
        read.extend([k] if k not in self._kept else [])
        return block(self, k)

    monkeypatch.setattr(ParquetRows, "_block", count)
    counts = []
    for n_epochs in (5, 9):
        read.clear()
        settings = {**SMALL, "max_epochs": n_epochs, "batch_size": 20}
        CLIDMUClassifier(n_warmup_epochs=1, n_ensemble=1, n_meta=100, **settings).fit(
            written(X), y
        )
        counts.append(len(read))
    assert 0 < counts[1] - counts[0] <= 4 * 12


@pytest.mark.usefixtures("small_blocks")
def test_a_file_sorted_by_class_is_warned_of(table, written):
    X, y = table
    order = np.argsort(y)
    with pytest.warns(UserWarning, match="as if it were sorted by class"):
        streams.warn_of_sorted_rows(ParquetRows(written(X[order])), np.arange(600) // 50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        streams.warn_of_sorted_rows(ParquetRows(written(X)), y)
        streams.warn_of_sorted_rows(X[order], y[order])


# --- what is refused ----------------------------------------------------------------------------


def test_columns_that_hold_no_numbers_are_named(table, tmp_path):
    X, y = table
    path = tmp_path / "text.parquet"
    parquet.write_table(pa.table({"size": X[:, 0], "town": ["Ulm"] * 600}), path)
    with pytest.raises(ValueError, match=r"text in column 'town', such as 'Ulm'"):
        NetworkClassifier().fit(path, y)


def test_texts_of_a_data_set_are_refused():
    class Texts(Dataset):
        def __len__(self):
            return 600

        def __getitem__(self, number):
            return np.array(["Ulm", "Bonn"])

    with pytest.raises(ValueError, match="text in columns 0, 1"):
        NetworkClassifier().fit(Texts(), np.arange(600) % 2)


@pytest.mark.parametrize("make", ["file", "data set"])
def test_infinity_is_refused(table, written, make):
    X, y = table
    X[400, 3] = np.inf
    rows = written(X) if make == "file" else Items(X)
    with pytest.raises(ValueError, match="Input X contains infinity in column"):
        NetworkClassifier(**SMALL).fit(rows, y)


def test_rows_of_other_shapes_are_refused(table):
    class Ragged(Items):
        def __getitem__(self, number):
            return super().__getitem__(number)[: 6 - number // 400]

    X, y = table
    with pytest.raises(
        ValueError, match=r"Row 400 of X has the shape \(5,\), but row 0 has \(6,\)"
    ):
        NetworkClassifier(**SMALL).fit(Ragged(X), y)


def test_data_sets_without_index_or_rows_are_refused(table):
    class Endless(IterableDataset):
        def __iter__(self):
            return iter(())

    X, y = table
    with pytest.raises(TypeError, match="X is a Endless, whose rows have no index"):
        NetworkClassifier().fit(Endless(), y)
    with pytest.raises(TypeError, match="without a length or without rows"):
        NetworkClassifier().fit(Items(X[:0]), y)


def test_methods_that_read_X_as_a_whole_say_so(table, written):
    X, y = table
    with pytest.raises(TypeError, match="NoisyLabelClassifier reads X as a whole"):
        NoisyLabelClassifier().fit(written(X), y)


def test_the_number_of_labels_must_be_that_of_the_rows(table, written):
    X, y = table
    with pytest.raises(ValueError, match="600"):
        DivideMixClassifier(**SMALL).fit(written(X), y[:-1])


# --- memory -------------------------------------------------------------------------------------

PEAK = """
import sys
import numpy as np
import pyarrow.parquet
from skorch.callbacks import Callback
from sknoisy.base import NetworkClassifier


def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))


class Watch(Callback):
    def on_batch_end(self, net, **kwargs):
        memory.append(anonymous())


path, n_rows = sys.argv[1], int(sys.argv[2])
settings = {"max_epochs": 1, "batch_size": 1000, "callbacks": [Watch()]}
settings["module_params"] = {"hidden": (8,)}
memory = []
rng = np.random.default_rng(0)
NetworkClassifier(**settings).fit(rng.normal(size=(500, 100)), rng.integers(2, size=500))
memory = [anonymous()]  # with what a first fit allocates
X = np.load(path, mmap_mode="r") if path.endswith("npy") else path
NetworkClassifier(**settings).fit(X, rng.integers(2, size=n_rows))
memory.append(anonymous())
print((max(memory) - memory[0]) / 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("kind", "share"), [("map", 0.3), ("file", 0.6)])
def test_a_file_is_not_loaded(kind, share, tmp_path, written):
    """Training holds a batch of a map and a window of a file, not all rows."""
    X = np.random.default_rng(0).random(size=(400_000, 100), dtype=np.float32)  # 153 MB
    path = tmp_path / "X.npy"
    if kind == "map":
        np.save(path, X)
    else:
        path = written(X, 8192)
    command = [sys.executable, "-c", PEAK, str(path), str(len(X))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < share * X.nbytes / 2**20


def test_a_checkpoint_of_a_streamed_fit_knows_its_rows(table, written, tmp_path):
    X, y = table
    path = written(X)
    clf = NetworkClassifier(**SMALL, checkpoint=tmp_path / "fit.pt").fit(path, y)
    again = NetworkClassifier(**SMALL, checkpoint=tmp_path / "fit.pt").fit(path, y)
    np.testing.assert_array_equal(again.predict_proba(path), clf.predict_proba(path))
    X[7, 0] += 1
    with pytest.raises(ValueError, match="written by another run: X="):
        clf.fit(written(X, name="other.parquet"), y)

"""Rows larger than the memory: read from files, learned in part, compared in blocks."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from compared_rows import outliers_of, sets_of
from numpy.testing import assert_array_equal
from streamed_rows import Items

from sknoisy import LabelAuditor, audit_labels
from sknoisy._engine.scaling import InputScaling
from sknoisy.audit import distances, duplicates, held_rows, scaled_rows, sources
from sknoisy.audit.scaled_rows import ScaledRows

N_ROWS, N_COLUMNS = 600, 4


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(sources, "_N_TREES", 40)


@pytest.fixture
def table(global_random_seed):
    """Rows of three classes with gaps and copies, given labels, and which of them are wrong."""
    rng = np.random.default_rng(global_random_seed)
    truth = rng.integers(3, size=N_ROWS)
    X = rng.normal(size=(N_ROWS, N_COLUMNS)).astype(np.float32)
    X[:, 0] += 8 * truth
    X[rng.random(N_ROWS) < 0.1, 2] = np.nan
    X[-9:], truth[-9:] = X[:9], truth[:9]
    X[50:60] += 30 * rng.normal(size=(10, N_COLUMNS)).astype(np.float32)
    is_wrong = rng.random(N_ROWS) < 0.1
    return X, np.where(is_wrong, (truth + 1) % 3, truth), is_wrong


def columns_of(audit):
    """The columns of an audit, without those of its time."""
    return pd.DataFrame(audit.to_dict())


@pytest.mark.parametrize("kind", ["Parquet", "Dataset", "memory map"])
@pytest.mark.parametrize("free", [0, 2**40])
def test_rows_outside_the_memory_give_the_audit_of_the_array(
    table, tmp_path, monkeypatch, kind, free
):
    X, y, _ = table
    X[:, 2] = np.nan_to_num(X[:, 2])  # medians of a memory map are those of some rows
    monkeypatch.setattr(held_rows, "available_memory", lambda: free)
    monkeypatch.setattr(held_rows, "_BLOCK_VALUES", 100)
    frame = pd.DataFrame(X, columns=list("abcd"))
    path = tmp_path / "rows.parquet"
    if kind == "Parquet":
        frame.to_parquet(path, row_group_size=70)
        source = str(path)
    elif kind == "Dataset":
        source = Items(X)
    else:
        np.save(tmp_path / "rows.npy", X)
        source = np.load(tmp_path / "rows.npy", mmap_mode="r")
    auditor = LabelAuditor(method="fast", random_state=0).fit(source, y)
    expected = audit_labels(X, y, method="fast", random_state=0)
    pd.testing.assert_frame_equal(columns_of(auditor.audit_), columns_of(expected))
    assert auditor.n_features_in_ == N_COLUMNS
    if kind == "Parquet":
        assert auditor.feature_names_in_.tolist() == list("abcd")


def test_a_file_serves_given_probabilities_and_other_classifiers(table, tmp_path):
    from sklearn.neighbors import KNeighborsClassifier

    X, y, _ = table
    X[:, 2] = np.nan_to_num(X[:, 2])
    pd.DataFrame(X, columns=list("abcd")).to_parquet(tmp_path / "rows.parquet", row_group_size=70)
    proba = (np.eye(3)[y] + np.random.default_rng(0).dirichlet(np.ones(3), N_ROWS)) / 2
    proba[::20] = np.roll(proba[::20], 1, axis=1)
    for options in ({"proba": proba}, {"estimator": KNeighborsClassifier()}):
        of_file, of_array = (
            columns_of(audit_labels(rows, y, random_state=0, **options))
            for rows in (str(tmp_path / "rows.parquet"), X)
        )
        pd.testing.assert_frame_equal(of_file, of_array)


def test_rows_that_are_converted_when_they_are_read_are_those_of_the_array(table):
    X, _, _ = table
    scaling = InputScaling().fit(X)
    held, rows = scaling.to_rows(X).numpy(), ScaledRows(X, scaling)
    some = np.array([5, 2, 2, 77])
    assert rows.shape == held.shape == (N_ROWS, N_COLUMNS + 1)
    assert_array_equal(rows[:], held)
    assert_array_equal(rows[10:20], held[10:20])
    assert_array_equal(rows[some], held[some])
    assert_array_equal(rows.take(some)[np.array([3, 1])], held[some][[3, 1]])
    assert_array_equal(rows.take(some).take(np.array([3]))[:], held[[77]])


def test_neighbors_of_rows_that_are_not_held_are_the_same(table, monkeypatch):
    X, _, _ = table
    expected = *outliers_of(X), sets_of(X)
    assert (expected[2] >= 0).sum() >= 18
    monkeypatch.setattr(scaled_rows, "_HELD_VALUES", 0)
    monkeypatch.setattr(distances, "_BLOCK_VALUES", 100)
    monkeypatch.setattr(duplicates, "_BLOCK_ROWS", 50)
    monkeypatch.setattr(duplicates, "_BLOCK_PAIRS", 7)
    found = *outliers_of(X), sets_of(X)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["all labelled", "gaps", "groups"])
def test_rows_are_judged_by_models_of_a_part_of_them(table, monkeypatch, kind):
    X, y, is_wrong = table
    y, groups = y.astype(float), None
    if kind == "gaps":
        y[::10] = np.nan
    if kind == "groups":
        groups = np.arange(N_ROWS) // 3
    learned = []
    fit = sources.Forest.fit_held_out

    def fit_held_out(self, X, targets, *further):
        learned.append(targets)
        return fit(self, X, targets, *further)

    monkeypatch.setattr(sources.Forest, "fit_held_out", fit_held_out)
    monkeypatch.setattr(sources, "_LEARNED_ROWS", 200)
    audit = audit_labels(X, y, method="fast", groups=groups, random_state=0)
    assert 190 <= len(learned[0]) <= 210
    assert (learned[0].sum(axis=1) == 1).all()  # rows without a label are not learned
    labeled = ~np.isnan(y)
    worst = np.argsort(audit.score[labeled])[: is_wrong[labeled].sum()]
    assert is_wrong[labeled][worst].mean() > 0.8
    assert np.isfinite(audit.suggested_probability).all()


def test_a_part_holds_every_class_and_whole_groups(global_random_seed, monkeypatch):
    monkeypatch.setattr(sources, "_LEARNED_ROWS", 200)
    rng = np.random.default_rng(global_random_seed)
    codes = rng.integers(-1, 2, size=1000)
    codes[777] = 2
    part = sources._learned_rows(codes, None, 0)
    assert {*codes[part]} == {0, 1, 2}
    assert 200 <= len(part) <= 203
    assert_array_equal(part, np.unique(part))
    units = rng.integers(700, size=1000)
    part = sources._learned_rows(codes, units, 0)
    assert {*codes[part]} == {0, 1, 2}
    left = np.setdiff1d(np.flatnonzero(codes >= 0), part)
    assert not {*units[part]} & {*units[left]}
    assert 180 <= len(part) <= 220
    assert sources._learned_rows(codes, np.arange(1000) // 30, 0) is None  # few and large
    assert sources._learned_rows(codes[:190], None, 0) is None


def test_a_group_that_is_not_learned_is_not_judged_by_its_own_rows(monkeypatch):
    """Of a group, either all labelled rows are learned, and judged out of bag, or none is."""
    monkeypatch.setattr(sources, "_LEARNED_ROWS", 300)
    rng = np.random.default_rng(0)
    truth = np.arange(800) % 2
    X = rng.normal(size=(800, 3))
    X[:, 0] += 8 * truth
    groups = np.arange(800) // 10
    y = truth.copy()
    for group in range(10):  # of nearly equal rows, all with the same wrong label
        rows = groups == group
        X[rows] = X[rows][0] + 0.01 * rng.normal(size=(10, 3))
        y[rows] = 1 - truth[rows][0]
    audit = audit_labels(X, y, groups=groups, method="fast", random_state=0)
    assert audit.flagged[:100].mean() > 0.9
    assert audit.flagged[100:].mean() < 0.05


def test_the_network_learns_the_part_that_the_forest_learns(table, monkeypatch):
    X, y, is_wrong = table
    learned = []

    class Network(sources.CLIDMUClassifier):
        def fit(self, X, y):
            learned.append(len(X))
            return super().fit(X, y)

    monkeypatch.setattr(sources, "CLIDMUClassifier", Network)
    monkeypatch.setattr(sources, "_LEARNED_ROWS", 300)
    audit = audit_labels(X, y, random_state=0)
    assert 290 <= learned[0] <= 310
    assert audit.score.dtype == np.float64
    worst = audit.score.argsort()[: is_wrong.sum()]
    assert is_wrong[worst].mean() > 0.8


MEASURE = """
import importlib, sys, threading, time
from pathlib import Path
import numpy as np, pandas as pd, pyarrow as pa, skrub
from pyarrow import parquet

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

from sknoisy.audit import auditor, command, outliers, report, sources, tables
sources._N_TREES = 3
outliers._MAX_PRODUCTS = 1
rng = np.random.default_rng(0)
n_rows, n_columns = int(sys.argv[1]), 20
writer = None
for start in range(0, n_rows, 50_000):
    y = rng.integers(3, size=50_000)
    X = rng.normal(size=(50_000, n_columns)) + y[:, None]
    frame = pd.DataFrame(X, columns=[f"c{j}" for j in range(n_columns)]).assign(y=y)
    piece = pa.Table.from_pandas(frame, preserve_index=False)
    writer = writer or parquet.ParquetWriter("data.parquet", piece.schema)
    writer.write_table(piece)
writer.close()
del X, y, frame, piece, writer
pa.default_memory_pool().release_unused()
idle, peak, done = anonymous(), 0.0, False

def sample():
    global peak
    while not done:
        peak = max(peak, anonymous() - idle)
        time.sleep(0.01)

thread = threading.Thread(target=sample)
thread.start()
arguments = ["audit", "data.parquet", "--label", "y", "--method", "fast", "--cleaned", "--force"]
assert command.main([*arguments, "--out", "out"]) == 0
done = True
thread.join()
print("peak", peak)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_memory_grows_by_few_bytes_a_row(tmp_path):
    """The bar of the user guide: 250 MiB, 4 bytes a number, and 250 bytes a row."""
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    n_rows = 300_000
    found = subprocess.run(
        [sys.executable, "-c", MEASURE, str(n_rows)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    peak = float(found.stdout.split("peak ")[1])
    assert peak < 250 + n_rows * (4 * 20 + 250) / 2**20

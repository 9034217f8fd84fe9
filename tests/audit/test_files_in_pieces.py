"""Files that are read in several pieces give the table and the audit of the whole file."""

import errno
import os
import tempfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hostile_tables import noisy_table
from numpy.testing import assert_array_equal
from pyarrow import parquet

from sknoisy.audit import columns, csv_file, held_rows, result, tables, texts
from sknoisy.audit.columns import encode_columns
from sknoisy.audit.command import main
from sknoisy.audit.file_sources import of_table
from sknoisy.audit.files import InputError
from sknoisy.audit.tables import read_table

N_ROWS = 200
PIECE = 16  # rows


@pytest.fixture
def small_pieces(monkeypatch):
    """Read, search, encode and write a few rows at a time, by way of temporary files."""
    for module in (columns, tables, result):
        monkeypatch.setattr(module, "_PIECE_ROWS", PIECE)
    monkeypatch.setattr(tables, "_CSV_CELLS", 30)
    monkeypatch.setattr(csv_file, "_BLOCK_CELLS", 50)
    monkeypatch.setattr(csv_file, "_GROUP_BYTES", 1)
    monkeypatch.setattr(csv_file, "_HELD_BYTES", 100)
    monkeypatch.setattr(held_rows, "_HELD_BYTES", 1000)
    monkeypatch.setattr(held_rows, "_BLOCK_VALUES", 30)


@pytest.fixture
def late_table(global_random_seed):
    """A table whose last rows hold what no row before them holds."""
    rng = np.random.default_rng(global_random_seed)
    frame, _ = noisy_table(global_random_seed, n_rows=N_ROWS)
    late = np.arange(N_ROWS) >= N_ROWS - 5
    pool = np.array([f"{word} and {word}{k} more words" for k in range(70) for word in "abc"])
    frame["whole, then parts"] = np.where(late, rng.normal(size=N_ROWS), rng.integers(9, size=200))
    frame["late category"] = np.where(late, "purple", rng.choice(["red", "blue"], N_ROWS))
    frame["late gap"] = rng.normal(size=N_ROWS)
    frame.loc[late, "late gap"] = np.nan
    frame["late text"] = np.where(late, "x", rng.integers(5, size=N_ROWS).astype(str))
    frame["texts"] = rng.choice(pool, N_ROWS)
    frame["late 51st"] = [f"v{k % 50}" for k in range(N_ROWS - 1)] + ["v50"]
    frame["nearly dates"] = ["2024-01-0" + str(k % 7 + 1) for k in range(N_ROWS - 1)] + ["soon"]
    frame["nearly the label"] = frame["kind"].str.upper()
    frame.loc[N_ROWS - 1, "nearly the label"] = "CAT" if frame["kind"].iloc[-1] != "cat" else "DOG"
    frame["the label"] = frame["kind"].str.upper()
    frame["nearly an identifier"] = [f"K{k}" for k in [*range(N_ROWS - 1), 0]]
    frame["an identifier"] = [f"K{k}" for k in range(N_ROWS)]
    frame["number of row"] = np.arange(N_ROWS)
    return frame


LABELS = {
    "text": lambda kinds: kinds,
    "int64": lambda kinds: kinds.map({"cat": 3, "dog": 5, "fish": 8}),
    "bool": lambda kinds: kinds == "cat",
    "int64 with gaps": lambda kinds: kinds.map({"cat": 3, "dog": 5}).astype("Int64"),
    "category": lambda kinds: kinds.astype("category"),
}


def write_both(frame):
    """Write the frame as CSV and as Parquet in one row group."""
    frame.to_csv("data.csv", index=False)
    parquet.write_table(pa.Table.from_pandas(frame, preserve_index=False), "data.parquet")


def write_groups(frame):
    """Write the frame as Parquet in row groups, each of which has categories of its own."""
    schema = pa.Schema.from_pandas(frame, preserve_index=False)
    with parquet.ParquetWriter("data.parquet", schema) as writer:
        for start in range(0, len(frame), PIECE):
            piece = frame.iloc[start : start + PIECE]
            for name in piece.select_dtypes("category"):
                piece = piece.assign(**{name: piece[name].cat.remove_unused_categories()})
            writer.write_table(pa.Table.from_pandas(piece, schema, preserve_index=False))


@pytest.mark.parametrize("name", ["data.csv", "data.parquet"])
def test_columns_are_the_same_whatever_the_pieces(
    late_table, tmp_path, monkeypatch, request, name
):
    monkeypatch.chdir(tmp_path)
    write_both(late_table)
    labels = late_table["kind"]
    whole = read_table(Path(name)).frame
    expected = encode_columns(whole, labels, 0)
    request.getfixturevalue("small_pieces")
    if name == "data.parquet":
        write_groups(late_table)
    table = read_table(Path(name))
    assert table._file.metadata.num_row_groups > 5
    pd.testing.assert_frame_equal(table.frame, whole)
    found = encode_columns(table, labels, 0)
    assert_array_equal(found.X, expected.X)
    assert found.kinds == expected.kinds
    assert found.left_out == expected.left_out
    assert {kind: {*names} for kind, names in kinds_of(found).items()} == {
        "number": {"length", "weight", "whole, then parts", "late gap"},
        "category": {"colour", "late category", "late text", "nearly dates", "nearly the label"},
        "text": {"texts", "late 51st", "nearly an identifier"},
        "left out": {"kind", "the label", "an identifier", "number of row"},
    }


def kinds_of(encoded):
    found = {"left out": [*encoded.left_out]}
    for name, kind in encoded.kinds.items():
        found.setdefault(kind, []).append(name)
    return found


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("name", ["data.csv", "data.parquet"])
def test_the_audit_is_the_same_whatever_the_pieces(
    late_table, tmp_path, monkeypatch, request, labels, name
):
    monkeypatch.chdir(tmp_path)
    kinds = LABELS[labels](late_table.pop("kind"))
    frame = late_table[["length", "weight", "late category", "late gap", "texts"]].assign(
        kind=kinds
    )
    frame = pd.concat([frame, frame.iloc[:3]], ignore_index=True)  # copies
    write_both(frame)
    arguments = [name, "--label", "kind", "--method", "fast", "--cleaned"]
    assert main(["audit", *arguments, "--out", "whole"]) == 0
    request.getfixturevalue("small_pieces")
    if name == "data.parquet":
        write_groups(frame)
    assert main(["audit", *arguments, "--out", "pieces"]) == 0
    for file in ("labels.csv", "cleaned.csv"):
        if Path("whole", file).exists():
            assert Path("whole", file).read_bytes() == Path("pieces", file).read_bytes()
    if name == "data.parquet":
        one, other = (parquet.read_table(f"{out}/cleaned.parquet") for out in ("whole", "pieces"))
        assert one.schema.types == parquet.read_schema("data.parquet").types
        assert one.to_pydict() == other.to_pydict()
    pages = [Path(out, "report.html").read_text(encoding="utf-8") for out in ("whole", "pieces")]
    assert (
        pages[0].split("Can the list be trusted")[0]
        == pages[1].split("Can the list be trusted")[0]
    )


def test_texts_of_a_long_column_are_encoded_by_pieces(monkeypatch, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    words = np.array([f"word{number}" for number in range(300)])
    column = pd.Series([" ".join(rng.choice(words, 8)) for _ in range(150)] * 2)
    column[[7, 250]] = None
    whole = texts.text_numbers(column, 0, lambda k: np.empty((k, 300), np.float32))
    fitted = texts._fitted(column, 0)
    monkeypatch.setattr(texts, "_fitted", lambda *_: fitted)
    monkeypatch.setattr(texts, "_LEARNED_ROWS", 64)
    pieces = texts.text_numbers(column, 0, lambda k: np.empty((k, 300), np.float32))
    np.testing.assert_allclose(pieces, whole, atol=1e-6)
    assert not pieces[:, [7, 250]].any()


def test_an_encoder_of_a_long_column_learns_from_some_rows(monkeypatch):
    monkeypatch.setattr(texts, "_LEARNED_ROWS", 60)
    column = pd.Series([f"text{k} of many{k % 7} words{k % 5} in all" for k in range(5000)])
    encoder, width = texts._fitted(column, 0)
    assert width == 30
    assert (
        sum(word.startswith("text") for word in encoder.vectorizer_.get_feature_names_out()) <= 60
    )


def test_a_table_larger_than_the_memory_lies_in_temporary_files(late_table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    write_both(late_table)
    arguments = ["audit", "data.csv", "--label", "kind", "--method", "fast"]
    assert main([*arguments, "--csv", "held.csv"]) == 0
    monkeypatch.setattr(held_rows, "available_memory", lambda: 0)
    options = {"group": None, "clean_mask": None, "annotators": None, "missing": (), "drop": []}
    source = of_table(
        Namespace(data=Path("data.csv"), label="kind", encoding=None, seed=0, **options), print
    )
    assert isinstance(source.X, np.memmap)
    assert main([*arguments, "--csv", "mapped.csv"]) == 0
    columns_of = [pd.read_csv(name) for name in ("held.csv", "mapped.csv")]
    pd.testing.assert_frame_equal(*columns_of)
    del source
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_full_temporary_folder_is_named(monkeypatch):
    def refuse(descriptor, start, n_bytes):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    monkeypatch.setattr(held_rows, "available_memory", lambda: 0)
    with pytest.raises(InputError, match=r"cannot hold 4,000 bytes: No space .* TMPDIR"):
        held_rows.empty_array((10, 100), np.float32)


def test_memory_that_is_free_is_told_by_the_system(tmp_path, monkeypatch):
    system, limit, used = (tmp_path / name for name in ("meminfo", "max", "current"))
    monkeypatch.setattr(held_rows, "_AVAILABLE", str(system))
    monkeypatch.setattr(held_rows, "_LIMITS", ((str(limit), str(used)),))
    assert held_rows.available_memory() == 2**32  # nothing is known
    system.write_text("MemTotal: 9 kB\nMemAvailable:   3000 kB\n", encoding="ascii")
    assert held_rows.available_memory() == 3000 * 1024
    limit.write_text("max\n", encoding="ascii")
    used.write_text("1000\n", encoding="ascii")
    assert held_rows.available_memory() == 3000 * 1024
    limit.write_text("51000\n", encoding="ascii")
    assert held_rows.available_memory() == 50_000
    assert not isinstance(held_rows.empty_array((3, 1000), np.float32), np.memmap)
    assert isinstance(held_rows.empty_array((4, 1000), np.float32), np.memmap)


def test_columns_of_repeated_and_dotted_names_are_told_apart(tmp_path):
    names = ["a", "a.b", "a", "c"]
    cells = [pa.array([k, k + 10, None]) for k in range(3)]
    nested = pa.array([{"b": 5}, {"b": 6}, {"b": 7}])
    parquet.write_table(pa.table([*cells, nested], names=names), tmp_path / "data.parquet")
    table = read_table(tmp_path / "data.parquet")
    assert table.columns == ["a", "a.b", "a (3)", "c"]
    firsts = [table[name].iloc[0] for name in table.columns]
    assert firsts == [0, 1, 2, {"b": 5}]
    assert [list(piece.to_pandas().iloc[0]) for piece in table.pieces()] == [firsts]

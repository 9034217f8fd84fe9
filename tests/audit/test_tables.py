"""Reading tables: what a good file gives, and one clear line for each bad one."""

import csv
import io
import zipfile

import numpy as np
import pandas as pd
import pytest

from sknoisy.audit.files import InputError
from sknoisy.audit.tables import read_table, write_csv


@pytest.fixture
def read(tmp_path):
    """Writes bytes or text to a file, and reads it as a table."""

    def read_content(content, name="data.csv", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_table(path, **options)

    return read_content


def test_cells_are_text_and_only_empty_ones_are_missing(read):
    frame = read("a,b\n01,nan\n1,None\n,NA\nTrue,\n").frame
    assert frame["a"].tolist()[:2] == ["01", "1"]
    assert frame["a"].isna().tolist() == [False, False, True, False]
    assert frame["b"].tolist()[:3] == ["nan", "None", "NA"]
    assert frame["b"].isna().tolist() == [False, False, False, True]


def test_texts_that_mean_missing_are_named_by_the_user(read):
    frame = read("a,b\nNA,x\n?,NA\n", missing=["NA", "?"]).frame
    assert frame["a"].isna().all()
    assert frame["b"].isna().tolist() == [False, True]


def test_texts_that_mean_missing_are_missing_among_categories(tmp_path):
    """Numbers in categories are no texts, and stay."""
    given = {"kind": ["?", "b", None, "?"], "number": [1, 2, 3, 1]}
    pd.DataFrame(given).astype("category").to_parquet(tmp_path / "data.parquet")
    table = read_table(tmp_path / "data.parquet", missing=["?"])
    assert table["kind"].isna().tolist() == [True, False, True, True]
    assert table["number"].tolist() == [1, 2, 3, 1]
    (piece,) = table.pieces()
    assert piece.to_pandas()["kind"].dtype == "category"


def test_rows_are_numbered_as_a_spreadsheet_numbers_them(read):
    frame = read('a,b\n"two\nlines",1\n\nx,2\n').frame
    assert frame.index.tolist() == [2, 4]  # row 3 is empty
    assert frame.loc[2, "a"] == "two\nlines"


def test_the_csv_module_reads_the_same_cells(read, global_random_seed):
    rng = np.random.RandomState(global_random_seed)
    pieces = ["a", '"', ",", "\n", " ", "é", "'", ";"]
    rows = [["x" + "".join(rng.choice(pieces, 6)) for _ in range(3)] for _ in range(50)]
    text = io.StringIO()
    csv.writer(text).writerows([["p", "q", "r"], *rows])
    assert read(text.getvalue()).frame.to_numpy().tolist() == rows


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_that_of_the_header(read, delimiter):
    table = read(f"a{delimiter}b\n1{delimiter}x\n")
    assert table.frame.to_dict("list") == {"a": ["1"], "b": ["x"]}
    assert table.delimiter == delimiter


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_other_encodings_are_read_when_they_are_named(read, encoding):
    table = read("name,b\ncafé,1\n".encode(encoding), encoding=encoding)
    assert table.frame.iloc[0].tolist() == ["café", "1"]


def test_a_byte_order_mark_is_no_part_of_the_first_name(read):
    assert list(read("\ufeffa,b\n1,2\n").frame) == ["a", "b"]


def test_empty_and_repeated_names_are_replaced_and_noted(read):
    table = read("a,,a\n1,2,3\n")
    assert list(table.frame) == ["a", "column 2", "a (3)"]
    assert len(table.notes) == 2
    assert "“a (3)”" in table.notes[1]


def test_a_made_up_name_is_new(read):
    assert list(read("a,a (3),a\n1,2,3\n").frame) == ["a", "a (3)", "a (3)*"]


def test_a_cell_of_megabytes_is_read(read):
    frame = read("a,b\n" + "x" * 3_000_000 + ",1\n").frame
    assert len(frame["a"].iloc[0]) == 3_000_000
    assert csv.field_size_limit() < 3_000_000  # the limit of the process is as before


BAD_FILES = {
    "no bytes": (b"", "empty (0 bytes)"),
    "a header alone": (b"a,b\n", "no rows"),
    "no header": (b"\n,\n1,2\n", "no header"),
    "a quote that is not closed": (b'a,b\n1,2\n"x,3\n4,5\n', "Line 3 of"),
    "text after a quote": (b'a,b\n1,2\n"x"y,3\n', "Line 3 of"),
    "a short row": (b"a,b\n1,2\n3\n", "Line 3 of .* has 1 cells, the header has 2"),
    "a long row": (b"a,b\n1,2,3\n", "Line 2 of .* has 3 cells, the header has 2"),
    "a long row after two lines": (b'a,b\n"x\ny",2\n1,2,3\n', "Line 4 of"),
    "two encodings": (
        "a,b\né,1\n".encode() + "é,2\n".encode("cp1252"),
        "Line 3 .* --encoding cp1252",
    ),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), "--encoding utf-16"),
    "a Parquet file": (b"PAR1xxxx", "name end with .parquet"),
    "gzip": (b"\x1f\x8b\x08\x00", "compressed"),
    "100,000 columns": (b",".join([b"a"] * 100_000) + b"\n", "100,000 columns"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_gets_one_line_that_names_the_place(read, name):
    content, message = BAD_FILES[name]
    with pytest.raises(InputError, match=message.replace("(", r"\(").replace(")", r"\)")) as error:
        read(content)
    assert "\n" not in str(error.value)


def test_a_workbook_is_no_table(read):
    workbook = io.BytesIO()
    with zipfile.ZipFile(workbook, "w") as archive:
        archive.writestr("xl/workbook.xml", "")
    with pytest.raises(InputError, match="Save the table as CSV"):
        read(workbook.getvalue())


@pytest.mark.parametrize("encoding", ["utf-99", "rot13"])
def test_an_unknown_encoding_is_named(read, encoding):
    with pytest.raises(InputError, match=encoding):
        read("a,b\n1,2\n", encoding=encoding)


def test_a_folder_is_no_table(tmp_path):
    with pytest.raises(InputError, match="--layout folders"):
        read_table(tmp_path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.csv does not exist"):
        read_table(tmp_path / "nowhere.csv")


def test_a_parquet_file_keeps_its_types(tmp_path):
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [True, False]}, index=[7, 8])
    frame.to_parquet(tmp_path / "data.parquet")
    table = read_table(tmp_path / "data.parquet")
    assert table.frame["a"].dtype == np.int64
    assert table.frame["c"].dtype == bool
    assert table.frame["b"].isna().tolist() == [False, True]
    assert table.frame.index.tolist() == [1, 2]  # a Parquet file has no line of names


def test_a_parquet_file_that_is_cut_is_named(read):
    with pytest.raises(InputError, match="no Parquet file"):
        read(b"PAR1" + b"\0" * 50, name="data.parquet")


def test_written_cells_come_back_and_formulas_have_an_apostrophe(tmp_path):
    frame = pd.DataFrame({"=x": ["=1", "a\nb", None], "n": [-1.5, 2.0, np.nan]})
    path = tmp_path / "out.csv"
    assert write_csv(frame, path) == 1
    rows = list(csv.reader(path.open(newline="", encoding="utf-8")))
    assert rows == [["'=x", "n"], ["'=1", "-1.5"], ["a\nb", "2.0"], ["", ""]]
    assert write_csv(frame, path, raw=True) == 0
    assert path.read_text(encoding="utf-8").startswith("=x,n\n=1,")

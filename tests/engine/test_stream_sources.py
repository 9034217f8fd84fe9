"""Parquet files and data sets as users have them: what is read, refused and warned of."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import Dataset, Subset

from sknoisy._engine import parquet_rows
from sknoisy._engine.dataset_rows import DatasetRows
from sknoisy._engine.indexing import take_rows
from sknoisy._engine.parquet_rows import ParquetRows
from sknoisy._engine.stream_sources import as_stream
from sknoisy._engine.streams import StreamPart, warn_of_label_columns
from sknoisy._engine.validation import check_X
from sknoisy.base import NetworkClassifier

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def write(path, columns):
    parquet.write_table(pa.table(columns), path)
    return path


# --- columns of a file --------------------------------------------------------------------------


def test_the_index_of_a_frame_is_no_column(tmp_path):
    path, index = tmp_path / "X.parquet", [f"row {i}" for i in range(6)]
    frame = pd.DataFrame({"a": np.arange(6.0), "b": np.ones(6)}, index=index)
    frame.to_parquet(path)
    rows = ParquetRows(path)
    assert rows.names == ["a", "b"]
    np.testing.assert_array_equal(rows[:], frame.to_numpy())
    clf = NetworkClassifier(max_epochs=1).fit(path, [0, 1] * 3)
    assert clf.feature_names_in_.tolist() == ["a", "b"]


LABELS = np.arange(600) // 6 % 3


@pytest.mark.parametrize(
    ("column", "is_warned_of"),
    [
        (LABELS, True),
        (LABELS + 0.5, True),
        (np.array([7, 3, 5])[LABELS], True),
        (LABELS == 1, False),
        (np.where(np.arange(600) == 4, 1, LABELS), False),
        (np.arange(600), False),
        (np.zeros(600), False),
    ],
)
def test_a_column_of_the_labels_is_warned_of(column, is_warned_of, tmp_path):
    path = write(tmp_path / "X.parquet", {"a": np.arange(600) % 7, "label": column})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_label_columns(as_stream(path), LABELS)
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == is_warned_of
    assert all("Column 'label' of X holds the labels" in message for message in messages)


def test_labels_that_mean_nothing_are_not_compared_with_columns(tmp_path):
    path = write(tmp_path / "X.parquet", {"label": LABELS})
    unlabeled = np.arange(600) % 2 == 0
    labels = np.where(unlabeled, 0, LABELS)
    with pytest.warns(UserWarning, match="holds the labels"):
        warn_of_label_columns(as_stream(path), labels, unlabeled)


def test_fit_warns_of_a_column_of_the_labels(tmp_path):
    path = write(tmp_path / "X.parquet", {"a": np.arange(600) % 7, "label": LABELS})
    with pytest.warns(UserWarning, match="Column 'label' of X holds the labels"):
        NetworkClassifier(max_epochs=1).fit(path, np.array(["u", "v", "w"])[LABELS])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (lambda: pa.array([b"1"] * 4, pa.large_binary()), "text"),
        (lambda: pa.array([b"1"] * 4, pa.binary(1)), "text"),
        (lambda: pa.array([[1.0]] * 4, pa.list_(pa.float32(), 1)), "nested values"),
        (lambda: pa.array([[1.0]] * 4, pa.large_list(pa.float32())), "nested values"),
        (lambda: pa.array([[("a", 1.0)]] * 4, pa.map_(pa.string(), pa.float32())), "nested"),
    ],
)
@pytest.mark.parametrize("is_file", [True, False])
def test_no_type_of_arrow_is_taken_for_numbers(values, kind, is_file, tmp_path):
    X = pa.table({"a": [1.0] * 4, "b": values()})
    if is_file:
        X = write(tmp_path / "X.parquet", {"a": X["a"], "b": X["b"]})
    with pytest.raises(ValueError, match=f"X holds {kind}.* in column 'b'"):
        NetworkClassifier().fit(X, [0, 1] * 2)


def test_a_name_of_several_columns_is_refused(tmp_path):
    path = tmp_path / "X.parquet"
    parquet.write_table(pa.table([pa.array([1.0]), pa.array([2.0])], names=["a", "a"]), path)
    with pytest.raises(ValueError, match="several columns of the name 'a'"):
        ParquetRows(path)


def test_rows_without_values_are_refused(tmp_path):
    path = tmp_path / "X.parquet"
    parquet.write_table(pa.table({"a": [1.0]}).select([]), path)
    for X in (path, Rows(lambda number: np.ones(0)), Rows(lambda number: np.ones((2, 0)))):
        with pytest.raises(ValueError, match=r"Found array with 0 feature\(s\) in X"):
            check_X(NetworkClassifier(), X, reset=True, streams=True)


# --- paths --------------------------------------------------------------------------------------


def test_the_end_of_a_path_may_be_upper_case(tmp_path):
    assert len(as_stream(str(write(tmp_path / "X.PARQUET", {"a": [1.0, 2.0]})))) == 2


def test_paths_of_anything_but_one_file_are_refused(tmp_path):
    folder, junk = tmp_path / "all.parquet", tmp_path / "junk.parquet"
    folder.mkdir()
    junk.write_bytes(b"abc")
    with pytest.raises(ValueError, match=r"all\.parquet' is a folder\. Pass the path of one"):
        as_stream(folder)
    with pytest.raises(ValueError, match=r"junk\.parquet' is no Parquet file: "):
        as_stream(junk)
    for X in (tmp_path, tmp_path / "X.csv", "X.csv"):
        with pytest.raises(TypeError, match=r"Read the file first: .* ends in '\.parquet'"):
            check_X(NetworkClassifier(), X, reset=True, streams=True)


# --- rows of a data set -------------------------------------------------------------------------


class Rows(Dataset):
    """Rows that a function gives."""

    def __init__(self, row):
        self.row = row

    def __len__(self):
        return 9

    def __getitem__(self, number):
        return self.row(number)


@pytest.mark.parametrize(
    "row",
    [
        lambda number: [float(number), 2.0],
        lambda number: number,
        lambda number: {"x": np.ones(2)},
        lambda number: None,
        lambda number: "path",
        lambda number: ([{"a": 1}], 0),
        lambda number: np.ones(2) * 1j,
    ],
)
def test_rows_that_are_no_array_of_numbers_are_refused(row):
    with pytest.raises(TypeError, match=r"as x of row 0\. Return an array or a tensor"):
        DatasetRows(Rows(row))


@pytest.mark.parametrize(
    ("first", "others"),
    [
        (np.array([1, 2]), np.array([0.5, 2.5])),
        (np.array([1, 2], dtype=np.uint8), np.array([-1, 300])),
        (np.array([True, False]), np.array([1, 2])),
    ],
)
def test_values_that_the_type_of_the_first_row_does_not_hold_are_refused(first, others):
    rows = DatasetRows(Rows(lambda number: others if number else first))
    message = f"Row 1 of X holds {others.dtype}, but row 0 holds {first.dtype}"
    with pytest.raises(ValueError, match=message):
        rows[:]


@pytest.mark.parametrize(
    ("first", "others"),
    [
        (np.array([1.0, 2.0], dtype=np.float32), np.array([0.5, 0.25])),
        (np.array([1, 2]), np.array([1, 2], dtype=np.uint8)),
    ],
)
def test_rows_may_be_of_types_that_the_first_row_holds(first, others):
    rows = DatasetRows(Rows(lambda number: others if number else first))
    np.testing.assert_array_equal(rows[:2], [first, others])


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(2, requires_grad=True),
        torch.ones(2, dtype=torch.bfloat16),
        np.array([1, 1.0], dtype=object),
        ([1.0, 1.0], "y"),
    ],
)
def test_rows_of_any_kind_of_numbers_are_read(tensor):
    np.testing.assert_array_equal(DatasetRows(Rows(lambda number: tensor))[:], np.ones((9, 2)))


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (lambda: {}["x"], KeyError),
        (lambda: ([[1.0], [1.0, 2.0]], "y"), ValueError),  # a ragged list is no array
        (lambda: torch.ones(2).to_sparse(), TypeError),
    ],
)
def test_an_error_of_a_data_set_names_the_row(broken, error):
    rows = DatasetRows(Rows(lambda number: broken() if number == 7 else np.ones(2)))
    with pytest.raises(error) as caught:
        rows[:]
    assert caught.value.__notes__ == ["Row 7 of the data set X caused this error."]


class RowsAtOnce(Rows):
    """Rows that are given for a list of numbers; a single one has other values."""

    def __getitem__(self, number):
        return -super().__getitem__(number)

    def __getitems__(self, numbers):
        return [self.row(number) for number in numbers]


def test_rows_are_asked_for_at_once_where_the_data_set_can():
    rows = DatasetRows(RowsAtOnce(lambda number: torch.full((2,), number + 1.0)))
    np.testing.assert_array_equal(rows[np.array([2, 5])], [[3, 3], [6, 6]])


def test_an_error_of_rows_that_are_asked_for_at_once_names_their_range():
    rows = DatasetRows(RowsAtOnce(lambda number: {}["x"] if number == 7 else np.ones(2)))
    with pytest.raises(KeyError) as caught:
        rows[2:9]
    (note,) = caught.value.__notes__
    assert note == "__getitems__ of the data set X, for 7 rows from 2 to 8, caused this error."


def test_a_wrong_number_of_items_is_refused():
    class Short(RowsAtOnce):
        def __getitems__(self, numbers):
            return super().__getitems__(numbers)[1:]

    with pytest.raises(ValueError, match="returned 3 items for 4 rows from 0 to 3"):
        DatasetRows(Short(lambda number: np.ones(2)))[:4]


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_rows_that_are_stacked_pass_the_checks_of_single_rows(make):
    ragged = DatasetRows(Rows(lambda number: make([1.0] * (3 if number == 4 else 2))))
    with pytest.raises(ValueError, match=r"Row 4 of X has the shape \(3,\)"):
        ragged[:]
    mixed = DatasetRows(Rows(lambda number: make([0.5, 2.5] if number == 4 else [1, 2])))
    with pytest.raises(ValueError, match="Row 4 of X holds float"):
        mixed[:]
    all_other = DatasetRows(Rows(lambda number: make([0.5, 2.5] if number else [1, 2])))
    with pytest.raises(ValueError, match="Row 3 of X holds float"):
        all_other[3:5]
    images = DatasetRows(Rows(lambda number: make([[np.nan if number == 4 else 1.0]])))
    with pytest.raises(ValueError, match="Row 4 of X holds NaN or infinity"):
        images[:]


# --- rows that are selected ---------------------------------------------------------------------


def test_selected_rows_of_a_data_set_are_a_subset():
    part = take_rows(Rows(lambda number: np.full(2, number)), np.array([3, 5]))
    assert isinstance(part, Subset)
    np.testing.assert_array_equal(DatasetRows(part)[:], [[3, 3], [5, 5]])


def test_selected_rows_of_a_file_are_read_when_they_are_needed(tmp_path):
    values = np.arange(600.0)
    path = tmp_path / "X.parquet"
    parquet.write_table(pa.table({"a": values, "b": -values}), path, row_group_size=50)
    rows = np.flatnonzero(np.arange(600) % 3 == 1)
    part = take_rows(as_stream(path), rows)
    assert isinstance(part, StreamPart)
    assert (part.shape, part.names) == ((200, 2), ["a", "b"])
    np.testing.assert_array_equal(part[5:9], np.c_[values, -values][rows[5:9]])
    np.testing.assert_array_equal(take_rows(part, np.array([0, 7]))[:], [[1, -1], [22, -22]])
    np.testing.assert_array_equal(np.asarray(part), np.c_[values, -values][rows])
    assert np.asarray(part, dtype=np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="not in memory"):
        np.array(part, copy=False)


def test_windows_of_selected_rows_are_those_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_rows, "_BLOCK_ROWS", 50)
    path = tmp_path / "X.parquet"
    parquet.write_table(pa.table({"a": np.arange(600.0)}), path, row_group_size=50)
    stream = ParquetRows(path)
    rows = np.flatnonzero((np.arange(600) < 20) | (np.arange(600) > 470))
    part = take_rows(stream, rows)
    assert part.windows.n_blocks == stream.windows.n_blocks
    assert part.windows.starts.tolist() == [0] + 9 * [20] + [49, 99, 149]
    order = part.windows.order(None, torch.Generator().manual_seed(0)).numpy()
    assert sorted(order) == list(range(len(rows)))

"""The command: what it prints and writes, and one line for each input that it cannot use."""

import csv
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hostile_tables import HOSTILE_CELLS, hostile_table, noisy_table

from sknoisy.audit.command import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder in which the command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def table(folder, global_random_seed):
    """The frame in ``data.csv`` and the true labels."""
    frame, truth = noisy_table(global_random_seed)
    frame.to_csv("data.csv", index=False)
    return frame, truth


def audit(*arguments, method="fast"):
    return main(["audit", *map(str, arguments), "--method", method])


def rows_of(path):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files():
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


def test_it_prints_five_lines_and_writes_a_report_and_a_list(table, capsys):
    frame, truth = table
    assert audit("data.csv", "--label", "kind") == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "Rows",
        "Classes",
        "Suspected",
        "Mixed up most",
        "Written",
    ]
    assert lines[0] == "Rows: 150"
    assert lines[1] == "Classes: 3"
    assert "Reading data.csv" in printed.err
    assert files() == ["data-audit/labels.csv", "data-audit/report.html", "data.csv"]
    rows = rows_of("data-audit/labels.csv")
    assert [row["given_label"] for row in rows] == frame["kind"].tolist()
    assert [int(row["row"]) for row in rows] == list(range(2, 152))
    flagged = np.array([row["flagged"] == "True" for row in rows])
    assert lines[2].startswith(f"Suspected: {flagged.sum()} labels")
    wrong = (frame["kind"] != truth).to_numpy()
    worst = np.argsort([float(row["score"]) for row in rows])[: wrong.sum()]
    assert wrong[worst].mean() > 0.8
    assert flagged[worst].all()


def test_the_input_stays_as_it_is_and_the_same_seed_gives_the_same_files(table):
    before = Path("data.csv").read_bytes()
    for name in ("one", "two"):
        assert audit("data.csv", "--label", "kind", "--out", name, "--seed", "5") == 0
    assert Path("one/labels.csv").read_bytes() == Path("two/labels.csv").read_bytes()
    assert audit("data.csv", "--label", "kind", "--csv", "3.csv", "--seed", "6") == 0
    assert Path("3.csv").read_bytes() != Path("one/labels.csv").read_bytes()
    assert Path("data.csv").read_bytes() == before


def test_cleaned_has_the_suggested_labels_in_the_suspected_rows(table):
    frame, truth = table
    assert audit("data.csv", "--label", "kind", "--out", "out", "--cleaned") == 0
    cleaned = pd.read_csv("out/cleaned.csv")
    rows = pd.read_csv("out/labels.csv")
    pd.testing.assert_frame_equal(cleaned.drop(columns="kind"), frame.drop(columns="kind"))
    expected = frame["kind"].where(~rows["flagged"], rows["suggested_label"])
    assert cleaned["kind"].tolist() == expected.tolist()
    assert (cleaned["kind"] == truth).mean() > (frame["kind"] == truth).mean()


def test_a_parquet_file_gives_the_same_audit(table):
    frame, _ = table
    frame.to_parquet("data.parquet")
    assert audit("data.csv", "--label", "kind", "--csv", "one.csv") == 0
    assert audit("data.parquet", "--label", "kind", "--out", "two", "--cleaned") == 0
    one, two = pd.read_csv("one.csv"), pd.read_csv("two/labels.csv")
    by_number = ["row", "duplicate_of", "reason"]  # a line of the file, which has a header or not
    pd.testing.assert_frame_equal(
        one.drop(columns=by_number), two[one.columns].drop(columns=by_number)
    )
    assert set(one["row"] - two["row"]) == {1}
    assert set((one["duplicate_of"] - two["duplicate_of"]).dropna()) <= {1}
    assert pd.read_parquet("two/cleaned.parquet").dtypes.equals(frame.dtypes)


def test_semicolons_and_decimal_commas_give_the_same_audit(table):
    frame, _ = table
    frame.to_csv("german.csv", index=False, sep=";", decimal=",")
    assert audit("data.csv", "--label", "kind", "--csv", "one.csv") == 0
    assert audit("german.csv", "--label", "kind", "--csv", "two.csv") == 0
    assert Path("one.csv").read_bytes() == Path("two.csv").read_bytes()


CODES = {"cat": 3, "dog": 5, "fish": 8}
TYPED_LABELS = {
    "int64": lambda kinds: kinds.map(CODES).astype("int64"),
    "bool": lambda kinds: kinds == "cat",
    "category of int64": lambda kinds: kinds.map(CODES).astype("category"),
    "int64 with gaps": lambda kinds: kinds.map(CODES).astype("Int64").mask(kinds.index < 5),
}


@pytest.mark.parametrize("name", TYPED_LABELS)
def test_labels_of_a_parquet_file_may_be_numbers_and_keep_their_type(table, name):
    frame, truth = table
    frame["kind"] = TYPED_LABELS[name](frame["kind"])
    frame.to_parquet("data.parquet")
    assert audit("data.parquet", "--label", "kind", "--out", "out", "--cleaned") == 0
    given = [row["given_label"] for row in rows_of("out/labels.csv")]
    assert given == ["" if pd.isna(label) else str(label) for label in frame["kind"]]
    cleaned = pd.read_parquet("out/cleaned.parquet")["kind"]
    right = TYPED_LABELS[name](pd.Series(truth))
    assert (cleaned == right).sum() > (frame["kind"] == right).sum()


def test_nested_labels_are_refused(table, capsys):
    frame, _ = table
    frame["kind"] = frame["kind"].map(lambda kind: [kind])
    frame.to_parquet("data.parquet")
    assert audit("data.parquet", "--label", "kind") == 2
    assert "'kind' holds nested values" in capsys.readouterr().err


def test_categories_that_no_row_has_are_no_labels(table, capsys):
    frame, _ = table
    frame["kind"] = pd.Categorical(["cat"] * len(frame), categories=["cat", "dog"])
    frame.to_parquet("data.parquet")
    assert audit("data.parquet", "--label", "kind") == 2
    assert "holds one label only, 'cat'" in capsys.readouterr().err


def test_rows_without_a_label_have_a_suggestion_and_no_flag(table, capsys):
    frame, _ = table
    frame.loc[[3, 8], "kind"] = ["", "?"]
    frame.to_csv("data.csv", index=False)
    assert audit("data.csv", "--label", "kind", "--missing", "?") == 0
    assert "Rows: 150, 2 of them without a label" in capsys.readouterr().out
    rows = rows_of("data-audit/labels.csv")
    assert [rows[place]["given_label"] for place in (3, 8)] == ["", ""]
    assert {rows[place]["flagged"] for place in (3, 8)} == {"False"}
    assert {rows[place]["suggested_label"] for place in (3, 8)} <= {"cat", "dog", "fish"}


def test_checked_labels_are_never_suspected(table):
    frame, truth = table
    wrong = np.flatnonzero(frame["kind"] != truth)[:3]
    frame["checked"] = "no"
    frame.loc[wrong, "checked"] = "yes"
    frame.to_csv("data.csv", index=False)
    assert audit("data.csv", "--label", "kind", "--clean-mask", "checked") == 0
    rows = rows_of("data-audit/labels.csv")
    assert {rows[place]["flagged"] for place in wrong} == {"False"}
    assert audit("data.csv", "--label", "kind", "--drop", "checked", "--out", "without") == 0
    rows = rows_of("without/labels.csv")
    assert {rows[place]["flagged"] for place in wrong} == {"True"}


def test_an_unclear_mark_of_checked_labels_is_named(table, capsys):
    frame, _ = table
    frame["checked"] = "no"
    frame.loc[4, "checked"] = "perhaps"
    frame.to_csv("data.csv", index=False)
    assert audit("data.csv", "--label", "kind", "--clean-mask", "checked") == 2
    assert "'perhaps' in row 6" in capsys.readouterr().err


def test_a_group_that_is_the_source_of_an_error_does_not_vouch_for_itself(table):
    """A group of equal rows with one wrong label is found only when it is judged by others."""
    frame, _ = table
    group = frame.iloc[:12].copy()
    group["length"] = 4.0 + np.arange(12) / 1000
    group["weight"] = 4.0 - np.arange(12) / 1000
    group["kind"] = "cat"  # 4.0 is the centre of the dogs
    frame["owner"] = [f"owner {row // 12}" for row in range(len(frame))]
    group["owner"] = "one owner"
    frame = pd.concat([frame, group])
    frame.to_csv("data.csv", index=False)
    found = []
    for name, option in [("with", "--group"), ("without", "--drop")]:
        assert audit("data.csv", "--label", "kind", option, "owner", "--out", name) == 0
        rows = rows_of(f"{name}/labels.csv")[-12:]
        found.append(sum(row["flagged"] == "True" for row in rows))
    assert found[0] == 12
    assert found[1] < 12


def test_several_annotators_are_reconciled(table):
    frame, truth = table
    frame["second"], frame["third"] = truth, truth
    frame.loc[:9, "third"] = ""
    frame.to_csv("data.csv", index=False)
    arguments = ("--annotators", "kind", "second", "third", "--out", "out", "--cleaned")
    assert audit("data.csv", *arguments) == 0
    cleaned = pd.read_csv("out/cleaned.csv")
    assert (cleaned["label"] == truth).mean() > 0.95
    report = Path("out/report.html").read_text(encoding="utf-8")
    section = report.split("Whose labels can be trusted")[1].split("</section>")[0]
    assert re.findall(r'data-head="Annotator"><bdi>(\w+)', section)[0] == "kind"  # worst first
    assert section.count(">140<") == 1
    assert "<dt><bdi>second</bdi></dt><dd><bdi>" in report
    assert (frame["kind"] == truth).mean() < 0.95


def test_hostile_cells_are_text_in_the_csv_files(folder, global_random_seed, capsys):
    hostile_table(global_random_seed).to_csv("data.csv", index=False)
    assert audit("data.csv", "--label", "kind", "--out", "out", "--cleaned") == 0
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert "\u202e" not in printed.out + printed.err
    with Path("out/cleaned.csv").open(newline="", encoding="utf-8") as file:
        cells = {cell for row in csv.reader(file) for cell in row}
    assert "'=1+1" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "@"))]
    assert {"'=1+1"} == {row["given_label"] for row in rows_of("out/labels.csv")} - {
        HOSTILE_CELLS[0],
        "\u202e</style>fish",
    }
    assert audit("data.csv", "--label", "kind", "--out", "raw", "--cleaned", "--raw") == 0
    before = pd.read_csv("data.csv").drop(columns="kind")
    pd.testing.assert_frame_equal(pd.read_csv("raw/cleaned.csv").drop(columns="kind"), before)


def test_no_values_leaves_row_numbers_and_labels(table):
    assert audit("data.csv", "--label", "kind", "--html", "with.html") == 0
    assert audit("data.csv", "--label", "kind", "--html", "without.html", "--no-values") == 0
    pages = [Path(name).read_text(encoding="utf-8") for name in ("with.html", "without.html")]
    assert ["colour" in page for page in pages] == [True, False]
    assert ["fish" in page for page in pages] == [True, True]


def test_top_is_the_number_of_rows_in_the_report(table):
    for top in (2, 5):
        path = Path(f"{top}.html")
        assert audit("data.csv", "--label", "kind", "--html", path, "--top", top) == 0
        table_of_rows = path.read_text(encoding="utf-8").split('class="cards"')[1]
        assert table_of_rows.split("</table>")[0].count("<tr>") == top + 1


def labels_only(values):
    """A table with these labels."""
    n_rows = len(values)
    frame = pd.DataFrame({"length": np.arange(n_rows) / 3, "kind": values})
    return frame.to_csv(index=False)


BAD_INPUTS = {
    "no such column": (labels_only(["a", "b"] * 20), ("--label", "kin"), "Did you mean 'kind'?"),
    "an empty label": (labels_only([""] * 40), (), "holds no label"),
    "one class": (labels_only(["a"] * 40), (), "one label only, 'a'"),
    "5,000 labels": (
        labels_only([f"k{row % 5000}" for row in range(20_000)]),
        (),
        "5,000 different values",
    ),
    "an identifier": (labels_only([f"k{row}" for row in range(100)]), (), "identifier"),
    "a measure": (labels_only([str(row / 7) for row in range(100)]), (), "to be predicted"),
    "a label named twice": ("kind,kind\na,b\nb,a\n", (), "two columns have this name"),
    "no column is left": (labels_only(["a", "b"] * 20), ("--drop", "length"), "No column"),
    "no label column": (labels_only(["a", "b"] * 20), ("--label", ""), "--annotators"),
    "an infinite number": ("length,kind\n" + "1,a\n2,b\ninf,a\n" * 9, (), "'length' holds inf"),
    "a broken quote": ('length,kind\n1,a\n"2,b\n', (), "Line 3"),
    "no bytes": ("", (), "0 bytes"),
    "a column named twice": (labels_only(["a", "b"] * 20), ("--group", "kind"), "named twice"),
    "one group": ("kind,group\n" + "a,1\nb,1\n" * 20, ("--group", "group"), "one group only"),
    "a checked row without a label": (
        "kind,checked\n" + "a,yes\nb,no\n" * 20 + ",yes\n",
        ("--clean-mask", "checked"),
        "label of row 42 was checked",
    ),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_an_input_that_cannot_be_used_gets_one_line_and_no_file(folder, capsys, name):
    content, arguments, message = BAD_INPUTS[name]
    Path("data.csv").write_text(content, encoding="utf-8")
    assert (
        audit("data.csv", *(("--label", "kind") if "--label" not in arguments else ()), *arguments)
        == 2
    )
    printed = capsys.readouterr()
    errors = [line for line in printed.err.splitlines() if line.startswith("sknoisy: error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert files() == ["data.csv"]


def test_a_name_with_a_terminal_escape_is_shown_as_code_points(folder, capsys):
    assert audit("\x1b[31m.csv", "--label", "kind") == 2
    assert "[U+001B][31m.csv does not exist" in capsys.readouterr().err


def test_outputs_are_refused_before_the_work(table, capsys):
    assert audit("data.csv", "--label", "kind", "--csv", "data.csv", "--force") == 2
    assert "is the input" in capsys.readouterr().err
    assert audit("data.csv", "--label", "kind", "--html", "a.html", "--csv", "a.html") == 2
    assert "two outputs" in capsys.readouterr().err
    assert audit("data.csv", "--label", "kind", "--html", "a.html", "--cleaned") == 2
    assert "--out" in capsys.readouterr().err
    Path("a.html").write_text("mine", encoding="utf-8")
    assert audit("data.csv", "--label", "kind", "--html", "a.html") == 2
    assert "--force" in capsys.readouterr().err
    assert Path("a.html").read_text(encoding="utf-8") == "mine"
    assert audit("data.csv", "--label", "kind", "--html", "a.html", "--force") == 0
    assert Path("a.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@contextmanager
def small_files(n_bytes):
    """Let no file of the process grow beyond a size, as on a disk that is nearly full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_leaves_nothing_half_written(table, capsys):
    with small_files(2_000):
        code = audit("data.csv", "--label", "kind", "--out", "out")
    assert code == 2
    assert "cannot be written" in capsys.readouterr().err
    assert files() == ["data.csv"]
    assert not Path("out").exists()


@contextmanager
def without_rights():
    """Be a user without rights; only the superuser needs to change for that."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_files_without_rights_are_named(capsys):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "data.csv").write_text(labels_only(["a", "b"] * 20), encoding="utf-8")
        (folder / "closed").mkdir(mode=0o555)
        (folder / "data.csv").chmod(0o000)
        with without_rights():
            out = folder / "closed" / "out"
            assert audit(folder / "data.csv", "--label", "kind", "--out", out) == 2
            assert "may not be written to" in capsys.readouterr().err
        (folder / "open").mkdir()
        (folder / "open").chmod(0o777)
        with without_rights():
            out = folder / "open" / "out"
            assert audit(folder / "data.csv", "--label", "kind", "--out", out) == 2
            assert "may not be read: no rights" in capsys.readouterr().err
        assert list((folder / "open").iterdir()) == []


def test_ctrl_c_ends_with_130_and_writes_nothing(folder, global_random_seed):
    """As a process of its own, interrupted while networks train."""
    noisy_table(global_random_seed, n_rows=3_000)[0].to_csv("data.csv", index=False)
    command = [sys.executable, "-m", "sknoisy", "audit", "data.csv", "--label", "kind"]
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": path}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    for line in process.stderr:
        if line.startswith("Judging"):
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted. Nothing was written." in errors
    assert "Traceback" not in errors
    assert files() == ["data.csv"]


def test_help_and_errors_do_not_wait_for_torch(folder):
    Path("data.csv").write_text(labels_only(["a", "b"] * 20), encoding="utf-8")
    script = (
        "import sys; from sknoisy.audit.command import main; "
        "print(main(['audit', 'data.csv', '--label', 'kin']), 'torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "2 False"
    assert "Did you mean 'kind'?" in done.stderr


def test_wrong_arguments_end_with_2(folder, capsys):
    for arguments in (["--top", "0"], ["--seed", "-1"], ["--method", "best"]):
        with pytest.raises(SystemExit) as ended:
            main(["audit", "data.csv", "--label", "kind", *arguments])
        assert ended.value.code == 2
    assert "invalid" in capsys.readouterr().err

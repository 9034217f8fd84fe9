"""LabelAudit: frames, files and words."""

import csv

import numpy as np
import pandas as pd
import pytest

from sknoisy import audit_labels


@pytest.fixture
def hostile(global_random_seed):
    """An audit of 40 rows whose labels and index are formulas to a spreadsheet."""
    rng = np.random.default_rng(global_random_seed)
    truth = np.arange(40) % 2
    proba = 0.1 * rng.random((40, 1)) + 0.05
    proba = np.where(np.eye(2)[truth] == 1, 1 - proba, proba)
    y = np.array(["+1 apple", "=cmd()"])[np.where(np.arange(40) < 4, 1 - truth, truth)]
    index = [f"@row {i}" for i in range(40)]
    X = rng.integers(-9, 9, size=(40, 2))
    return audit_labels(pd.DataFrame(X, index=index), y, proba=proba)


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_formulas_are_text_in_the_csv_file(hostile, tmp_path):
    hostile.to_csv(tmp_path / "audit.csv")
    rows = read(tmp_path / "audit.csv")
    assert list(rows[0]) == list(hostile.to_dict())
    assert {row["given_label"] for row in rows} == {"'=cmd()", "'+1 apple"}
    assert rows[3]["index"] == "'@row 3"
    np.testing.assert_array_equal([float(row["score"]) for row in rows], hostile.score)
    assert [row["flagged"] for row in rows] == [str(flag) for flag in hostile.flagged.tolist()]
    hostile.to_csv(tmp_path / "raw.csv", raw=True)
    assert {row["given_label"] for row in read(tmp_path / "raw.csv")} == {"=cmd()", "+1 apple"}


def test_missing_values_are_empty_cells(tmp_path):
    y = [None, *["a", "b"] * 10]
    proba = np.tile([[0.6, 0.4], [0.4, 0.6], [0.4, 0.6]], (7, 1))
    audit_labels(None, y, proba=proba).to_csv(tmp_path / "audit.csv")
    first = read(tmp_path / "audit.csv")[0]
    assert first["given_label"] == first["score"] == first["outlier_score"] == ""
    assert first["duplicate_of"] == ""
    assert first["reason"] == "No label."


def test_files_appear_whole_and_links_are_refused(hostile, tmp_path):
    target = tmp_path / "audit.csv"
    target.write_text("old")
    hostile.to_csv(target)
    assert len(read(target)) == 40
    (tmp_path / "link.csv").symlink_to(target)
    for path in (tmp_path / "link.csv", tmp_path):
        with pytest.raises(ValueError, match=r"is a (link|folder)"):
            hostile.to_csv(path)
    assert {path.name for path in tmp_path.iterdir()} == {"audit.csv", "link.csv"}


def test_html_is_one_file(hostile, tmp_path):
    hostile.to_html(tmp_path / "audit.html", title="<b>")
    page = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "<b></bdi>" not in page
    assert "=cmd()" in page


def test_suspects_are_sorted_and_cut(hostile):
    suspects = hostile.suspects()
    assert sorted(suspects) == [0, 1, 2, 3]
    assert (np.diff(hostile.score[suspects]) >= 0).all()
    np.testing.assert_array_equal(hostile.suspects(2), suspects[:2])
    assert repr(hostile) == "<LabelAudit of 40 rows: 4 suspects>"
    assert len(hostile) == 40


def test_the_transition_matrix_has_the_true_classes_in_its_rows(hostile):
    """4 of 40 labels are exchanged, two of each class."""
    np.testing.assert_allclose(hostile.transition, [[0.9, 0.1], [0.1, 0.9]])


def test_the_summary_counts(hostile):
    lines = hostile.summary().splitlines()
    assert lines[0] == "40 rows, 40 labels of 2 classes."
    assert "4 rows are flagged" in lines[1]
    assert "should perhaps be" in lines[2]
    assert lines[-1] == "Judged by the given probabilities."

"""benchmarks/gpu.py: its files, its clock, and the lines that run without a GPU."""

import csv
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import gpu

SMALL = gpu.Sizes(8, 2, 1, "small", 40, 20, 2)


@pytest.fixture
def results(tmp_path):
    return gpu.Results(tmp_path / "gpu.csv", "a machine")


def test_each_result_is_in_both_files_at_once(results):
    for speed in (123.456, 2048.6):
        results.add("steps", "bare loop", precision="float32", images_per_second=speed)
        with results.path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        table = results.path.with_suffix(".md").read_text().splitlines()
        assert rows == results.rows
        assert len(table) == 2 + 2 + len(rows)
    assert [row["images_per_second"] for row in rows] == ["123.5", "2049"]
    assert gpu.speeds_of(results) == {"bare loop": 2049.0}


def test_steps_are_timed_and_profiled(results, monkeypatch):
    monkeypatch.setattr(gpu, "METHODS", ("cross_entropy", "no_such_method"))
    monkeypatch.setattr(gpu, "PRECISIONS", ("float32",))
    gpu.run_steps(results, "cpu", SMALL, gpu.Clock(5))
    bare, plain, missing = results.rows
    for row in (bare, plain):
        assert float(row["images_per_second"]) > 0
        assert float(row["waits_per_step"]) == 0
    assert missing["note"] == "not in this version"


def test_nothing_begins_when_the_time_is_over(results):
    gpu.run_steps(results, "cpu", SMALL, gpu.Clock(0))
    assert {row["note"] for row in results.rows} == {"no time left"}


def test_accuracy_is_recorded_against_seconds(results, monkeypatch):
    monkeypatch.setattr(gpu, "METHODS", ("cross_entropy",))
    args = gpu.parse(["--device", "cpu", "--smoke"])
    gpu.run_cifar(results, args, SMALL, gpu.Clock(0.5), {})
    assert [row["epoch"] for row in results.rows] == ["1", "2", "2"]
    seconds = [float(row["seconds"]) for row in results.rows]
    assert seconds == sorted(seconds)
    assert "final" in results.rows[-1]["note"]


def test_a_fit_whose_time_is_over_ends_with_what_it_learned(results, monkeypatch):
    monkeypatch.setattr(gpu, "METHODS", ("cross_entropy",))
    args = gpu.parse(["--device", "cpu", "--smoke"])
    gpu.run_cifar(results, args, SMALL, gpu.Clock(0), {})
    assert results.rows[-1]["epoch"] == "1"
    assert 0 <= float(results.rows[-1]["accuracy"]) <= 1

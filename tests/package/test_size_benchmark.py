"""benchmarks/size.py: its problems, classes of size, gains and bars."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import size


def line(method, accuracy, *, data="a23", noise="symmetric 40", seed=0):
    found = {"data": data, "noise": noise, "method": method, "seed": seed, "accuracy": accuracy}
    return {**found, "n_rows": 10_000, "n_features": 50, "n_classes": 20}


@pytest.mark.parametrize("name", [n for n, made in size.MADE.items() if made.n_rows <= 2000])
def test_made_problem_has_the_size_of_its_name(name):
    wanted = size.MADE[name]
    described = size.made(wanted, "symmetric 40", 0).describe()
    found = [described[key] for key in ("n_rows", "n_features", "n_classes")]
    assert found == list(wanted[:3])
    assert described["noise_rate"] == pytest.approx(0.4, abs=0.08)


def test_problems_span_the_sizes_of_the_bars():
    columns = np.array([made[:3] for made in size.MADE.values()])
    assert columns.min(axis=0).tolist() == [300, 5, 2]
    assert columns.max(axis=0).tolist() == [50_000, 300, 50]


def test_size_classes_have_their_upper_limit():
    assert size.size_class({"n_rows": 1000}, "n_rows") == "up to 1,000 rows"
    assert size.size_class({"n_rows": 1001}, "n_rows") == "up to 5,000 rows"


def test_gain_is_that_over_cross_entropy_on_the_same_problem():
    rows = [
        line(size.CROSS_ENTROPY_LAST, 0.5),
        line(size.CROSS_ENTROPY_LAST, 0.9, seed=1),
        line(size.CLID_MU, 0.6),
        line(size.CLID_MU, 0.7, seed=2),  # without a fit to compare with
    ]
    assert [points for _, points in size.gains(rows, size.CLID_MU)] == pytest.approx([10])


def test_a_loss_of_more_than_a_point_is_marked():
    rows = [line(size.CROSS_ENTROPY_LAST, 0.5), line("L2R", 0.48), line("MLC", 0.495)]
    table = size.table_of_classes(rows)
    assert "-2.0 **(1)" in table
    assert "-0.5 (1)" in table


@pytest.mark.parametrize(("accuracy", "verdict"), [(0.511, "yes"), (0.509, "no")])
def test_bar_of_clid_mu_is_one_point(accuracy, verdict):
    rows = [line(size.CROSS_ENTROPY_LAST, 0.5), line(size.CLID_MU, accuracy)]
    assert verdict in size.table_of_bars(rows).splitlines()[-1]


def test_clean_labels_do_not_count_for_the_bar():
    rows = [
        line(m, a, noise=noise)
        for noise, gain in (("clean", -0.2), ("symmetric 40", 0.02))
        for m, a in ((size.CROSS_ENTROPY_LAST, 0.5), (size.CLID_MU, 0.5 + gain))
    ]
    assert "yes" in size.table_of_bars(rows).splitlines()[-1]


def test_quick_plan_has_small_problems_and_one_seed():
    args = size.parse(["--quick"])
    cells = size.plan(args, size.Sources())
    assert {cell["seed"] for cell in cells} == {0}
    assert all(size.MADE[c["data"]].n_rows <= 2000 for c in cells if c["data"] in size.MADE)
    assert {cell["method"] for cell in cells} == set(size.METHOD_NAMES)


def test_fit_gives_a_line_of_the_file():
    cell = {"data": "300 x 5", "noise": "clean", "method": size.CROSS_ENTROPY_LAST, "seed": 0}
    row = size.fit_cell(**cell, sources=size.Sources())
    assert row["n_rows"] == 300
    assert 0.5 < row["accuracy"] <= 1

"""Defaults by the size of the data: every method against cross-entropy, in classes of size.

    python benchmarks/size.py --tables tables.npz --n-jobs 2
    python benchmarks/size.py --quick
    python benchmarks/size.py --only a23 --methods CLID-MU --seeds 1

Made problems (scikit-learn's make_classification, two clusters per class) have 300 to 50,000
training rows, 5 to 300 columns and 2 to 50 classes; those named a23 are the case of many rows and
many classes, with 30 epochs. The real ones are those of accuracy.py: digits and, with --tables,
half of each table, 2,000 rows at most. Labels are clean or wrong by 20 and 40 % of symmetric
noise. Each seed draws problem or split, noise, and the random state of the methods, which have
their default parameters.

Bars: the mean of no method in any class of size is more than a point below that of cross-entropy,
and CLID-MU on the a23 problems with noise is at least a point above it. Each fit is a line of
--csv as soon as it is done, and the same command continues a run that was broken off.

--quick has the small problems with 40 % noise and one seed.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _accuracy_data import CLEAN, Problem, Sources, corrupt, load
from _accuracy_methods import BEST, CROSS_ENTROPY_LAST, METHODS
from _common import Row, command_line, machine, markdown, report, run_cells
from accuracy import score
from sklearn.datasets import make_classification

MAX_TEST_ROWS = 10_000
MAX_LOSS = MIN_GAIN = 1.0  # points
NOISES = (CLEAN, "symmetric 20", "symmetric 40")
CLID_MU = "CLID-MU"
METHOD_NAMES = [
    name
    for name, method in METHODS.items()
    if name == CROSS_ENTROPY_LAST or (method.kind == "classifier" and name != BEST)
]


class Size(NamedTuple):
    """Rows for training, columns, classes, and epochs (None: the default) of a made problem."""

    n_rows: int
    n_columns: int
    n_classes: int
    max_epochs: int | None = None


MADE = {
    "300 x 5": Size(300, 5, 2),
    "300 x 50": Size(300, 50, 5),
    "1,000 x 300": Size(1000, 300, 5),
    "2,000 x 20": Size(2000, 20, 10),
    "2,000 x 300": Size(2000, 300, 2),
    "5,000 x 50": Size(5000, 50, 50),
    "10,000 x 5": Size(10_000, 5, 2),
    "20,000 x 300": Size(20_000, 300, 10),
    "50,000 x 20": Size(50_000, 20, 5),
    "a23": Size(10_000, 50, 20, 30),
    "a23, 5 classes": Size(10_000, 50, 5, 30),
    "a23, 50 classes": Size(10_000, 50, 50, 30),
    "a23, 50,000 rows": Size(50_000, 50, 20, 30),
}
MAX_QUICK_ROWS = 2000

# Upper limits of the classes of size, by the columns of the results.
LIMITS = {
    "n_rows": (1000, 5000, 20_000, 50_000),
    "n_features": (20, 100, 300),
    "n_classes": (5, 20, 50),
}


# --- one fit --------------------------------------------------------------------------------


def made(size: Size, noise: str, seed: int) -> Problem:
    """Draw a made problem and corrupt its training labels."""
    n_columns, n_rows = size.n_columns, size.n_rows
    X, y = make_classification(
        n_rows + min(n_rows, MAX_TEST_ROWS),
        n_columns,
        n_informative=min(max(n_columns * 2 // 5, 5), 20),
        n_redundant=2 if n_columns > 7 else 0,
        n_classes=size.n_classes,
        n_clusters_per_class=2,
        class_sep=1.5,
        flip_y=0,
        random_state=seed,
    )
    clean, X_train = y[:n_rows], X[:n_rows]
    given = corrupt(X_train, clean, noise, seed)
    return Problem(X_train, given, clean, X[n_rows:], y[n_rows:])


def fit_cell(data: str, noise: str, method: str, seed: int, *, sources: Sources) -> Row:
    """Size of the problem, and the scores and seconds of one fit, as in accuracy.py."""
    estimator = METHODS[method].make(seed)
    if data in MADE:
        problem = made(MADE[data], noise, seed)
        if MADE[data].max_epochs is not None:
            estimator.set_params(max_epochs=MADE[data].max_epochs)
    else:
        problem = load(sources, data, noise, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {**problem.describe(), **score(estimator, problem)}


# --- the report -----------------------------------------------------------------------------


def gains(rows: list[Row], method: str) -> list[tuple[Row, float]]:
    """Each fit of a method with its points above cross-entropy on the same problem."""
    by_problem = {
        (r["data"], r["noise"], r["seed"]): r["accuracy"]
        for r in rows
        if r["method"] == CROSS_ENTROPY_LAST
    }
    return [
        (r, 100 * (r["accuracy"] - by_problem[key]))
        for r in rows
        if r["method"] == method and (key := (r["data"], r["noise"], r["seed"])) in by_problem
    ]


def size_class(row: Row, column: str) -> str:
    """Name of the class of size that a problem belongs to."""
    what = {"n_rows": "rows", "n_features": "columns", "n_classes": "classes"}[column]
    limit = next(limit for limit in LIMITS[column] if row[column] <= limit)
    return f"up to {limit:,} {what}"


def table_of_classes(rows: list[Row]) -> str:
    """Mean gain of each method in each class of size, with the number of fits."""
    methods = [m for m in METHOD_NAMES[1:] if gains(rows, m)]
    lines = []
    for column, limits in LIMITS.items():
        for name in (size_class({column: limit}, column) for limit in limits):
            line = [name]
            for method in methods:
                points = [p for row, p in gains(rows, method) if size_class(row, column) == name]
                missed = " **" if points and np.mean(points) < -MAX_LOSS else " "
                line.append(f"{np.mean(points):+.1f}{missed}({len(points)})" if points else "-")
            lines.append(line)
    return markdown(["size", *methods], lines)


def table_of_bars(rows: list[Row]) -> str:
    """Accuracy of cross-entropy and CLID-MU on the a23 problems, mean over seeds and noises."""
    lines = []
    for data in (name for name in MADE if name.startswith("a23")):
        found = [(r, p) for r, p in gains(rows, CLID_MU) if r["data"] == data]
        points = [p for r, p in found if r["noise"] != CLEAN]
        if points:
            verdict = "yes" if np.mean(points) >= MIN_GAIN else "no"
            lines.append([data, str(len(points)), f"{np.mean(points):+.1f}", verdict])
    return markdown(["problem", "fits", "points above cross-entropy", "reached"], lines)


# --- the command ----------------------------------------------------------------------------


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = command_line(__doc__, n_seeds=3)
    parser.set_defaults(csv=Path(__file__).parent / "size.local.csv")
    add = parser.add_argument
    add("--tables", type=Path, help="tables.npz or a file like it")
    add("--quick", action="store_true", help="small problems, 40 %% noise, one seed")
    add("--only", nargs="+", help="problems whose names begin so (all)")
    add("--noise", nargs="+", choices=NOISES, default=list(NOISES), help="(all)")
    add("--methods", nargs="+", choices=METHOD_NAMES, default=METHOD_NAMES, metavar="METHOD")
    args = parser.parse_args(arguments)
    if args.quick:
        args.seeds, args.noise = 1, [NOISES[-1]]
    return args


def plan(args: argparse.Namespace, sources: Sources) -> list[Row]:
    """Return the fits: cross-entropy and the methods, small problems first."""
    real = ["digits", *sources.table_names()]
    names = [*real, *sorted(MADE, key=lambda name: MADE[name].n_rows)]
    if args.quick:
        names = [n for n in names if n not in MADE or MADE[n].n_rows <= MAX_QUICK_ROWS]
    if args.only:
        names = [n for n in names if n.startswith(tuple(args.only))]
    methods = list(dict.fromkeys([CROSS_ENTROPY_LAST, *args.methods]))
    return [
        {"data": data, "noise": noise, "method": method, "seed": seed}
        for seed in range(args.seeds)
        for data in names
        for noise in args.noise
        for method in methods
    ]


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    sources: Any = Sources(tables=args.tables)
    cells = plan(args, sources)
    task = partial(fit_cell, sources=sources)
    try:
        rows = run_cells(task, cells, n_jobs=args.n_jobs, csv_path=args.csv)
    except KeyboardInterrupt:
        print(f"\nInterrupted. What is finished is in {args.csv}; the same command continues.")
        return 130
    print(machine())
    report("Points above cross-entropy, mean (fits); ** misses the bar", table_of_classes(rows))
    report("CLID-MU on the a23 problems with noise", table_of_bars(rows))
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())

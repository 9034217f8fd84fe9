"""Accuracy of every method on many data sets with many kinds of noise.

    python benchmarks/accuracy.py --tables tables.npz --cifar cifar10n.npz --n-jobs 2
    python benchmarks/accuracy.py --quick --tables tables.npz --n-jobs 2
    python benchmarks/accuracy.py --quick --tables tables.npz --n-jobs 2 --report

Data sets x noise x methods x seeds, all methods with their default parameters. Each fit is a line
of the CSV file as soon as it is done; the same command continues a run that was broken off. A fit
that fails is a line too, with the error: delete the line to have it tried again. With --report
nothing is fitted: the part of RESULTS.md between its two markers is written from the file.

Data sets: digits, breast cancer and wine of scikit-learn; three generated ones; every table of
--tables, which holds NAME_X (n, d) and NAME_y (n,) of each, clean labels; 5,000 images of --cifar
with human labels, in the format that examples/cifar10n.py describes. Half of the rows of a table,
2,000 at most, are training rows. Each seed draws the split, the noise and the random state of the
methods; for two classes, pairflip is symmetric noise at rates of its own. Symmetric noise leaves
out the true class, and instance-dependent noise reads standardised columns.

--quick is a choice of settings and one seed that ends within 20 minutes on 2 cores. All tables
take some hours there; the images, which have one seed unless told otherwise, are for a GPU.
Seconds are those of fit, one thread each.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _accuracy_data import CIFAR, Problem, Sources, load
from _accuracy_methods import METHODS
from _accuracy_report import section, write_section
from _common import Row, command_line, machine, numbers, read_csv, run_cells
from sklearn.metrics import balanced_accuracy_score
from threadpoolctl import threadpool_limits

from sknoisy.exceptions import InterruptedFitWarning

HERE = Path(__file__).parent
N_SEEDS = 3
N_CIFAR_SEEDS = 1
QUICK_DATA = ("digits", "breast_cancer", "wine", "vowel", "car", "dermatology", "imbalanced")
QUICK_NOISE = ("clean", "symmetric 35", "symmetric 40", "pairflip 40", "instance 40")
QUICK_SEEDS = 1
MAX_ERROR = 200  # characters


# --- one fit --------------------------------------------------------------------------------


def fit_cell(data: str, noise: str, method: str, seed: int, *, sources: Sources) -> Row:
    """Scores of one fit, or what went wrong.

    Parameters
    ----------
    data, noise, method : str
        Names.
    seed : int
        Draws split and noise, and is the method's random state.
    sources : Sources
        Where data sets are.

    Returns
    -------
    row : dict
        Size and noise of the problem; accuracy and balanced accuracy on clean test labels and
        seconds of fit (NaN if it failed); the error, empty if there was none.

    Raises
    ------
    KeyboardInterrupt
        Also where the estimator would have gone on with what it had learned so far.
    """
    problem = load(sources, data, noise, seed)
    scores, error = {"accuracy": np.nan, "balanced_accuracy": np.nan, "seconds": np.nan}, ""
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", InterruptedFitWarning)
        try:
            scores = score(METHODS[method].make(seed), problem)
        except InterruptedFitWarning:
            raise KeyboardInterrupt from None
        except Exception as caught:
            error = " ".join(f"{type(caught).__name__}: {caught}".split())[:MAX_ERROR]
    return {**problem.describe(), **scores, "error": error}


def score(estimator: Any, problem: Problem) -> dict[str, float]:
    """Fit on the noisy labels, predict the test rows."""
    start = time.perf_counter()
    estimator.fit(problem.X, problem.y)
    seconds = time.perf_counter() - start
    said = estimator.predict(problem.X_test)
    return {
        "accuracy": float(np.mean(said == problem.y_test)),
        "balanced_accuracy": float(balanced_accuracy_score(problem.y_test, said)),
        "seconds": seconds,
    }


# --- which fits -----------------------------------------------------------------------------


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options; those that were not given have the values of the budget."""
    parser = command_line(__doc__, n_seeds=N_SEEDS)
    parser.set_defaults(csv=HERE / "accuracy.local.csv", seeds=None)
    add = parser.add_argument
    add("--tables", type=Path, help="tables.npz or a file like it")
    add("--cifar", type=Path, help="cifar10n.npz")
    add("--quick", action="store_true", help="under 20 minutes on 2 cores")
    add("--data", nargs="+", help="names of data sets (all at hand)")
    add("--noise", nargs="+", help='names, like "symmetric 40" (all of each data set)')
    add("--methods", nargs="+", choices=list(METHODS), metavar="METHOD", help="names (all)")
    add("--cifar-seeds", type=int, default=N_CIFAR_SEEDS, help="of the images (%(default)s)")
    add("--report", action="store_true", help="write the report, fit nothing")
    add("--results", type=Path, default=HERE / "RESULTS.md", help="where to (%(default)s)")
    args = parser.parse_args(arguments)
    if args.seeds is None:
        args.seeds = QUICK_SEEDS if args.quick else N_SEEDS
    if args.quick:
        args.data, args.noise = args.data or list(QUICK_DATA), args.noise or list(QUICK_NOISE)
    return args


def is_chosen(row: Row, args: argparse.Namespace) -> bool:
    """Whether the options ask for a fit."""
    n_seeds = min(args.seeds, args.cifar_seeds) if row["data"] == CIFAR else args.seeds
    chosen = {"data": args.data, "noise": args.noise, "method": args.methods}
    return row["seed"] < n_seeds and all(
        names is None or row[column] in names for column, names in chosen.items()
    )


def plan(args: argparse.Namespace, sources: Sources) -> list[Row]:
    """The fits in order: a seed goes through all settings before the next one begins."""
    settings = [(data, noise) for data in sources.names() for noise in sources.noises(data)]
    cells = [
        {"data": data, "noise": noise, "method": method, "seed": seed}
        for seed in range(args.seeds)
        for data, noise in settings
        for method, entry in METHODS.items()
        if entry.is_installed() and (entry.takes_images or data != CIFAR)
    ]
    return [cell for cell in cells if is_chosen(cell, args)]


def find_sources(args: argparse.Namespace) -> Sources:
    """The files that are there; says what is left out."""
    found = {}
    for name in ("tables", "cifar"):
        path = getattr(args, name)
        found[name] = path.resolve() if path is not None and path.is_file() else None
        if found[name] is None:
            why = "not given" if path is None else f"{path} is no file"
            print(f"Left out: the data sets of --{name} ({why}).")
    for name, entry in METHODS.items():
        if not entry.is_installed():
            print(f"Left out: {name} (needs {entry.needs}).")
    return Sources(**found)


def check_names(args: argparse.Namespace, sources: Sources) -> None:
    """Say which names no data set or noise has, and stop if nothing is left."""
    data = sources.names()
    noises = dict.fromkeys(noise for name in data for noise in sources.noises(name))
    for option, chosen, known in (("--data", args.data, data), ("--noise", args.noise, noises)):
        if unknown := [name for name in chosen or [] if name not in known]:
            print(f"Left out: {unknown} of {option}; at hand are {list(known)}.")


# --- the command ----------------------------------------------------------------------------


def shown_command(arguments: list[str]) -> str:
    """The command without folders of this machine and without what only concerns the report."""
    words = iter(arguments)
    kept = []
    for word in words:
        option, _, value = word.partition("=")
        if option in ("--tables", "--cifar", "--csv", "--results"):
            name = Path(value or next(words)).name
            kept += [option, name] if option in ("--tables", "--cifar") else []
        elif option != "--report":
            kept.append(word)
    return shlex.join(["python", "benchmarks/accuracy.py", *kept])


def write_report(args: argparse.Namespace, command: str) -> int:
    """The report on those lines of the file that the options choose."""
    saved = [numbers(row) for row in read_csv(args.csv)] if args.csv.exists() else []
    rows = [row for row in saved if is_chosen(row, args)]
    if not rows:
        print(f"{args.csv} has no fit of these options; run the command without --report first.")
        return 2
    write_section(args.results, section(rows, command, machine()))
    print(f"Written into {args.results}.")
    return 0


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    args = parse(arguments)
    command = shown_command(arguments)
    if args.report:
        return write_report(args, command)
    sources = find_sources(args)
    check_names(args, sources)
    cells = plan(args, sources)
    if not cells:
        print("Nothing is left to fit.")
        return 2
    task = partial(fit_cell, sources=sources)
    try:
        rows = run_cells(task, cells, n_jobs=args.n_jobs, csv_path=args.csv)
    except KeyboardInterrupt:
        print(f"\nInterrupted. What is finished is in {args.csv}; the same command continues.")
        return 130
    print(section(rows, command, machine()))
    return 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())

"""Latency of a fitted classifier: one row, many rows, and several threads at a time.

    python benchmarks/serving.py
    python benchmarks/serving.py --before CHECKOUT   # and the ratio to another commit

Classifiers of one and of several members, both around the default MLP on a table of 50 columns,
are fitted once in each of several processes. The table shows, for requests of one kind, the median
time in the process where it was shortest: the others had to share the machine. In the rows with
threads, all threads send requests of one row at once, and the time of all requests is divided by
their number.

With `--before`, processes that import the package of another checkout take turns with the others.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from _common import machine, markdown, report

import sknoisy
from sknoisy import CLIDMUClassifier

N_COLUMNS, N_CLASSES, N_TRAIN = 50, 10, 2000
MEMBERS = {"one member": 0, "five members": 5}  # n_ensemble

Seconds = dict[str, float]


def fitted(n_ensemble: int) -> CLIDMUClassifier:
    """A classifier whose training is short: its length makes no difference to predicting."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_TRAIN, N_COLUMNS))
    y = rng.integers(N_CLASSES, size=N_TRAIN)
    return CLIDMUClassifier(
        max_epochs=8, n_warmup_epochs=1, n_ensemble=n_ensemble, device="cpu", random_state=0
    ).fit(X, y)


def median_seconds(call: Callable[[], object], n_calls: int) -> float:
    """Median time of a call; the first ones, which pay for allocations, are not counted."""
    times = []
    for _ in range(n_calls + 3):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times[3:]))


def seconds_of_threads(call: Callable[[], object], n_calls: int, n_threads: int) -> float:
    """Time of all calls, made by all threads at once, over the number of calls."""
    with ThreadPoolExecutor(n_threads) as pool:
        start = time.perf_counter()
        for done in [pool.submit(call) for _ in range(n_calls)]:
            done.result()
        return (time.perf_counter() - start) / n_calls


def measure(n_calls: int, n_threads: int) -> Seconds:
    """Seconds of each kind of request."""
    found: Seconds = {}
    rng = np.random.default_rng(1)
    one, many = rng.normal(size=(1, N_COLUMNS)), rng.normal(size=(1000, N_COLUMNS))
    for members, n_ensemble in MEMBERS.items():
        clf = fitted(n_ensemble)
        for method in (clf.predict_proba, clf.features):
            for size, X in (("1 row", one), ("1,000 rows", many)):
                name = f"{method.__name__}, {members}, {size}"
                found[name] = median_seconds(lambda m=method, X=X: m(X), n_calls)
        name = f"predict_proba, {members}, 1 row, {n_threads} threads"
        found[name] = seconds_of_threads(lambda c=clf: c.predict_proba(one), n_calls, n_threads)
    return found


def in_a_process(checkout: Path, n_calls: int, n_threads: int) -> Seconds:
    """The same, measured in a new process that imports the package of a checkout."""
    command = [sys.executable, __file__, "--json", f"--calls={n_calls}", f"--threads={n_threads}"]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=300, help="requests of a kind (%(default)s)")
    parser.add_argument("--threads", type=int, default=8, help="(%(default)s)")
    parser.add_argument("--before", type=Path, help="checkout of the commit to compare with")
    parser.add_argument("--repetitions", type=int, default=5, help="turns (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print seconds as JSON, and no table")
    args = parser.parse_args()
    if args.json:
        print(json.dumps(measure(args.calls, args.threads)))
        return

    here = Path(sknoisy.__file__).parents[1]
    checkouts = {"before": args.before, "now": here} if args.before else {"now": here}
    turns: dict[str, list[Seconds]] = {name: [] for name in checkouts}
    for _ in range(args.repetitions):
        for name, checkout in checkouts.items():
            turns[name].append(in_a_process(checkout, args.calls, args.threads))
    kinds = list(turns["now"][0])
    medians = {
        name: {kind: min(turn[kind] for turn in of_name) for kind in kinds}
        for name, of_name in turns.items()
    }
    lines = [
        [kind]
        + [f"{1e3 * of_name[kind]:.2f}" for of_name in medians.values()]
        + ([f"{medians['now'][kind] / medians['before'][kind]:.2f}"] if args.before else [])
        for kind in kinds
    ]
    print(f"{machine()}, {torch.get_num_threads()} torch threads")
    title = f"Milliseconds per request, MLP 128-128, {N_COLUMNS} columns, {N_CLASSES} classes"
    report(title, markdown(["", *checkouts, *(["ratio"] if args.before else [])], lines))


if __name__ == "__main__":
    main()

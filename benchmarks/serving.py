"""Size and latency of a fitted classifier: one row, many rows, several threads, and as ONNX.

    python benchmarks/serving.py
    python benchmarks/serving.py --before CHECKOUT   # and the ratio to another commit

Classifiers of one and of several members, both around the default MLP on a table of 50 columns,
are fitted once in each of several processes. The table shows, for requests of one kind, the least
CPU time of all of them, on one thread: what else the machine does can only make it longer. In the
rows with threads, all threads send requests of one row at once, and the wall time of all requests
is divided by their number. The rows "ONNX" are requests to onnxruntime, for the file of
`export_onnx`. The second table has the sizes of the files, the largest difference between
the probabilities of ONNX and of `predict_proba`, and the rows of 10,000 that get another class.

With `--before`, processes that import the package of another checkout take turns with the others.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

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
    network = {"module_params": {"hidden": (128, 128)}, "batch_size": 100}
    training = {"max_epochs": 8, "n_warmup_epochs": 1, "random_state": 0}
    return CLIDMUClassifier(n_ensemble=n_ensemble, device="cpu", **network, **training).fit(X, y)


def least_seconds(call: Callable[[], object], n_calls: int) -> float:
    """Least CPU time of a call."""
    times = []
    for _ in range(n_calls):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def seconds_of_threads(call: Callable[[], object], n_calls: int, n_threads: int) -> float:
    """Time of all calls, made by all threads at once, over the number of calls."""
    with ThreadPoolExecutor(n_threads) as pool:
        start = time.perf_counter()
        for done in [pool.submit(call) for _ in range(n_calls)]:
            done.result()
        return (time.perf_counter() - start) / n_calls


def session_of(path: Path) -> Any:
    """A session of onnxruntime with one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def drawn_rows() -> dict[str, np.ndarray]:
    """Rows of requests, by their number."""
    rng = np.random.default_rng(1)
    return {f"{n:,} row{'s' * (n > 1)}": rng.normal(size=(n, N_COLUMNS)) for n in (1, 10_000)}


def requests(clf: CLIDMUClassifier, X: np.ndarray) -> dict[str, Callable[[], object]]:
    """Requests of these rows, by name."""
    calls: dict[str, Callable[[], object]] = {
        "predict_proba": lambda: clf.predict_proba(X),
        "features": lambda: clf.features(X),
    }
    if hasattr(clf, "export_onnx"):
        with tempfile.TemporaryDirectory() as folder:
            clf.export_onnx(Path(folder, "classifier.onnx"))
            session = session_of(Path(folder, "classifier.onnx"))
        rows = {"X": X.astype(np.float32)}
        calls["ONNX"] = lambda: session.run(None, rows)
    return calls


def measure(n_calls: int, n_threads: int) -> Seconds:
    """Seconds of each kind of request."""
    torch.set_num_threads(1)
    found: Seconds = {}
    for members, n_ensemble in MEMBERS.items():
        clf = fitted(n_ensemble)
        for size, X in drawn_rows().items():
            for name, call in requests(clf, X).items():
                n = n_calls if len(X) == 1 else n_calls // 20 + 1
                found[f"{name}, {members}, {size}"] = least_seconds(call, n)
        call = requests(clf, drawn_rows()["1 row"])["predict_proba"]
        name = f"predict_proba, {members}, 1 row, {n_threads} threads"
        found[name] = seconds_of_threads(call, n_calls, n_threads)
    return found


def sizes() -> list[list[str]]:
    """Members, size of pickle and ONNX file in KB, and difference of the probabilities."""
    lines = []
    for members, n_ensemble in MEMBERS.items():
        clf = fitted(n_ensemble)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "classifier.onnx")
            clf.export_onnx(path)
            bytes_of = (len(pickle.dumps(clf)), path.stat().st_size)
            session = session_of(path)
        X = drawn_rows()["10,000 rows"].astype(np.float32)
        (proba,) = session.run(None, {"X": X})
        expected = clf.predict_proba(X)
        different = int((proba.argmax(axis=1) != expected.argmax(axis=1)).sum())
        difference = f"{np.abs(proba - expected).max():.0e}"
        lines.append(
            [members, *(f"{n / 1024:,.0f}" for n in bytes_of), difference, f"{different}"]
        )
    return lines


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
    least = {
        name: {kind: min(turn[kind] for turn in of_name) for kind in of_name[0]}
        for name, of_name in turns.items()
    }
    lines = [
        [kind]
        + [f"{1e3 * of_name[kind]:.2f}" if kind in of_name else "-" for of_name in least.values()]
        + [
            f"{least['now'][kind] / of_name[kind]:.2f}" if kind in of_name else "-"
            for name, of_name in least.items()
            if name == "before"
        ]
        for kind in kinds
    ]
    print(machine())
    title = f"Milliseconds per request, MLP 128-128, {N_COLUMNS} columns, {N_CLASSES} classes"
    report(title, markdown(["", *checkouts, *(["ratio"] if args.before else [])], lines))
    header = ["", "pickle, KB", "ONNX, KB", "difference", "other classes"]
    report("Files", markdown(header, sizes()))


if __name__ == "__main__":
    main()

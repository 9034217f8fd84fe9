"""Large tables: accuracy, CPU seconds and memory by the number of rows, and streamed rows.

    python benchmarks/large_data.py
    python benchmarks/large_data.py --rows 1000000 --stream-rows 2000000 --stream-epochs 2
    python benchmarks/large_data.py --rows 1000000 --methods NoisyLabelClassifier --stream-rows 0
    python benchmarks/large_data.py --rows --stream-rows 0 --select-rows 200000 1000000
    python benchmarks/large_data.py --rows --stream-rows 0 --purify-rows 100000 1000000

The problems are made: 50 columns, 20 classes of two clusters each, and 40 % symmetric noise.

First, CLID-MU and cross-entropy with their defaults, the same batches and epochs, and
NoisyLabelClassifier, on arrays in float32. Bars: a million rows end within 600 CPU seconds, those
of NoisyLabelClassifier within 900; memory is at most three times that of the rows, and both
methods are above cross-entropy.

Second, CLID-MU on the same rows as an array, a memory map, a Parquet file (row groups of 8,192)
and a data set that reads the memory map. Bars: memory above the idle process under 1 GiB for
2,000,000 rows, and rows per CPU second at least 0.7 of those of the array.

Third, on request, CleanSampleSelector on the same kinds of rows: two rounds with --select-epochs,
else its defaults. Bar: memory at most three times that of the rows.

Fourth, on request, LabelPurifier with its defaults, on the rows as an array, a memory map and a
Parquet file.

Each fit has a process of its own with one thread. Seconds are CPU seconds of the whole fit; rows
per second are those of the epochs after the warm-up. Memory is the peak of RssAnon (Linux only)
above its value before the fit, and includes the array itself where X is one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import torch
from _common import CROSS_ENTROPY, Row, machine, markdown, report
from pyarrow import parquet
from sklearn.datasets import make_classification
from skorch.callbacks import Callback
from torch.utils.data import Dataset

from sknoisy import CleanSampleSelector, CLIDMUClassifier, LabelPurifier, NoisyLabelClassifier
from sknoisy.noise import symmetric

N_COLUMNS, N_CLASSES, N_TEST = 50, 20, 10_000
METHODS: dict[str, tuple[type, dict[str, Any]]] = {
    "cross-entropy": (CLIDMUClassifier, CROSS_ENTROPY),
    "CLID-MU": (CLIDMUClassifier, {}),
    "NoisyLabelClassifier": (NoisyLabelClassifier, {}),
}
KINDS = ("array", "memory map", "Parquet", "Dataset")


# --- rows -----------------------------------------------------------------------------------


def write_problem(n_rows: int, folder: Path) -> None:
    """Write training rows as npy and Parquet, and labels and test rows as npz."""
    X, y = make_classification(
        n_rows + N_TEST,
        N_COLUMNS,
        n_informative=20,
        n_redundant=5,
        n_classes=N_CLASSES,
        n_clusters_per_class=2,
        class_sep=1.5,
        flip_y=0,
        random_state=0,
    )
    X = X.astype(np.float32)
    noisy = symmetric(y[:n_rows], 0.4, random_state=0).y
    np.save(folder / "X.npy", X[:n_rows])
    columns = {f"column {j}": X[:n_rows, j] for j in range(N_COLUMNS)}
    parquet.write_table(pyarrow.table(columns), folder / "X.parquet", row_group_size=8192)
    np.savez(folder / "y.npz", clean=y[:n_rows], noisy=noisy, X_test=X[n_rows:], y_test=y[n_rows:])


class MappedRows(Dataset):
    """A data set that reads rows of a file one by one."""

    def __init__(self, path: Path):
        self.X = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, number: int) -> torch.Tensor:
        return torch.from_numpy(np.array(self.X[number]))


def rows_of(kind: str, folder: Path) -> Any:
    """Training rows of a kind."""
    if kind == "array":
        return np.load(folder / "X.npy")
    if kind == "memory map":
        return np.load(folder / "X.npy", mmap_mode="r")
    return folder / "X.parquet" if kind == "Parquet" else MappedRows(folder / "X.npy")


# --- one fit --------------------------------------------------------------------------------


class Seconds(Callback):
    """CPU seconds at the ends of the epochs."""

    def on_train_begin(self, net, **kwargs):
        """Forget an earlier training."""
        self.ends = []

    def on_epoch_end(self, net, **kwargs):
        """Note the time."""
        self.ends.append(time.process_time())


def anonymous_bytes() -> float:
    """Memory of this process without mapped files."""
    status = Path("/proc/self/status")
    if not status.exists():
        return np.nan
    lines = status.read_text().splitlines()
    return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@contextmanager
def watched_memory(peak: list[float]):
    """Append the peak of the memory within the context, above its beginning."""
    start, done, seen = anonymous_bytes(), threading.Event(), [0.0]

    def watch() -> None:
        while not done.wait(0.05):
            seen.append(anonymous_bytes() - start)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        peak.append(max(seen))


def fit(kind: str, cls: type, params: dict[str, Any], folder: Path) -> Row:
    """Fit in this process; return accuracy, seconds and memory, and of a network its steps."""
    torch.set_num_threads(1)
    parts = np.load(folder / "y.npz")
    noisy, X_test, y_test = parts["noisy"], parts["X_test"], parts["y_test"]
    CLIDMUClassifier(max_epochs=2, n_warmup_epochs=1).fit(X_test[:500], y_test[:500])
    seconds, peak = Seconds(), []
    if cls is CLIDMUClassifier:
        params = {**params, "callbacks": [seconds]}
    clf = cls(**params, device="cpu", random_state=0)
    start = time.process_time()
    with watched_memory(peak):
        clf.fit(rows_of(kind, folder), noisy)
    row = {
        "seconds": time.process_time() - start,
        "accuracy": float((clf.predict(X_test) == y_test).mean()),
        "memory": peak[0],
        "steps": "-",
    }
    if cls is CLIDMUClassifier:
        n_plain = max(clf.n_warmup_epochs_, 1)
        row["rows_per_second"] = len(noisy) / np.diff(seconds.ends[n_plain - 1 :]).mean()
        row["steps"] = f"{clf.n_iter_} of {clf.batch_size_:,}"
    return row


def select(kind: str, params: dict[str, Any], folder: Path) -> Row:
    """Select in this process; return the selection, seconds and memory."""
    torch.set_num_threads(1)
    parts = np.load(folder / "y.npz")
    noisy, X, y = parts["noisy"], parts["X_test"][:500], parts["y_test"][:500]
    CleanSampleSelector(max_epochs=2, n_rounds=2, n_folds=0).fit(X, y)
    peak: list[float] = []
    selector = CleanSampleSelector(**params, device="cpu", random_state=0)
    start = time.process_time()
    with watched_memory(peak):
        rows = selector.select(rows_of(kind, folder), noisy)
    return {
        "selected": len(rows),
        "rounds": selector.n_iter_,
        "seconds": time.process_time() - start,
        "memory": peak[0],
        "digest": zlib.crc32(rows),
    }


def purify(kind: str, folder: Path) -> Row:
    """Purify labels in this process; return their accuracy, seconds and memory."""
    torch.set_num_threads(1)
    parts = np.load(folder / "y.npz")
    clean, noisy = parts["clean"], parts["noisy"]
    LabelPurifier(n_epochs=5).fit(parts["X_test"][:500], parts["y_test"][:500])
    peak: list[float] = []
    purifier = LabelPurifier(device="cpu", random_state=0)
    start = time.process_time()
    with watched_memory(peak):
        purifier.fit(rows_of(kind, folder), noisy)
    return {
        "given": float((noisy == clean).mean()),
        "purified": float((purifier.purified_labels_ == clean).mean()),
        "seconds": time.process_time() - start,
        "memory": peak[0],
    }


def fit_apart(*args: Any, of: Callable[..., Row] = fit) -> Row:
    """Call :func:`fit`, :func:`select` or :func:`purify` in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(of, args)


# --- the report -----------------------------------------------------------------------------


def compare_sizes(sizes: list[int], methods: list[str]) -> None:
    """Print accuracy, cost and memory by the number of rows."""
    lines = []
    for n_rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            write_problem(n_rows, Path(folder))
            rows = [fit_apart("array", *METHODS[name], Path(folder)) for name in methods]
        lines += [
            [
                f"{n_rows:,}",
                name,
                row["steps"],
                f"{row['accuracy']:.3f}",
                f"{row['seconds']:.0f}",
                f"{row['memory'] / (4 * n_rows * N_COLUMNS):.1f}",
            ]
            for name, row in zip(methods, rows, strict=True)
        ]
    header = ["rows", "method", "epochs, batch", "accuracy", "CPU s", "memory / rows"]
    report("Defaults by size", markdown(header, lines))


def compare_kinds(n_rows: int, n_epochs: int) -> None:
    """Print throughput and memory by the kind of X."""
    params = {"max_epochs": n_epochs + 1, "n_warmup_epochs": 1}
    with tempfile.TemporaryDirectory() as folder:
        write_problem(n_rows, Path(folder))
        rows = [fit_apart(kind, CLIDMUClassifier, params, Path(folder)) for kind in KINDS]
    lines = [
        [
            kind,
            f"{row['rows_per_second']:,.0f}",
            f"{row['rows_per_second'] / rows[0]['rows_per_second']:.2f}",
            f"{row['seconds']:.0f}",
            f"{row['memory'] / 2**20:,.0f}",
        ]
        for kind, row in zip(KINDS, rows, strict=True)
    ]
    header = ["X", "rows / CPU s", "of the array", "CPU s", "memory (MiB)"]
    report(f"Streamed rows: {n_rows:,} x {N_COLUMNS}", markdown(header, lines))


def compare_selections(n_rows: int, n_epochs: int | None) -> None:
    """Print rounds, cost and memory of a selection by the kind of X."""
    params = {} if n_epochs is None else {"max_epochs": n_epochs, "n_rounds": 2}
    with tempfile.TemporaryDirectory() as folder:
        write_problem(n_rows, Path(folder))
        rows = [fit_apart(kind, params, Path(folder), of=select) for kind in KINDS]
    lines = [
        [
            kind,
            f"{row['rounds']}",
            f"{row['selected']:,}{'' if row['digest'] == rows[0]['digest'] else ' (others)'}",
            f"{row['seconds']:.0f}",
            f"{row['memory'] / (4 * n_rows * N_COLUMNS):.1f}",
        ]
        for kind, row in zip(KINDS, rows, strict=True)
    ]
    header = ["X", "rounds", "selected", "CPU s", "memory / rows"]
    report(f"Selection: {n_rows:,} x {N_COLUMNS}", markdown(header, lines))


def compare_purifications(n_rows: int) -> None:
    """Print accuracy of the labels, cost and memory of LabelPurifier by the kind of X."""
    kinds = KINDS[:3]
    with tempfile.TemporaryDirectory() as folder:
        write_problem(n_rows, Path(folder))
        rows = [fit_apart(kind, Path(folder), of=purify) for kind in kinds]
    lines = [
        [
            kind,
            f"{row['given']:.3f}",
            f"{row['purified']:.3f}",
            f"{row['seconds']:.0f}",
            f"{row['memory'] / 2**20:,.0f}",
            f"{row['memory'] / (4 * n_rows * N_COLUMNS):.1f}",
        ]
        for kind, row in zip(kinds, rows, strict=True)
    ]
    header = ["X", "given", "purified", "CPU s", "memory (MiB)", "memory / rows"]
    report(f"Purified labels: {n_rows:,} x {N_COLUMNS}", markdown(header, lines))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="*", default=[20_000, 100_000])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--stream-rows", type=int, default=200_000)
    parser.add_argument("--stream-epochs", type=int, default=2, help="with meta updates")
    parser.add_argument("--select-rows", type=int, nargs="*", default=[])
    parser.add_argument("--select-epochs", type=int, help="of two rounds; default: 40, up to 20")
    parser.add_argument("--purify-rows", type=int, nargs="*", default=[])
    args = parser.parse_args()
    print(machine())
    if args.rows:
        compare_sizes(args.rows, args.methods)
    if args.stream_rows:
        compare_kinds(args.stream_rows, args.stream_epochs)
    for n_rows in args.select_rows:
        compare_selections(n_rows, args.select_epochs)
    for n_rows in args.purify_rows:
        compare_purifications(n_rows)


if __name__ == "__main__":
    main()

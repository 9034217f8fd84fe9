"""Seconds and memory of the command on 100,000 rows x 20 columns, by part of its work.

    python benchmarks/audit_table.py --method fast
    python benchmarks/audit_table.py --rows 20000

The table is made: 15 columns of numbers, two of texts (12 and 4 words) and three of categories
(8, 40 and 400 values). All depend on one of 10 classes, and 15 % of the labels are exchanged for
another class. The parts are those of the command, in this process; CPU seconds add up all
threads. AUROC is that of the score against the exchanged labels, precision that of as many rows of
lowest score as there are exchanged labels.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

N_CLASSES, N_NUMBERS, N_WORDS = 10, 15, 5000
WRONG = 0.15
TEXTS = {"review": 12, "title": 4}  # words
CATEGORIES = {"size": 8, "colour": 40, "maker": 400}  # values
MEBIBYTE = 1024 if sys.platform != "darwin" else 1024**2  # unit of ru_maxrss


def make_table(n_rows: int, path: Path, seed: int = 0) -> Any:
    """Write the table, and return where its labels were exchanged."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(seed)
    classes = rng.integers(N_CLASSES, size=n_rows)
    columns: dict[str, Any] = {}
    means = rng.normal(0, 0.45, (N_NUMBERS, N_CLASSES))
    for j in range(N_NUMBERS):
        columns[f"number{j}"] = (means[j, classes] + rng.normal(size=n_rows)).round(4)
    frequencies = 1 / np.arange(1, N_WORDS + 1)
    topics = frequencies * rng.gamma(0.5, size=(N_CLASSES, N_WORDS))
    words = np.array([f"word{i}" for i in range(N_WORDS)])
    for name, length in TEXTS.items():
        drawn = np.empty((n_rows, length), dtype=int)
        for k in range(N_CLASSES):
            rows = classes == k
            p = topics[k] / topics[k].sum()
            drawn[rows] = rng.choice(N_WORDS, (rows.sum(), length), p=p)
        columns[name] = [" ".join(row) for row in words[drawn]]
    for name, n_values in CATEGORIES.items():
        shares = rng.dirichlet(np.full(n_values, 1.0), N_CLASSES)
        values = np.empty(n_rows, dtype=int)
        for k in range(N_CLASSES):
            rows = classes == k
            values[rows] = rng.choice(n_values, rows.sum(), p=shares[k])
        columns[name] = [f"{name} {value}" for value in values]
    is_wrong = rng.random(n_rows) < WRONG
    shift = rng.integers(1, N_CLASSES, n_rows)
    given = np.where(is_wrong, (classes + shift) % N_CLASSES, classes)
    columns["label"] = np.array([f"class {k}" for k in range(N_CLASSES)])[given]
    pd.DataFrame(columns).to_csv(path, index=False)
    return is_wrong


class Clock:
    """Seconds of wall and of CPU of named parts, printed as soon as each is done."""

    def __init__(self) -> None:
        self._start = self._now()

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    def lap(self, name: str, start: tuple[float, float] | None = None) -> None:
        """Print the seconds since a start, by default that of the clock, and the peak memory."""
        wall, cpu = (now - was for now, was in zip(self._now(), start or self._start, strict=True))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEBIBYTE
        print(f"| {name:24} | {wall:6.1f} | {cpu:6.1f} | {peak:6,.0f} |", flush=True)

    def watch(self, owner: Any, name: str, shown: str) -> None:
        """Let a function print its seconds."""
        function: Callable[..., Any] = getattr(owner, name)

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = self._now()
            try:
                return function(*args, **kwargs)
            finally:
                self.lap(shown, start)

        setattr(owner, name, timed)


def watch_parts(clock: Clock) -> None:
    """Let the parts of the command print their seconds."""
    from sknoisy import CLIDMUClassifier
    from sknoisy.audit import columns, command, findings, report, tables
    from sknoisy.learners.forest import Forest

    clock.watch(tables, "read_table", "read")
    clock.watch(columns, "encode_columns", "encode")
    clock.watch(Forest, "fit_held_out", "forest")
    clock.watch(CLIDMUClassifier, "fit", "CLID-MU, fit")
    clock.watch(CLIDMUClassifier, "predict_proba", "CLID-MU, predict")
    clock.watch(findings, "estimate_share", "share of wrong labels")
    clock.watch(findings, "distance_features", "rows as points")
    clock.watch(findings, "outlier_scores", "outliers")
    clock.watch(findings, "near_duplicates", "near duplicates")
    clock.watch(command, "_judge", "audit_labels in all")
    clock.watch(report, "render_report", "report")
    clock.watch(tables, "write_csv", "CSV")


def main() -> None:
    """Make the table, run the command, and print the table of seconds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--method", choices=["auto", "fast"], default="auto")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        path, listed = Path(folder, "table.csv"), Path(folder, "labels.csv")
        is_wrong = make_table(options.rows, path)
        print(f"| {'part':24} | wall s | CPU s  | MiB    |\n| --- | --- | --- | --- |")
        clock = Clock()
        watch_parts(clock)
        clock.lap("imports")
        from sknoisy.audit.command import main as command

        files = ["--csv", str(listed), "--html", str(Path(folder, "report.html"))]
        command(["audit", str(path), "--label", "label", "--method", options.method, *files])
        clock.lap("all")
        import numpy as np
        import pandas as pd
        from sklearn.metrics import roc_auc_score

        found = pd.read_csv(listed)
    lowest = np.argsort(found["score"].to_numpy(), kind="stable")[: is_wrong.sum()]
    print(
        f"AUROC {roc_auc_score(is_wrong, -found['score']):.4f}, precision "
        f"{is_wrong[lowest].mean():.4f}, {found['flagged'].sum():,} suspects"
    )


if __name__ == "__main__":
    main()

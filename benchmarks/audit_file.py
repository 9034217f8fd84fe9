"""Peak memory of the command on a file of any size, by part of its work.

    python benchmarks/audit_file.py --rows 2000000 --method fast
    python benchmarks/audit_file.py --rows 2000000 --method fast --format csv
    python benchmarks/audit_file.py --rows 1000000

The table has 20 columns of numbers, of which 10 depend on one of 5 classes, and 10 % of its labels
are exchanged. It is written by pieces. Memory is RssAnon, which the operating system counts for
the process, without the pages of files; it is sampled all 20 ms. "Idle" is the process after the
imports. CPU seconds add up all threads. Linux only.
"""

from __future__ import annotations

import argparse
import importlib
import threading
import time
from collections.abc import Callable
from functools import wraps
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

N_COLUMNS, N_INFORMATIVE, N_CLASSES = 20, 10, 5
WRONG = 0.1
PIECE_ROWS = 65_536
PARTS = (
    ("command", "of_table", "reading and encoding"),
    ("findings", "identical_rows", "identical rows"),
    ("auditor", "of_forest", "forest and network"),
    ("findings", "outlier_scores", "outliers"),
    ("findings", "near_duplicates", "near duplicates"),
    ("findings", "calibrated_joint", "confident joint"),
    ("findings", "estimate_share", "share of wrong labels"),
    ("auditor", "find", "from probabilities to findings"),
    ("report", "render_report", "report"),
    ("command", "_write", "all files"),
    ("command", "_audit", "all"),
)


def pieces(n_rows: int, seed: int = 0) -> Any:
    """Yield frames of the table, and where their labels were exchanged."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(seed)
    means = rng.normal(0, 0.8, (N_CLASSES, N_COLUMNS))
    means[:, N_INFORMATIVE:] = 0
    names = np.array([f"class {k}" for k in range(N_CLASSES)])
    for start in range(0, n_rows, PIECE_ROWS):
        size = min(PIECE_ROWS, n_rows - start)
        classes = rng.integers(N_CLASSES, size=size)
        X = means[classes] + rng.normal(size=(size, N_COLUMNS))
        is_wrong = rng.random(size) < WRONG
        given = np.where(
            is_wrong, (classes + rng.integers(1, N_CLASSES, size)) % N_CLASSES, classes
        )
        frame = pd.DataFrame(X.round(5), columns=[f"number{j}" for j in range(N_COLUMNS)])
        frame["label"] = names[given]
        yield frame, is_wrong


def write_table(n_rows: int, path: Path) -> Any:
    """Write the table, and return where its labels were exchanged."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    writer, exchanged = None, []
    for number, (frame, is_wrong) in enumerate(pieces(n_rows)):
        exchanged.append(is_wrong)
        if path.suffix == ".csv":
            frame.to_csv(path, index=False, header=not number, mode="a" if number else "w")
            continue
        piece = pa.Table.from_pandas(frame, preserve_index=False)
        writer = writer or parquet.ParquetWriter(path, piece.schema)
        writer.write_table(piece)
    if writer is not None:
        writer.close()
    return np.concatenate(exchanged)


def anonymous() -> float:
    """Return the memory of this process that belongs to no file, in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


class Sampler:
    """Peak of the memory above an idle process, in all and of the parts that run."""

    def __init__(self) -> None:
        self.idle, self.peaks = anonymous(), {"": 0.0}
        self._running: list[str] = [""]
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        while True:
            used = anonymous() - self.idle
            for part in list(self._running):
                self.peaks[part] = max(self.peaks.get(part, 0.0), used)
            time.sleep(0.02)

    def watch(self, owner: Any, name: str, shown: str) -> None:
        """Let a function print its seconds, its peak, and what is left at its end."""
        function: Callable[..., Any] = getattr(owner, name)

        @wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            wall, cpu = time.perf_counter(), time.process_time()
            self._running.append(shown)
            try:
                return function(*args, **kwargs)
            finally:
                self._running.remove(shown)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                left = anonymous() - self.idle
                peak = max(self.peaks.get(shown, 0.0), left)
                print(
                    f"| {shown:30} | {wall:6.1f} | {cpu:6.1f} | {peak:6,.0f} | {left:6,.0f} |",
                    flush=True,
                )

        setattr(owner, name, watched)


def main() -> None:
    """Write the table, run the command, and print a line for each part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--method", choices=["auto", "fast"], default="auto")
    parser.add_argument("--format", choices=["parquet", "csv"], default="parquet")
    parser.add_argument("--cleaned", action="store_true")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        path, out = Path(folder, f"table.{options.format}"), Path(folder, "out")
        with get_context("spawn").Pool(1) as pool:  # its memory is not that of the command
            is_wrong = pool.apply(write_table, (options.rows, path))
        modules = {name: importlib.import_module(f"sknoisy.audit.{name}") for name, *_ in PARTS}
        importlib.import_module("skrub")
        sampler = Sampler()
        print(f"idle: {sampler.idle:,.0f} MiB")
        print(f"| {'part':30} | wall s | CPU s  | peak   | left   |")
        print("| --- | --- | --- | --- | --- |")
        for module, function, shown in PARTS:
            sampler.watch(modules[module], function, shown)
        arguments = ["audit", str(path), "--label", "label", "--method", options.method]
        arguments += ["--out", str(out), *(["--cleaned"] if options.cleaned else [])]
        modules["command"].main(arguments)
        import pandas as pd
        from sklearn.metrics import roc_auc_score

        found = pd.read_csv(out / "labels.csv", usecols=["score", "flagged"])
    area = roc_auc_score(is_wrong, -found["score"])
    print(f"AUROC {area:.4f}, {found['flagged'].sum():,} suspects")


if __name__ == "__main__":
    main()

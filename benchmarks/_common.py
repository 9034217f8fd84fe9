"""What the benchmarks share: options, parallel runs, one fit and its scores, tables."""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import sklearn
import skorch
import torch
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from sknoisy import CLIDMUClassifier
from sknoisy.exceptions import CollapseWarning

Row = dict[str, Any]

# What each method of the comparisons passes to CLIDMUClassifier; every other parameter is default.
CROSS_ENTROPY: dict[str, Any] = {"weighting": None, "n_ensemble": 0}
FROZEN_WNET: dict[str, Any] = {"meta_lr": 0.0, "n_ensemble": 0}
CLID_MU: dict[str, Any] = {}


# --- options and the machine ----------------------------------------------------------------


def command_line(description: str | None, n_seeds: int) -> argparse.ArgumentParser:
    """Options of a benchmark that runs many fits."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seeds", type=int, default=n_seeds, help="how many, from 0 (%(default)s)"
    )
    parser.add_argument("--n-jobs", type=int, default=1, help="fits at a time (%(default)s)")
    parser.add_argument("--csv", type=Path, help="keep each fit here, and rerun none that it has")
    return parser


def machine() -> str:
    """Hardware and versions in one line."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    parts = [models[0] if models else platform.machine(), f"{os.cpu_count()} cores"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    parts.append(f"Python {platform.python_version()}")
    parts += [f"{m.__name__} {m.__version__}" for m in (torch, skorch, sklearn)]
    return ", ".join([*parts, f"commit {_commit()}"])


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    here = Path(__file__).parent
    found = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


# --- many fits ------------------------------------------------------------------------------


def run_cells(
    task: Callable[..., Row], cells: Sequence[Row], *, n_jobs: int = 1, csv_path: Path | None
) -> list[Row]:
    """Results of ``task(**cell)`` for each cell, each on one torch thread.

    Parameters
    ----------
    task : callable
        Gives a dict of numbers and texts.
    cells : sequence of dict
        Arguments, all with the same keys.
    n_jobs : int, default=1
        Processes.
    csv_path : Path or None
        Finished cells are read from this file and new ones appended to it.

    Returns
    -------
    rows : list of dict
        Each cell together with its result.
    """
    saved = [] if csv_path is None or not csv_path.exists() else read_csv(csv_path)
    finished = {tuple(row[name] for name in cells[0]): row for row in saved}
    rows = [{**numbers(finished[_key(c)]), **c} for c in cells if _key(c) in finished]
    todo = [cell for cell in cells if _key(cell) not in finished]
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    results = parallel(joblib.delayed(_on_one_thread)(task, cell) for cell in todo)
    for row in tqdm(results, total=len(todo), unit="fit"):
        rows.append(row)
        if csv_path is not None:
            _append_csv(csv_path, row)
    return rows


def _on_one_thread(task: Callable[..., Row], cell: Row) -> Row:
    torch.set_num_threads(1)
    return {**cell, **task(**cell)}


def _key(cell: Row) -> tuple[str, ...]:
    return tuple(str(value) for value in cell.values())


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a file of results, as text; a row that was cut off is left out."""
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if None not in row.values()]


def numbers(row: dict[str, str]) -> Row:
    """A row with numbers where the text is one."""
    return {name: _number(text) for name, text in row.items()}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _append_csv(path: Path, row: Row) -> None:
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)


# --- one fit --------------------------------------------------------------------------------


def fit_and_score(
    params: dict[str, Any],
    X: np.ndarray,
    y: np.ndarray,
    wrong: np.ndarray,
    X_test: np.ndarray,
    y_test: np.ndarray,
    seed: int,
) -> Row:
    """Fit ``CLIDMUClassifier(**params)`` on noisy labels; score prediction and last epoch.

    Parameters
    ----------
    params : dict
        Parameters of the classifier.
    X, X_test : ndarray of shape (n, d)
        Standardised rows. The classifier's own scaling changes nothing then, so that its network
        can be asked directly for what it said after the last epoch.
    y, y_test : ndarray of shape (n,)
        Noisy labels of training, clean ones of the test.
    wrong : ndarray of bool of shape (n,)
        Training labels that are wrong.
    seed : int
        ``random_state``.

    Returns
    -------
    scores : dict
        Test accuracy and AUC of the belief in a training label against the truth (NaN without
        wrong labels), of the classifier and of its last epoch; seconds; number of collapses.
    """
    clf = CLIDMUClassifier(**params, random_state=seed)
    with warnings.catch_warnings(record=True, category=CollapseWarning, action="always") as caught:
        start = time.perf_counter()
        clf.fit(X, y)
        seconds = time.perf_counter() - start
    last = clf.classes_[last_epoch_proba(clf, X_test).argmax(axis=1)]
    given = last_epoch_proba(clf, X)[np.arange(len(y)), np.searchsorted(clf.classes_, y)]
    return {
        "accuracy": clf.score(X_test, y_test),
        "last_accuracy": float(np.mean(last == y_test)),
        "auc": _auc(~wrong, clf.clean_proba_),
        "last_auc": _auc(~wrong, given),
        "noise_rate": float(wrong.mean()),
        "seconds": seconds,
        "n_collapses": sum(issubclass(w.category, CollapseWarning) for w in caught),
    }


@torch.no_grad()
def last_epoch_proba(clf: CLIDMUClassifier, X: np.ndarray) -> np.ndarray:
    """Probabilities after the last epoch, whatever epochs ``predict_proba`` takes."""
    rows = torch.as_tensor(X, dtype=torch.float32, device=clf.net_.device)
    return clf.net_.module_(rows).softmax(dim=1).cpu().numpy()


def _auc(right: np.ndarray, belief: np.ndarray) -> float:
    return float(roc_auc_score(right, belief)) if 0 < right.sum() < len(right) else np.nan


# --- tables ---------------------------------------------------------------------------------


def column(rows: Iterable[Row], name: str, **where: Any) -> np.ndarray:
    """Values of one column in those rows that have the given values in others."""
    return np.array(
        [row[name] for row in rows if all(row[key] == value for key, value in where.items())]
    )


def spread(values: np.ndarray) -> str:
    """Mean and standard deviation over seeds."""
    return "-" if np.isnan(values).all() else f"{values.mean():.3f} ± {values.std():.3f}"


def seconds_per_fit(rows: Sequence[Row]) -> str:
    """Mean duration of a fit of each method, in one line."""
    methods = dict.fromkeys(row["method"] for row in rows)
    times = (f"{name} {column(rows, 'seconds', method=name).mean():.1f}" for name in methods)
    return f"Seconds per fit: {', '.join(times)}."


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with aligned columns."""
    cells = [list(header), *map(list, rows)]
    widths = [max(map(len, entries)) for entries in zip(*cells, strict=True)]
    lines = [
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    ]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def report(title: str, table: str) -> None:
    """Print a table below its title."""
    print(f"\n{title}\n\n{table}")

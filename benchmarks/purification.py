"""Accuracy of purified labels, of a forest that learns them, and the cost of purification.

    python benchmarks/purification.py labels --seeds 5
    python benchmarks/purification.py forest --seeds 5
    python benchmarks/purification.py tables --data tables.npz --seeds 3
    python benchmarks/purification.py cost

"labels" uses digits, 60 % of the rows as training data, with 100 trusted rows (drawn at random,
their labels corrected) and with none. It compares LabelPurifier with default parameters and two
settings without the judgement. "forest" reports the test accuracy of a random forest on purified
labels, without trusted rows, of cleanlab's CleanLearning with the same forest, and of the forest
alone; it needs the extra "benchmarks". "tables" uses at most 800 training rows of each table of
tables.py, and tables of scikit-learn. "cost" measures M and 100 epochs of the intrinsic correction
on random features, each size in a process of its own.

Each seed draws the split, the noise, the trusted rows and the random state. Symmetric noise is
reported in both of its meanings, as in digits.py.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import Row, column, command_line, machine, markdown, report, run_cells, spread
from digits import SETTINGS
from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from sknoisy import LabelPurifier
from sknoisy.methods.dmlp import PurificationVariant
from sknoisy.methods.dmlp.intrinsic import IntrinsicCorrection
from sknoisy.methods.dmlp.soft_labels import LabelState, one_hot
from sknoisy.noise import pairflip, symmetric

METHODS: dict[str, dict[str, Any]] = {
    "default": {},
    "no judge, intrinsic steps in all rounds": {"n_folds": 0},
    "as published: classifier writes back, no judge": {
        "correction": "auxiliary",
        "n_folds": 0,
        "variant": PurificationVariant(correction_period=20),
    },
}
N_TRUSTED = 100
FORESTS = ("purified labels", "cleanlab", "given labels")
MAX_TABLE_ROWS = 800
# Noise rates for two classes, and for more classes.
TABLE_NOISE = {
    "none": (0.0, 0.0),
    "symmetric, low": (0.2, 0.2),
    "symmetric, high": (0.3, 0.4),
    "pairflip": (0.2, 0.35),
}


def split_digits(setting: str, seed: int) -> tuple[np.ndarray, ...]:
    """Return training rows, their clean and noisy labels, test rows and test labels."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, train_size=0.6, stratify=y, random_state=seed)
    return X, y, SETTINGS[setting](y, random_state=seed).y, X_test, y_test


def trust(y: np.ndarray, noisy: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of which 100 are corrected, and the mask of these."""
    mask = np.zeros(len(y), dtype=bool)
    mask[np.random.default_rng(seed).permutation(len(y))[:N_TRUSTED]] = True
    return np.where(mask, y, noisy), mask


# --- labels, forest, tables -------------------------------------------------------------------


def score_labels(X, y, noisy, mask, params: dict[str, Any], seed: int) -> Row:
    """Return the accuracy of the labels before and after purification."""
    start = time.perf_counter()
    purifier = LabelPurifier(**params, random_state=seed).fit(X, noisy, clean_mask=mask)
    chosen = purifier.validation_rows_
    return {
        "given": float(np.mean(noisy == y)),
        "purified": float(np.mean(purifier.purified_labels_ == y)),
        "precision": float(np.mean(noisy[chosen] == y[chosen])),
        "n_validation": len(chosen),
        "seconds": time.perf_counter() - start,
    }


def purify_digits(setting: str, method: str, n_trusted: int, seed: int) -> Row:
    """Return the scores of one purification of digits."""
    X, y, noisy, *_ = split_digits(setting, seed)
    mask = None
    if n_trusted:
        noisy, mask = trust(y, noisy, seed)
    return score_labels(X, y, noisy, mask, METHODS[method], seed)


def fit_forest(setting: str, method: str, seed: int) -> Row:
    """Return the test accuracy of one forest."""
    X, _, noisy, X_test, y_test = split_digits(setting, seed)
    forest: Any = RandomForestClassifier(random_state=seed)
    if method == "cleanlab":
        from cleanlab.classification import CleanLearning

        forest = CleanLearning(forest, seed=seed)
    elif method == "purified labels":
        _, noisy = LabelPurifier(random_state=seed).fit_resample(X, noisy)
    return {"accuracy": float(np.mean(forest.fit(X, noisy).predict(X_test) == y_test))}


def load_table(name: str, data: Path | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the training rows of a table and their clean labels."""
    own = {"wine": load_wine, "breast_cancer": load_breast_cancer}
    if name in own:
        X, y = own[name](return_X_y=True)
    elif name == "make_classification":
        X, y = make_classification(1200, 20, n_informative=8, n_classes=3, random_state=seed)
    else:
        with np.load(data) as file:
            X, y = file[f"{name}_X"], file[f"{name}_y"]
        X = X[:, np.isfinite(X).all(axis=0)]
    size = min(MAX_TABLE_ROWS, len(y) // 2)
    X, _, y, _ = train_test_split(X, y, train_size=size, stratify=y, random_state=seed)
    return X, np.unique(y, return_inverse=True)[1]


def purify_table(table: str, noise: str, seed: int, data: Path | None) -> Row:
    """Return the scores of one purification of a table."""
    X, y = load_table(table, data, seed)
    rate = TABLE_NOISE[noise][int(y.max() > 1)]
    corrupt = pairflip if noise == "pairflip" else symmetric
    return score_labels(X, y, corrupt(y, rate, random_state=seed).y, None, {}, seed)


# --- cost ---------------------------------------------------------------------------------------


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # GiB on Linux


def intrinsic_cost(n_rows: int, n_threads: int) -> tuple[float, float, float]:
    """Return seconds for M, seconds for 100 epochs, and peak memory above the start in GiB."""
    torch.set_num_threads(n_threads)
    generator = torch.Generator().manual_seed(0)
    n_classes, n_trusted = 10, 1000
    before = _peak()
    features = torch.randn(n_rows + n_trusted, 512, generator=generator)
    classes = torch.randint(n_classes, (len(features),), generator=generator)
    labels = one_hot(classes, n_classes, torch.float32)
    n_chunks = -(-n_rows // LabelPurifier().chunk_size)
    chunks = list(torch.randperm(n_rows, generator=generator).tensor_split(n_chunks))
    validation = torch.arange(n_rows, len(features))
    with torch.no_grad():
        start = time.perf_counter()
        correction = IntrinsicCorrection(
            features, chunks, validation, labels[validation], "paper", 1.0
        )
        rates = correction.rates("auto", "sgd")
        prepared = time.perf_counter()
        state = LabelState(labels, chunks, "raw", "sgd", rates)
        for _ in range(100):
            for k in range(n_chunks):
                correction.step(state, k)
    return prepared - start, time.perf_counter() - prepared, _peak() - before


def cost(args: argparse.Namespace) -> None:
    lines = []
    for n_rows in (12_500, 25_000, 50_000):
        # A spawned process, because a forked one inherits the peak.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            times = pool.submit(intrinsic_cost, n_rows, args.threads).result()
        prepare, epochs, memory = times
        total = prepare + epochs
        lines.append(
            [f"{n_rows:,}", *(f"{t:.1f}" for t in (prepare, epochs, total)), f"{memory:.2f}"]
        )
    header = ["rows", "M (s)", "100 epochs (s)", "together (s)", "peak above start (GiB)"]
    title = f"IPC, 512 features, 10 classes, 1,000 trusted rows, {args.threads} threads"
    report(title, markdown(header, lines))


# --- reports ------------------------------------------------------------------------------------


def labels(args: argparse.Namespace) -> None:
    cells = [
        {"setting": setting, "method": method, "n_trusted": n_trusted, "seed": seed}
        for setting in SETTINGS
        for method in METHODS
        for n_trusted in (N_TRUSTED, 0)
        for seed in range(args.seeds)
    ]
    rows = run_cells(purify_digits, cells, n_jobs=args.n_jobs, csv_path=args.csv)
    for n_trusted in (N_TRUSTED, 0):
        chosen = [row for row in rows if row["n_trusted"] == n_trusted]
        given = [spread(column(chosen, "given", setting=s, method="default")) for s in SETTINGS]
        lines = [["(given labels)", *given]]
        for method in METHODS:
            where = {"method": method}
            cells_ = [spread(column(chosen, "purified", setting=s, **where)) for s in SETTINGS]
            lines.append([method, *cells_])
        report(f"Label accuracy, {n_trusted} trusted rows", markdown(["", *SETTINGS], lines))
    lines = []
    for setting in SETTINGS:
        where = {"setting": setting, "method": "default", "n_trusted": 0}
        precision = column(rows, "precision", **where)
        n_rows = column(rows, "n_validation", **where).mean()
        lines.append(
            [setting, f"{n_rows:.0f}", f"{precision.mean():.3f}", f"{precision.min():.3f}"]
        )
    header = ["", "rows", "precision", "worst seed"]
    report("Pseudo-clean rows", markdown(header, lines))
    print(f"\nSeconds per fit: {column(rows, 'seconds', method='default').mean():.1f}.")


def forest(args: argparse.Namespace) -> None:
    settings = [name for name in SETTINGS if name != "no noise"]
    cells = [
        {"setting": setting, "method": method, "seed": seed}
        for setting in settings
        for method in FORESTS
        for seed in range(args.seeds)
    ]
    rows = run_cells(fit_forest, cells, n_jobs=args.n_jobs, csv_path=args.csv)
    lines = [
        [m, *(spread(column(rows, "accuracy", setting=s, method=m)) for s in settings)]
        for m in FORESTS
    ]
    report("Test accuracy of a random forest on", markdown(["", *settings], lines))


def tables(args: argparse.Namespace) -> None:
    names = ["wine", "breast_cancer", "make_classification"]
    if args.data is not None:
        with np.load(args.data) as file:
            names += [n.removesuffix("_X") for n in file.files if n.endswith("_X")]
    cells = [
        {"table": table, "noise": noise, "seed": seed}
        for table in names
        for noise in TABLE_NOISE
        for seed in range(args.seeds)
    ]
    task = partial(purify_table, data=args.data and args.data.resolve())
    rows = run_cells(task, cells, n_jobs=args.n_jobs, csv_path=args.csv)
    lines = []
    for table in names:
        line = [table]
        for noise in TABLE_NOISE:
            where = {"table": table, "noise": noise}
            given, purified = (column(rows, c, **where).mean() for c in ("given", "purified"))
            line.append(f"{given:.3f} → {purified:.3f}")
        lines.append(line)
    report("Label accuracy before → after, no trusted rows", markdown(["", *TABLE_NOISE], lines))


def main() -> None:
    parser = command_line(__doc__, n_seeds=5)
    parts = {"labels": labels, "forest": forest, "tables": tables, "cost": cost}
    parser.add_argument("part", choices=list(parts))
    parser.add_argument("--data", type=Path, help="tables.npz, for the part tables")
    parser.add_argument("--threads", type=int, default=2, help="for the part cost (%(default)s)")
    args = parser.parse_args()
    print(machine())
    parts[args.part](args)


if __name__ == "__main__":
    main()

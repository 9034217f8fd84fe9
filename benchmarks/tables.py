"""Eleven UCI tables with wrong labels: CLID-MU with default parameters against plain networks.

    python benchmarks/tables.py --data tables.npz --n-jobs 2 --csv benchmarks/tables.local.csv

The file holds NAME_X (n, d) and NAME_y (n,) of each table. Half of the rows, 2,000 at most, are
the training rows of a stratified split; columns with missing values are dropped, the others
standardised by the training rows. Noise is drawn in the training labels alone; its rate is the
fraction of wrong labels, and symmetric noise leaves out the true class.

The plain MLP has two hidden layers of 128 units and no dropout; "cross-entropy" has CLID-MU's
default network. Both are judged at the last epoch.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _common import (
    CLID_MU,
    CROSS_ENTROPY,
    Row,
    column,
    command_line,
    fit_and_score,
    machine,
    markdown,
    report,
    run_cells,
    seconds_per_fit,
)
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sknoisy.noise import NoisyLabels, instance_dependent, pairflip, symmetric

# Rates for two classes, for more classes: at 50 % the labels of two classes mean nothing.
RATES = {
    "symmetric, low": (0.20, 0.20),
    "symmetric, high": (0.35, 0.50),
    "pairflip": (0.35, 0.35),
    "instance-dependent": (0.30, 0.40),
}
PLAIN_MLP: dict[str, Any] = {
    **CROSS_ENTROPY,
    "module_params": {"hidden": (128, 128), "dropout": 0.0, "input_dropout": 0.0},
    "optimizer_params": {"weight_decay": 5e-4},
}
METHODS = {"plain MLP": PLAIN_MLP, "cross-entropy": CROSS_ENTROPY, "CLID-MU": CLID_MU}
# Column of the tables: method, score.
COLUMNS = {
    "plain MLP": ("plain MLP", "accuracy"),
    "cross-entropy": ("cross-entropy", "accuracy"),
    "CLID-MU, last epoch": ("CLID-MU", "last_accuracy"),
    "CLID-MU": ("CLID-MU", "accuracy"),
}


def corrupt(X: np.ndarray, y: np.ndarray, noise: str, seed: int) -> NoisyLabels:
    """Training labels with the named noise."""
    rate = RATES[noise][len(np.unique(y)) > 2]
    if noise == "pairflip":
        return pairflip(y, rate, random_state=seed)
    if noise == "instance-dependent":
        return instance_dependent(X, y, rate, random_state=seed)
    return symmetric(y, rate, random_state=seed)


def fit_table(table: str, noise: str, method: str, epochs: int, seed: int, *, data: Path) -> Row:
    """Scores of one fit."""
    with np.load(data) as file:
        X, y = file[f"{table}_X"], file[f"{table}_y"]
    X = X[:, ~np.isnan(X).any(axis=0)].astype(np.float64)
    X, X_test, y, y_test = train_test_split(
        X, y, train_size=min(len(y) // 2, 2000), stratify=y, random_state=seed
    )
    scaler = StandardScaler().fit(X)
    X, X_test = scaler.transform(X), scaler.transform(X_test)
    noisy = corrupt(X, y, noise, seed)
    params = {**METHODS[method], "max_epochs": epochs}
    return fit_and_score(params, X, noisy.y, noisy.mask, X_test, y_test, seed)


def means(rows: list[Row], by: str, names: list[str]) -> str:
    """A line for each value of a column, then their mean; the last column is the gain."""
    accuracies = np.array(
        [
            [column(rows, score, method=method, **{by: name}).mean() for name in names]
            for method, score in COLUMNS.values()
        ]
    )
    gains = 100 * (accuracies[-1] - accuracies[0])
    lines = [
        [name, *(f"{accuracy:.3f}" for accuracy in line), f"{gain:+.1f}"]
        for name, line, gain in zip(
            [*names, "mean"],
            np.vstack([accuracies.T, accuracies.mean(axis=1)]),
            [*gains, gains.mean()],
            strict=True,
        )
    ]
    return markdown([by, *COLUMNS, "gain over the plain MLP (points)"], lines)


def main() -> None:
    parser = command_line(__doc__, n_seeds=3)
    parser.add_argument("--data", type=Path, required=True, help="tables.npz")
    parser.add_argument("--tables", nargs="+", help="names (all)")
    parser.add_argument("--epochs", type=int, default=60)
    args = parser.parse_args()
    with np.load(args.data) as file:
        known = [name.removesuffix("_X") for name in file.files if name.endswith("_X")]
    tables = args.tables or known
    cells = [
        {"table": table, "noise": noise, "method": method, "epochs": args.epochs, "seed": seed}
        for table in tables
        for noise in RATES
        for method in METHODS
        for seed in range(args.seeds)
    ]
    task = partial(fit_table, data=args.data.resolve())
    rows = run_cells(task, cells, n_jobs=args.n_jobs, csv_path=args.csv)
    print(machine())
    title = f"Accuracy on the clean test labels, {args.seeds} seeds"
    report(f"{title}, mean over the noises", means(rows, "table", tables))
    report(f"{title}, mean over the tables", means(rows, "noise", list(RATES)))
    n_collapses = column(rows, "n_collapses", method="CLID-MU").sum()
    print(f"\nCollapse warnings: {n_collapses:.0f}. {seconds_per_fit(rows)}")


if __name__ == "__main__":
    main()

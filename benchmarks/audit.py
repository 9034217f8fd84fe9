"""Which labels are wrong, and how many: the audit against cleanlab, on digits and UCI tables.

    python benchmarks/audit.py --data tables.npz --n-jobs 2 --csv benchmarks/audit.local.csv

The file holds NAME_X (n, d) and NAME_y (n,) of each table; 1,500 rows are drawn, stratified, and
columns with missing values are dropped. Noise: 20 % symmetric, 30 % pairflip, 20 %
instance-dependent. Methods:

    default    audit_labels: a random forest out of bag, and CLID-MU
    fast       audit_labels(method="fast"): the forest alone
    cleanlab   find_label_issues on out-of-sample probabilities of a forest ("cleanlab, forest",
               200 trees, 5 folds) and of boosting ("cleanlab, boosting", 60 rounds, 5 folds); its
               suspects come first, by self-confidence, then the other rows. Left out where
               cleanlab is not installed.

AUROC is that of the score against the wrong labels. Precision is that of as many rows of lowest
score as there are wrong labels. The error of the transition matrix is its mean absolute one.
"""

from __future__ import annotations

import importlib.util
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from _common import Row, column, command_line, machine, markdown, report, run_cells
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict, train_test_split
from sklearn.preprocessing import StandardScaler

from sknoisy import audit_labels
from sknoisy.noise import NoisyLabels, instance_dependent, pairflip, symmetric

NOISES = {"symmetric 20": 0.2, "pairflip 30": 0.3, "instance-dependent 20": 0.2}
AUDITS = {"default": "auto", "fast": "fast"}
RIVALS = ["cleanlab, forest", "cleanlab, boosting"]


def load(table: str, n_rows: int, seed: int, data: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Standardised rows and clean labels 0, 1, ... of a table."""
    if table == "digits":
        X, y = load_digits(return_X_y=True)
    else:
        with np.load(data) as file:
            X, y = file[f"{table}_X"], file[f"{table}_y"]
    X = X[:, ~np.isnan(X).any(axis=0)].astype(np.float64)
    if len(y) > n_rows:
        X, _, y, _ = train_test_split(X, y, train_size=n_rows, stratify=y, random_state=seed)
    X = X[:, X.std(axis=0) > 0]
    return StandardScaler().fit_transform(X), np.unique(y, return_inverse=True)[1]


def corrupt(X: np.ndarray, y: np.ndarray, noise: str, seed: int) -> NoisyLabels:
    """Labels with the named noise."""
    if noise.startswith("symmetric"):
        return symmetric(y, NOISES[noise], random_state=seed)
    if noise.startswith("pairflip"):
        return pairflip(y, NOISES[noise], random_state=seed)
    return instance_dependent(X, y, NOISES[noise], random_state=seed)


def by_cleanlab(X: np.ndarray, y: np.ndarray, model: str, seed: int) -> Row:
    """Ranking and estimates of cleanlab around a model."""
    from cleanlab.count import compute_confident_joint, estimate_latent
    from cleanlab.filter import find_label_issues

    if model == "forest":
        clf = RandomForestClassifier(200, random_state=seed)
    else:
        clf = HistGradientBoostingClassifier(max_iter=60, random_state=seed)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    proba = cross_val_predict(clf, X, y, cv=folds, method="predict_proba")
    is_suspect = find_label_issues(y, proba)
    own = proba[np.arange(len(y)), y]
    _, transition, _ = estimate_latent(compute_confident_joint(y, proba), y)
    rate = is_suspect.mean()
    # Suspects first: the others follow behind the largest self-confidence.
    score = own + np.where(is_suspect, 0, 1)
    return {"score": score, "rate": rate, "low": np.nan, "high": np.nan, "T": transition.T}


def audit_table(
    table: str, noise: str, method: str, seed: int, *, n_rows: int, data: Path | None
) -> Row:
    """Scores of one method on one table."""
    X, y = load(table, n_rows, seed, data)
    noisy = corrupt(X, y, noise, seed)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rare classes are fewer than folds
        if method in AUDITS:
            audit = audit_labels(
                X, noisy.y, method=AUDITS[method], checks=("label",), random_state=seed
            )
            found: Row = dict(zip(("rate", "low", "high"), audit.noise_rate, strict=True))
            found |= {"score": audit.score, "T": audit.transition}
        else:
            found = by_cleanlab(X, noisy.y, method.partition(", ")[2], seed)
    seconds = time.perf_counter() - start
    wrong, n_classes = noisy.mask, int(y.max()) + 1
    truth = np.zeros((n_classes, n_classes))
    np.add.at(truth, (y, noisy.y), 1)
    truth /= truth.sum(axis=1, keepdims=True)
    worst = np.argsort(found["score"], kind="stable")[: wrong.sum()]
    return {
        "auroc": roc_auc_score(~wrong, found["score"]),
        "precision": wrong[worst].mean(),
        "rate": found["rate"],
        "rate_error": abs(found["rate"] - wrong.mean()),
        "covered": float(found["low"] <= wrong.mean() <= found["high"]),
        "width": found["high"] - found["low"],
        "transition_error": np.abs(found["T"] - truth).mean(),
        "seconds": seconds,
    }


def lines(rows: list[Row], methods: list[str], **where: str) -> list[list[str]]:
    """A line of means for each method."""
    names = ("auroc", "precision", "rate_error", "covered", "transition_error")
    return [
        [
            *where.values(),
            method,
            *(f"{column(rows, name, method=method, **where).mean():.3f}" for name in names),
            f"{column(rows, 'seconds', method=method, **where).mean():.0f}",
        ]
        for method in methods
    ]


def main() -> None:
    parser = command_line(__doc__, n_seeds=2)
    parser.add_argument("--data", type=Path, help="tables.npz; without it, digits alone")
    parser.add_argument("--tables", nargs="+", help="names (digits and all of the file)")
    parser.add_argument("--noises", nargs="+", choices=list(NOISES), default=list(NOISES))
    parser.add_argument("--rows", type=int, default=1500, help="of a table (%(default)s)")
    args = parser.parse_args()
    known = ["digits"]
    if args.data:
        with np.load(args.data) as file:
            known += [name.removesuffix("_X") for name in file.files if name.endswith("_X")]
    tables = args.tables or known
    methods = [*AUDITS, *(RIVALS if importlib.util.find_spec("cleanlab") else [])]
    cells = [
        {"table": table, "noise": noise, "method": method, "seed": seed}
        for table in tables
        for noise in args.noises
        for seed in range(args.seeds)
        for method in methods
    ]
    task = partial(audit_table, n_rows=args.rows, data=args.data and args.data.resolve())
    rows = run_cells(task, cells, n_jobs=args.n_jobs, csv_path=args.csv)
    print(machine())
    header = ["method", "AUROC", "precision", "error of the share", "covered", "error of T", "s"]
    report(f"Means over {args.seeds} seeds", markdown(header, lines(rows, methods)))
    by_noise = [line for noise in args.noises for line in lines(rows, methods, noise=noise)]
    report("By noise", markdown(["noise", *header], by_noise))
    by_table = [line for table in tables for line in lines(rows, methods, table=table)]
    report("By table", markdown(["table", *header], by_table))
    ours = column(rows, "precision", method="default")
    for rival in methods[2:]:
        theirs = column(rows, "precision", method=rival)
        print(f"\nPrecision above {rival}: {(ours > theirs).sum()} of {len(ours)} settings.")


if __name__ == "__main__":
    main()

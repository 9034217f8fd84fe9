"""Which labels are wrong, and how many: the audit against cleanlab, on digits and UCI tables.

    python benchmarks/audit.py --data tables.npz --n-jobs 2 --csv benchmarks/audit.local.csv

The file holds NAME_X (n, d) and NAME_y (n,) of each table; 1,500 rows are drawn, stratified, and
columns with missing values are dropped. Noise: 20 % symmetric, 30 % pairflip, 20 %
instance-dependent. With --images, 5,000 images of CIFAR-10N with the labels "worse" are a further
table (the file of examples/cifar10n.py); cleanlab's models read their pixels. Methods:

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
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _common import Row, column, command_line, machine, markdown, report, run_cells
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict, train_test_split
from sklearn.preprocessing import StandardScaler

from sknoisy import audit_labels
from sknoisy.noise import instance_dependent, pairflip, symmetric

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import cifar10n

IMAGES, HUMAN = "cifar10n", "worse"
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


def corrupt(X: np.ndarray, y: np.ndarray, noise: str, seed: int) -> np.ndarray:
    """Labels with the named noise."""
    if noise.startswith("symmetric"):
        return symmetric(y, NOISES[noise], random_state=seed).y
    if noise.startswith("pairflip"):
        return pairflip(y, NOISES[noise], random_state=seed).y
    return instance_dependent(X, y, NOISES[noise], random_state=seed).y


def problem(
    table: str, noise: str, seed: int, *, n_rows: int, data: Path | None, images: Path | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows or images, clean labels and noisy labels, both 0, 1, ..."""
    if table == IMAGES:
        drawn = cifar10n.read(images, noise, 5000, 1, seed)
        classes, y = np.unique(drawn.y_clean, return_inverse=True)
        return drawn.X, y, np.searchsorted(classes, drawn.y)
    X, y = load(table, n_rows, seed, data)
    return X, y, corrupt(X, y, noise, seed)


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


def audit_table(table: str, noise: str, method: str, seed: int, **where: Any) -> Row:
    """Scores of one method on one table."""
    X, y, y_noisy = problem(table, noise, seed, **where)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rare classes are fewer than folds
        if method in AUDITS:
            audit = audit_labels(
                X, y_noisy, method=AUDITS[method], checks=("label",), random_state=seed
            )
            found: Row = dict(zip(("rate", "low", "high"), audit.noise_rate, strict=True))
            found |= {"score": audit.score, "T": audit.transition}
        else:
            found = by_cleanlab(X.reshape(len(X), -1), y_noisy, method.partition(", ")[2], seed)
    seconds = time.perf_counter() - start
    wrong, n_classes = y_noisy != y, int(y.max()) + 1
    truth = np.zeros((n_classes, n_classes))
    np.add.at(truth, (y, y_noisy), 1)
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
    parser.add_argument("--images", type=Path, help="cifar10n.npz")
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
    settings = [(table, noise) for table in tables for noise in args.noises]
    if args.images:
        settings.append((IMAGES, HUMAN))
    cells = [
        {"table": table, "noise": noise, "method": method, "seed": seed}
        for seed in range(args.seeds)
        for table, noise in settings
        for method in methods
    ]
    task = partial(audit_table, n_rows=args.rows, data=args.data, images=args.images)
    rows = run_cells(task, cells, n_jobs=args.n_jobs, csv_path=args.csv)
    print(machine())
    header = ["method", "AUROC", "precision", "error of the share", "covered", "error of T", "s"]
    report(f"Means over {args.seeds} seeds", markdown(header, lines(rows, methods)))
    tables, noises = (list(dict.fromkeys(names)) for names in zip(*settings, strict=True))
    by_noise = [line for noise in noises for line in lines(rows, methods, noise=noise)]
    report("By noise", markdown(["noise", *header], by_noise))
    by_table = [line for table in tables for line in lines(rows, methods, table=table)]
    report("By table", markdown(["table", *header], by_table))
    for rival in methods[2:]:
        for score in ("auroc", "precision"):
            ours, theirs = (_by_setting(rows, score, m) for m in ("default", rival))
            print(
                f"\n{score} of the default above {rival}: {(ours > theirs).sum()} of {len(ours)} "
                f"settings, {(ours - theirs).mean():+.3f} in the mean."
            )


def _by_setting(rows: list[Row], score: str, method: str) -> np.ndarray:
    own = {(r["table"], r["noise"], r["seed"]): r[score] for r in rows if r["method"] == method}
    return np.array([own[setting] for setting in sorted(own)])


if __name__ == "__main__":
    main()

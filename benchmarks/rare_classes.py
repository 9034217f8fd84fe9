"""Rare classes: quality of the purified labels, and average precision of the classifier.

    python benchmarks/rare_classes.py --seeds 5

Tables of 2,000 training rows with 1 and 2 % positives: clusters (make_classification), the tail of
a linear score, and an island in normally distributed rows. A fifth of the positives have the label
of a negative, and as many negatives that of a positive.

Recall and precision of the positives among the labels that LabelPurifier and
NoisyLabelClassifier give to all rows, and among the given labels of the rows that
CleanSampleSelector keeps, compared with those of the given labels of all rows. Average precision
on 2,000 further rows with clean labels, compared with a forest that learns the given labels.

Each seed draws table, noise and random state. The rules were chosen on the seeds 0 to 2; the seeds
of the report begin at 10.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
from _common import Row, column, command_line, machine, markdown, report, run_cells, spread
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import average_precision_score

import sknoisy
from sknoisy.exceptions import SelectionWarning, ShrunkenClassWarning

N_ROWS = 2000  # of training, and of the test
WRONG = 0.2
FIRST_SEED = 10
NETWORK = {"max_epochs": 15}


def clusters(n: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a table with several clusters per class."""
    return make_classification(
        n, 12, n_informative=8, weights=[1 - share], class_sep=1.4, flip_y=0, random_state=seed
    )


def tail(n: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a table whose positives have the largest values of a linear score."""
    X = np.random.default_rng([1, seed]).normal(size=(n, 12))
    score = X[:, 0] + X[:, 1] - 0.5 * X[:, 2]
    return X, (score > np.quantile(score, 1 - share)).astype(int)


def island(n: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a table whose positives lie close together."""
    rng = np.random.default_rng([2, seed])
    X, y = rng.normal(size=(n, 10)), (np.arange(n) < round(share * n)).astype(int)
    centre = rng.normal(size=10)
    positives = 0.6 * rng.normal(size=(y.sum(), 10))
    X[y == 1] = 2.5 * centre / np.linalg.norm(centre) + positives
    order = rng.permutation(n)
    return X[order], y[order]


TABLES = {"clusters": clusters, "tail": tail, "island": island}


def mislabel(y: np.ndarray, seed: int) -> np.ndarray:
    """Return labels of which a fifth of the positives are missed, and as many are false."""
    rng, given = np.random.default_rng([7, seed]), y.copy()
    positives, negatives = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    n_wrong = round(WRONG * len(positives))
    given[rng.choice(positives, n_wrong, replace=False)] = 0
    given[rng.choice(negatives, n_wrong, replace=False)] = 1
    return given


def quality(labels: np.ndarray, clean: np.ndarray) -> tuple[float, float]:
    """Return recall and precision of the positives."""
    found = np.sum((labels == 1) & (clean == 1))
    return float(found / max(clean.sum(), 1)), float(found / max(labels.sum(), 1))


def fit(table: str, share: float, method: str, seed: int) -> Row:
    """Return the scores of one fit."""
    X, y = TABLES[table](2 * N_ROWS, share, seed)
    X, X_test, y, y_test = X[:N_ROWS], X[N_ROWS:], y[:N_ROWS], y[N_ROWS:]
    given, start, precision = mislabel(y, seed), time.perf_counter(), np.nan
    labels, kept = given, np.arange(N_ROWS)
    if method == "forest on given labels":
        forest = RandomForestClassifier(random_state=seed).fit(X, given)
        precision = average_precision_score(y_test, forest.predict_proba(X_test)[:, 1])
    elif method == "LabelPurifier":
        labels = sknoisy.LabelPurifier(random_state=seed).fit(X, given).purified_labels_
    elif method == "CleanSampleSelector":
        selector = sknoisy.CleanSampleSelector(random_state=seed, **NETWORK)
        kept = selector.fit(X, given).sample_indices_
    else:
        clf = sknoisy.NoisyLabelClassifier(random_state=seed)
        labels = clf.fit(X, given).purified_labels_
        precision = average_precision_score(y_test, clf.predict_proba(X_test)[:, 1])
    seconds = time.perf_counter() - start
    scores = quality(labels[kept], y[kept])
    return dict(zip(("recall", "precision"), scores, strict=True)) | {
        "average precision": float(precision),
        "seconds": seconds,
    }


METHODS = [
    "forest on given labels",
    "LabelPurifier",
    "CleanSampleSelector",
    "NoisyLabelClassifier",
]


def main() -> None:
    args = command_line(__doc__, n_seeds=5).parse_args()
    warnings.simplefilter("ignore", SelectionWarning)
    warnings.simplefilter("ignore", ShrunkenClassWarning)
    settings = [(table, share) for table in TABLES for share in (0.01, 0.02)]
    cells = [
        {"table": table, "share": share, "method": method, "seed": FIRST_SEED + seed}
        for seed in range(args.seeds)
        for table, share in settings
        for method in METHODS
    ]
    print(machine())
    rows = run_cells(fit, cells, n_jobs=args.n_jobs, csv_path=args.csv)
    for score in ("recall", "precision", "average precision", "seconds"):
        lines = [
            [m, *(spread(column(rows, score, table=t, share=s, method=m)) for t, s in settings)]
            for m in METHODS
        ]
        header = ["", *(f"{table}, {share:.0%}" for table, share in settings)]
        report(f"{score}, {args.seeds} seeds", markdown(header, lines))


if __name__ == "__main__":
    main()

"""Quality of the selected rows, and accuracy of the networks that learn them.

    python benchmarks/selection.py rows --seeds 5
    python benchmarks/selection.py accuracy --seeds 5
    python benchmarks/selection.py cifar --data cifar10n.npz --rounds 3 --epochs 10
    python benchmarks/selection.py mixture

"rows": digits, 60 % of the rows as training data; precision and recall of the rows that
CleanSampleSelector keeps, with default parameters and with those of the paper and of the released
code: weights kept between rounds, no stopping rule, 7 rounds. "accuracy": test accuracy of
MILDClassifier, of the plain network in its last epoch, and of cleanlab's CleanLearning around the
same network; needs the extra "benchmarks". "cifar": CIFAR-10 with human labels (CIFAR-10N
"worse"), in the format that examples/cifar10n.py describes. "mixture": seconds of a fit to ten
million scores.

Each seed draws split, noise and random state; symmetric noise is that to another class.
"""

from __future__ import annotations

import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _common import (
    CROSS_ENTROPY,
    Row,
    column,
    command_line,
    machine,
    markdown,
    report,
    run_cells,
    seconds_per_fit,
    spread,
)
from meta_family import read_digits
from sklearn.metrics import roc_auc_score

import sknoisy
from sknoisy.mixture import WeibullMixture

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import cifar10n

DIGITS = ["symmetric 40", "symmetric 60", "pairflip 40", "no noise"]
PUBLISHED = {
    "reset": False,
    "stopping": False,
    "n_folds": 0,
    "n_warmup_epochs": 50,
    "max_epochs": 20,
}
SELECTORS: dict[str, dict[str, Any]] = {
    "default": {},
    'metric="segments"': {"metric": "segments"},
    "min_memorized=0": {"min_memorized": 0.0},
    "not judged": {"n_folds": 0},
    "as published, 7 rounds": {**PUBLISHED, "n_rounds": 7},
    "as released, 7 rounds": {**PUBLISHED, "n_rounds": 7, "threshold": "released"},
}
NETWORK = partial(sknoisy.CLIDMUClassifier, **CROSS_ENTROPY)


def clean_learning(random_state: int, **params: Any) -> Any:
    """Return cleanlab's classifier around the plain network."""
    from cleanlab.classification import CleanLearning

    return CleanLearning(NETWORK(random_state=random_state, **params), seed=random_state)


CLASSIFIERS = {
    "plain network": NETWORK,
    "CleanLearning": clean_learning,
    "MILD": sknoisy.MILDClassifier,
    'MILD, semi="none"': partial(sknoisy.MILDClassifier, semi="none"),
    'MILD, semi="mixup+contrastive"': partial(sknoisy.MILDClassifier, semi="mixup+contrastive"),
}


def quality(selected: np.ndarray, right: np.ndarray, y: np.ndarray) -> Row:
    """Return precision, recall and the number of lost classes of a selection."""
    return {
        "precision": float(right[selected].mean()),
        "recall": float(right[selected].sum() / right.sum()),
        "n_lost": len(np.unique(y)) - len(np.unique(y[selected])),
    }


def select_digits(setting: str, method: str, seed: int) -> Row:
    """Return the scores of one selection."""
    problem = read_digits(setting, seed)
    right = problem.y == problem.y_clean
    start = time.perf_counter()
    selector = sknoisy.CleanSampleSelector(**SELECTORS[method], random_state=seed)
    selector.fit(problem.X, problem.y)
    one_kind = right.all()
    return {
        **quality(selector.clean_mask_, right, problem.y),
        "auc": np.nan if one_kind else float(roc_auc_score(right, selector.clean_proba_)),
        "n_rounds": selector.n_iter_,
        "seconds": time.perf_counter() - start,
    }


def fit_digits(setting: str, method: str, seed: int) -> Row:
    """Return the scores of one fit."""
    problem = read_digits(setting, seed)
    clf = CLASSIFIERS[method](random_state=seed)
    start = time.perf_counter()
    clf.fit(problem.X, problem.y)
    return {
        "accuracy": float(np.mean(clf.predict(problem.X_test) == problem.y_test)),
        "seconds": time.perf_counter() - start,
    }


def fit_cifar(method: str, epochs: int, rounds: int, data: str, n_train: int, seed: int) -> Row:
    """Return the scores of one fit on human labels."""
    problem = cifar10n.read(Path(data), "worse", n_train, 2000, seed)
    right = problem.y == problem.y_clean
    clf: Any = CLASSIFIERS[method](max_epochs=2 * epochs, random_state=seed)
    if method.startswith("MILD"):
        clf.set_params(selector=sknoisy.CleanSampleSelector(max_epochs=epochs, n_rounds=rounds))
    start = time.perf_counter()
    clf.fit(problem.X, problem.y)
    selected = getattr(clf, "clean_mask_", np.ones(len(right), bool))
    return {
        **quality(selected, right, problem.y),
        "accuracy": float(np.mean(clf.predict(problem.X_test) == problem.y_test)),
        "seconds": time.perf_counter() - start,
    }


def time_mixture(n: int = 10_000_000) -> float:
    """Return the seconds that a mixture takes to fit scores of 30 epochs."""
    rng = np.random.default_rng(0)
    share = np.where(rng.random(n) < 0.6, 0.9, 0.2)
    scores = 60 - 2 * rng.binomial(30, share).astype(float)[:, None]
    start = time.perf_counter()
    WeibullMixture(random_state=0).fit(scores)
    return time.perf_counter() - start


def table(rows: list[Row], settings: list[str], score: str) -> str:
    """Return a table with a line per method and a column per setting."""
    methods = dict.fromkeys(str(row["method"]) for row in rows)
    lines = [
        [m, *(spread(column(rows, score, setting=s, method=m)) for s in settings)] for m in methods
    ]
    return markdown(["", *settings], lines)


def main() -> None:
    parser = command_line(__doc__, n_seeds=5)
    parser.add_argument("what", choices=["rows", "accuracy", "cifar", "mixture"])
    parser.add_argument("--data", default="", help="cifar10n.npz")
    parser.add_argument("--n-train", type=int, default=5000, help="of CIFAR-10N (%(default)s)")
    parser.add_argument("--epochs", type=int, default=10, help="of a round on CIFAR-10N")
    parser.add_argument("--rounds", type=int, default=3, help="at most, on CIFAR-10N")
    parser.add_argument("--methods", nargs="+", choices=list(CLASSIFIERS), default=CLASSIFIERS)
    args = parser.parse_args()
    warnings.simplefilter("ignore", sknoisy.exceptions.SelectionWarning)
    print(machine())
    if args.what == "mixture":
        print(f"\n10 million scores: {time_mixture():.2f} s")
        return
    if args.what == "cifar":
        own = {"epochs": args.epochs, "rounds": args.rounds, "data": args.data}
        cells = [
            {"method": method, **own, "n_train": args.n_train, "seed": seed}
            for seed in range(args.seeds)
            for method in args.methods
        ]
        rows = run_cells(fit_cifar, cells, n_jobs=args.n_jobs, csv_path=args.csv)
        scores = ["precision", "recall", "accuracy", "seconds"]
        lines = [[m, *(spread(column(rows, s, method=m)) for s in scores)] for m in args.methods]
        report(f"CIFAR-10N worse, {args.n_train} rows", markdown(["", *scores], lines))
        return
    methods, task = (
        (SELECTORS, select_digits) if args.what == "rows" else (args.methods, fit_digits)
    )
    cells = [
        {"setting": setting, "method": method, "seed": seed}
        for seed in range(args.seeds)
        for setting in DIGITS
        for method in methods
    ]
    rows = run_cells(task, cells, n_jobs=args.n_jobs, csv_path=args.csv)
    names = ["precision", "recall", "auc", "n_lost", "n_rounds"]
    for score in names if args.what == "rows" else ["accuracy"]:
        report(f"{score}, {args.seeds} seeds", table(rows, DIGITS, score))
    print(f"\n{seconds_per_fit(rows)}")


if __name__ == "__main__":
    main()

"""Noise-tolerant training (MLNT) against cross-entropy: one iteration, three, and without mentor.

    python benchmarks/mlnt.py --seeds 5 --n-jobs 2
    python benchmarks/mlnt.py --cifar cifar10n.npz --n-train 5000 --epochs 20 --seeds 1

The data are digits with symmetric noise (another class) or, with --cifar, CIFAR-10 with human
labels (CIFAR-10N "worse", 40 % wrong), in the format that examples/cifar10n.py describes. Each
seed draws the rows, the noise and the random state. All methods have the same network and
optimiser and see no clean label. The scores are those of the last epoch, for student and teacher
of the same fit.
"""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path

import numpy as np
import torch
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
from sknoisy import MLNTClassifier
from sknoisy.methods.mlnt import ToleranceGradient

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import cifar10n

METHODS = {
    "cross-entropy": functools.partial(sknoisy.CLIDMUClassifier, **CROSS_ENTROPY),
    "MLNT, one iteration": MLNTClassifier,
    "MLNT, two iterations": functools.partial(MLNTClassifier, n_iterations=2),
    "MLNT, three iterations": functools.partial(MLNTClassifier, n_iterations=3),
    "MLNT, constant steps": functools.partial(
        MLNTClassifier, meta_lr=2.0, inner_lr=0.05, teacher_decay=0.97
    ),
    "MLNT, joint step": functools.partial(MLNTClassifier, gradient=ToleranceGradient(joint=True)),
    "teacher alone (no inner step)": functools.partial(
        MLNTClassifier, inner_lr=0.0, n_synthetic=1
    ),
}
DIGITS = ["symmetric 40", "symmetric 60"]
HUMAN = "CIFAR-10N worse"


def fit_method(
    setting: str, method: str, epochs: int, seed: int, data: str, n_train: int, n_synthetic: int
) -> Row:
    """Return the scores of one fit."""
    if setting == HUMAN:
        problem = cifar10n.read(Path(data), "worse", n_train, 2000, seed)
    else:
        problem = read_digits(setting, seed)
    clf = METHODS[method](max_epochs=epochs, random_state=seed)
    if n_synthetic and "MLNT" in method:
        clf.set_params(n_synthetic=n_synthetic)
    start = time.perf_counter()
    clf.fit(problem.X, problem.y)
    seconds = time.perf_counter() - start
    accuracy = clf.score(problem.X_test, problem.y_test)
    right = problem.y == problem.y_clean
    auc = float(roc_auc_score(right, clf.clean_proba_))
    kept = getattr(clf, "kept_rows_", np.ones(len(right), dtype=bool))
    student = _of_student(clf, problem.X_test)
    return {
        "accuracy": accuracy,
        "student": float(np.mean(student == problem.y_test)),
        "auc": auc,
        "n_kept": int(kept.sum()),
        "precision": float(right[kept].mean()),
        "seconds": seconds,
    }


@torch.no_grad()
def _of_student(clf, X: np.ndarray) -> np.ndarray:
    """Return the labels that the student predicts after the last epoch."""
    rows = clf._rows(X)
    parts = torch.arange(len(X), device=clf.net_.device).split(1000)
    logits = torch.cat([clf.net_.module_(rows.take(part)) for part in parts])
    return clf.classes_[logits.argmax(dim=1).cpu().numpy()]


def table(rows: list[Row], settings: list[str], score: str) -> str:
    """Return a Markdown table with a line per method and a column per setting."""
    lines = [
        [method, *(spread(column(rows, score, setting=s, method=method)) for s in settings)]
        for method in dict.fromkeys(str(row["method"]) for row in rows)
    ]
    return markdown(["", *settings], lines)


def main() -> None:
    parser = command_line(__doc__, n_seeds=5)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--cifar", default="", help="cifar10n.npz: CIFAR-10N instead of digits")
    parser.add_argument("--n-train", type=int, default=5000, help="of CIFAR-10N (%(default)s)")
    parser.add_argument("--n-synthetic", type=int, default=0, help="M; 0: the default")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    args = parser.parse_args()
    settings = [HUMAN] if args.cifar else DIGITS
    cells = [
        {
            "setting": setting,
            "method": method,
            "epochs": args.epochs,
            "seed": seed,
            "data": args.cifar,
            "n_train": args.n_train,
            "n_synthetic": args.n_synthetic,
        }
        for seed in range(args.seeds)
        for setting in settings
        for method in args.methods
    ]
    rows = run_cells(fit_method, cells, n_jobs=args.n_jobs, csv_path=args.csv)
    print(machine())
    title = f"{args.seeds} seeds, {args.epochs} epochs"
    report(f"Test accuracy, {title}", table(rows, settings, "accuracy"))
    report("Test accuracy of the student of the same fits", table(rows, settings, "student"))
    report("AUC of `clean_proba_`", table(rows, settings, "auc"))
    report(
        "Share of right labels among those that the mentor believes",
        table(rows, settings, "precision"),
    )
    print(f"\n{seconds_per_fit(rows)}")


if __name__ == "__main__":
    main()

"""The meta-learning family against cross-entropy, with 5 % trusted rows and with none.

    python benchmarks/meta_family.py --seeds 3 --n-jobs 2
    python benchmarks/meta_family.py --data cifar10n.npz --n-train 5000 --epochs 20 --seeds 1

Digits with symmetric (another class) and pairflip noise, 40 % wrong labels, and with --data
CIFAR-10 with human labels (CIFAR-10N "worse", 40 % wrong), in the format that
examples/cifar10n.py describes. Each seed draws the rows, the noise, the trusted rows (a share of
each true class, which get their true label) and the random state. Cross-entropy is told the same
labels. Every number is that of the last epoch; no method but CLID-MU's ensemble chooses epochs.
"""

from __future__ import annotations

import functools
import sys
import time
import warnings
from pathlib import Path

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
from digits import SETTINGS
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

import sknoisy

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import cifar10n

METHODS = {
    "cross-entropy": functools.partial(sknoisy.CLIDMUClassifier, **CROSS_ENTROPY),
    "L2R": sknoisy.L2RClassifier,
    "Meta-Weight-Net": sknoisy.MetaWeightNetClassifier,
    "Meta-Weight-Net, layers sampled": functools.partial(
        sknoisy.MetaWeightNetClassifier, gradient="famus"
    ),
    "MLC": sknoisy.MLCClassifier,
    "transition MLC": sknoisy.TransitionMLCClassifier,
    "MSLC": sknoisy.MSLCClassifier,
    "MSLC, soft targets": functools.partial(sknoisy.MSLCClassifier, targets="soft"),
    "FaMUS": sknoisy.FaMUSClassifier,
    "CLID-MU": sknoisy.CLIDMUClassifier,
}
DIGITS = ["symmetric 40", "pairflip 40"]
HUMAN = "CIFAR-10N worse"
TRUSTED = ["5 %", "none"]


def read_digits(setting: str, seed: int) -> cifar10n.Cifar10N:
    """Training rows with noisy and true labels, test rows."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, train_size=0.6, stratify=y, random_state=seed)
    return cifar10n.Cifar10N(X, SETTINGS[setting](y, random_state=seed).y, y, X_test, y_test)


def draw_trusted(y_clean: np.ndarray, share: float, seed: int) -> np.ndarray:
    """A mask of a share of each true class, at least one row."""
    order = np.random.default_rng(seed).permutation(len(y_clean))
    mask = np.zeros(len(y_clean), dtype=bool)
    for label in np.unique(y_clean):
        members = order[y_clean[order] == label]
        mask[members[: max(1, round(share * len(members)))]] = True
    return mask


def fit_method(
    setting: str, method: str, trusted: str, epochs: int, seed: int, data: str, n_train: int
) -> Row:
    """Scores of one fit."""
    if setting == HUMAN:
        problem = cifar10n.read(Path(data), "worse", n_train, 2000, seed)
    else:
        problem = read_digits(setting, seed)
    labels, mask = problem.y, None
    if trusted != "none":
        mask = draw_trusted(problem.y_clean, 0.05, seed)
        labels = np.where(mask, problem.y_clean, problem.y)
    clf = METHODS[method](max_epochs=epochs, random_state=seed)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sknoisy.exceptions.MixtureWarning)
        clf.fit(problem.X, labels, clean_mask=mask)
    seconds = time.perf_counter() - start
    unknown = slice(None) if mask is None else ~mask
    right = (labels == problem.y_clean)[unknown]
    return {
        "accuracy": clf.score(problem.X_test, problem.y_test),
        "auc": float(roc_auc_score(right, clf.clean_proba_[unknown])),
        "seconds": seconds,
    }


def table(rows: list[Row], settings: list[str], score: str, baseline: bool) -> str:
    """A line per method, a column per setting and share of trusted rows."""
    cases = [(setting, trusted) for setting in settings for trusted in TRUSTED]
    lines = []
    for method in dict.fromkeys(str(row["method"]) for row in rows):
        line = [method]
        for setting, trusted in cases:
            where = {"setting": setting, "trusted": trusted}
            values = column(rows, score, method=method, **where)
            reference = column(rows, score, method="cross-entropy", **where)
            below = baseline and len(reference) > 0 and values.mean() < reference.mean()
            line.append(spread(values) + (" (below)" if below else ""))
        lines.append(line)
    return markdown(["", *(f"{s}, {t} trusted" for s, t in cases)], lines)


def main() -> None:
    parser = command_line(__doc__, n_seeds=3)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--data", default="", help="cifar10n.npz: CIFAR-10N instead of digits")
    parser.add_argument("--n-train", type=int, default=5000, help="of CIFAR-10N (%(default)s)")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    args = parser.parse_args()
    settings = [HUMAN] if args.data else DIGITS
    cells = [
        {
            "setting": setting,
            "method": method,
            "trusted": trusted,
            "epochs": args.epochs,
            "seed": seed,
            "data": args.data,
            "n_train": args.n_train,
        }
        for seed in range(args.seeds)
        for setting in settings
        for method in args.methods
        for trusted in TRUSTED
    ]
    rows = run_cells(fit_method, cells, n_jobs=args.n_jobs, csv_path=args.csv)
    print(machine())
    title = f"{args.seeds} seeds, {args.epochs} epochs"
    if args.data:
        title += f", {args.n_train} rows"
    report(f"Test accuracy, last epoch, {title}", table(rows, settings, "accuracy", True))
    report("AUC of `clean_proba_` on the other rows", table(rows, settings, "auc", False))
    print(f"\n{seconds_per_fit(rows)}")


if __name__ == "__main__":
    main()

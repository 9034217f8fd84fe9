"""Digits with wrong labels: every framework on the given labels, and on purified ones.

    python benchmarks/frameworks.py --seeds 5 --n-jobs 2
    python benchmarks/frameworks.py --methods cross_entropy,divide_mix --settings "symmetric 60"
    python benchmarks/frameworks.py --first-seed 10 --labels given

Each seed draws a stratified split (60 % training rows), the noise in the training labels, and the
random state. All methods have their default parameters and predict by the network of the last
epoch, or by all networks that they train. "purified" is the same classifier after a LabelPurifier.
"""

from __future__ import annotations

import time

import numpy as np
from _common import Row, column, command_line, machine, markdown, report, run_cells, spread
from digits import EXCLUSIVE, PAIRFLIP
from images import build, check_method
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sknoisy import LabelPurifier

SETTINGS = {**EXCLUSIVE, **PAIRFLIP}
LABELS = {"given": (False,), "purified": (True,), "both": (False, True)}
FRAMEWORKS = (
    *("cross_entropy", "clid_mu", "co_teaching", "elr", "elr:plus=True", "cdr", "sop"),
    *("sop:plus=True", "divide_mix", "pro_mix", "fixmatch", "flexmatch"),
    *("clid_mu:semi=fixmatch", "clid_mu:semi=flexmatch", "clid_mu:semi=dividemix"),
    *("famus", "famus:semi=dividemix"),
)


def fit_digits(setting: str, method: str, purified: bool, epochs: int, seed: int) -> Row:
    """Return test accuracy and seconds of one fit."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, train_size=0.6, stratify=y, random_state=seed)
    labels = SETTINGS[setting](y, random_state=seed).y
    start = time.process_time()
    if purified:
        labels = LabelPurifier(random_state=seed).fit_resample(X, labels)[1]
    clf = build(method, epochs, seed).fit(X, labels)
    return {
        "accuracy": float(np.mean(clf.predict(X_test) == y_test)),
        "cpu_seconds": time.process_time() - start,
    }


def table(
    rows: list[Row], methods: list[str], settings: list[str], of_labels: tuple[bool, ...]
) -> str:
    """Return a line per method: given and purified labels of each setting, seconds."""
    lines = []
    for method in methods:
        cells = [
            spread(column(rows, "accuracy", setting=setting, method=method, purified=purified))
            for setting in settings
            for purified in of_labels
        ]
        seconds = column(rows, "cpu_seconds", method=method, purified=of_labels[0])
        lines.append([method, *cells, f"{np.median(seconds):.0f}"])
    header = [f"{name}, purified" if p else name for name in settings for p in of_labels]
    return markdown(["", *header, "CPU seconds"], lines)


def main() -> None:
    parser = command_line(__doc__, n_seeds=5)
    parser.add_argument("--epochs", type=int, default=60, help="of every method (%(default)s)")
    parser.add_argument("--methods", default=",".join(FRAMEWORKS), help="with commas")
    parser.add_argument("--settings", default=",".join(SETTINGS), help="with commas")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--labels", choices=LABELS, default="both", help="(%(default)s)")
    args = parser.parse_args()
    of_labels = LABELS[args.labels]
    methods = [check_method(method) for method in args.methods.split(",")]
    settings = args.settings.split(",")
    cells = [
        {"setting": setting, "method": method, "purified": p, "epochs": args.epochs, "seed": seed}
        for seed in range(args.first_seed, args.first_seed + args.seeds)
        for setting in settings
        for method in methods
        for p in of_labels
    ]
    rows = run_cells(fit_digits, cells, n_jobs=args.n_jobs, csv_path=args.csv)
    print(machine())
    report(
        f"Accuracy on the clean test labels, {args.seeds} seeds",
        table(rows, methods, settings, of_labels),
    )


if __name__ == "__main__":
    main()

"""Digits with wrong labels: cross-entropy, WNet frozen at its start, CLID-MU.

    python benchmarks/digits.py --seeds 5 --n-jobs 2

Each seed draws a stratified split (60 % training rows), the noise in the training labels and the
classifier's random state. All methods have the default network. The last epoch and the ensemble
of CLID-MU come from the same fit.

Symmetric noise is reported in both of its meanings: the replacement is another class (40 % of the
labels are wrong), or any class, the true one included (36 % are).
"""

from __future__ import annotations

from functools import partial

from _common import (
    CLID_MU,
    CROSS_ENTROPY,
    FROZEN_WNET,
    Row,
    column,
    command_line,
    fit_and_score,
    machine,
    markdown,
    report,
    run_cells,
    seconds_per_fit,
    spread,
)
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sknoisy.noise import pairflip, symmetric

EXCLUSIVE = {
    "symmetric 40": partial(symmetric, rate=0.4),
    "symmetric 60": partial(symmetric, rate=0.6),
}
INCLUSIVE = {
    "symmetric 40, true class included": partial(symmetric, rate=0.4, include_true=True),
    "symmetric 60, true class included": partial(symmetric, rate=0.6, include_true=True),
}
PAIRFLIP = {"pairflip 40": partial(pairflip, rate=0.4)}
NONE = {"no noise": partial(symmetric, rate=0.0)}
SETTINGS = {**EXCLUSIVE, **INCLUSIVE, **PAIRFLIP, **NONE}

METHODS = {
    "cross-entropy": CROSS_ENTROPY,
    "WNet frozen at its start": FROZEN_WNET,
    "CLID-MU": CLID_MU,
}
# Line of the tables: method, prefix of its scores.
LINES = {
    "cross-entropy": ("cross-entropy", ""),
    "WNet frozen at its start": ("WNet frozen at its start", ""),
    "CLID-MU, last epoch": ("CLID-MU", "last_"),
    "CLID-MU, ensembled": ("CLID-MU", ""),
}


def symmetric_settings(include_true: str) -> list[str]:
    """Names of the symmetric settings of ``--include-true``."""
    chosen = {"no": EXCLUSIVE, "yes": INCLUSIVE, "both": {**EXCLUSIVE, **INCLUSIVE}}
    return list(chosen[include_true])


def fit_digits(setting: str, method: str, epochs: int, seed: int) -> Row:
    """Scores of one fit."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, train_size=0.6, stratify=y, random_state=seed)
    scaler = StandardScaler().fit(X)
    noisy = SETTINGS[setting](y, random_state=seed)
    return fit_and_score(
        {**METHODS[method], "max_epochs": epochs},
        scaler.transform(X),
        noisy.y,
        noisy.mask,
        scaler.transform(X_test),
        y_test,
        seed,
    )


def table(rows: list[Row], settings: list[str], score: str) -> str:
    """A line per method, a column per setting."""
    lines = []
    for name, (method, prefix) in LINES.items():
        cells = [spread(column(rows, prefix + score, setting=s, method=method)) for s in settings]
        lines.append([name, *cells])
    wrong = [f"{column(rows, 'noise_rate', setting=s).mean():.1%}" for s in settings]
    return markdown(["", *settings], [*lines, ["(wrong labels)", *wrong]])


def main() -> None:
    parser = command_line(__doc__, n_seeds=5)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument(
        "--include-true",
        choices=["no", "yes", "both"],
        default="both",
        help="meaning of symmetric noise (%(default)s)",
    )
    args = parser.parse_args()
    settings = [*symmetric_settings(args.include_true), *PAIRFLIP, *NONE]
    cells = [
        {"setting": setting, "method": method, "epochs": args.epochs, "seed": seed}
        for setting in settings
        for method in METHODS
        for seed in range(args.seeds)
    ]
    rows = run_cells(fit_digits, cells, n_jobs=args.n_jobs, csv_path=args.csv)
    print(machine())
    title = f"Accuracy on the clean test labels, {args.seeds} seeds, {args.epochs} epochs"
    report(title, table(rows, settings, "accuracy"))
    report("AUC of `clean_proba_`, right against wrong labels", table(rows, settings, "auc"))
    print(f"\n{seconds_per_fit(rows)}")


if __name__ == "__main__":
    main()

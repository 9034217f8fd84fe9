"""No seed may collapse: the worst seed of CLID-MU against the mean of cross-entropy, on digits.

    python benchmarks/stability.py --seeds 20 --n-jobs 2

Data, settings and methods are those of digits.py; a long training shows what a short one hides.
"""

from __future__ import annotations

from _common import Row, column, command_line, machine, markdown, report, run_cells
from digits import LINES, PAIRFLIP, fit_digits, symmetric_settings

CLID_MU_LINES = {name: line for name, line in LINES.items() if line[0] == "CLID-MU"}


def summary(rows: list[Row], setting: str, epochs: int) -> list[list[str]]:
    """Lines of the table for one setting."""
    where = {"setting": setting, "epochs": epochs}
    baseline = column(rows, "accuracy", method="cross-entropy", **where).mean()
    n_collapses = column(rows, "n_collapses", method="CLID-MU", **where).sum()
    lines = []
    for name, (method, prefix) in CLID_MU_LINES.items():
        accuracy = column(rows, prefix + "accuracy", method=method, **where)
        numbers = [f"{x:.3f}" for x in (baseline, accuracy.mean(), accuracy.min())]
        verdict = f"{(accuracy > baseline).sum()} of {len(accuracy)}"
        lines.append([setting, str(epochs), name, *numbers, verdict, f"{n_collapses:.0f}"])
    return lines


def main() -> None:
    parser = command_line(__doc__, n_seeds=20)
    parser.add_argument("--epochs", type=int, nargs="+", default=[60, 200])
    parser.add_argument("--include-true", choices=["no", "yes", "both"], default="no")
    args = parser.parse_args()
    settings = [*symmetric_settings(args.include_true), *PAIRFLIP]
    cells = [
        {"setting": setting, "method": method, "epochs": epochs, "seed": seed}
        for epochs in args.epochs
        for setting in settings
        for method in ("cross-entropy", "CLID-MU")
        for seed in range(args.seeds)
    ]
    rows = run_cells(fit_digits, cells, n_jobs=args.n_jobs, csv_path=args.csv)
    header = ["noise", "epochs", "", "cross-entropy, mean", "mean", "worst seed"]
    header += ["seeds above cross-entropy's mean", "collapse warnings"]
    lines = [
        line
        for epochs in args.epochs
        for setting in settings
        for line in summary(rows, setting, epochs)
    ]
    print(machine())
    report(f"Test accuracy, {args.seeds} seeds", markdown(header, lines))


if __name__ == "__main__":
    main()

"""Does CLID choose a good model? A grid search on noisy string labels, scored without labels.

    python benchmarks/grid_search.py --seeds 3 --n-jobs 2

Digits with 40 % pairflip noise. ``GridSearchCV(scoring=clid_scorer)`` chooses the
temperature of CLID and the learning rate. Then every setting of the grid is fitted on all training
rows and scored on the clean test labels: the difference to the best setting is the cost of the
choice. The table also has the choices by accuracy on the noisy labels and on the clean labels of
the held-out rows, which a user does not have. The cost of the latter is the cost of
cross-validation, not that of the score.

There are 1,078 training rows. Five folds, scikit-learn's default, fit on 862; three would fit on
718, where the defaults are those of a small table and other settings are best.
"""

from __future__ import annotations

import numpy as np
from _common import Row, column, command_line, machine, markdown, report, run_cells
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, ParameterGrid, train_test_split

from sknoisy import CLIDMUClassifier
from sknoisy.meta import CLIDObjective
from sknoisy.metrics import clid_scorer
from sknoisy.noise import pairflip

GRID = {"meta_objective": [CLIDObjective(t) for t in (0.2, 0.5, 1.0)], "lr": [0.02, 0.05, 0.1]}
NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


def search(seed: int) -> Row:
    """True accuracy of the settings that each score chooses, and of the best, in one split."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(
        X, NAMES[y], train_size=0.6, stratify=y, random_state=seed
    )
    noisy = pairflip(y, 0.4, random_state=seed).y
    clean = {row.tobytes(): label for row, label in zip(X, y, strict=True)}

    def clean_accuracy(estimator, X, y=None):
        return np.mean(estimator.predict(X) == [clean[row.tobytes()] for row in X])

    scoring = {"CLID": clid_scorer, "noisy accuracy": "accuracy", "clean accuracy": clean_accuracy}
    clf = CLIDMUClassifier(random_state=seed)
    results = GridSearchCV(clf, GRID, scoring=scoring, refit=False, cv=5).fit(X, noisy).cv_results_
    accuracy = np.array(
        [
            CLIDMUClassifier(random_state=seed, **params).fit(X, noisy).score(X_test, y_test)
            for params in ParameterGrid(GRID)
        ]
    )
    assert results["params"] == list(ParameterGrid(GRID))
    return {
        **{f"chosen by {s}": accuracy[results[f"mean_test_{s}"].argmax()] for s in scoring},
        "best of the grid": accuracy.max(),
        "mean of the grid": accuracy.mean(),
        "worst of the grid": accuracy.min(),
    }


def main() -> None:
    args = command_line(__doc__, n_seeds=3).parse_args()
    cells = [{"seed": seed} for seed in range(args.seeds)]
    rows = run_cells(search, cells, n_jobs=args.n_jobs, csv_path=args.csv)
    rows.sort(key=lambda row: row["seed"])
    print(machine())
    best = column(rows, "best of the grid")
    lines = []
    for name in rows[0]:
        if name != "seed":
            values = column(rows, name)
            lost = 100 * (best - values).mean()
            lines.append([name, *(f"{v:.3f}" for v in [*values, values.mean()]), f"{lost:.1f}"])
    header = ["", *(f"seed {row['seed']}" for row in rows), "mean", "below the best (points)"]
    report(f"Accuracy on the clean test labels, {args.seeds} seeds", markdown(header, lines))


if __name__ == "__main__":
    main()

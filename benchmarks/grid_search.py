"""Does CLID choose a good model? A grid search on noisy string labels, scored without labels.

    python benchmarks/grid_search.py --seeds 3 --n-jobs 2

Digits with 40 % pairflip noise. ``GridSearchCV(scoring=clid_scorer)`` chooses temperature and
learning rate; then every setting of the grid is fitted on all training rows and scored on the
clean test labels, which shows what the choice cost against the best setting in hindsight. The
choice by accuracy on the noisy labels stands beside it.
"""

from __future__ import annotations

import numpy as np
from _common import command_line, machine, markdown, report, spread
from joblib import Parallel, delayed
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, ParameterGrid, train_test_split

from sknoisy import CLIDMUClassifier
from sknoisy.metrics import clid_scorer
from sknoisy.noise import pairflip

GRID = {"temperature": [0.2, 0.5, 1.0], "lr": [0.02, 0.05, 0.1]}
NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


def search(seed: int, n_jobs: int) -> dict[str, float]:
    """True accuracy of the settings chosen by CLID and by noisy accuracy, and of the best."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(
        X, NAMES[y], train_size=0.6, stratify=y, random_state=seed
    )
    noisy = pairflip(y, 0.4, random_state=seed).y
    clf = CLIDMUClassifier(random_state=seed)
    scoring = {"clid": clid_scorer, "noisy": "accuracy"}
    results = GridSearchCV(clf, GRID, scoring=scoring, refit=False, cv=3, n_jobs=n_jobs)
    results = results.fit(X, noisy).cv_results_
    fits = (
        delayed(CLIDMUClassifier(random_state=seed, **p).fit)(X, noisy)
        for p in ParameterGrid(GRID)
    )
    fitted = Parallel(n_jobs=n_jobs)(fits)
    accuracy = np.array([model.score(X_test, y_test) for model in fitted])
    assert results["params"] == list(ParameterGrid(GRID))
    return {
        "chosen by CLID": accuracy[results["mean_test_clid"].argmax()],
        "chosen by noisy accuracy": accuracy[results["mean_test_noisy"].argmax()],
        "best of the grid": accuracy.max(),
        "mean of the grid": accuracy.mean(),
        "worst of the grid": accuracy.min(),
    }


def main() -> None:
    args = command_line(__doc__, n_seeds=3).parse_args()
    rows = [search(seed, args.n_jobs) for seed in range(args.seeds)]
    print(machine())
    lines = [[name, spread(np.array([row[name] for row in rows]))] for name in rows[0]]
    report(f"Accuracy on the clean test labels, {args.seeds} seeds", markdown(["", ""], lines))


if __name__ == "__main__":
    main()

"""Which score chooses a good model on noisy labels? Regret of each, on 24 models.

    python benchmarks/model_choice.py --seeds 5 --csv model_choice.csv

Digits with 60 % symmetric and 40 % pairflip noise. Each model is cross-validated on noisy labels
with every score in the same three folds, then fitted on all training rows and scored on the clean
test labels. The regret of a score is the test accuracy of the best model minus that of the model
with the highest mean score, in points.

The transition matrix is the true one, or counted from out-of-bag predictions of a forest and
given labels, as a user without clean labels can do. "Clean accuracy" uses clean labels of the
held-out rows: its regret is the cost of cross-validation alone. Under symmetric noise the
corrected accuracy with the true matrix is linear in the plain one: both choose the same models.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from _common import Row, column, command_line, machine, markdown, report, run_cells
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_validate, train_test_split
from sklearn.preprocessing import StandardScaler

from sknoisy import CLIDMUClassifier
from sknoisy.metrics import (
    agreement_scorer,
    clid_scorer,
    noise_corrected_accuracy,
    noisy_log_likelihood,
)
from sknoisy.noise import NoisyLabels, estimate_transition_matrix, pairflip, symmetric

NOISES = {"symmetric 60": (symmetric, 0.6), "pairflip 40": (pairflip, 0.4)}
N_TREES = 20
LEAVES = (1, 2, 5, 10, 20, 40)


def models(seed: int) -> dict[str, Any]:
    """Logistic regressions, forests and small networks, from underfitted to overfitted."""
    made: dict[str, Any] = {
        f"logistic regression, C={C:g}": LogisticRegression(C=C, max_iter=50)
        for C in (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1)
    }
    for forest in (RandomForestClassifier, ExtraTreesClassifier):
        for leaf in LEAVES:
            name = f"{forest.__name__}, leaf {leaf}"
            made[name] = forest(N_TREES, min_samples_leaf=leaf, random_state=seed)
    for hidden in ((32,), (128,)):
        for n_epochs in (3, 10):
            made[f"network {hidden[0]}, {n_epochs} epochs"] = CLIDMUClassifier(
                weighting=None,
                n_ensemble=0,
                max_epochs=n_epochs,
                module_params={"hidden": hidden},
                random_state=seed,
            )
    return made


def counted_transition(X: np.ndarray, given: np.ndarray, seed: int) -> np.ndarray:
    """Transition matrix from out-of-bag predictions of a forest and the given labels."""
    forest = RandomForestClassifier(
        100, min_samples_leaf=5, oob_score=True, random_state=seed
    ).fit(X, given)
    return estimate_transition_matrix(given, forest.oob_decision_function_, classes=range(10))


def scores(X: np.ndarray, y: np.ndarray, noisy: NoisyLabels, seed: int) -> dict[str, Any]:
    """The scorers, of which the last one needs clean labels."""
    clean = {row.tobytes(): label for row, label in zip(X, y, strict=True)}
    counted = counted_transition(X, noisy.y, seed)

    def clean_accuracy(estimator: Any, X: np.ndarray, y: Any = None) -> float:
        return float(np.mean(estimator.predict(X) == [clean[row.tobytes()] for row in X]))

    return {
        "accuracy on noisy labels": "accuracy",
        "corrected accuracy, true matrix": noise_corrected_accuracy(noisy.transition, range(10)),
        "corrected accuracy, counted matrix": noise_corrected_accuracy(counted, range(10)),
        "agreement": agreement_scorer,
        "log-likelihood, true matrix": noisy_log_likelihood(noisy.transition, range(10)),
        "CLID": clid_scorer,
        "clean accuracy": clean_accuracy,
    }


def choose(noise: str, seed: int) -> Row:
    """Regret of each score in one split, in points."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # 50 steps are enough to overfit
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, train_size=0.6, stratify=y, random_state=seed)
    scaler = StandardScaler().fit(X)
    X, X_test = scaler.transform(X), scaler.transform(X_test)
    generate, rate = NOISES[noise]
    noisy = generate(y, rate, random_state=seed)
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    scoring = scores(X, y, noisy, seed)
    accuracy, chosen_by = [], {name: [] for name in scoring}
    for model in models(seed).values():
        results = cross_validate(model, X, noisy.y, scoring=scoring, cv=folds, error_score="raise")
        for name, means in chosen_by.items():
            means.append(results[f"test_{name}"].mean())
        accuracy.append(100 * model.fit(X, noisy.y).score(X_test, y_test))
    best = max(accuracy)
    regret = {name: best - accuracy[int(np.argmax(means))] for name, means in chosen_by.items()}
    return {**regret, "best model": best, "median model": float(np.median(accuracy))}


def main() -> None:
    args = command_line(__doc__, n_seeds=5).parse_args()
    cells = [{"noise": noise, "seed": seed} for seed in range(args.seeds) for noise in NOISES]
    rows = run_cells(choose, cells, n_jobs=args.n_jobs, csv_path=args.csv)
    rows.sort(key=lambda row: row["seed"])
    print(machine())
    lines = []
    for name in [name for name in rows[0] if name not in ("noise", "seed")]:
        of_noise = [column(rows, name, noise=noise) for noise in NOISES]
        each = (f"{v.mean():.2f} ({', '.join(f'{x:.1f}' for x in v)})" for v in of_noise)
        lines.append([name, *each, f"{np.mean(of_noise):.2f}"])
    title = (
        f"Regret in points (each seed), {args.seeds} seeds; accuracy of models in the last lines"
    )
    report(title, markdown(["", *NOISES, "mean"], lines))


if __name__ == "__main__":
    main()

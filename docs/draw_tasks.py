"""Draw the pictures of the start page into docs/_static: ``python docs/draw_tasks.py``.

Each shows one small run: one draw of the wrong labels, one seed. What holds over many data sets
stands in benchmarks/RESULTS.md. All take two minutes of one CPU core.
"""

import sys
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer, load_digits, load_wine, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sknoisy import CLIDMUClassifier, MetaWeightNetClassifier, NoisyLabelClassifier, audit_labels
from sknoisy.noise import pairflip, symmetric

STATIC = Path(__file__).parent / "_static"
SMALL = {"max_epochs": 25, "random_state": 0}


def empty_picture():
    """A figure without a screen, and its only axes."""
    figure = Figure(figsize=(4, 2.6), layout="constrained")
    return figure, figure.subplots()


def table():
    """Accuracy of two usual classifiers and of NoisyLabelClassifier."""
    X, X_test, y, y_test = train_test_split(
        *load_breast_cancer(return_X_y=True), train_size=400, random_state=0
    )
    y = symmetric(y, 0.35, random_state=0).y
    models = {
        "logistic\nregression": make_pipeline(StandardScaler(), LogisticRegression()),
        "random\nforest": RandomForestClassifier(random_state=0),
        "NoisyLabel-\nClassifier": NoisyLabelClassifier(random_state=0),
    }
    accuracy = [model.fit(X, y).score(X_test, y_test) for model in models.values()]
    figure, ax = empty_picture()
    bars = ax.barh(list(models), accuracy, color=["0.7", "0.7", "C0"])
    ax.bar_label(bars, fmt="%.2f", padding=3)
    ax.set(xlim=(0.5, 1.0), xlabel="accuracy, 35 % of labels wrong")
    return figure


def images():
    """The digits whose labels CLIDMUClassifier believes least."""
    X, y = load_digits(return_X_y=True)
    given = symmetric(y, 0.3, random_state=0).y[:800]
    clf = CLIDMUClassifier(**SMALL).fit(X[:800], given)
    suspects = clf.clean_proba_.argsort()[:8]
    figure = Figure(figsize=(4, 2.6), layout="constrained")
    for ax, row in zip(figure.subplots(2, 4).flat, suspects, strict=True):
        ax.imshow(X[row].reshape(8, 8), cmap="gray_r")
        ax.set_title(f"given {given[row]}", color="C3" if given[row] != y[row] else "black")
        ax.axis("off")
    return figure


def trusted():
    """Accuracy by the number of rows whose labels are checked."""
    X, X_test, y, y_test = train_test_split(
        *load_digits(return_X_y=True), train_size=600, random_state=0
    )
    given = pairflip(y, 0.4, random_state=0).y
    order = np.random.default_rng(0).permutation(len(y))
    numbers, accuracy = (50, 100, 150, 200), {"all alike": [], "marked by clean_mask": []}
    for n in numbers:
        checked = np.isin(np.arange(len(y)), order[:n])
        labels = np.where(checked, y, given)
        plain = CLIDMUClassifier(weighting=None, n_ensemble=0, **SMALL).fit(X, labels)
        clf = MetaWeightNetClassifier(**SMALL).fit(X, labels, clean_mask=checked)
        for values, fitted in zip(accuracy.values(), (plain, clf), strict=True):
            values.append(fitted.score(X_test, y_test))
    figure, ax = empty_picture()
    for (name, values), style in zip(accuracy.items(), ("0.6", "C0"), strict=True):
        ax.plot(numbers, values, color=style, marker="o", label=name)
    ax.set(xlabel="checked rows of 600", ylabel="accuracy", xticks=numbers)
    ax.legend()
    return figure


def suspects():
    """How many wrong labels are found by reading rows in the order of the audit."""
    X, y = load_wine(return_X_y=True)
    noisy = symmetric(y, 0.2, random_state=0)
    audit = audit_labels(X, noisy.y, random_state=0)
    found = np.cumsum(noisy.mask[np.argsort(audit.score)])
    figure, ax = empty_picture()
    ax.plot(np.arange(1, len(y) + 1), found, label="most doubtful first")
    ax.plot([0, len(y)], [0, found[-1]], "0.6", label="any order")
    ax.set(xlabel="rows read", ylabel="wrong labels found")
    ax.legend(loc="lower right")
    return figure


def large():
    """CPU time of an epoch by the number of rows."""
    numbers, seconds = (5_000, 20_000, 80_000, 160_000), []
    X, y = make_classification(numbers[-1], 20, n_informative=10, n_classes=4, random_state=0)
    X, y = X.astype(np.float32), symmetric(y, 0.3, random_state=0).y
    for n in numbers:
        took = []
        for n_epochs in (1, 3):
            start = time.process_time()
            clf = CLIDMUClassifier(max_epochs=n_epochs, n_warmup_epochs=1, random_state=0)
            clf.fit(X[:n], y[:n])
            took.append(time.process_time() - start)
        seconds.append((took[1] - took[0]) / 2)
    figure, ax = empty_picture()
    ax.plot(np.array(numbers) / 1000, seconds, marker="o", label="measured")
    ax.plot([0, 160], [0, 32 * seconds[0]], "0.6", label="as for 5,000 rows")
    ax.set(xlabel="thousand rows", ylabel="CPU seconds of an epoch", ylim=(0, None))
    ax.legend()
    return figure


def main():
    tasks = {task.__name__: task for task in (table, images, trusted, suspects, large)}
    for name in sys.argv[1:] or tasks:
        target = STATIC / f"task_{name}.png"
        tasks[name]().savefig(target, dpi=100)
        print(f"{target.name}: {target.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()

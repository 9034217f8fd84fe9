"""CIFAR-10 with the labels that people gave it: all methods on the same images and network.

    python benchmarks/images.py --data cifar10n.npz --seeds 2 --csv images.csv
    python benchmarks/images.py --data cifar10n.npz --methods cross_entropy,clid_mu,divide_mix
    python benchmarks/images.py --data cifar10n.npz --methods simclr+lr,purified+cross_entropy

The file is that of examples/cifar10n.py. Each seed draws the images and the random state. All
methods train the small PreAct ResNet for the same number of epochs, without any clean label. A
method is written as

    key                  a classifier by its key in the registry of methods, or cross_entropy
    key:name=value:...   the same with parameters, as clid_mu:n_ensemble=0
    simclr+lr            logistic regression on the features of SimCLR
    simclr+purifier      the same on labels that LabelPurifier purified on these features
    purified+key         a classifier trained on these labels (cross_entropy: DMLP-Naive)

SimCLR reads all training images and no label. Its features are read from --features, or written
there if the file is missing. A finished fit is written to --csv, and not repeated. Ctrl-C ends the
benchmark and prints what is finished.

The column "purified labels" is the share of true labels among them: those of LabelPurifier where
it is used, else ``purified_labels_``. The passes are those of all networks during the fit, per
image and epoch, in units of a forward and a backward pass: 1 for cross-entropy, except for the
predictions at the end.
"""

from __future__ import annotations

import ast
import functools
import sys
import tempfile
import time
import warnings
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
    numbers,
    read_csv,
    report,
    run_cells,
    spread,
)
from _passes import counted_passes
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sknoisy
from sknoisy.exceptions import InterruptedFitWarning
from sknoisy.methods.registry import METHODS, estimator_class
from sknoisy.representation import SimCLR

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import cifar10n

PLAIN = "cross_entropy"
ON_FEATURES = ("simclr+lr", "simclr+purifier")
PURIFIED = "purified+"
OF_PROBLEM = ("labels", "n_train", "epochs", "seed")


# --- the methods ----------------------------------------------------------------------------


def build(method: str, epochs: int, seed: int) -> Any:
    """Return the classifier that ``key:name=value:...`` stands for.

    ValueError is raised if there is no such key, or if a parameter does not exist.
    """
    key, *settings = method.split(":")
    pairs = (setting.partition("=") for setting in settings)
    params = {name: _value(text) for name, _, text in pairs}
    params |= {"max_epochs": epochs, "random_state": seed}
    if key == PLAIN:
        return sknoisy.CLIDMUClassifier(**CROSS_ENTROPY).set_params(**params)
    if key not in METHODS:
        raise ValueError(f"{key!r} is no method; choose among {[PLAIN, *METHODS]}.")
    return estimator_class(METHODS[key].estimator)().set_params(**params)


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def check_method(method: str) -> str:
    """Return the method; raise ValueError if it cannot be built."""
    if method not in ON_FEATURES:
        build(method.removeprefix(PURIFIED), 1, 0)
    return method


# --- features -------------------------------------------------------------------------------


def simclr_features(
    problem: cifar10n.Cifar10N, path: Path, epochs: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of the training and of the test images, from the file if it exists."""
    if not path.exists():
        encoder = SimCLR(max_epochs=epochs, batch_size=256, random_state=seed, verbose=1)
        encoder.fit(problem.X)
        train, test = encoder.transform(problem.X), encoder.transform(problem.X_test)
        np.savez(path, train=train, test=test)
    with np.load(path) as file:
        train, test = (file[name] for name in file.files)
    if (len(train), len(test)) != (len(problem.X), len(problem.X_test)):
        raise ValueError(
            f"{path} holds features of {len(train)} and {len(test)} images, but the problem has "
            f"{len(problem.X)} and {len(problem.X_test)}. Pass the path of another file."
        )
    return train, test


def linear_classifier() -> Any:
    """Return logistic regression on standardised features."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))


# --- one fit --------------------------------------------------------------------------------


def fit_method(
    labels: str,
    n_train: int,
    epochs: int,
    seed: int,
    method: str,
    *,
    data: Path,
    n_test: int,
    features: str,
    simclr_epochs: int,
) -> Row:
    """Return test accuracy, purification, passes and seconds of one fit."""
    problem = cifar10n.read(data, labels, n_train, n_test, seed)
    is_on_features = method in ON_FEATURES
    purifies = method.startswith(PURIFIED) or method == "simclr+purifier"
    X, X_test, y = problem.X, problem.X_test, problem.y
    if is_on_features or purifies:
        path = Path(features.format(labels=labels, n_train=n_train, seed=seed))
        of_train, of_test = simclr_features(problem, path, simclr_epochs, seed)
        if is_on_features:
            X, X_test = of_train, of_test
    start, clock = time.perf_counter(), time.process_time()
    with warnings.catch_warnings(), counted_passes() as passes:
        warnings.simplefilter("error", InterruptedFitWarning)  # no half-trained fit in the CSV
        if purifies:
            y = sknoisy.LabelPurifier(random_state=seed).fit_resample(of_train, y)[1]
        if is_on_features:
            clf = linear_classifier().fit(X, y)
        else:
            clf = build(method.removeprefix(PURIFIED), epochs, seed).fit(X, y)
    purified = y if purifies else getattr(clf, "purified_labels_", y)
    return {
        "accuracy": float(np.mean(clf.predict(X_test) == problem.y_test)),
        "purified": float(np.mean(purified == problem.y_clean)),
        "passes": passes.steps(n_train * epochs),
        "cpu_seconds": time.process_time() - clock,
        "seconds": time.perf_counter() - start,
    }


# --- the report -----------------------------------------------------------------------------


def table(rows: list[Row]) -> str:
    """Return a Markdown table with a line per method, the best first."""
    baseline = {
        tuple(row[name] for name in OF_PROBLEM): row["accuracy"]
        for row in rows
        if row["method"] == PLAIN
    }
    lines = []
    for method in dict.fromkeys(str(row["method"]) for row in rows):
        own = [row for row in rows if row["method"] == method]
        keys = [tuple(row[name] for name in OF_PROBLEM) for row in own]
        pairs = zip(own, keys, strict=True)
        gains = [row["accuracy"] - baseline[key] for row, key in pairs if key in baseline]
        scores = column(own, "accuracy")
        line = [
            method,
            str(len(own)),
            spread(scores),
            f"{np.mean(gains):+.3f}" if gains else "-",
            spread(column(own, "purified")),
            f"{column(own, 'passes').mean():.2f}",
            f"{column(own, 'cpu_seconds').mean():.0f}",
        ]
        lines.append((scores.mean(), line))
    header = ["", "fits", "accuracy", "gain", "purified labels", "passes", "CPU seconds"]
    return markdown(header, (line for _, line in sorted(lines, reverse=True)))


def finished(path: Path | None, cells: list[Row]) -> list[Row]:
    """Return the rows of the file that belong to the cells."""
    saved = read_csv(path) if path is not None and path.exists() else []
    wanted = [{name: str(value) for name, value in cell.items()} for cell in cells]
    return [numbers(row) for row in saved if any(c.items() <= row.items() for c in wanted)]


def parse(arguments: list[str] | None = None):
    """Return the options."""
    parser = command_line(__doc__, n_seeds=2)
    parser.add_argument("--data", type=Path, required=True, help="cifar10n.npz")
    parser.add_argument("--labels", default="worse", choices=cifar10n.LABELS)
    parser.add_argument("--n-train", type=int, default=5000, help="of 50,000 (%(default)s)")
    parser.add_argument("--n-test", type=int, default=2000, help="of 10,000 (%(default)s)")
    parser.add_argument("--epochs", type=int, default=60, help="of every method (%(default)s)")
    parser.add_argument("--methods", default=",".join([PLAIN, *METHODS]), help="with commas")
    parser.add_argument("--simclr-epochs", type=int, default=200)
    parser.add_argument(
        "--features",
        default=str(Path(tempfile.gettempdir()) / "simclr-{n_train}-{seed}.npz"),
        help="file of SimCLR's features; {labels}, {n_train} and {seed} are filled in",
    )
    args = parser.parse_args(arguments)
    try:
        args.methods = [check_method(method) for method in args.methods.split(",")]
    except ValueError as error:
        parser.error(str(error))
    return args


def main() -> None:
    args = parse()
    problem = {"labels": args.labels, "n_train": args.n_train, "epochs": args.epochs}
    cells = [
        {**problem, "seed": seed, "method": method}
        for seed in range(args.seeds)
        for method in args.methods
    ]
    task = functools.partial(
        fit_method,
        data=args.data,
        n_test=args.n_test,
        features=args.features,
        simclr_epochs=args.simclr_epochs,
    )
    try:
        rows = run_cells(task, cells, n_jobs=args.n_jobs, csv_path=args.csv)
    except (KeyboardInterrupt, InterruptedFitWarning):
        print("Interrupted: the table holds the finished fits of --csv.")
        rows = finished(args.csv, cells)
    title = f"CIFAR-10N {args.labels}, {args.n_train} images, {args.epochs} epochs, test accuracy"
    print(machine())
    report(title, table(rows))


if __name__ == "__main__":
    main()

"""Data sets of the accuracy suite, their splits, and the noise in the training labels."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from sknoisy.datasets import make_noisy_classification
from sknoisy.noise import instance_dependent, pairflip, symmetric

MAX_ROWS = 2000  # of training, and of test
MIN_CLASS_ROWS = 4  # rarer classes are left out: both parts of a split need some rows
N_CIFAR = 5000
CIFAR = "cifar10n"

BUILT_IN = {"digits": load_digits, "breast_cancer": load_breast_cancer, "wine": load_wine}

# One fixed problem each: seeds draw splits and noise, as with the real tables.
_generated = partial(make_noisy_classification, noise=None, random_state=0)
GENERATED = {
    "many_classes": partial(_generated, 2000, 30, n_classes=40, n_informative=20, class_sep=2.0),
    "wide": partial(_generated, 1200, 1000, n_classes=4, n_informative=30, class_sep=2.0),
    "imbalanced": partial(
        _generated, 4000, 20, n_classes=5, class_sep=1.5, weights=[0.7, 0.2, 0.06, 0.03, 0.01]
    ),
}

CLEAN = "clean"
# Percent for two classes, for more classes.
RATES = {
    "symmetric": ((20, 35), (20, 40, 60)),
    "pairflip": ((20, 40), (20, 40)),
    "instance": ((20, 40), (20, 40)),
}
HUMAN = ("human aggre", "human random1", "human worse")


@dataclass(frozen=True)
class Sources:
    """Files of data sets that do not belong to the repository.

    Parameters
    ----------
    tables : Path or None
        Holds NAME_X (n, d) of numbers and NAME_y (n,) of any labels, clean, for each table.
    cifar : Path or None
        CIFAR-10N in the format that examples/cifar10n.py describes.
    """

    tables: Path | None = None
    cifar: Path | None = None

    def names(self) -> list[str]:
        """All data sets that are at hand, images last."""
        images = [CIFAR] if self.cifar is not None else []
        return [*BUILT_IN, *self.table_names(), *GENERATED, *images]

    def table_names(self) -> list[str]:
        """Names of the tables of the file."""
        if self.tables is None:
            return []
        with np.load(self.tables) as file:
            return [n.removesuffix("_X") for n in file.files if n.endswith("_X")]

    def table(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows and clean labels 0, 1, ... of a table, without columns that lack values."""
        if name in BUILT_IN:
            X, y = BUILT_IN[name](return_X_y=True)
        elif name in GENERATED:
            X, y, _ = GENERATED[name]()
        else:
            with np.load(self.tables) as file:
                X, y = file[f"{name}_X"], file[f"{name}_y"]
        X = X[:, np.isfinite(X).all(axis=0)].astype(np.float64)
        y, counts = np.unique(y, return_inverse=True, return_counts=True)[1:]
        frequent = (counts >= MIN_CLASS_ROWS)[y]
        return X[frequent], np.unique(y[frequent], return_inverse=True)[1]

    def noises(self, name: str) -> list[str]:
        """Kinds of noise that a data set is given."""
        if name == CIFAR:
            return list(HUMAN)
        has_more = bool(self.table(name)[1].max() > 1)
        made = [f"{kind} {rate}" for kind, rates in RATES.items() for rate in rates[has_more]]
        return [CLEAN, *made]


@dataclass(frozen=True)
class Problem:
    """Training rows with noisy and clean labels, test rows with clean ones."""

    X: np.ndarray
    y: np.ndarray
    y_clean: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray

    def describe(self) -> dict[str, float]:
        """Size, and the share of wrong labels."""
        return {
            "n_rows": len(self.y),
            "n_features": self.X[0].size,
            "n_classes": len(np.unique(self.y_clean)),
            "noise_rate": float(np.mean(self.y != self.y_clean)),
        }


def load(sources: Sources, data: str, noise: str, seed: int) -> Problem:
    """Split a data set and corrupt its training labels.

    Parameters
    ----------
    sources : Sources
        Where data sets are.
    data, noise : str
        Their names.
    seed : int
        Draws split and noise.

    Returns
    -------
    problem : Problem
        Of a table half of the rows, 2,000 at most, for training, and of the others 2,000 at most
        for testing, both stratified; not standardised.
    """
    if data == CIFAR:
        return _load_cifar(sources.cifar, noise.split()[1], seed)
    X, y = sources.table(data)
    n_train = min(len(y) // 2, MAX_ROWS)
    n_test = min(len(y) - n_train, MAX_ROWS)
    X, X_test, y, y_test = train_test_split(
        X, y, train_size=n_train, test_size=n_test, stratify=y, random_state=seed
    )
    return Problem(X, corrupt(X, y, noise, seed), y, X_test, y_test)


def corrupt(X: np.ndarray, y: np.ndarray, noise: str, seed: int) -> np.ndarray:
    """Training labels with the named noise; symmetric noise leaves out the true class."""
    if noise == CLEAN:
        return y.copy()
    kind, percent = noise.split()
    rate = int(percent) / 100
    if kind == "pairflip":
        return pairflip(y, rate, random_state=seed).y
    if kind == "instance":
        X = StandardScaler().fit_transform(X)
        return instance_dependent(X, y, rate, random_state=seed).y
    return symmetric(y, rate, random_state=seed).y


def _load_cifar(path: Path, labels: str, seed: int) -> Problem:
    sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
    import cifar10n  # needs Pillow

    drawn = cifar10n.read(path, labels, N_CIFAR, MAX_ROWS, seed)
    names = np.unique(drawn.y_clean)
    y, y_clean, y_test = (
        np.searchsorted(names, part) for part in (drawn.y, drawn.y_clean, drawn.y_test)
    )
    return Problem(drawn.X, y, y_clean, drawn.X_test, y_test)


def nominal_rate(noise: str, measured: float) -> float:
    """Share of wrong labels that the name promises; of human labels the measured one."""
    if noise == CLEAN:
        return 0.0
    percent = noise.split()[1]
    return int(percent) / 100 if percent.isdigit() else measured


def kind_of(noise: str) -> str:
    """Noise without its rate."""
    return noise.split()[0]

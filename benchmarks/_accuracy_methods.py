"""Methods of the accuracy suite: every one with its default parameters, on one thread.

A method of the library is one line of `METHODS`: ``classifier(TheClass)`` for a classifier,
``cleaned(TheCleaner, forest)`` for something with ``fit_resample`` in front of a forest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from _common import CROSS_ENTROPY
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback as SkorchCallback
from skorch.callbacks import EarlyStopping

import sknoisy

Factory = Callable[[int], Any]


@dataclass(frozen=True)
class Method:
    """How a method is made and what it is.

    Parameters
    ----------
    make : callable
        Takes a seed, returns an estimator.
    kind : {"baseline", "classifier", "cleaned", "reference"}
        "classifier": one of the library, to which the bars apply. "cleaned": the library's
        cleaning in front of another estimator.
    takes_images : bool, default=True
        Whether it is run on images, too.
    needs : str, default="sknoisy"
        Package without which it is left out.
    """

    make: Factory
    kind: str
    takes_images: bool = True
    needs: str = "sknoisy"

    def is_installed(self) -> bool:
        """Whether the package is there."""
        return find_spec(self.needs) is not None


# --- early stopping -------------------------------------------------------------------------


class NoisyValidation(SkorchCallback):
    """Record after each epoch the error on held-out rows with noisy labels.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features) or (n_samples, C, H, W)
        Rows as the network reads them.
    y : ndarray of int of shape (n_samples,)
        Their noisy labels, as columns of the network's output; -1 for none of them.
    """

    def __init__(self, X: np.ndarray, y: np.ndarray):
        self.X = X
        self.y = y

    @torch.no_grad()
    def on_epoch_end(self, net, **kwargs):
        """Write ``valid_error`` into the history."""
        net.module_.eval()
        rows = torch.as_tensor(self.X, dtype=torch.float32, device=net.device)
        said = torch.cat([net.module_(part).argmax(dim=1) for part in rows.split(500)])
        net.history.record("valid_error", float(np.mean(said.cpu().numpy() != self.y)))


class EarlyStoppedNetwork(ClassifierMixin, BaseEstimator):
    """Cross-entropy at the epoch with the least error on a fifth of the rows, held out.

    Parameters
    ----------
    random_state : int
        Draws the held-out rows, and is passed to the network's classifier.
    """

    def __init__(self, random_state: int = 0):
        self.random_state = random_state

    def fit(self, X, y):
        """Train on four fifths of the rows and keep the best epoch."""
        axes = (0,) if X.ndim == 2 else (0, 1, 2)
        counts = np.unique(y, return_counts=True)[1]
        strata = y if counts.min() > 1 and len(y) // 5 >= len(counts) else None
        X, X_valid, y, y_valid = train_test_split(
            X, y, test_size=0.2, stratify=strata, random_state=self.random_state
        )
        # The classifier's own scaling changes nothing then: the validation rows are as its own.
        self.mean_, scale = X.mean(axis=axes), X.std(axis=axes)
        self.scale_ = np.where(scale > 0, scale, 1.0)
        self.classes_ = np.unique(y)
        column_of = {label: column for column, label in enumerate(self.classes_)}
        X_valid = self._standardize(X_valid)
        if X_valid.ndim == 4:
            X_valid = np.moveaxis(X_valid, 3, 1)
        labels = np.array([column_of.get(label, -1) for label in y_valid])
        self.classifier_ = network(self.random_state)
        all_epochs = 10**6  # no early end
        best = EarlyStopping(monitor="valid_error", patience=all_epochs, load_best=True)
        self.classifier_.set_params(callbacks=[NoisyValidation(X_valid, labels), best])
        self.classifier_.fit(self._standardize(X), y)
        return self

    def _standardize(self, X):
        return (X - self.mean_) / self.scale_

    def predict(self, X):
        """Labels of the most probable classes."""
        return self.classifier_.predict(self._standardize(X))


# --- factories ------------------------------------------------------------------------------


def network(seed: int) -> Any:
    """Plain cross-entropy."""
    return sknoisy.CLIDMUClassifier(**CROSS_ENTROPY, random_state=seed)


def forest(seed: int) -> Any:
    """Random forest."""
    return RandomForestClassifier(random_state=seed, n_jobs=1)


def boosting(seed: int) -> Any:
    """Gradient boosting; it runs on the threads that the process has."""
    return HistGradientBoostingClassifier(random_state=seed)


def classifier(cls: type) -> Method:
    """A classifier of the library."""
    return Method(lambda seed: cls(random_state=seed), "classifier")


def cleaned(cleaner: type, estimator: Factory) -> Method:
    """An estimator behind one of the library's cleaners."""

    def make(seed: int) -> Any:
        return sknoisy.PurifiedClassifier(cleaner(random_state=seed), estimator(seed))

    return Method(make, "cleaned", takes_images=False)


def clean_learning(estimator: Factory, *, takes_images: bool = False) -> Method:
    """CleanLearning around an estimator."""

    def make(seed: int) -> Any:
        from cleanlab.classification import CleanLearning

        issues = {"n_jobs": 1}
        return CleanLearning(estimator(seed), seed=seed, find_label_issues_kwargs=issues)

    return Method(make, "reference", takes_images, needs="cleanlab")


# --- the registry ---------------------------------------------------------------------------

CROSS_ENTROPY_LAST = "cross-entropy"
BEST = "NoisyLabelClassifier"
CLEAN_FOREST = "CleanLearning forest"
CLEAN_BOOSTING = "CleanLearning boosting"

METHODS: dict[str, Method] = {
    CROSS_ENTROPY_LAST: Method(network, "baseline"),
    "early-stopped cross-entropy": Method(lambda seed: EarlyStoppedNetwork(seed), "baseline"),
    "CLID-MU": classifier(sknoisy.CLIDMUClassifier),
    "L2R": classifier(sknoisy.L2RClassifier),
    "Meta-Weight-Net": classifier(sknoisy.MetaWeightNetClassifier),
    "MLC": classifier(sknoisy.MLCClassifier),
    "transition MLC": classifier(sknoisy.TransitionMLCClassifier),
    "MSLC": classifier(sknoisy.MSLCClassifier),
    "FaMUS": classifier(sknoisy.FaMUSClassifier),
    "DMLP": classifier(sknoisy.DMLPClassifier),
    "MILD": classifier(sknoisy.MILDClassifier),
    "MLNT": classifier(sknoisy.MLNTClassifier),
    BEST: classifier(sknoisy.NoisyLabelClassifier),
    "purified forest": cleaned(sknoisy.LabelPurifier, forest),
    "purified boosting": cleaned(sknoisy.LabelPurifier, boosting),
    "selected forest": cleaned(sknoisy.CleanSampleSelector, forest),
    "selected boosting": cleaned(sknoisy.CleanSampleSelector, boosting),
    "forest": Method(forest, "reference", takes_images=False),
    "boosting": Method(boosting, "reference", takes_images=False),
    CLEAN_FOREST: clean_learning(forest),
    CLEAN_BOOSTING: clean_learning(boosting),
    "CleanLearning network": clean_learning(network, takes_images=True),
}

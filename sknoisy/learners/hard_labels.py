"""A classifier of scikit-learn as a learner of the most probable labels."""

from __future__ import annotations

import numpy as np
from sklearn import config_context
from sklearn.base import ClassifierMixin, clone

__all__ = ["HardLabels"]


class HardLabels:
    """Classifier that learns the most probable label of each row.

    Parameters
    ----------
    classifier : classifier
        A clone is fitted.
    """

    def __init__(self, classifier: ClassifierMixin):
        self.classifier = classifier

    def fit(
        self,
        X: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> HardLabels:
        """Learn the most probable labels; `groups` are not used."""
        self._n_classes = targets.shape[1]
        labels = targets.argmax(axis=1)
        rows = np.arange(len(X)) if weights is None else weights.nonzero()[0]
        self._only = labels[rows[0]]
        self._fitted = None
        if (labels[rows] == self._only).all():  # classifiers refuse to learn one class
            return self
        given = {} if weights is None else {"sample_weight": weights[rows]}
        with config_context(enable_metadata_routing=False):  # users need not request these weights
            self._fitted = clone(self.classifier).fit(X[rows], labels[rows], **given)
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the probabilities (n, n_classes) of rows (n, d)."""
        proba = np.zeros((len(X), self._n_classes))
        if self._fitted is None:
            proba[:, self._only] = 1
        else:
            proba[:, self._fitted.classes_] = self._fitted.predict_proba(X)
        return proba

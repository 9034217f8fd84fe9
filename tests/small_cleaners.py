"""Cleaners whose result can be foretold, and classifiers that say what they were given."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from sknoisy.purification import purified_classifier  # noqa: F401  (fit_resample can be routed)


class MajorityLabels(BaseEstimator):
    """Gives each row the label that most of its neighbours have; trusted rows keep theirs."""

    def __init__(self, n_neighbors=5):
        self.n_neighbors = n_neighbors

    def fit_resample(self, X, y, *, clean_mask=None):
        values, labels = validate_data(self, X, y, accept_sparse="csr")
        check_classification_targets(labels)
        neighbours = KNeighborsClassifier(min(self.n_neighbors, len(labels))).fit(values, labels)
        purified = neighbours.predict(values)
        self.clean_mask_ = clean_mask
        self.given_labels_ = y
        return X, purified if clean_mask is None else np.where(clean_mask, labels, purified)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class DropRows(BaseEstimator):
    """Drops a fifth of the rows, each for a number in its first column alone."""

    def __init__(self, says_which=True):
        self.says_which = says_which

    def fit_resample(self, X, y, *, clean_mask=None, cost=None):
        values, labels = validate_data(self, X, y, accept_sparse="csr")
        check_classification_targets(labels)
        first = values[:, [0]]
        rows = np.flatnonzero(drops_none(first.toarray() if hasattr(first, "toarray") else first))
        if self.says_which:
            self.sample_indices_ = rows
        self.clean_mask_, self.cost_ = clean_mask, cost
        return _safe_indexing(indexable(X)[0], rows), _safe_indexing(y, rows)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def drops_none(first):
    """Rows that DropRows keeps: whole numbers always, others by their digits."""
    return np.mod(7 * np.ravel(first), 1) <= 0.8


class DropClass(BaseEstimator):
    """Drops all rows of these labels."""

    def __init__(self, *labels):
        self.labels = labels

    def get_params(self, deep=True):
        return {}

"""Cleaners with a predictable result, and a classifier that records its input."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from sknoisy import PurifiedClassifier  # noqa: F401  (from here on fit_resample can be routed to)


class Cleaner(BaseEstimator):
    """Base class of the cleaners."""

    def _check(self, X, y):
        values, labels = validate_data(self, X, y, accept_sparse="csr")
        check_classification_targets(labels)
        return values, labels

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class MajorityLabels(Cleaner):
    """Replaces each label by that of most neighbours; trusted rows keep theirs."""

    def __init__(self, n_neighbors=5):
        self.n_neighbors = n_neighbors

    def fit_resample(self, X, y, *, clean_mask=None):
        values, labels = self._check(X, y)
        neighbours = KNeighborsClassifier(min(self.n_neighbors, len(labels))).fit(values, labels)
        purified = neighbours.predict(values)
        self.clean_mask_ = clean_mask
        return X, purified if clean_mask is None else np.where(clean_mask, labels, purified)


class DropRows(Cleaner):
    """Drops about a fifth of the rows, depending on the first column only."""

    def __init__(self, says_which=True):
        self.says_which = says_which

    def fit_resample(self, X, y, *, clean_mask=None, cost=None):
        self._check(X, y)
        rows = rows_kept(X)
        if self.says_which:
            self.sample_indices_ = rows
        self.clean_mask_, self.cost_ = clean_mask, cost
        X, y = indexable(X, y)
        return _safe_indexing(X, rows), _safe_indexing(y, rows)


def rows_kept(X):
    """Return the rows that DropRows keeps; rows with an integer in the first column are kept."""
    X = X.tocsr()[:, [0]].toarray() if hasattr(X, "tocsr") else np.asarray(X)
    return np.flatnonzero(np.mod(7 * X.reshape(len(X), -1)[:, 0], 1) <= 0.8)


class DropClasses(BaseEstimator):
    """Drops all rows with these labels; X may be of any kind."""

    def __init__(self, labels=()):
        self.labels = labels

    def fit_resample(self, X, y):
        rows = np.flatnonzero(~np.isin(y, list(self.labels)))
        self.sample_indices_ = rows
        return _safe_indexing(X, rows), _safe_indexing(y, rows)


class Recorder(ClassifierMixin, BaseEstimator):
    """Logistic regression on rows of any kind that records its arguments."""

    def fit(self, X, y, sample_weight=None, clean_mask=None, cost=None):
        self.given_ = {
            "X": X,
            "y": y,
            "sample_weight": sample_weight,
            "clean_mask": clean_mask,
            "cost": cost,
        }
        self.model_ = LogisticRegression().fit(self._table(X), y, sample_weight)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X, shift=None):
        check_is_fitted(self)
        self.shift_ = shift
        return self.model_.predict(self._table(X))

    def predict_proba(self, X, shift=None):
        check_is_fitted(self)
        self.shift_ = shift
        return self.model_.predict_proba(self._table(X))

    def score(self, X, y, sample_weight=None, cost=None):
        self.scored_with_ = {"sample_weight": sample_weight, "cost": cost}
        return self.model_.score(self._table(X), y, sample_weight)

    @staticmethod
    def _table(X):
        return X.reshape(len(X), -1) if getattr(X, "ndim", 2) > 2 else X

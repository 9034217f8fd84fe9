"""A classifier that takes only the labels 0, ..., k - 1, as XGBoost's does."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression


class CodeClassifier(ClassifierMixin, BaseEstimator):
    """Logistic regression on codes; it counts the fits that it refuses."""

    refused = 0

    def __init__(self, class_weight=None):
        self.class_weight = class_weight

    def fit(self, X, y, sample_weight=None):
        found = np.unique(y)
        if not np.array_equal(found, np.arange(len(found))):
            CodeClassifier.refused += 1
            expected = np.arange(len(found))
            raise ValueError(f"Invalid classes inferred. Expected: {expected}, got {found}")
        self.model_ = LogisticRegression(class_weight=self.class_weight)
        self.model_.fit(X, y, sample_weight)
        self.classes_ = found
        return self

    def predict(self, X):
        return self.model_.predict(X)

    def predict_proba(self, X):
        return self.model_.predict_proba(X)

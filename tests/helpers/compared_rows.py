"""Outliers and near duplicates of rows, by the features that the audit compares."""

from sknoisy.audit.distances import distance_features
from sknoisy.audit.duplicates import identical_rows, near_duplicates
from sknoisy.audit.outliers import outlier_scores


def outliers_of(X, n_neighbors=10, *, scale=True):
    return outlier_scores(distance_features(X, scale=scale), n_neighbors)


def sets_of(X, *, scale=True):
    return near_duplicates(distance_features(X, scale=scale), identical_rows(X))

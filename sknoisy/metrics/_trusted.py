"""Accuracy on the rows whose labels are trusted."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import accuracy_score

from .._compat import Scorer

__all__ = ["trusted_accuracy", "trusted_accuracy_score"]


def trusted_accuracy_score(y_true, y_pred, *, clean_mask) -> float:
    """Compute the accuracy on the trusted rows only.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n,)
        Given labels and predictions.
    clean_mask : array-like of bool of shape (n,)
        True where the given label is trusted.

    Returns
    -------
    accuracy : float
        Share of the trusted rows whose given label is predicted.

    Raises
    ------
    ValueError
        If clean_mask is not boolean, of another length, or True nowhere.

    Examples
    --------
    >>> from sknoisy.metrics import trusted_accuracy_score
    >>> trusted_accuracy_score([0, 1, 1], [0, 0, 1], clean_mask=[True, False, True])
    1.0
    """
    mask = np.asarray(clean_mask)
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    if mask.dtype != bool or mask.shape != y_true.shape:
        raise ValueError(
            f"clean_mask must be boolean with one entry per row, {y_true.shape}; got dtype "
            f"{mask.dtype} and shape {mask.shape}."
        )
    if not mask.any():
        raise ValueError(
            "clean_mask is True nowhere, so there is no row to score on. In cross-validation, "
            "stratify so that each fold holds trusted rows."
        )
    return float(accuracy_score(y_true[mask], y_pred[mask]))


class _TrustedScorer(Scorer):
    # The request of a class is resolved when it is read. A request set on an instance here would
    # lack the methods that imbalanced-learn adds to scikit-learn's routing when it is imported.
    __metadata_request__score = {"clean_mask": True}

    def _score(self, method_caller, estimator, X, y_true, **kwargs):
        if kwargs.get("clean_mask") is None:
            raise TypeError(
                "trusted_accuracy got no clean_mask. Enable metadata routing, "
                "sklearn.set_config(enable_metadata_routing=True), let the classifier request "
                "the mask or not, set_fit_request(clean_mask=True) or False, and pass the mask: "
                "GridSearchCV(...).fit(X, y, clean_mask=mask) or cross_val_score(..., "
                'params={"clean_mask": mask}).'
            )
        return super()._score(method_caller, estimator, X, y_true, **kwargs)


#: Scorer of :func:`trusted_accuracy_score` that requests ``clean_mask``: with metadata routing
#: enabled and ``set_fit_request(clean_mask=True)`` on the classifier,
#: ``GridSearchCV(..., scoring=trusted_accuracy).fit(X, y, clean_mask=mask)`` passes each fold its
#: part of the mask.
trusted_accuracy = _TrustedScorer(trusted_accuracy_score, 1, {}, "predict")

"""The base of the classifiers that also learn from rows without a label."""

from __future__ import annotations

from ..._compat import fit_context
from ..._docs import share_docs
from ...base import NetworkClassifier

__all__ = ["SemiSupervisedClassifier"]


class SemiSupervisedClassifier(NetworkClassifier):
    """Base of the classifiers whose ``fit`` takes rows without a label.

    These rows are ``data.unlabeled``, and an epoch goes over the others. ``clean_proba_`` is NaN
    for them.
    """

    @fit_context(prefer_skip_nested_validation=False)
    @share_docs
    def fit(self, X, y, *, clean_mask=None, sample_weight=None, unlabeled_mask=None):
        """Train on noisy labels, and on rows without labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or images of shape \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Training rows of any numeric dtype, as for every network. NaN in tables is a missing
            value. A ``module`` of your own takes arrays (n_samples, ...) of any shape.
        {y, clean_mask, sample_weight, unlabeled_mask}

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            On input that cannot be used; the message names the value and the cure.
        NonFiniteLossError
            If the training loss becomes NaN or infinite.
        """
        return self._fit(X, y, clean_mask, sample_weight, unlabeled_mask=unlabeled_mask)

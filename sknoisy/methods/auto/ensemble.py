"""What the ensemble of learners gets for a table: columns, and further classifiers to try."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier

from ..._engine.imputation import Imputation
from ..._engine.reduction import is_wide_sparse
from ..._engine.scaling import InputScaling
from ..clid_mu import CLIDMUClassifier

__all__ = ["TableColumns", "further_classifiers"]

_MAX_BOOSTED = 10  # classes: boosting grows a tree for each, in each of its steps
_MAX_EPOCHS, _MAX_BOOSTS = 30, 50  # purified labels are learned soon


class TableColumns:
    """Columns of a table as the learners of the ensemble take them.

    Dense tables are imputed and standardised, float32; so are sparse ones of few columns. A sparse
    table of many or rare columns, such as those of texts, is imputed and keeps the proportions of
    its values.
    """

    def fit_transform(self, X, names: Any = None):
        """Learn from training rows (n, d) and return them; warnings use the `names` of columns."""
        self._is_wide = is_wide_sparse(X)
        if self._is_wide:
            self._imputation: Imputation = Imputation().fit(X, names)
        else:
            X = _dense(X)
            self._scaling = InputScaling().fit(X, names)
            assert self._scaling.imputation_ is not None
            self._imputation = self._scaling.imputation_
        return self.transform(X)

    def impute(self, X):
        """Return rows without missing values, for a classifier that takes none."""
        return self._imputation.apply(X)

    def transform(self, X):
        """Return rows as the learners take them: an array, or a sparse matrix of float64."""
        if self._is_wide:
            rows = X if scipy.sparse.issparse(X) else scipy.sparse.csr_matrix(X)
            return self._imputation.apply(rows).astype(np.float64)
        return self._scaling.to_rows(_dense(X)).numpy()


def _dense(X) -> np.ndarray:
    return X.toarray() if scipy.sparse.issparse(X) else X


def further_classifiers(
    seed: int, n_classes: int, network_params: dict[str, Any]
) -> dict[str, ClassifierMixin]:
    """Return the classifiers that the ensemble tries on purified labels, by name.

    These are a network of plain cross-entropy for 30 epochs, with the user's parameters, and
    gradient boosting of 50 steps for up to 10 classes.
    """
    defaults = {"weighting": None, "n_ensemble": 0, "max_epochs": _MAX_EPOCHS}
    params = {"standardize": False, "random_state": seed, **defaults, **network_params}
    further: dict[str, ClassifierMixin] = {"network": CLIDMUClassifier(**params)}
    if n_classes <= _MAX_BOOSTED:
        further["boosting"] = HistGradientBoostingClassifier(
            max_iter=_MAX_BOOSTS, early_stopping=False, random_state=seed
        )
    return further

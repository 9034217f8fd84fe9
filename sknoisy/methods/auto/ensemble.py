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
from ..._engine.streams import Stream
from ...learners.ensemble import Ensemble
from ...learners.many_rows import LargeEnsemble
from ..clid_mu import CLIDMUClassifier

__all__ = ["TableColumns", "TableRows", "build_ensemble", "table_rows"]

_MAX_BOOSTED = 10  # classes: boosting grows a tree for each, in each of its steps
_MANY_ROWS, _N_NETWORKS = 25_000, 3
_MAX_EPOCHS, _MAX_BOOSTS = 30, 50  # purified labels are learned soon


class TableColumns:
    """Columns of a table as the learners of the ensemble take them.

    Dense tables are imputed and standardised, float32; so are sparse ones of few columns. A sparse
    table of many or rare columns, such as those of texts, is imputed and keeps the proportions of
    its values.
    """

    def fit(self, X, names: Any = None) -> TableColumns:
        """Learn from training rows (n, d); warnings use the `names` of columns."""
        self._is_wide = is_wide_sparse(X)
        if self._is_wide:
            self._imputation: Imputation = Imputation().fit(X, names)
        else:
            X = _dense(X)
            self._scaling = InputScaling().fit(X, names)
            assert self._scaling.imputation_ is not None
            self._imputation = self._scaling.imputation_
        return self

    def fit_transform(self, X, names: Any = None):
        """Learn from training rows as by ``fit``, and return them."""
        return self.fit(X, names).transform(X)

    def impute(self, X):
        """Return rows without missing values, for a classifier that takes none."""
        return self._imputation.apply(X)

    def transform(self, X):
        """Return rows as the learners take them: an array, or a sparse matrix of float64."""
        if self._is_wide:
            rows = X if scipy.sparse.issparse(X) else scipy.sparse.csr_matrix(X)
            return self._imputation.apply(rows).astype(np.float64)
        return self._scaling.to_rows(_dense(X)).numpy()


class TableRows(Stream):
    """Rows of a table that are converted when they are read.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, d)
        The table.
    columns : TableColumns
        Fitted columns.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, X: Any, columns: TableColumns):
        self._X, self._columns = X, columns
        self.shape = (X.shape[0], columns.transform(X[:1]).shape[1])

    def check(self, estimator: Any) -> Any:
        """Return the first row."""
        return self[:1]

    def _read(self, rows: np.ndarray) -> Any:
        return self._columns.transform(self._X[rows])


def table_rows(X, columns: TableColumns) -> Any:
    """Return rows as the learners take them; those of many rows are converted when read."""
    return TableRows(X, columns) if X.shape[0] > _MANY_ROWS else columns.transform(X)


def _dense(X) -> np.ndarray:
    return X.toarray() if scipy.sparse.issparse(X) else X


def build_ensemble(
    X: Any, n_classes: int, seed: int, n_jobs: int | None, verbose: int, network: dict[str, Any]
) -> Ensemble | LargeEnsemble:
    """Return the unfitted ensemble for a table; `network` are the user's parameters of networks.

    For more than 25,000 rows, networks of the given labels are tried, too.
    """
    learners = Ensemble(seed, n_jobs, verbose, further_classifiers(seed, n_classes, network))
    if X.shape[0] <= _MANY_ROWS:
        return learners
    networks: list[ClassifierMixin] = [] if is_wide_sparse(X) else robust_networks(seed, network)
    return LargeEnsemble(learners, networks, seed)


def robust_networks(seed: int, network_params: dict[str, Any]) -> list[ClassifierMixin]:
    """Return the networks that learn the given labels of all rows but a fold, one for each."""
    return [
        CLIDMUClassifier(**{"standardize": False, "random_state": seed + k, **network_params})
        for k in range(_N_NETWORKS)
    ]


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

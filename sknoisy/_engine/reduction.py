"""Reduction of wide sparse rows, such as those of text, to a few hundred dense columns."""

from __future__ import annotations

import numpy as np
import scipy.sparse
from sklearn.utils.extmath import randomized_svd

__all__ = ["SparseReduction", "is_wide_sparse"]

_N_COMPONENTS = 200
_MANY_COLUMNS = 2000
_RARE = 20  # entries
_LEAST_ROWS = 3
_FIT_ROWS = 20_000  # more rows hardly change the components
_RANK_TOLERANCE = 1e-5  # relative to the largest singular value, in float32


def is_wide_sparse(X) -> bool:
    """Return whether rows are to be reduced: a sparse matrix of many columns or of rare ones.

    It has more than 2,000 columns, or more than 200 with fewer than 20 stored entries each, on
    average. One-hot categories have more: their components would lose some of the categories.
    """
    if not scipy.sparse.issparse(X):
        return False
    n_columns = X.shape[1]
    are_rare = X.nnz < _RARE * n_columns
    return n_columns > _MANY_COLUMNS or (n_columns > _N_COMPONENTS and are_rare)


class SparseReduction:
    r"""Truncated SVD of sparse rows with weighted columns, to at most 200 dense columns.

    .. math:: f(x) = (x D V - \mu) / \sigma, \quad
        D_{jj} \propto \Bigl(\frac{1}{n} \sum_i x_{ij}^2\Bigr)^{-1/4}

    Each column is divided by the square root of its root mean square (Pareto scaling). This lies
    between the given columns, where the most frequent words are the first components, and
    standardised ones, where the rarest words are. Columns with entries in fewer than three rows
    are left out, as they say little of other rows; if no column has three, the limit is lower. V
    are the first right singular vectors of X D, μ is the mean of the rows of X D V, and σ the
    root mean square of all their entries around it: it is one factor, so that the components keep
    their proportions. If there are more than 20,000 rows, as many are drawn for the fit. The seed
    of all draws is fixed.

    ``columns_`` of shape (c,) are the indices of the columns that are used. ``components_`` of
    shape (c, k) is D V / σ for them, and ``mean_`` of shape (k,) is μ / σ, both float32. If X has
    no entry, there is one reduced column, which is 0.

    Rows are CSR matrices of finite values of any numeric dtype; :meth:`transform` takes arrays,
    too.
    """

    columns_: np.ndarray
    components_: np.ndarray
    mean_: np.ndarray

    def fit(self, X) -> SparseReduction:
        """Choose and weight the columns, and compute the components."""
        if X.shape[0] > _FIT_ROWS:
            drawn = np.random.RandomState(0).permutation(X.shape[0])[:_FIT_ROWS]
            X = X[np.sort(drawn)]
        rows = X.astype(np.float64)
        rows.sum_duplicates()
        rows.eliminate_zeros()
        counts = np.bincount(rows.indices, minlength=rows.shape[1])
        self.columns_ = np.flatnonzero(counts >= max(1, min(_LEAST_ROWS, counts.max())))
        if len(self.columns_):
            self._fit_components(rows[:, self.columns_])
        else:
            self.components_ = np.zeros((0, 1), dtype=np.float32)
            self.mean_ = np.zeros(1, dtype=np.float32)
        return self

    def _fit_components(self, rows) -> None:
        mean_square = np.asarray(rows.power(2).mean(axis=0)).ravel()
        # Rows of mean squared length 1, so that float32 holds the products.
        weights = mean_square**-0.25 / np.sqrt(np.sqrt(mean_square).sum())
        weighted = (rows @ scipy.sparse.diags_array(weights)).astype(np.float32)
        n_components = min(_N_COMPONENTS, *weighted.shape)
        _, singular, vectors = randomized_svd(weighted, n_components, n_iter=4, random_state=0)
        vectors = vectors[singular > _RANK_TOLERANCE * singular[0]].T
        reduced = weighted @ vectors
        mean, deviation = reduced.mean(axis=0), float(np.sqrt(reduced.var(axis=0).mean()))
        sigma = deviation if deviation > _RANK_TOLERANCE * np.abs(reduced).max() else 1.0
        self.components_ = (weights[:, None] * vectors / sigma).astype(np.float32)
        self.mean_ = (mean / sigma).astype(np.float32)

    def transform(self, X) -> np.ndarray:
        """Return the reduced rows, float32 of shape (n, k)."""
        rows = X[:, self.columns_].astype(np.float32)
        return np.asarray(rows @ self.components_) - self.mean_

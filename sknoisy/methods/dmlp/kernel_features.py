"""Random Fourier features of a Gaussian kernel, on columns scaled by their relevance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.sparse
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.metrics import euclidean_distances

from ..._engine.construction import random_state_of
from ..._engine.folds import draw_folds, standard_error
from ..._engine.indexing import row_blocks
from ..._engine.scaling import InputScaling
from ...learners.relevance import column_relevance
from .ridge import RidgeSystem
from .soft_labels import one_hot

__all__ = ["KernelFeatures"]

_BANDWIDTH_ROWS = 1000
_ROWS = 4096  # whose features are computed at a time
_JUDGED_ROWS = 8000
_JUDGED_COMPONENTS = 512
_RIDGES = (0.1, 1.0, 10.0)
_CLEAR = 3.0  # standard errors
_LEAST_RELEVANCE = 0.3  # relative to the mean: a column may tell something only beside others


class KernelFeatures(TransformerMixin, BaseEstimator):
    r"""Random Fourier features of a Gaussian kernel whose width follows the data.

    Columns are standardised; of images, the channels. The features of a row x are

    .. math:: f(x) = \sqrt{2/D} \, [\cos(\Omega x), \sin(\Omega x)], \quad
        \Omega_{ij} \sim N(0, 2 \gamma), \quad
        f(x)^\top f(x') \approx \exp(-\gamma \|x - x'\|^2) ,

    where γ, ``gamma_``, is the inverse of the median squared distance between two rows. Each view
    is an independent draw of Ω, ``frequencies_``, with n_components / n_views features, rounded up
    to pairs. `random_state` draws Ω and the rows from which the median is computed.

    If labels are passed to :meth:`fit`, the columns of a table are multiplied by ``scale_``, the
    square root of their relevance (:func:`~sknoisy.learners.relevance.column_relevance`) plus 0.3,
    so that columns that tell nothing of the labels have less part in the distances. It is None if
    columns are not scaled: without labels, or if scaled columns do not predict the labels better
    by three standard errors. Two halves of the rows, 8,000 at most in all, judge each other's
    relevance.
    """

    def __init__(self, n_components: int = 1024, *, n_views: int = 2, random_state: Any = None):
        self.n_components = n_components
        self.n_views = n_views
        self.random_state = random_state

    def fit(self, X, y=None, groups=None):
        """Fit scaling and bandwidth, and draw the frequencies.

        `y` and `groups`, int64 of shape (n_samples,), are encoded labels and codes of groups of
        rows. The relevance of the columns is judged by rows of other groups.
        """
        rng = random_state_of(self.random_state)
        self._scaling = InputScaling(True).fit(X)
        self.scale_ = None
        order = rng.permutation(X.shape[0])
        n_pairs = math.ceil(self.n_components / self.n_views / 2)
        shape = (self._standardised(X[:1]).shape[1], n_pairs)
        draws = [rng.standard_normal(shape) for _ in range(self.n_views)]
        if y is not None and X.ndim == 2 and X.shape[1] > 1:
            rows = np.sort(order[:_JUDGED_ROWS])
            groups = None if groups is None else groups[rows]
            seed = rng.randint(np.iinfo(np.int32).max)
            self.scale_ = _helpful_scale(self._standardised(X[rows]), y[rows], groups, seed)
        self.gamma_ = _gamma(self._standardised(X[np.sort(order[:_BANDWIDTH_ROWS])]))
        self.frequencies_ = [_frequencies(draw, self.gamma_) for draw in draws]
        return self

    def transform(self, X) -> np.ndarray:
        """Return the float32 features of the rows, with the views side by side."""
        rows, n_pairs = self._standardised(X), self.frequencies_[0].shape[1]
        features = np.empty((rows.shape[0], 2 * n_pairs * self.n_views), dtype=np.float32)
        for k, frequencies in enumerate(self.frequencies_):
            pairs = features[:, 2 * k * n_pairs : 2 * (k + 1) * n_pairs]
            for block in row_blocks(rows.shape[0], _ROWS):
                pairs[block] = _fourier_features(rows[block], frequencies)
        return features

    def _standardised(self, X):
        if scipy.sparse.issparse(X):
            rows = self._scaling.to_sparse(X)
            if self.scale_ is None:
                return rows
            return (rows @ scipy.sparse.diags_array(self.scale_)).tocsr()
        rows = self._scaling.apply(self._scaling.to_tensor(np.asarray(X))).flatten(1).numpy()
        return rows if self.scale_ is None else rows * self.scale_


def _gamma(rows) -> float:
    """Return the inverse of the median squared distance of two rows; 1 if all are equal."""
    distances = euclidean_distances(rows, squared=True)
    distances = distances[np.triu_indices(len(distances), 1)]
    positive = distances[distances > 1e-9]
    return 1 / float(np.median(positive)) if len(positive) else 1.0


def _frequencies(draw: np.ndarray, gamma: float) -> np.ndarray:
    return (math.sqrt(2 * gamma) * draw).astype(np.float32)


def _fourier_features(rows, frequencies: np.ndarray) -> np.ndarray:
    angles = np.asarray(rows @ frequencies, dtype=np.float32)
    scale = np.float32(1 / math.sqrt(frequencies.shape[1]))
    return np.hstack([scale * np.cos(angles), scale * np.sin(angles)])


def _helpful_scale(
    X, codes: np.ndarray, groups: np.ndarray | None, seed: int
) -> np.ndarray | None:
    """Return the factors (d,) of the columns; None if held-out labels are not predicted better."""
    X = X.toarray() if scipy.sparse.issparse(X) else X
    rng = np.random.RandomState(seed)
    fold = draw_folds(codes, 2, rng, groups)
    halves = [np.flatnonzero(fold == k) for k in range(2)]
    if not all(map(len, halves)):
        return None
    relevances, leads = [], []
    for own, others in (halves, halves[::-1]):
        relevances.append(column_relevance(X[own], codes[own], seed))
        of_others = None if groups is None else groups[others]
        unscaled, scaled = (
            _errors(X[others] * scale, codes[others], of_others, seed)
            for scale in (np.float32(1), _scale(relevances[-1]))
        )
        leads.append(unscaled - scaled)
    lead = np.concatenate(leads)
    error = standard_error(lead, None if groups is None else groups[np.concatenate(halves[::-1])])
    return _scale(np.mean(relevances, axis=0)) if lead.mean() > _CLEAR * error else None


def _scale(relevance: np.ndarray) -> np.ndarray:
    return np.sqrt(relevance + _LEAST_RELEVANCE).astype(np.float32)


def _errors(X: np.ndarray, codes: np.ndarray, groups: np.ndarray | None, seed: int) -> np.ndarray:
    """Return the squared leave-one-out errors (n,) of a ridge regression of the labels."""
    draw = np.random.RandomState(seed).standard_normal((X.shape[1], _JUDGED_COMPONENTS // 2))
    frequencies = _frequencies(draw, _gamma(X[:_BANDWIDTH_ROWS]))
    features = torch.from_numpy(_fourier_features(X, frequencies))
    system = RidgeSystem(features, groups=None if groups is None else torch.from_numpy(groups))
    targets = one_hot(torch.from_numpy(codes), int(codes.max()) + 1, features.dtype)
    ridge = _RIDGES[int(system.leave_one_out_errors(targets, _RIDGES).argmin())]
    errors = (system.leave_one_out(targets, ridge) - targets).square().sum(dim=1)
    return errors.double().numpy()

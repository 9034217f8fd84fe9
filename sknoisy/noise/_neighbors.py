"""Transition matrix from the labels of neighbours, without a classifier ("neighbors").

Zhu, Song and Liu, "Clusterability as an Alternative to Anchor Points When Learning with Noisy
Labels", ICML 2021. A row and its two nearest neighbours mostly share their true class, so that
their three labels are three draws from one row of the transition matrix.
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares
from scipy.special import softmax
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_array

from ._by_probabilities import Estimates, Repeats
from ._labels import Codes, Matrix

_ROWS_OF_A_CLASS = 100  # on average; a quarter as many double the error of the matrix
_MOST_CLASSES = 20  # half a minute of least squares; the time grows with the seventh power
_MOST_STEPS = 200  # ten to fifty suffice; neighbours of unrelated classes wander for thousands


def neighbor_codes(codes: Codes, X: ArrayLike) -> Codes:
    """Return the codes of each row and of its two nearest neighbours, shape (3, n)."""
    features = check_array(X, accept_sparse="csr", input_name="X")
    if features.shape[0] != len(codes):
        raise ValueError(f"X has {features.shape[0]} rows, but there are {len(codes)} labels.")
    # Without an argument, kneighbors leaves each row out of its own neighbours.
    nearest = NearestNeighbors(n_neighbors=2).fit(features).kneighbors(return_distance=False)
    return np.stack([codes, *codes[nearest.T]])


def neighbors_estimates(triples: Codes, n_classes: int, repeats: Repeats) -> Estimates:
    """Yield the transition matrix and the shares of true classes of each resample.

    Parameters
    ----------
    triples : ndarray of shape (3, n), int
        Codes of each row and of its two nearest neighbours.
    n_classes : int
        Number of classes. One that no row is given gets its row of the identity.
    repeats : ndarray of shape (n_resamples, n), uint8
        How often each resample holds each row.
    """
    present, compact = np.unique(triples, return_inverse=True)
    compact = compact.reshape(triples.shape)
    check_size(triples.shape[1], len(present))
    agreement = _Agreement(len(present))
    start = None
    for counts in repeats:
        frequencies = [agreement.frequencies(compact[: o + 1], counts) for o in range(3)]
        of_present, shares_of_present, start = agreement.fit(frequencies, start)
        transition, shares = np.eye(n_classes), np.zeros(n_classes)
        transition[np.ix_(present, present)], shares[present] = of_present, shares_of_present
        yield transition, shares


def check_size(n_rows: int, n_classes: int) -> None:
    """Raise if there are too few rows for an estimate, or too many classes for its time."""
    if n_rows < _ROWS_OF_A_CLASS * n_classes:
        raise ValueError(
            f'method="neighbors" needs {_ROWS_OF_A_CLASS} rows for each class; there are '
            f'{n_rows} rows of {n_classes} classes. Use method="argmax".'
        )
    if n_classes > _MOST_CLASSES:
        raise ValueError(
            f'method="neighbors" takes at most {_MOST_CLASSES} classes, as its time grows with '
            f'the seventh power of their number; there are {n_classes}. Use method="argmax".'
        )


class _Agreement:
    """Frequencies of labels, pairs and triples, and the matrix that explains them.

    A label, a pair or a triple is a cell ``(k, l, m)`` with k <= l <= m, as the order of
    neighbours does not matter.
    """

    def __init__(self, n_classes: int):
        self.n_classes = n_classes
        labels = range(n_classes)
        self.cells = [
            np.array(list(combinations_with_replacement(labels, order))).T for order in (1, 2, 3)
        ]
        self.n_orders = [_n_orders(cells) for cells in self.cells]

    def frequencies(self, codes: Codes, counts: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the share of rows with each cell, divided by the orders of its labels."""
        order = len(codes)
        shape = (self.n_classes,) * order
        found = np.ravel_multi_index(tuple(np.sort(codes, axis=0)), shape)
        totals = np.bincount(found, counts, self.n_classes**order)
        cells = np.ravel_multi_index(tuple(self.cells[order - 1]), shape)
        return totals[cells] / totals.sum() / self.n_orders[order - 1]

    def fit(
        self, frequencies: list[NDArray[np.float64]], start: NDArray[np.float64] | None = None
    ) -> tuple[Matrix, NDArray[np.float64], NDArray[np.float64]]:
        """Return transition matrix and shares of true classes by least squares, and its end."""
        if start is None:
            logits = 2 * np.eye(self.n_classes)
            start = np.concatenate([np.log(np.clip(frequencies[0], 1e-6, None)), logits.ravel()])
        end = least_squares(
            self._residuals, start, self._jacobian, args=(frequencies,), max_nfev=_MOST_STEPS
        ).x
        shares, transition = self._unpack(end)
        return transition, shares, end

    def _unpack(self, logits: NDArray[np.float64]) -> tuple[NDArray[np.float64], Matrix]:
        n = self.n_classes
        return softmax(logits[:n]), softmax(logits[n:].reshape(n, n), axis=1)

    def _residuals(
        self, logits: NDArray[np.float64], frequencies: list[NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        shares, transition = self._unpack(logits)
        parts = [
            np.sqrt(n_orders) * (shares @ transition[:, cells].prod(axis=1) - wanted)
            for cells, n_orders, wanted in zip(self.cells, self.n_orders, frequencies, strict=True)
        ]
        return np.concatenate(parts)

    def _jacobian(
        self, logits: NDArray[np.float64], frequencies: list[NDArray[np.float64]]
    ) -> Matrix:
        shares, transition = self._unpack(logits)
        n, parts = self.n_classes, []
        for cells, n_orders in zip(self.cells, self.n_orders, strict=True):
            factors = transition[:, cells]  # (true class, position, cell)
            by_shares = factors.prod(axis=1)
            by_transition = np.zeros((n, n, cells.shape[1]))
            for position, label in enumerate(cells):
                others = np.delete(factors, position, axis=1).prod(axis=1)
                by_transition[:, label, np.arange(len(label))] += shares[:, None] * others
            # Through the two softmax functions.
            by_shares = shares[:, None] * (by_shares - shares @ by_shares)
            mean = np.einsum("ia,iau->iu", transition, by_transition)
            by_transition = transition[:, :, None] * (by_transition - mean[:, None])
            by_logits = np.concatenate([by_shares, by_transition.reshape(n * n, -1)])
            parts.append(np.sqrt(n_orders) * by_logits)
        return np.concatenate(parts, axis=1).T


def _n_orders(cells: Codes) -> NDArray[np.int64]:
    """Return in how many orders the labels of each cell can stand."""
    n_steps = (np.diff(cells, axis=0) != 0).sum(axis=0)
    return np.array({1: [1], 2: [1, 2], 3: [1, 3, 6]}[len(cells)])[n_steps]

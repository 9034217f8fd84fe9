"""Base class of all mixtures."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._engine.validation import check_total_weight, weights_as_floats
from ..exceptions import warn_user
from ._weighted_rows import WeightedRows, start_by_density, start_by_shares

__all__ = ["MixtureDensity"]

Floats = NDArray[np.float64]


class MixtureDensity(DensityMixin, BaseEstimator, metaclass=ABCMeta):
    """Base class: the starts of a fit, and density, posterior and draws of the fitted mixture.

    scikit-learn's ``BaseMixture`` is not used: it is private, its signatures change between
    versions, its starts depend on the order of the rows, and it takes no ``sample_weight``.
    """

    n_components: int
    n_init: int
    max_iter: int
    tol: float
    random_state: Any
    weights_: Floats

    @abstractmethod
    def _log_joint(self, X) -> Floats:
        """Return the logarithm of share times density, shape (n_components, n_samples)."""

    @abstractmethod
    def _n_parameters(self) -> int:
        """Return the number of free parameters, shares included."""

    @abstractmethod
    def _draw(self, components: NDArray[np.intp], rng: np.random.RandomState) -> Floats:
        """Draw one row from each of the given components."""

    def _check_rows(self, X: Floats, sample_weight) -> Floats | None:
        """Return the weights as an array; raise if there are too few rows."""
        if len(X) < self.n_components:
            raise ValueError(
                f"n_components={self.n_components} needs at least as many rows, got n_samples="
                f"{len(X)}. Lower n_components."
            )
        if sample_weight is None:
            return None
        weights = weights_as_floats(sample_weight, X, ensure_non_negative=True)
        return check_total_weight(weights)

    def _forget(self) -> None:
        """Drop what ``fit`` sets last, so that a failed fit leaves no fitted mixture."""
        self.__dict__.pop("lower_bound_", None)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "lower_bound_")

    def _starts(self, rows: WeightedRows) -> Iterator[Floats]:
        """Yield the log-responsibilities of each start."""
        rng = check_random_state(self.random_state)
        for i in range(1 if self.n_components == 1 else self.n_init):
            if i == 0 and self.n_components == 2:
                yield start_by_density(rows)
            elif i == 0:
                yield start_by_shares(rows, np.arange(1, self.n_components) / self.n_components)
            else:
                yield start_by_shares(rows, np.sort(rng.uniform(size=self.n_components - 1)))

    def _warn_of_trouble(self, converged: bool, n_distinct: int) -> None:
        if n_distinct < self.n_components:
            trouble = (
                f"X has {n_distinct} distinct row(s), fewer than n_components="
                f"{self.n_components}: some components are alike. Lower n_components."
            )
        elif not converged:
            trouble = (
                f"The best start did not converge in max_iter={self.max_iter} iterations. Raise "
                f"max_iter or tol={self.tol:g}."
            )
        else:
            return
        warn_user(trouble, ConvergenceWarning)

    def score_samples(self, X):
        """Compute the log-density of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of the range that ``fit`` takes.

        Returns
        -------
        log_density : ndarray of shape (n_samples,), float64
        """
        return np.logaddexp.reduce(self._log_joint(X), axis=0)

    def score(self, X, y=None, sample_weight=None):
        """Compute the mean log-likelihood of the rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of the range that ``fit`` takes.
        y : ignored
            For the signature of estimators.
        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts.

        Returns
        -------
        log_likelihood : float
        """
        return self._log_likelihood(X, sample_weight)[0]

    def _log_likelihood(self, X, sample_weight) -> tuple[float, float]:
        """Return the mean log-likelihood and the total weight of the rows."""
        log_density = self.score_samples(X)
        weights = weights_as_floats(sample_weight, log_density, ensure_non_negative=True)
        return float(np.average(log_density, weights=weights)), float(weights.sum())

    def predict_proba(self, X):
        """Compute the probability of each component given the row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of the range that ``fit`` takes.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_components), float64
        """
        joint = self._log_joint(X)
        return np.exp(joint - np.logaddexp.reduce(joint, axis=0)).T

    def predict(self, X):
        """Return the most probable component of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of the range that ``fit`` takes.

        Returns
        -------
        components : ndarray of shape (n_samples,), int64
            Numbers of the components, in the order of ``weights_``.
        """
        return self._log_joint(X).argmax(axis=0)

    def bic(self, X, sample_weight=None):
        """Compute the Bayesian information criterion; lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of the range that ``fit`` takes.
        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts.

        Returns
        -------
        bic : float
        """
        mean, n = self._log_likelihood(X, sample_weight)
        return -2 * mean * n + self._n_parameters() * np.log(n)

    def aic(self, X, sample_weight=None):
        """Compute the Akaike information criterion; lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of the range that ``fit`` takes.
        sample_weight : array-like of shape (n_samples,), default=None
            How often each row counts.

        Returns
        -------
        aic : float
        """
        mean, n = self._log_likelihood(X, sample_weight)
        return -2 * mean * n + 2 * self._n_parameters()

    def sample(self, n_samples=1):
        """Draw rows from the mixture.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows, at least 1.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), float64
            Drawn rows, component by component.
        components : ndarray of shape (n_samples,), int64
            The component of each row.

        Raises
        ------
        ValueError
            If n_samples is less than 1.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples}.")
        rng = check_random_state(self.random_state)
        counts = rng.multinomial(n_samples, self.weights_)
        components = np.repeat(np.arange(len(counts)), counts)
        return self._draw(components, rng), components

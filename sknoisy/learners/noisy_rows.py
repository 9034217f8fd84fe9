"""The rows of a fit with their given labels, weights, trust flags and groups."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._engine.folds import standard_error
from .learner import Build, Learner
from .posterior import Answer, Mixture, answer, log_likelihoods

__all__ = ["NoisyRows"]


class NoisyRows(NamedTuple):
    """Rows and what is given with them.

    Attributes
    ----------
    X : ndarray of float32 or sparse matrix of shape (n, d)
        Rows.
    codes : ndarray of int64 of shape (n,)
        Encoded given labels.
    targets : ndarray of shape (n, n_classes) or None
        The given labels as probabilities. None if no learner is fitted to them.
    weights : ndarray of shape (n,) or None
        Weights of the rows.
    trusted : ndarray of bool of shape (n,) or None
        Rows whose given label is right.
    groups : ndarray of int64 of shape (n,) or None
        Codes of groups of rows.
    """

    X: Any
    codes: np.ndarray
    targets: Any
    weights: np.ndarray | None
    trusted: np.ndarray | None
    groups: np.ndarray | None

    def only(self, rows: np.ndarray) -> NoisyRows:
        """Return some of the rows, by their indices."""
        targets, weights, trusted, groups = (
            None if part is None else part[rows]
            for part in (self.targets, self.weights, self.trusted, self.groups)
        )
        return NoisyRows(self.X[rows], self.codes[rows], targets, weights, trusted, groups)

    @property
    def counted(self) -> np.ndarray:
        """True for the rows of positive weight, of shape (n,)."""
        return np.ones(len(self.codes), dtype=bool) if self.weights is None else self.weights > 0

    def judged(self) -> np.ndarray:
        """Return True for the rows that can be judged without their group, of shape (n,).

        If a group holds all counted rows of a class, learners that have not seen the group have
        not seen the class.
        """
        judged = self.counted
        if self.groups is None:
            return judged
        for k in np.unique(self.codes[judged]):
            of_class = np.unique(self.groups[self.counted & (self.codes == k)])
            if len(of_class) == 1:
                judged = judged & (self.groups != of_class[0])
        return judged

    def answer(self, probas: list[np.ndarray], mixture: Mixture | None = None) -> Answer:
        """Combine held-out probabilities by learners, in a given mixture or the likeliest one.

        Rows that cannot be judged without their group keep their labels, and are not counted.
        """
        judged = self.judged()
        if judged.all():
            return answer(probas, self.codes, self.weights, self.trusted, mixture)
        if not judged.any():
            n_classes, equal = self.targets.shape[1], np.full(len(probas), 1 / len(probas))
            mixture = Mixture((1.0,) * len(probas), equal)
            return Answer(mixture, np.eye(n_classes), self.targets, self.targets.copy())
        weights = judged if self.weights is None else judged * self.weights
        found = answer(probas, self.codes, weights.astype(np.float64), self.trusted, mixture)
        kept = self.counted & ~judged
        found.proba[kept] = found.posterior[kept] = self.targets[kept]
        return found

    def log_likelihoods(self, found: Answer) -> np.ndarray:
        """Return the logarithm (n,) of the probability of each given label by an answer."""
        return log_likelihoods(found.proba, found.transition, self.codes, self.trusted)

    def tells_something(self, found: Answer) -> bool:
        """Return whether an answer makes the given labels likelier than the sizes of the classes.

        The mean gain of the log-likelihood must exceed its standard error.
        """
        rows = np.flatnonzero(self.judged())
        if not len(rows):
            return False
        weights = np.ones(len(rows)) if self.weights is None else self.weights[rows]
        shares = np.average(self.targets[rows], axis=0, weights=weights)
        gain = self.log_likelihoods(found)[rows] - np.log(shares[self.codes[rows]])
        groups = None if self.groups is None else self.groups[rows]
        return bool(gain.mean() > standard_error(gain, groups))

    def fit(self, build: Build, targets: np.ndarray) -> Learner:
        """Fit a new learner to soft labels of the rows."""
        return build().fit(self.X, targets, self.weights, self.groups)

"""Purified labels by out-of-fold learners, and the predictions of learners of these labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from scipy.special import expit
from sklearn.base import ClassifierMixin

from .._engine.folds import standard_error
from .._engine.indexing import row_blocks
from .._engine.stopping import cut_short, part_of_fit
from .candidates import Member, pick_members
from .hard_labels import HardLabels
from .learner import Learner
from .noisy_rows import NoisyRows
from .posterior import Answer, Mixture
from .probabilities import one_hot
from .second_look import look_again

__all__ = ["Candidate", "Ensemble"]

_PRIOR = 1.0  # in standard errors: purified labels are the better ones, unless rows contradict
_PREDICTED_ROWS = 65_536  # that all learners predict at a time
_IDLE = 0.05  # share of a learner that is left out after the first look


class Candidate(NamedTuple):
    """A learner that was tried.

    Attributes
    ----------
    name : str
        Name of the learner.
    brier_score : float
        Mean squared distance between its held-out probabilities and the given labels, 0 to 2. That
        of a kernel that was not picked is of 1,000 rows, that of a network or of boosting of one
        fold.
    share : float
        Weight in the predictions; 0 if the learner was not picked.
    """

    name: str
    brier_score: float
    share: float


class Ensemble:
    """Learners that purify the labels of rows that they have not seen, and learn them.

    First look: learners of several kinds learn the given labels. Their out-of-fold probabilities
    and the given labels of the surest rows determine a transition matrix, and Bayes' rule with
    both the probabilities of the true class.

    Second look: labels that were purified with a row's own label come back to it through its
    neighbours. So the first look is repeated on all folds but one, learners learn the purified
    labels of these folds, and judge the rows of the fold. The mean of both looks is the result.

    Learners of the purified labels predict, together with those of the given labels. The share of
    the former is near 1 if they predict the given labels of held-out rows better.

    Parameters
    ----------
    seed : int
        Seed of all draws.
    n_jobs : int or None, default=None
        Number of threads of the forests.
    verbose : int, default=0
        1 shows a progress bar on stderr.
    further : dict of classifier or None, default=None
        Classifiers by name that enter the second look if this makes the given labels clearly more
        likely. They take dense rows only.

    Attributes
    ----------
    distribution_ : ndarray of shape (n, n_classes)
        Probabilities of the true class of the training rows; trusted rows of positive weight keep
        their label.
    held_out_ : ndarray of shape (n, n_classes)
        Predictions for the training rows by learners that have not seen them.
    transition_ : ndarray of shape (n_classes, n_classes)
        Entry (i, j) is the estimated probability that a row of true class i is given the label j.
    candidates_ : tuple of Candidate
        The learners that were tried.
    is_informed_ : bool
        Whether held-out rows tell anything of their labels. If not, all labels are kept.
    """

    is_informed_: bool
    distribution_: np.ndarray
    held_out_: np.ndarray
    transition_: np.ndarray
    candidates_: tuple[Candidate, ...]

    def __init__(
        self,
        seed: int,
        n_jobs: int | None = None,
        verbose: int = 0,
        further: Mapping[str, ClassifierMixin] | None = None,
    ):
        self.seed = seed
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.further = further

    def fit(
        self,
        X: Any,
        codes: np.ndarray,
        n_classes: int,
        weights: np.ndarray | None = None,
        trusted: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> Ensemble:
        """Purify the labels, and learn them.

        Parameters
        ----------
        X : ndarray of float32 of shape (n, d) in C order, or sparse matrix
            Rows; dense ones are standardised.
        codes : ndarray of int64 of shape (n,)
            Encoded given labels 0, ..., n_classes - 1.
        n_classes : int
            Number of classes.
        weights : ndarray of shape (n,) or None, default=None
            Weights of the rows.
        trusted : ndarray of bool of shape (n,) or None, default=None
            Rows whose given label is right.
        groups : ndarray of int64 of shape (n,) or None, default=None
            Codes of groups of rows whose labels may be wrong together. No learner judges a row
            whose group it has seen.
        """
        data = NoisyRows(X, codes, one_hot(codes, n_classes), weights, trusted, groups)
        with part_of_fit("the learners of the given labels"):
            picked = pick_members(X, data.targets, weights, groups, self.seed, self.n_jobs)
            first = data.answer([member.held_out for member in picked])
            members, mixture = _without_idle(picked, first.mixture)
        self._given = _Predictor(mixture, [member.learner for member in members])
        self._purified, self._share = None, 0.0
        self.distribution_, self.transition_ = first.posterior, first.transition
        self.held_out_ = first.proba
        self.is_informed_ = True
        tried = [(name, score) for member in picked for name, score in member.scores.items()]
        shares = dict(zip((member.name for member in members), mixture.shares, strict=True))
        with cut_short():
            with part_of_fit("the second look"):
                second, builds, scores = look_again(
                    data, members, self._further(X), self.seed, self.verbose
                )
            tried += scores.items()
            self.is_informed_ = data.tells_something(second)
            if self.is_informed_:
                with part_of_fit("the learners of the purified labels"):
                    distribution = (first.posterior + second.posterior) / 2
                    learners = [data.fit(build, distribution) for build in builds.values()]
                self._purified = _Predictor(second.mixture, learners)
                self._share = _share_of_second(first, second, data)
                self.distribution_, self.transition_ = distribution, second.transition
                self.held_out_ = self._share * second.proba
                self.held_out_ += (1 - self._share) * first.proba
                of_second = dict(zip(builds, second.mixture.shares, strict=True))
                shares = {
                    name: (1 - self._share) * shares.get(name, 0) + self._share * of_second[name]
                    for name in builds
                }
            else:
                self.distribution_, self.transition_ = data.targets, np.eye(n_classes)
        self.candidates_ = tuple(
            Candidate(name, score, float(shares.get(name, 0))) for name, score in tried
        )
        return self

    def _further(self, X: Any) -> dict[str, Any]:
        further = {} if scipy.sparse.issparse(X) else self.further or {}
        return {name: partial(HardLabels, clf) for name, clf in further.items()}

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities (n, n_classes) of the true class of rows (n, d)."""
        proba = np.empty((X.shape[0], len(self.transition_)))
        for rows in row_blocks(len(proba), _PREDICTED_ROWS):
            proba[rows] = self._proba_of_block(X[rows])
        return proba

    def _proba_of_block(self, X: Any) -> np.ndarray:
        proba = self._given.predict_proba(X)
        if self._purified is None:
            return proba
        return (1 - self._share) * proba + self._share * self._purified.predict_proba(X)


class _Predictor(NamedTuple):
    """Learners and the mixture of their probabilities."""

    mixture: Mixture
    learners: Sequence[Learner]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities (n, n_classes) of rows (n, d)."""
        return self.mixture([learner.predict_proba(X) for learner in self.learners])


def _without_idle(members: list[Member], mixture: Mixture) -> tuple[list[Member], Mixture]:
    """Return the members whose share is not negligible, and their mixture."""
    kept = np.flatnonzero(mixture.shares >= _IDLE)
    shares = mixture.shares[kept]
    powers = tuple(mixture.powers[k] for k in kept)
    return [members[k] for k in kept], Mixture(powers, shares / shares.sum())


def _share_of_second(first: Answer, second: Answer, data: NoisyRows) -> float:
    """Return the share of the second look, by the given labels that both looks predict held out.

    It is the logistic function of the lead of the second look in standard errors, plus 1.
    """
    rows = data.judged()
    is_right = [look.proba[rows].argmax(axis=1) == data.codes[rows] for look in (second, first)]
    lead = is_right[0].astype(float) - is_right[1]
    error = standard_error(lead, None if data.groups is None else data.groups[rows])
    return float(expit(_PRIOR + (lead.mean() / error if error else 0.0)))

"""The ensemble of tables of many rows: learners of some rows, and classifiers of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin

from .._engine.heap import return_freed_memory
from .._engine.stopping import cut_short, part_of_fit
from .cross_fit import CrossFit
from .ensemble import Candidate, Ensemble
from .noisy_rows import NoisyRows
from .part import draw_rows
from .posterior import Answer, Mixture, posterior
from .probabilities import blocks, brier_score, one_hot
from .second_look import admit

__all__ = ["LargeEnsemble"]

_MAX_ROWS = 50_000  # that the learners learn
_LEAST_ROWS = 20  # of each class, as far as it has them
_LEAST_PART = 0.1  # of the rows that are learned, which whole groups have to fill
_SHARES = np.linspace(0, 1, 11)  # of the learners that are compared
_LEARNERS, _NETWORKS = "learners", "network of the given labels"


class LargeEnsemble:
    """Ensemble of tables of many rows, with classifiers of the given labels of all rows.

    An :class:`Ensemble` purifies and learns the labels of some 50,000 random rows at most, as its
    learners need no more, but of at least 20 rows of each class. Robust classifiers learn the
    given labels of all rows, each without one fold; see :class:`CrossFit`. They enter if this
    makes the given labels clearly more likely. The mixture of both predicts and, with the given
    label, determines the probabilities of the true class of each row, by learners that have not
    seen the row. Whole groups are drawn. If few of them fit, the random rows are of all groups;
    labels that no learner of other groups can judge are kept then, and so are those of a class
    whose groups were all too large to be drawn.

    Parameters
    ----------
    learners : Ensemble
        The unfitted ensemble.
    classifiers : sequence of classifier
        Robust classifiers, one for each fold; none if empty.
    seed : int
        Seed of the draws of rows and folds.

    Attributes
    ----------
    distribution_ : ndarray of float32 of shape (n, n_classes)
        Probabilities of the true class of the training rows.
    transition_, candidates_, is_informed_
        As those of :class:`Ensemble`; the classifiers are one of the candidates.
    """

    is_informed_: bool
    distribution_: np.ndarray
    transition_: np.ndarray
    candidates_: tuple[Candidate, ...]

    def __init__(self, learners: Ensemble, classifiers: Sequence[ClassifierMixin], seed: int):
        self.learners = learners
        self.classifiers = classifiers
        self.seed = seed

    def fit(
        self,
        X: Any,
        codes: np.ndarray,
        n_classes: int,
        weights: np.ndarray | None = None,
        trusted: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> LargeEnsemble:
        """Purify the labels, and learn them.

        Parameters
        ----------
        X : Stream of shape (n, d)
            Rows that are converted when they are read.
        codes, n_classes, weights, trusted, groups
            As in :meth:`Ensemble.fit`.
        """
        data = NoisyRows(X, codes, None, weights, trusted, groups)
        rows = draw_rows(data.counted, groups, _MAX_ROWS, self.seed)
        is_divided = groups is not None and not (
            _LEAST_PART * _MAX_ROWS <= len(rows) <= _MAX_ROWS and np.ptp(groups[rows])
        )
        if is_divided:  # the groups are too large: few of them fit, or one, which none can judge
            rows = draw_rows(data.counted, None, _MAX_ROWS, self.seed)
        if groups is None or is_divided:
            rows = _with_rare_classes(rows, data, self.seed)
        part = data.only(rows)
        part = part._replace(targets=one_hot(part.codes, n_classes))
        with part_of_fit("the learners of a part of the rows"):
            self.learners.fit(
                part.X, part.codes, n_classes, part.weights, part.trusted, part.groups
            )
        judged = {_LEARNERS: self.learners.held_out_}
        del self.learners.held_out_, self.learners.distribution_
        return_freed_memory()  # some 300 MB of a million rows
        self._networks, brier = None, np.nan
        with cut_short():
            networks = CrossFit(self.classifiers, self.seed)
            if self.classifiers and networks.fit(data, n_classes).fitted_:
                judged[_NETWORKS] = networks.held_out(X, rows, judged[_LEARNERS])
                brier = brier_score(judged[_NETWORKS], part.targets, part.weights)
                if _NETWORKS in admit(part, judged, [_LEARNERS], [_NETWORKS]):
                    self._networks = networks
        if self._networks is None:
            judged.pop(_NETWORKS, None)
        probas = list(judged.values())
        found = part.answer(probas)
        if self._networks is not None:
            found = part.answer(probas, _best_mixture(found.mixture, part, probas))
        can_tell = self.learners.is_informed_ or self._networks is not None
        self.is_informed_ = can_tell and part.tells_something(found)
        self._mixture, self.transition_ = found.mixture, found.transition
        if not self.is_informed_:
            self.transition_ = np.eye(n_classes)
        self.candidates_ = self._candidates(brier)
        return_freed_memory()
        self.distribution_ = self._distribution(data, rows, found)
        if self._networks is not None:
            del self._networks.fold_
        return_freed_memory()
        return self

    def _candidates(self, brier: float) -> tuple[Candidate, ...]:
        """Return the learners with their shares of the whole, and the networks if there are."""
        share, *of_networks = self._mixture.shares.tolist()
        tried = [
            candidate._replace(share=share * candidate.share)
            for candidate in self.learners.candidates_
        ]
        if not np.isnan(brier):
            tried.append(Candidate(_NETWORKS, brier, sum(of_networks)))
        return tuple(tried)

    def _distribution(self, data: NoisyRows, rows: np.ndarray, found: Answer) -> np.ndarray:
        """Return the probabilities of the true class of all rows; `found` are those of `rows`."""
        distribution = np.empty((len(data.codes), len(self.transition_)), dtype=np.float32)
        distribution[rows] = found.posterior
        others = np.setdiff1d(np.arange(len(data.codes)), rows, assume_unique=True)
        is_kept = data.counted & ~data.judged() if self.is_informed_ else data.counted
        is_seen = np.zeros(len(data.codes), dtype=bool)  # in their group, which is divided
        if data.groups is not None:
            is_seen = np.isin(data.groups, data.groups[rows])
            is_seen[rows] = False
        if self._networks is None:  # nobody knows the classes that the groups of the part lack
            is_unknown = ~np.isin(data.codes, data.codes[rows])
            is_kept = is_kept | (data.counted & (is_unknown | is_seen))
        for block in blocks(len(others)):
            some = others[block]
            proba = self._held_out(data.X, some, is_seen[some])
            combined = posterior(
                proba,
                self.transition_,
                data.codes[some],
                None if data.trusted is None else data.trusted[some],
            )
            distribution[some] = np.where(data.counted[some, None], combined, proba)
        kept = np.flatnonzero(is_kept)
        distribution[kept] = 0
        distribution[kept, data.codes[kept]] = 1
        return distribution

    def _held_out(self, X: Any, rows: np.ndarray, is_seen: np.ndarray) -> np.ndarray:
        """Return the probabilities of training rows that the learners have not seen.

        Rows whose group they have seen, by `is_seen`, are judged by the networks alone.
        """
        if self._networks is None:
            return self._mixture([self.learners.predict_proba(X[rows])])
        are_seen = bool((self._networks.fold_[rows] < 0).any())  # by all networks
        by_learners = self._by_learners(X[rows], are_needed=are_seen)
        by_networks = self._networks.held_out(X, rows, by_learners)
        by_learners[is_seen] = by_networks[is_seen]
        return self._mixture([by_learners, by_networks])

    def _by_learners(self, X: Any, *, are_needed: bool = False) -> np.ndarray:
        """Return the probabilities by the learners, or zeros if they have no share."""
        if are_needed or self._mixture.shares[0] > 0:
            return self.learners.predict_proba(X)
        return np.zeros((X.shape[0], len(self.transition_)))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities (n, n_classes) of the true class of rows (n, d)."""
        proba = np.empty((X.shape[0], len(self.transition_)))
        for block in blocks(len(proba)):
            some = X[block]
            probas = [self._by_learners(some)]
            if self._networks is not None:
                probas.append(self._networks.predict_proba(some))
            proba[block] = self._mixture(probas)
        return proba


def _with_rare_classes(rows: np.ndarray, data: NoisyRows, seed: int) -> np.ndarray:
    """Return the rows and, where they hold less than 20 of a class, random ones of the others."""
    counts = np.bincount(data.codes[rows], minlength=int(data.codes.max()) + 1)
    is_new = data.counted & (counts[data.codes] < _LEAST_ROWS)
    is_new[rows] = False
    others = np.random.RandomState(seed).permutation(np.flatnonzero(is_new))
    others = others[np.argsort(data.codes[others], kind="stable")]
    codes = data.codes[others]
    ranks = np.arange(len(codes)) - np.searchsorted(codes, codes)  # in their class
    return np.union1d(rows, others[ranks < _LEAST_ROWS - counts[codes]])


def _best_mixture(mixture: Mixture, data: NoisyRows, probas: list[np.ndarray]) -> Mixture:
    """Return the mixture of learners and networks that predicts most of the given labels.

    Its powers are those of `mixture`, whose shares maximise the likelihood. These depend on the
    probabilities of all classes, not only on the class of the largest one.
    """
    rows = np.flatnonzero(data.judged())
    weights = None if data.weights is None else data.weights[rows]
    right = []
    for share in _SHARES:
        tried = mixture._replace(shares=np.array([share, 1 - share]))
        is_right = tried([proba[rows] for proba in probas]).argmax(axis=1) == data.codes[rows]
        right.append(np.average(is_right, weights=weights))
    share = _SHARES[np.argmax(right)]
    return mixture._replace(shares=np.array([share, 1 - share]))

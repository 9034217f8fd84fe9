"""The second look: rows are judged by learners of labels that were purified without them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from .._engine.folds import draw_folds_of_counted
from .._engine.stopping import part_of_fit
from .candidates import Learner, Member
from .posterior import Answer, answer, log_likelihoods
from .probabilities import brier_score

__all__ = ["NoisyRows", "SecondLook", "look_again"]

_FEWEST_FOLDS, _MOST_FOLDS, _ROWS_OF_FOLDS = 3, 8, 5000
_CLEARLY = 1.0  # standard errors

Build = Callable[[], Learner]


class NoisyRows(NamedTuple):
    """Rows and what is given with them.

    Attributes
    ----------
    X : ndarray of float32 or sparse matrix of shape (n, d)
        Rows.
    codes : ndarray of int64 of shape (n,)
        Encoded given labels.
    targets : ndarray of shape (n, n_classes)
        The given labels as probabilities.
    weights : ndarray of shape (n,) or None
        Weights of the rows.
    trusted : ndarray of bool of shape (n,) or None
        Rows whose given label is right.
    groups : ndarray of int64 of shape (n,) or None
        Codes of groups of rows.
    """

    X: Any
    codes: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None
    trusted: np.ndarray | None
    groups: np.ndarray | None

    def only(self, rows: np.ndarray) -> NoisyRows:
        """Return some of the rows, by their indices."""
        weights, trusted, groups = (
            None if part is None else part[rows]
            for part in (self.weights, self.trusted, self.groups)
        )
        return NoisyRows(
            self.X[rows], self.codes[rows], self.targets[rows], weights, trusted, groups
        )

    def answer(self, probas: list[np.ndarray]) -> Answer:
        """Combine held-out probabilities by learners with the given labels."""
        return answer(probas, self.codes, self.weights, self.trusted)

    def fit(self, build: Build, targets: np.ndarray) -> Learner:
        """Fit a new learner to soft labels of the rows."""
        return build().fit(self.X, targets, self.weights, self.groups)


class SecondLook(NamedTuple):
    """Result of the second look.

    Attributes
    ----------
    answer : Answer
        What learners of the purified labels and the given labels say together.
    builds : dict of callable
        Return new learners of purified labels, by name, in the order of the mixture.
    scores : dict of float
        Brier scores of the further learners on the given labels of the first fold, by name.
    """

    answer: Answer
    builds: dict[str, Build]
    scores: dict[str, float]


def look_again(
    data: NoisyRows,
    members: list[Member],
    further: Mapping[str, Build],
    seed: int,
    verbose: int = 0,
) -> SecondLook:
    """Purify the labels of all folds but one, learn them, and judge the rows of the fold.

    Further learners learn the purified labels of the first fold. One that makes the given labels
    of the held-out rows more likely, by a standard error, goes on. Rows that no fold holds keep
    the probabilities of the first look. With `verbose`, a progress bar counts the folds.
    """
    builds = {member.name: member.of_purified for member in members}
    probas = {member.name: member.held_out.copy() for member in members}
    mean = np.mean(list(probas.values()), axis=0)
    scores: dict[str, float] = {}
    folds = list(_folds(data, seed))
    bar = tqdm(folds, desc="Second look", unit="fold", disable=not verbose, leave=False)
    for number, (rows, held) in enumerate(bar):
        with part_of_fit(f"fold {number + 1}"):
            part, left_out = data.only(rows), data.only(held)
            given = [
                member.of_given().fit_held_out(part.X, part.targets, part.weights, part.groups)
                for member in members
            ]
            purified = part.answer(given).posterior
            tried = builds if number else {**builds, **further}
            judged = {
                name: part.fit(build, purified).predict_proba(left_out.X)
                for name, build in tried.items()
            }
            if number == 0:
                scores = {
                    name: brier_score(judged[name], left_out.targets, left_out.weights)
                    for name in further
                }
                builds = _admit(left_out, judged, builds, further)
            for name in builds:
                probas.setdefault(name, mean.copy())[held] = judged[name]
    return SecondLook(data.answer(list(probas.values())), builds, scores)


def _folds(data: NoisyRows, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the indices of the rows outside of each fold and inside; none of them is empty."""
    n_rows = len(data.codes) if data.weights is None else np.count_nonzero(data.weights)
    n_folds = int(np.clip(_ROWS_OF_FOLDS // n_rows, _FEWEST_FOLDS, _MOST_FOLDS))
    rng = np.random.RandomState(seed)
    fold = draw_folds_of_counted(data.codes, n_folds, rng, data.groups, data.weights)
    for k in range(fold.max() + 1):
        rows, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        learned = rows if data.weights is None else rows[data.weights[rows] > 0]
        if len(held) and len(np.unique(data.codes[learned])) > 1:
            yield rows, held


def _admit(
    data: NoisyRows,
    judged: dict[str, np.ndarray],
    builds: dict[str, Build],
    further: Mapping[str, Build],
) -> dict[str, Build]:
    """Return the learners and those further ones that make the given labels clearly likelier."""
    probas = [judged[name] for name in builds]
    before = _log_likelihoods(data, probas)
    admitted = dict(builds)
    for name, build in further.items():
        gain = _log_likelihoods(data, [*probas, judged[name]]) - before
        if gain.mean() > _CLEARLY * gain.std() / math.sqrt(len(gain)):
            admitted[name] = build
    return admitted


def _log_likelihoods(data: NoisyRows, probas: list[np.ndarray]) -> np.ndarray:
    """Return the logarithms of the probabilities of the given labels, of rows with a weight."""
    found = data.answer(probas)
    values = log_likelihoods(found.proba, found.transition, data.codes, data.trusted)
    return values if data.weights is None else values[data.weights > 0]

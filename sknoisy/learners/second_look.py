"""The second look: rows are judged by learners of labels that were purified without them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from .._engine.folds import draw_folds_of_counted, standard_error
from .._engine.stopping import part_of_fit
from .candidates import Member
from .learner import Build
from .noisy_rows import NoisyRows
from .posterior import Answer, mean_of
from .probabilities import brier_score

__all__ = ["SecondLook", "admit", "look_again"]

_FEWEST_FOLDS, _MOST_FOLDS, _ROWS_OF_FOLDS = 3, 8, 5000
_CLEARLY = 1.0  # standard errors


class SecondLook(NamedTuple):
    """Result of the second look.

    Attributes
    ----------
    answer : Answer
        Probabilities by learners of the purified labels, combined with the given labels.
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
    mean = mean_of(list(probas.values()))
    scores: dict[str, float] = {}
    folds = list(_folds(data, seed))
    # The first fold, on which the further learners are tried, has the most weight.
    folds.sort(key=lambda fold: -np.count_nonzero(data.counted[fold[1]]))
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
            if number == 0 and further:
                scores = {
                    name: brier_score(judged[name], left_out.targets, left_out.weights)
                    for name in further
                }
                admitted = admit(left_out, judged, builds, further)
                builds = builds | {name: further[name] for name in admitted}
            for name in builds:
                if name not in probas:
                    probas[name] = mean.copy()
                probas[name][held] = judged[name]
    return SecondLook(data.answer(list(probas.values())), builds, scores)


def _folds(data: NoisyRows, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the indices of the rows outside of each fold and inside; none of them is empty."""
    n_rows = np.count_nonzero(data.counted)
    n_folds = int(np.clip(_ROWS_OF_FOLDS // n_rows, _FEWEST_FOLDS, _MOST_FOLDS))
    rng = np.random.RandomState(seed)
    fold = draw_folds_of_counted(data.codes, n_folds, rng, data.groups, data.weights)
    for k in range(fold.max() + 1):
        rows, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        if len(held) and len(np.unique(data.codes[rows[data.counted[rows]]])) > 1:
            yield rows, held


def admit(
    data: NoisyRows, judged: Mapping[str, np.ndarray], known: Iterable[str], further: Iterable[str]
) -> list[str]:
    """Return the names of further learners that make the given labels clearly likelier.

    Each is compared with the `known` ones. `judged` are the probabilities of the rows by each
    learner, which has not seen them.
    """
    probas = [judged[name] for name in known]
    before = data.log_likelihoods(data.answer(probas))
    counted = data.counted
    groups = None if data.groups is None else data.groups[counted]
    admitted = []
    for name in further:
        joined = data.answer([*probas, judged[name]])
        gain = (data.log_likelihoods(joined) - before)[counted]
        if gain.mean() > _CLEARLY * standard_error(gain, groups):
            admitted.append(name)
    return admitted

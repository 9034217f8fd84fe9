"""The rounds of a purification: chosen and stopped by a judge, carried out on all rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from .judge import Judge
from .purification_run import PurificationRun
from .state import Choice, Rows, Settings, State

__all__ = ["Purification", "purify"]


class Purification(NamedTuple):
    """What came out.

    Attributes
    ----------
    run : PurificationRun
        That of all rows.
    state : State
        After the round that was taken; its epoch is 0 if labels had better stay as they are.
    history : list of dict
        An entry for each round.
    is_interrupted : bool
        Whether the user stopped it.
    """

    run: PurificationRun
    state: State
    history: list[dict[str, Any]]
    is_interrupted: bool


def purify(
    rows: Rows,
    settings: Settings,
    correction: str,
    n_folds: int,
    generator: torch.Generator,
    after_round: Callable[[dict[str, Any]], None],
) -> Purification:
    """Purify the labels of rows.

    Parameters
    ----------
    rows : Rows
        All rows.
    settings : Settings
        Options.
    correction : {"intrinsic", "auxiliary", "auto"}
        Whose predictions are written back.
    n_folds : int
        Folds of the judge; 0 for none.
    generator : torch.Generator
        On the CPU; makes all draws.
    after_round : callable
        Takes the entry of the history after each round. A KeyboardInterrupt, in it or anywhere
        else, ends the rounds.
    """
    run = PurificationRun(rows, settings, generator)
    unchanged = best = run.unchanged()
    history: list[dict[str, Any]] = []
    judge = None
    is_interrupted = False
    try:
        if n_folds:
            corrections = ["intrinsic", "auxiliary"] if correction == "auto" else [correction]
            judge = Judge(rows, settings, corrections, n_folds, generator)
        state = run.begin()
        for _ in range(settings.n_rounds if judge is None or judge.runs else 0):
            choice = Choice(True, correction) if judge is None else judge.choose()
            state = run.advance(state, choice)
            history.append(_entry(rows, state, choice, judge))
            if judge is None or judge.best_round == len(history):
                best = state
            after_round(history[-1])
            if judge is not None and judge.is_done:
                break
    except KeyboardInterrupt:
        is_interrupted = True
    if judge is not None and judge.had_better_not:
        best = unchanged
    return Purification(run, best, history, is_interrupted)


def _entry(rows: Rows, state: State, choice: Choice, judge: Judge | None) -> dict[str, Any]:
    changed = state.distribution.argmax(dim=1) != rows.given.argmax(dim=1)
    return {
        "epoch": state.epoch,
        "intrinsic_steps": choice.intrinsic_steps,
        "correction": choice.correction,
        "n_changed": int(changed.sum()),
        "meta_loss": state.meta_loss,
        "likelihood": None if judge is None else judge.likelihoods[-1],
        "trusted_accuracy": None if judge is None else judge.trusted_accuracies[-1],
    }

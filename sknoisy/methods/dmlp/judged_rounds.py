"""The rounds of a purification: planned and stopped by a judge, carried out on all rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from .judge import Judge
from .purification_run import PurificationRun
from .state import LabelledViews, PurificationSettings, PurificationState, RoundPlan

__all__ = ["PurificationResult", "purify"]


class PurificationResult(NamedTuple):
    """Result of a purification.

    Attributes
    ----------
    run : PurificationRun
        The run on all rows.
    state : PurificationState
        State after the best round; its epoch is 0 if the given labels are kept.
    history : list of dict
        One entry for each round.
    is_interrupted : bool
        Whether a KeyboardInterrupt ended the rounds.
    """

    run: PurificationRun
    state: PurificationState
    history: list[dict[str, Any]]
    is_interrupted: bool


def purify(
    rows: LabelledViews,
    settings: PurificationSettings,
    correction: str,
    n_folds: int,
    generator: torch.Generator,
    after_round: Callable[[dict[str, Any]], None],
) -> PurificationResult:
    """Purify labels round by round, and return the state after the best round.

    Parameters
    ----------
    rows : LabelledViews
        All rows.
    settings : PurificationSettings
        Settings of the rounds.
    correction : {"intrinsic", "auxiliary", "auto"}
        The correction whose predictions are written back.
    n_folds : int
        Number of folds of the judge; 0 for no judge.
    generator : torch.Generator
        Makes all draws; on the CPU.
    after_round : callable
        Called with the history entry of each round. A KeyboardInterrupt, in it or anywhere else,
        ends the rounds.

    Returns
    -------
    result : PurificationResult
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
            plan = RoundPlan(True, correction) if judge is None else judge.plan_round()
            state = run.advance(state, plan)
            history.append(_entry(rows, state, plan, judge))
            if judge is None or judge.best_round == len(history):
                best = state
            after_round(history[-1])
            if judge is not None and judge.is_done:
                break
    except KeyboardInterrupt:
        is_interrupted = True
    if judge is not None and judge.keep_given_labels:
        best = unchanged
    return PurificationResult(run, best, history, is_interrupted)


def _entry(
    rows: LabelledViews, state: PurificationState, plan: RoundPlan, judge: Judge | None
) -> dict[str, Any]:
    changed = state.distribution.argmax(dim=1) != rows.given.argmax(dim=1)
    return {
        "epoch": state.epoch,
        "intrinsic_steps": plan.intrinsic_steps,
        "correction": plan.correction,
        "n_changed": int(changed.sum()),
        "meta_loss": state.meta_loss,
        "likelihood": None if judge is None else judge.likelihoods[-1],
        "trusted_accuracy": None if judge is None else judge.trusted_accuracies[-1],
    }

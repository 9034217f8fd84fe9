"""The rounds of a purification: planned and stopped by a judge, carried out on all rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..._engine.stopping import cut_short, part_of_fit
from .judge import Judge
from .purification_run import PurificationRun
from .state import LabelledViews, PurificationSettings, PurificationState, RoundPlan

__all__ = ["PurificationResult", "carry_out", "purify"]


class PurificationResult(NamedTuple):
    """Result of a purification: the state after the best round, and what led to it.

    `plans` are those of the rounds up to the best one, and `history` has an entry for each round.
    If the given labels are kept, there is no plan, and the epoch of the state is 0. `validation`
    and `label_rates` are attributes of the :class:`PurificationRun`.
    """

    state: PurificationState
    plans: list[RoundPlan]
    history: list[dict[str, Any]]
    validation: Tensor
    label_rates: list[list[float]]


def purify(
    rows: LabelledViews,
    settings: PurificationSettings,
    correction: str,
    n_folds: int,
    generator: torch.Generator,
    after_round: Callable[[dict[str, Any]], None],
) -> PurificationResult:
    """Purify labels round by round, and return the state after the best round.

    The judge has `n_folds` folds; 0 stands for no judge. `correction` may be "auto", which lets
    both corrections compete. `after_round` is called with the history entry of each round. An
    interruption ends the rounds.
    """
    with part_of_fit("the preparation"):
        run = PurificationRun(rows, settings, generator)
        unchanged = best = run.unchanged()
    history: list[dict[str, Any]] = []
    plans: list[RoundPlan] = []
    n_best, judge = 0, None
    with cut_short():
        if n_folds:
            corrections = ["intrinsic", "auxiliary"] if correction == "auto" else [correction]
            with part_of_fit("the preparation of the judge"):
                judge = Judge(rows, settings, corrections, n_folds, generator)
        state = run.begin()
        for k in range(settings.n_rounds if judge is None or judge.runs else 0):
            with part_of_fit(f"round {k + 1} of {settings.n_rounds}"):
                plan = RoundPlan(True, correction) if judge is None else judge.plan_round()
                run.advance(state, plan, with_meta_loss=True)
                history.append(_entry(rows, state, plan, judge))
                plans.append(plan)
                if judge is None or judge.best_round == len(history):
                    best, n_best = state.without_labels(), len(plans)
                after_round(history[-1])
            if judge is not None and judge.is_done:
                break
    if judge is not None and judge.keep_given_labels:
        best, n_best = unchanged, 0
    return PurificationResult(best, plans[:n_best], history, run.validation, run.label_rates)


def carry_out(
    rows: LabelledViews,
    settings: PurificationSettings,
    plans: list[RoundPlan],
    generator: torch.Generator,
) -> PurificationResult:
    """Carry out rounds that were planned on other rows; without a plan, given labels are kept.

    The result has no `history` and no `label_rates`.
    """
    run = PurificationRun(rows, settings, generator)
    if not plans:
        return PurificationResult(run.unchanged(), plans, [], run.validation, [])
    state = run.begin(with_steps=any(plan.intrinsic_steps for plan in plans))
    for plan in plans:
        run.advance(state, plan)
    return PurificationResult(state.without_labels(), plans, [], run.validation, [])


def _entry(
    rows: LabelledViews, state: PurificationState, plan: RoundPlan, judge: Judge | None
) -> dict[str, Any]:
    own = (state.distribution * rows.given).sum(dim=1)
    changed = own < state.distribution.amax(dim=1)  # ties keep the given label
    return {
        "epoch": state.epoch,
        "intrinsic_steps": plan.intrinsic_steps,
        "correction": plan.correction,
        "n_changed": int(changed.sum()),
        "meta_loss": state.meta_loss,
        "likelihood": None if judge is None else judge.likelihoods[-1],
        "trusted_accuracy": None if judge is None else judge.trusted_accuracies[-1],
    }

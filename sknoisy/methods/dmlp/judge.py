"""Plans the rounds of a purification, and stops them, by rows that take no part in it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..._engine.folds import draw_folds, standard_error
from .evidence import label_evidence, log_likelihood
from .purification_run import PurificationRun
from .state import LabelledViews, PurificationSettings, PurificationState, RoundPlan

__all__ = ["Judge"]

_MAX_ROWS = 5000
_PATIENCE = 3
_CLEAR, _SOME = 2.0, 1.0  # standard errors


class Judge:
    r"""Purifications of parts of the rows, carried out beside that of all rows.

    Each part leaves out one fold; at most 5,000 rows are drawn for this, trusted ones first. A
    round is scored by the mean log-likelihood of the held-out labels: given labels through the
    transition matrix, trusted labels directly,

    .. math:: \ell = \frac{1}{\sum_i w_i} \sum_i w_i \log \sum_k p_{ik} e_{ik} .

    Trusted rows are weighted so that each class has its share among all rows; all other weights
    are 1.

    After each round, ℓ is added to `likelihoods`, and the out-of-fold accuracy on trusted rows, or
    None if none was held out, to `trusted_accuracies`. The `corrections` compete for the
    write-back.
    """

    _groups: np.ndarray | None = None  # of the held-out rows

    def __init__(
        self,
        rows: LabelledViews,
        settings: PurificationSettings,
        corrections: list[str],
        n_folds: int,
        generator: torch.Generator,
    ):
        self.corrections = corrections
        folds = split_folds(rows, n_folds, generator)
        self.held = [rows.take(held) for _, held in folds]
        self.runs = [
            PurificationRun(rows.take(train), settings, generator, held)
            for (train, _), held in zip(folds, self.held, strict=True)
        ]
        self.likelihoods: list[float] = []
        self.trusted_accuracies: list[float | None] = []
        self._states = [run.begin() for run in self.runs]
        self._intrinsic_steps = True
        if self.runs:
            self._weights = torch.cat([_weights(held) for held in self.held])
            unchanged = [run.unchanged() for run in self.runs]
            self._unchanged = self._best = self._judged(unchanged)
            self._guessed = torch.cat([_guess(held, rows.given) for held in self.held])
            if rows.groups is not None:
                self._groups = torch.cat([rows.groups[held] for _, held in folds]).cpu().numpy()

    def plan_round(self) -> RoundPlan:
        """Carry out the next round by every plan, and return the plan with the highest score.

        Once a round without intrinsic steps has scored higher, there are no more such steps,
        since they pull the labels towards those that the few validation rows can explain.
        """
        best: tuple[float, RoundPlan, list[PurificationState], Tensor] | None = None
        all_steps = (False, True) if self._intrinsic_steps else (False,)
        plans = [RoundPlan(steps, name) for steps in all_steps for name in self.corrections]
        for plan in plans:
            is_last = plan is plans[-1]  # it needs no copy of the states
            states = self._states if is_last else [state.copy() for state in self._states]
            for run, state in zip(self.runs, states, strict=True):
                run.advance(state, plan)
            judged = self._judged(states)
            likelihood = self._mean(judged)
            if best is None or likelihood > best[0]:
                best = (likelihood, plan, states, judged)
        assert best is not None
        likelihood, plan, self._states, judged = best
        self._intrinsic_steps = plan.intrinsic_steps
        if not self.likelihoods or likelihood > max(self.likelihoods):
            self._best = judged
        self.likelihoods.append(likelihood)
        self.trusted_accuracies.append(self._trusted_accuracy())
        return plan

    @property
    def best_round(self) -> int:
        """Number of rounds up to the best one."""
        return 1 + self.likelihoods.index(max(self.likelihoods))

    @property
    def is_done(self) -> bool:
        """Whether the last three rounds have not improved on the best one."""
        return len(self.likelihoods) - self.best_round >= _PATIENCE

    @property
    def keep_given_labels(self) -> bool:
        """Whether to keep the given labels.

        True if the given labels predict held-out labels better than the purified ones do, by two
        standard errors of the log-likelihood, if the purified labels do not predict them better
        than the class shares do, by one, or if no row could be held out.
        """
        if not self.runs or not self.likelihoods:
            return True
        return self._exceeds(self._unchanged - self._best, _CLEAR) or not self._exceeds(
            self._best - self._guessed, _SOME
        )

    def _exceeds(self, lead: Tensor, margin: float) -> bool:
        """Return whether the mean lead exceeds 0 by more than `margin` standard errors."""
        lead = lead * self._weights / self._weights.mean()
        if self._groups is None:
            error = lead.std() / len(lead) ** 0.5
        else:
            error = standard_error(lead.double().cpu().numpy(), self._groups)
        return bool(lead.mean() > margin * error) and bool(lead.mean() > 0)

    def _judged(self, states: list[PurificationState]) -> Tensor:
        return torch.cat(
            [_likelihood(held, state) for held, state in zip(self.held, states, strict=True)]
        )

    def _mean(self, likelihoods: Tensor) -> float:
        return float((self._weights * likelihoods).sum() / self._weights.sum())

    def _trusted_accuracy(self) -> float | None:
        trusted = torch.cat([held.trusted for held in self.held])
        if not trusted.any():
            return None
        pairs = zip(self.held, self._states, strict=True)
        hits = torch.cat([_is_predicted(held, state) for held, state in pairs])
        return float(hits[trusted].float().mean())


def split_folds(
    rows: LabelledViews, n_folds: int, generator: torch.Generator
) -> list[tuple[Tensor, Tensor]]:
    """Return the indices of the training rows and the held-out rows of each fold.

    The folds are stratified by given class and trust. A class's only row, and its only trusted
    row, is never held out. Groups of rows are not divided.
    """
    n_classes, n_folds = rows.given.shape[1], min(n_folds, len(rows.given))
    order = torch.randperm(len(rows.given), generator=generator)
    trusted = rows.trusted.cpu()[order]  # they are few and certain, so they come first
    first = order[trusted][: _MAX_ROWS // 2]
    order = torch.cat([first, order[~trusted][: _MAX_ROWS - len(first)]])
    kind = rows.given.argmax(dim=1).cpu() + n_classes * rows.trusted.cpu()
    order = order[kind[order].argsort(stable=True)]
    if rows.groups is None:
        fold = torch.arange(len(order)) % n_folds
        counts = kind[order].bincount(minlength=2 * n_classes)
        fold[counts[kind[order]] < 2] = -1
    else:
        rng = np.random.RandomState(int(torch.randint(2**31, (), generator=generator)))
        codes, groups = kind[order].numpy(), rows.groups.cpu()[order].numpy()
        fold = torch.as_tensor(draw_folds(codes, n_folds, rng, groups))
    device = rows.given.device
    pairs = [(order[fold != k], order[fold == k]) for k in range(n_folds)]
    return [
        (train.sort().values.to(device), held.sort().values.to(device))
        for train, held in pairs
        if len(held)
    ]


def _is_predicted(held: LabelledViews, state: PurificationState) -> Tensor:
    assert state.held_proba is not None
    return state.held_proba.argmax(dim=1) == held.given.argmax(dim=1)


def _likelihood(held: LabelledViews, state: PurificationState) -> Tensor:
    assert state.transition is not None
    assert state.held_proba is not None
    evidence = label_evidence(state.transition, held.given, held.trusted)
    return log_likelihood(state.held_proba, evidence)


def _guess(held: LabelledViews, given: Tensor) -> Tensor:
    """Return the log-likelihood of the labels under the class shares."""
    return (held.given @ given.mean(dim=0)).log()


def _weights(held: LabelledViews) -> Tensor:
    ones = torch.ones_like(held.given[:, 0])
    if not held.trusted.any():
        return ones
    shares = held.given.mean(dim=0)
    trusted_shares = held.given[held.trusted].mean(dim=0)
    weights = held.given @ (shares / trusted_shares.clamp(min=1e-6))
    return torch.where(held.trusted, weights, ones)

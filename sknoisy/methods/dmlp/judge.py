"""What each round should do, and when to stop, judged on rows that had no part in it."""

from __future__ import annotations

import torch
from torch import Tensor

from .evidence import label_evidence, log_likelihood
from .purification_run import PurificationRun
from .state import Choice, Rows, Settings, State

__all__ = ["Judge"]

_MAX_ROWS = 5000
_PATIENCE = 3
# In standard errors. Likelihoods of few rows hang on how a few of them are predicted.
_CLEAR, _CLEARLY_FEWER = 2.0, 1.0


class Judge:
    r"""Purifications of parts of the rows, which go along with that of all rows.

    Each leaves out a fold. A round is as good as it makes likely what is known of the rows left
    out: their given labels through the transition matrix, their trusted ones directly,

    .. math:: \ell = \frac{1}{\sum_i w_i} \sum_i w_i \log \sum_k p_{ik} e_{ik} .

    Trusted rows are weighted so that each class has its share of all rows; all other weights
    are 1.

    Parameters
    ----------
    rows : Rows
        All rows; at most 5000 of them are drawn, and trusted ones first.
    settings : Settings
        Options.
    corrections : list of str
        Which compete for the write-back.
    n_folds : int
        At least 2.
    generator : torch.Generator
        On the CPU; draws the folds.

    Attributes
    ----------
    likelihoods : list of float
        ℓ after each round.
    trusted_accuracies : list of float or None
        Out-of-fold accuracy on trusted rows after each round; None if there are none.
    """

    def __init__(
        self,
        rows: Rows,
        settings: Settings,
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
            self._hits_unchanged = self._hits_best = self._hits(unchanged)
            self._guessed = torch.cat([_guess(held, rows.given) for held in self.held])

    def choose(self) -> Choice:
        """Try every choice for the next round and take the best.

        Once a round without intrinsic steps was better there are no more of them, since they pull
        the labels toward the few that validation rows can explain.
        """
        best: tuple[float, Choice, list[State], Tensor] | None = None
        for steps in (False, True) if self._intrinsic_steps else (False,):
            for correction in self.corrections:
                choice = Choice(steps, correction)
                states = [
                    run.advance(state, choice)
                    for run, state in zip(self.runs, self._states, strict=True)
                ]
                judged = self._judged(states)
                likelihood = self._mean(judged)
                if best is None or likelihood > best[0]:
                    best = (likelihood, choice, states, judged)
        assert best is not None
        likelihood, choice, self._states, judged = best
        self._intrinsic_steps = choice.intrinsic_steps
        if not self.likelihoods or likelihood > max(self.likelihoods):
            self._best, self._hits_best = judged, self._hits(self._states)
        self.likelihoods.append(likelihood)
        self.trusted_accuracies.append(self._trusted_accuracy())
        return choice

    @property
    def best_round(self) -> int:
        """Rounds up to the best one."""
        return 1 + self.likelihoods.index(max(self.likelihoods))

    @property
    def is_done(self) -> bool:
        """Whether three rounds have not been better than the best."""
        return len(self.likelihoods) - self.best_round >= _PATIENCE

    @property
    def had_better_not(self) -> bool:
        """Whether labels had better stay as they are.

        It is so where labels taken as they are predict others clearly better than purified ones,
        or more of them by a standard error; where guessing by the shares of the classes is no
        worse than purified ones; and where no row could be left out.
        """
        if not self.runs or not self.likelihoods:
            return True
        return (
            self._exceeds(self._unchanged - self._best, _CLEAR)
            or self._exceeds(self._hits_unchanged - self._hits_best, _CLEARLY_FEWER)
            or self._mean(self._best) <= self._mean(self._guessed)
        )

    def _exceeds(self, loss: Tensor, margin: float) -> bool:
        """Whether the mean is above 0 by more than so many standard errors."""
        loss = loss * self._weights / self._weights.mean()
        return bool(loss.mean() > margin * loss.std() / len(loss) ** 0.5) and bool(loss.mean() > 0)

    def _judged(self, states: list[State]) -> Tensor:
        return torch.cat(
            [_likelihood(held, state) for held, state in zip(self.held, states, strict=True)]
        )

    def _mean(self, likelihoods: Tensor) -> float:
        return float((self._weights * likelihoods).sum() / self._weights.sum())

    def _trusted_accuracy(self) -> float | None:
        trusted = torch.cat([held.trusted for held in self.held])
        return float(self._hits(self._states)[trusted].mean()) if trusted.any() else None

    def _hits(self, states: list[State]) -> Tensor:
        """Of the rows left out, whether the given label is predicted."""
        pairs = zip(self.held, states, strict=True)
        return torch.cat([_is_predicted(held, state) for held, state in pairs]).double()


def split_folds(
    rows: Rows, n_folds: int, generator: torch.Generator
) -> list[tuple[Tensor, Tensor]]:
    """Rows of training and held-out rows of each fold; given classes and trusted rows in shares.

    The only row of a class, and the only trusted row of one, is never left out.
    """
    n_classes = rows.given.shape[1]
    order = torch.randperm(len(rows.given), generator=generator)
    trusted = rows.trusted.cpu()[order]  # few, and what is known for certain: they come first
    first = order[trusted][: _MAX_ROWS // 2]
    order = torch.cat([first, order[~trusted][: _MAX_ROWS - len(first)]])
    kind = rows.given.argmax(dim=1).cpu() + n_classes * rows.trusted.cpu()
    order = order[kind[order].argsort(stable=True)]
    fold = torch.arange(len(order)) % n_folds
    counts = kind[order].bincount(minlength=2 * n_classes)
    fold[counts[kind[order]] < 2] = -1
    device = rows.given.device
    pairs = [(order[fold != k], order[fold == k]) for k in range(n_folds)]
    return [
        (train.sort().values.to(device), held.sort().values.to(device))
        for train, held in pairs
        if len(held)
    ]


def _is_predicted(held: Rows, state: State) -> Tensor:
    assert state.held_proba is not None
    return state.held_proba.argmax(dim=1) == held.given.argmax(dim=1)


def _likelihood(held: Rows, state: State) -> Tensor:
    assert state.transition is not None
    assert state.held_proba is not None
    evidence = label_evidence(state.transition, held.given, held.trusted)
    return log_likelihood(state.held_proba, evidence)


def _guess(held: Rows, given: Tensor) -> Tensor:
    """Log-likelihood of labels by the shares of the classes."""
    return (held.given @ given.mean(dim=0)).log()


def _weights(held: Rows) -> Tensor:
    ones = torch.ones_like(held.given[:, 0])
    if not held.trusted.any():
        return ones
    shares = held.given.mean(dim=0)
    trusted_shares = held.given[held.trusted].mean(dim=0)
    weights = held.given @ (shares / trusted_shares.clamp(min=1e-6))
    return torch.where(held.trusted, weights, ones)

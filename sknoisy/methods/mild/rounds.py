"""The rounds of a selection, and the judgement that may take it back."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from ..._engine.batches import TrainingData
from ..._engine.net import DeviceNet
from ...base import NetworkEstimator
from ...callbacks import RecordDynamics
from ...cleaning.chance import beats_chance, predict_rows, stratified_half
from ...cleaning.held_out import MAX_ROWS, Verdict, learn_and_predict, rehearse
from ...exceptions import InterruptedFitWarning, NonFiniteLossError, SelectionWarning, warn_user
from .threshold import Criteria
from .dynamics import LearningDynamics, count_dynamics, segment_dynamics
from .selection import SelectionState

__all__ = ["SelectionRounds"]

_METRICS: dict[str, Callable[[Any, int], LearningDynamics]] = {
    "count": count_dynamics,
    "segments": segment_dynamics,
}
_INTERRUPTED = "fit was interrupted"
_UNJUDGED = "fit was interrupted while the selection was judged"
_WORSE = "held-out labels are predicted worse by selected rows, so that all rows stay"
_NOT_FINITE = "the training loss became NaN or infinite"


class SelectionRounds(NetworkEstimator):
    """What :class:`~sknoisy.CleanSampleSelector` does in ``fit``; it has the parameters."""

    metric: str | Callable[..., LearningDynamics]
    n_rounds: int
    n_folds: int
    reset: bool
    n_warmup_epochs: int

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        return [("dynamics", RecordDynamics())]

    def _fit_networks(self, data: TrainingData, rng: np.random.RandomState) -> None:
        seeds = rng.randint(np.iinfo(np.int32).max, size=self.n_rounds)
        self._state = SelectionState(data)
        with tqdm(seeds, "CleanSampleSelector", unit="round", disable=not self.verbose) as bar:
            self.stop_reason_ = self._rounds(data, bar, ask=True)
        self.held_out_gain_: Verdict | None = None
        is_done = self.stop_reason_ not in (_INTERRUPTED, _NOT_FINITE)
        if self.n_folds and is_done and len(self._state.rows) < len(data) <= MAX_ROWS:
            self._judge(data, rng)

    def _rounds(self, data: TrainingData, seeds: tqdm, *, ask: bool) -> str:
        """Go through the rounds; why there were no more."""
        for seed in seeds:
            reason = self._round(data, int(seed), ask)
            seeds.set_postfix(kept=len(self._state.rows), refresh=False)
            if reason is not None:
                return reason
        return f"n_rounds={self.n_rounds} were done"

    def _round(self, data: TrainingData, seed: int, ask: bool) -> str | None:
        """Train on the rows that are left and select among them; why to stop, if so."""
        state, rng = self._state, np.random.RandomState(seed)
        is_first = not state.rounds
        if (trouble := self._train(data, rng, is_first)) is not None:
            return trouble
        criteria = Criteria(*(getattr(self, name) for name in Criteria._fields))
        choice = state.choose(criteria, seed)
        state.apply(choice, history=self.net_.history)
        if ask and is_first and choice.reason is None:
            return self._check_that_labels_can_be_learned(data, state.given, rng)
        return choice.reason

    def _train(self, data: TrainingData, rng: np.random.RandomState, is_first: bool) -> str | None:
        """Train the net of a round and take its dynamics; what went wrong, if it did."""
        max_epochs = self.max_epochs + (self.n_warmup_epochs if is_first else 0)
        own = copy.deepcopy(self.callbacks or [])
        net = self._build_net(data, rng, own, max_epochs=max_epochs)
        if not is_first and not self.reset:
            net.module.load_state_dict(self.net_.module_.state_dict())
        try:
            net.fit(data.only(torch.as_tensor(self._state.rows, device=data.device)))
        except NonFiniteLossError as error:
            if is_first:
                raise
            n_done = len(self._state.rounds)
            warn_user(
                f"Round {n_done + 1} failed: {error} The selection of round {n_done} stands.",
                SelectionWarning,
            )
            return _NOT_FINITE
        if is_first or not net.interrupted_:  # else what the round before found stands
            self.net_: DeviceNet = net
            metric = _METRICS[self.metric] if isinstance(self.metric, str) else self.metric
            self._state.observe(dict(net.callbacks_)["dynamics"], metric)
        return _INTERRUPTED if net.interrupted_ else None

    def _check_that_labels_can_be_learned(
        self, data: TrainingData, given: np.ndarray, rng: np.random.RandomState
    ) -> str | None:
        half = stratified_half(given, rng)
        learned, rest = (
            torch.as_tensor(m, device=data.device).nonzero()[:, 0] for m in (half, ~half)
        )
        try:
            net = self._build_net(data, rng, []).fit(data.only(learned))
        except NonFiniteLossError:  # the rounds stand without this check
            return None
        if not (net.interrupted_ or beats_chance(given[~half], predict_rows(net, data, rest))):
            warn_user(
                f"A network that learned half of the {len(given)} rows predicts the labels of the "
                "others no better than chance: the labels may be pure noise, and what is selected "
                "then means nothing. Pass another module, more rows, or check y.",
                SelectionWarning,
            )
        return _INTERRUPTED if net.interrupted_ else None

    # --- the judgement ----------------------------------------------------------------------

    def _judge(self, data: TrainingData, rng: np.random.RandomState) -> None:
        """Select in parts of the rows, too; if others are predicted worse then, keep all rows."""
        state = self._state
        self._say(f"the selection is judged by {self.n_folds} parts of the rows")
        trial = copy.copy(self).set_params(callbacks=None)

        def select(rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
            trial._state = SelectionState(data, rows)
            draws = np.random.RandomState(seed).randint(np.iinfo(np.int32).max, size=self.n_rounds)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SelectionWarning)  # of rounds that nobody sees
                reason = trial._rounds(data, tqdm(draws, disable=True), ask=False)
            if reason == _INTERRUPTED:
                raise KeyboardInterrupt
            return trial._state.rows, state.given[trial._state.rows]

        def predict(rows: np.ndarray, _, held: np.ndarray, seed: int) -> np.ndarray:
            return learn_and_predict(partial(self._build_net, data), data, rows, held, seed)

        try:
            self.held_out_gain_ = rehearse(state.given, self.n_folds, rng, select, predict)
        except KeyboardInterrupt:
            self.stop_reason_ = _UNJUDGED
        except NonFiniteLossError:  # the rounds stand without this check
            pass
        if self.held_out_gain_ is not None and self.held_out_gain_.is_worse:
            state.rows = np.arange(len(data))
            self.stop_reason_ = _WORSE

    def _after_fit(self, data: TrainingData) -> None:
        self.net_.module_.eval()
        state = self._state
        del self._state
        self.rounds_, self.n_iter_ = state.rounds, len(state.rounds)
        self.sample_indices_ = state.rows
        self.clean_mask_ = np.isin(np.arange(len(data)), state.rows)
        self.memorization_, self.forgetting_ = state.memorization, state.forgetting
        self.clean_proba_ = np.where(state.trusted, 1.0, state.memorized)
        self._say(
            f"{len(state.rows)} of {len(data)} rows selected in {self.n_iter_} rounds: "
            f"{self.stop_reason_}."
        )
        if self.stop_reason_ in (_INTERRUPTED, _UNJUDGED):
            of_round = f" in round {self.n_iter_ + 1} of {self.n_rounds}"
            warn_user(
                f"{self.stop_reason_}{of_round if self.stop_reason_ == _INTERRUPTED else ''}; the "
                f"selection is that of round {self.n_iter_}, {len(state.rows)} of {len(data)} "
                "rows.",
                InterruptedFitWarning,
            )

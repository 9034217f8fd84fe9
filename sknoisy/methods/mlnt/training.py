"""The iterations of noise-tolerant training (MLNT): pretraining, students, teachers, mentors."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..._engine.batches import TrainingData
from ..._engine.construction import seeded
from ..._engine.evaluation import cpu_state, outputs_of, rows_per_pass
from ..._engine.net import DeviceNet
from ..._engine.problem import Problem
from ...base import NetworkClassifier
from ...callbacks.teacher_average import TeacherAverage
from ...exceptions import CollapseWarning, InterruptedFitWarning, warn_user
from .epochs import Choice, EpochChoice, validation_rows
from .mentoring import believed_rows
from .rate import MetaRate
from .update import NoiseToleranceUpdate

__all__ = ["NoiseTolerantTraining"]

_N_JUDGES = 1000
# Times lr; a momentum of 0.9 makes ten steps of one.
_META_LR = {"separate": 30, "joint": 3}


class NoiseTolerantTraining(NetworkClassifier):
    """Life cycle of :class:`~sknoisy.MLNTClassifier`, which describes the parameters."""

    n_synthetic: int
    transfer_share: float
    n_neighbors: int
    inner_lr: str | float
    meta_lr: str | float
    meta_step: str
    first_order: bool
    batched: str | bool
    n_warmup_epochs: int
    n_ramp_epochs: str | float
    n_pretrain_epochs: str | int
    teacher_decay: str | float
    n_iterations: int
    mentor_threshold: str | float
    blend: float
    predict_with: str
    epoch_selection: str

    # --- the data -------------------------------------------------------------------------------

    def _prepare(self, problem: Problem) -> Problem:
        if self._selection(problem.trusted) != "trusted":
            return problem
        if problem.trusted is None:
            raise ValueError(
                "epoch_selection='trusted' asks trusted rows, and there are none: pass "
                "clean_mask to fit, or epoch_selection='last'."
            )
        counted = np.isin(np.arange(len(problem)), problem.weighted_rows)
        rng = np.random.RandomState(problem.seed)
        judges = validation_rows(problem.given, problem.trusted, counted, rng)
        if judges.any():
            self.validation_rows_ = np.flatnonzero(judges)
            return replace(problem, sample_weight=problem.scale_weights((~judges).astype(float)))
        if self.epoch_selection == "trusted":
            raise ValueError(
                "epoch_selection='trusted' keeps trusted rows out of training, and none can "
                "be spared: trust rows of positive weight, in classes of two such rows, "
                "or pass epoch_selection='last'."
            )
        return problem

    def _selection(self, trusted: Any) -> str:
        """What ``epoch_selection`` stands for."""
        if self.epoch_selection != "auto":
            return self.epoch_selection
        return "last" if trusted is None or not self.n_synthetic else "trusted"

    def _finish(self, data: TrainingData) -> None:
        if self.n_synthetic and len(self._proba(data.rows).argmax(dim=1).unique()) == 1:
            meta_lr = f"at most {self.meta_lr_:g}" if self.meta_lr == "auto" else self.meta_lr_
            warn_user(
                "The network predicts one class for all training rows: it has collapsed. Lower "
                f"meta_lr, which is {meta_lr}, or inner_lr, which is {self.inner_lr_:g}.",
                CollapseWarning,
            )

    # --- the iterations -------------------------------------------------------------------------

    def _fit_networks(self, data: TrainingData, rng: np.random.RandomState) -> None:
        self._resolve(data)
        self.n_iterations_ = 0
        self._choice: Choice | None = None
        features, mentor, believed = None, None, data
        for iteration in range(1, self.n_iterations + 1):
            callbacks = self._of_iteration(data, mentor)
            extra = [*callbacks.items(), *(self.callbacks or []), *self._progress()]
            net = self._build_net(believed, rng, extra)
            # After the net, whose start and batches are those of plain training, therefore.
            self._draw(callbacks, data, rng)
            if iteration == 1 and self.n_synthetic and self.n_pretrain_epochs_:
                guide = self._pretrain(data, rng)
                if guide.interrupted_:
                    net = self.net_ = guide
                    break
                features = self._outputs_of(guide.module_, data)[0]
            if "meta" in callbacks:
                callbacks["meta"].features = features
            net.fit(believed)
            if "meta" in callbacks:  # else they, and all rows' features, would be pickled
                callbacks["meta"].set_params(features=None, mentor=None, sample_weight=None)
            if mentor is None or not net.interrupted_:  # else the mentor's training was complete
                self.net_, self._choice = net, callbacks["choice"].choice_
            if net.interrupted_:
                break
            self.n_iterations_ = iteration
            if iteration < self.n_iterations:
                mentor = self._mentor()
                believed = self._believed(data, mentor)
        self.nets_ = [self.net_]
        self._warn_if_interrupted(net)

    def _resolve(self, data: TrainingData) -> None:
        """Set what "auto" stands for."""
        self.inner_lr_ = self.lr / 5 if self.inner_lr == "auto" else float(self.inner_lr)
        by_default = self.lr * _META_LR[self.meta_step]
        self.meta_lr_ = by_default if self.meta_lr == "auto" else float(self.meta_lr)
        self.n_ramp_epochs_ = (
            self.max_epochs / 6 if self.n_ramp_epochs == "auto" else float(self.n_ramp_epochs)
        )
        self.n_pretrain_epochs_ = (
            max(self.max_epochs // 3, 1)
            if self.n_pretrain_epochs == "auto"
            else int(self.n_pretrain_epochs)
        )
        n_steps = self.max_epochs * math.ceil(len(data) / self.batch_size)
        by_length = 1 - 1 / min(max(n_steps / 100, 2), 1000)
        self.teacher_decay_ = (
            by_length if self.teacher_decay == "auto" else float(self.teacher_decay)
        )
        at_most = "at most " if self.meta_lr == "auto" else ""
        self._say(
            f"meta_lr={at_most}{self.meta_lr_:.3g}, teacher_decay={self.teacher_decay_:.4g}, "
            f"n_ramp_epochs={self.n_ramp_epochs_:.3g}, n_pretrain_epochs={self.n_pretrain_epochs_}"
        )

    def _of_iteration(self, data: TrainingData, mentor: nn.Module | None) -> dict[str, Any]:
        """The callbacks of one iteration, without what is drawn."""
        callbacks: dict[str, Any] = {}
        if self.n_synthetic:
            weight = data.sample_weight
            if weight is None and mentor is not None:  # the meta step uses all rows
                weight = torch.ones(len(data), device=data.device)
            if self.meta_lr == "auto":
                callbacks["rate"] = MetaRate(self.meta_lr_)
            callbacks["meta"] = NoiseToleranceUpdate(
                n_synthetic=self.n_synthetic,
                transfer_share=self.transfer_share,
                n_neighbors=self.n_neighbors,
                inner_lr=self.inner_lr_,
                meta_lr=self.meta_lr_,
                n_ramp_epochs=self.n_ramp_epochs_,
                n_warmup_epochs=self.n_warmup_epochs,
                meta_step=self.meta_step,
                first_order=self.first_order,
                batched=self.batched,
                mentor=mentor,
                blend=self.blend,
                sample_weight=weight,
            )
        callbacks["teacher"] = TeacherAverage(self.teacher_decay_)
        by = self._selection(data.trusted)
        if by == "trusted" and not hasattr(self, "validation_rows_"):
            by = "last"  # no trusted row could be spared
        candidates: tuple[str, ...] = (self.predict_with,)
        if self.predict_with == "auto":
            both = ("teacher", "student")
            candidates = both if by == "trusted" else both[:1] if self.n_synthetic else both[1:]
        n_skip = math.ceil(self.n_warmup_epochs + self.n_ramp_epochs_) if self.n_synthetic else 0
        callbacks["choice"] = EpochChoice(by, candidates, min(n_skip, self.max_epochs - 1))
        return callbacks

    def _draw(self, callbacks: dict[str, Any], data: TrainingData, rng) -> None:
        if "meta" in callbacks:
            callbacks["meta"].random_state = int(rng.randint(np.iinfo(np.int32).max))
        if "rate" in callbacks:
            weight = data.sample_weight
            counted = np.arange(len(data)) if weight is None else weight.cpu().numpy().nonzero()[0]
            # Not by rng: all else is drawn as under a fixed meta_lr.
            own = np.random.RandomState(callbacks["meta"].random_state)
            asked = own.choice(counted, min(len(counted), _N_JUDGES), replace=False)
            callbacks["rate"].rows = torch.as_tensor(asked, device=data.device)
        judges = getattr(self, "validation_rows_", None)
        if judges is None:
            judges = rng.choice(len(data), min(len(data), _N_JUDGES), replace=False)
        callbacks["choice"].rows = torch.as_tensor(judges, device=data.device)

    def _pretrain(self, data: TrainingData, rng: np.random.RandomState) -> DeviceNet:
        """Train a network by cross-entropy on all rows."""
        seed = int(rng.randint(np.iinfo(np.int32).max))
        shorter = copy.copy(self)
        shorter.max_epochs = self.n_pretrain_epochs_
        own = copy.copy(data)
        own.generator = torch.Generator(data.device).manual_seed(seed)
        with seeded(seed, data.device):
            return shorter._build_net(own, rng, []).fit(own)

    def _outputs_of(self, module: nn.Module, data: TrainingData) -> tuple[Tensor, Tensor]:
        rows = torch.arange(len(data), device=data.device)
        return outputs_of(module, data, rows, rows_per_pass(self))

    def _mentor(self) -> nn.Module:
        """The network that was chosen."""
        assert self._choice is not None
        mentor = copy.deepcopy(self.net_.module_).requires_grad_(False)
        mentor.load_state_dict(self._choice.state)
        return mentor.eval()

    def _believed(self, data: TrainingData, mentor: nn.Module) -> TrainingData:
        """The data with weight 0 where the mentor does not believe the label."""
        labels = data.given.cpu().numpy()
        trusted = np.zeros(len(data), bool) if data.trusted is None else data.trusted.cpu().numpy()
        weights = np.ones(len(data))
        if data.sample_weight is not None:
            weights = data.sample_weight.cpu().double().numpy()
        self.kept_rows_ = believed_rows(
            self._outputs_of(mentor, data)[1].cpu().double().softmax(dim=1).numpy(),
            labels,
            self.mentor_threshold,
            trusted,
            weights > 0,
            self.classes_,
        )
        self._say(f"the mentor believes {self.kept_rows_.sum()} of {len(data)} labels")
        weights = weights * self.kept_rows_
        believed = copy.copy(data)
        believed.sample_weight = torch.as_tensor(weights / weights.mean()).float().to(data.device)
        return believed

    def _warn_if_interrupted(self, net: DeviceNet) -> None:
        if not net.interrupted_:
            return
        done = net.n_finished_epochs
        kept = ""
        if net is not self.net_:
            kept = f" of iteration {self.n_iterations_ + 1}, which is left out"
        warn_user(
            f"fit was interrupted after {done} of {net.max_epochs} epochs{kept}; the estimator is "
            "fitted with what was learned so far.",
            InterruptedFitWarning,
        )

    # --- what predicts --------------------------------------------------------------------------

    def _member_states(self) -> list[dict[str, Tensor]]:
        choice, self._choice = self._choice, None
        if choice is None:  # the pretraining was interrupted
            choice = Choice(self.n_iter_, "student", cpu_state(self.net_.module_))
        self.best_epoch_, self.predicts_with_ = choice.epoch, choice.name
        return [choice.state]

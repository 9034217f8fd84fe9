"""Classifier for noisy labels by noise-tolerant training (MLNT)."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..._compat import Interval, StrOptions
from ..._docs import share_docs
from ..._engine.batches import TrainingData
from ..._engine.construction import seeded
from ..._engine.evaluation import copied_state, outputs_of, rows_per_pass
from ..._engine.net import DeviceNet
from ..._engine.problem import Problem
from ..._engine.sizes import auto_teacher_decay
from ..._engine.stopping import current_stop, part_of_fit
from ..._engine.warm_start import load_start
from ...base import NetworkClassifier
from ...callbacks import TeacherAverage
from ...exceptions import CollapseWarning, warn_user
from .epochs import ChosenNetwork, EpochChoice, validation_rows
from .gradient import ToleranceGradient, tolerance_gradient
from .mentoring import Mentoring, believed_rows
from .rate import MetaRate
from .transfer import LabelTransfer, label_transfer
from .update import NoiseToleranceUpdate

__all__ = ["MLNTClassifier"]

_N_JUDGES = 1000


@share_docs
class MLNTClassifier(NetworkClassifier):
    """Classifier for noisy labels by noise-tolerant training (MLNT).

    Before every step, MLNT moves the network to where a step on wrong labels would leave its
    predictions unchanged. Each batch gets several sets of synthetic labels, drawn from near
    neighbours, and after a step on any of them the network should agree with its teacher, its own
    moving average. In further iterations, the network of the iteration before is the mentor of a
    new one: labels that it does not believe are left out, and its predictions are a part of the
    target.

    No trusted rows are needed. If some are passed as ``clean_mask``, they choose the epoch.

    Parameters
    ----------
    n_synthetic : int, default=10
        Number M of sets of synthetic labels of a batch. 0: plain cross-entropy.
    transfer : {"features", "rows"} or LabelTransfer, default="features"
        How synthetic labels are drawn. "features": half of the rows of a batch draw the label of
        one of their ten nearest neighbours, by the features of a network that is trained by
        cross-entropy first, for a third of ``max_epochs``. "rows": the same by the rows
        themselves, without such a network. Other values: see
        :class:`~sknoisy.methods.mlnt.LabelTransfer`.
    inner_lr : "auto" or float, default="auto"
        Step size on the synthetic labels. "auto": a fifth of ``lr``; ``lr`` is published.
    meta_lr : "auto" or float, default="auto"
        Step size of the meta step, after a ramp from 0 over the first sixth of the epochs. It
        follows the schedule of ``lr``. "auto": 30 ``lr``, or 3 ``lr`` in a joint step, which has
        the optimiser's momentum, times the smaller of 1 and c / 0.075. Before each epoch, c is the
        teacher's largest probability minus that of the given label, in the mean over at most 1,000
        training rows: the less the teacher contradicts the labels, the smaller is the step. A
        float: the same in all epochs, as published.
    gradient : {"first_order", "exact"} or ToleranceGradient, default="first_order"
        The meta gradient. "first_order": the inner gradients are treated as constants. "exact":
        they are not. An instance may also join the meta step with the actual one:
        ``ToleranceGradient(joint=True)`` makes one step of the optimiser along the sum of both
        gradients, that of the meta loss times ``meta_lr / lr``. The released code is
        ``ToleranceGradient(first_order=False, joint=True)`` with ``meta_lr=lr``.
    teacher_decay : "auto" or float, default="auto"
        Share of its past that the teacher keeps at each step, in [0, 1]. "auto": it averages over
        about a hundredth of the steps, at least 2 and at most 1,000 of them.
    n_iterations : int, default=1
        Number of trainings. From the second one on, the network chosen in the one before is the
        mentor. The paper has 3.
    mentoring : "auto" or Mentoring, default="auto"
        How the mentor takes part. "auto": rows take part in the cross-entropy if the mentor
        predicts their label, and the mentor's share in the target falls from 1 to a half. Other
        values, such as the published threshold of 0.3: see
        :class:`~sknoisy.methods.mlnt.Mentoring`. It has no effect with one iteration.
    predict_with : {"auto", "teacher", "student"}, default="auto"
        The network that predicts. "auto": the teacher or, if trusted rows choose the epoch, the
        better one.
    epoch_selection : {"auto", "last", "agreement", "clid", "trusted"}, default="auto"
        The epoch whose network predicts. "last": the last epoch. "agreement": student and teacher
        predict the same class most often. "clid": the lowest cross-layer information divergence.
        Neither of the two chooses an epoch of the ramp, where a network that predicts one class
        has a good score. "trusted": the highest accuracy on trusted rows, at most a tenth of each
        class, which are kept out of training for it. "auto": "trusted" if some trusted rows can be
        spared, else "last".
    {module, module_params, optimizer, optimizer_params}
    lr : "auto" or float, default="auto"
        Learning rate of the network. "auto": 0.05, more for larger batches.
    {lr_schedule}
    max_epochs : "auto" or int, default="auto"
        Passes over the data in each iteration. "auto" stands for 60, or fewer for tables of more
        than 200,000 rows.
    {batch_size, max_time, augment, standardize, device, precision}
    callbacks : list or None, default=None
        Further skorch callbacks, for each iteration.
    verbose : int, default=0
        1 shows a progress bar, the values that "auto" stood for, and how many labels the mentor
        believes.
    {random_state, pretrained}
    weight_average, n_ensemble : default=None, default=0
        Not available: ``teacher_decay``, ``predict_with`` and ``epoch_selection`` stand for them.
    {warm_start, checkpoint}

    Attributes
    ----------
    {classes_, label_distribution_, purified_labels_, clean_proba_}
    best_epoch_ : int
        Epoch of the last iteration whose network predicts.
    predicts_with_ : str
        "student" or "teacher".
    kept_rows_ : ndarray of bool of shape (n_samples,)
        True where the last mentor believes the label. Absent with one iteration.
    validation_rows_ : ndarray of shape (n_validation,)
        Indices of the trusted rows that chose the epoch. Absent if none did.
    inner_lr_, meta_lr_, teacher_decay_ : float
        The values that "auto" stood for; of ``meta_lr``, which changes, the largest.
    n_ramp_epochs_ : float
        Number of epochs over which the meta step grew: a sixth of ``max_epochs``.
    n_pretrain_epochs_ : int
        Number of epochs of the network whose features define the neighbours.
    net_ : DeviceNet
        The fitted skorch net of the last iteration. Its module is the student and takes scaled
        rows.
    history_ : skorch.history.History
        History of the last iteration, per epoch: ``train_loss``, ``meta_loss``, ``meta_lr`` before
        ramp and schedule if it is "auto", ``event_lr``, ``dur``, and the score that chose the
        epoch.
    n_iterations_ : int
        Number of completed iterations.
    n_iter_ : int
        Number of epochs of the last iteration.
    {batch_size_, n_features_in_, feature_names_in_, image_shape_}

    See Also
    --------
    sknoisy.methods.mlnt.NoiseToleranceUpdate : The meta step, on any skorch net.
    sknoisy.callbacks.TeacherAverage : The teacher, on any skorch net.

    References
    ----------
    J. Li, Y. Wong, Q. Zhao and M. Kankanhalli. Learning to Learn from Noisy Labeled Data. CVPR
    2019.

    Examples
    --------
    >>> from sknoisy import MLNTClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.3, random_state=0)
    >>> clf = MLNTClassifier(max_epochs=20, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.85)
    True
    """

    _can_use_ranks = False  # several trainings
    _parameter_constraints: dict = {
        **NetworkClassifier._parameter_constraints,
        "n_synthetic": [Interval(Integral, 0, None, closed="left")],
        "transfer": [StrOptions({"features", "rows"}), LabelTransfer],
        "inner_lr": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "meta_lr": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "gradient": [StrOptions({"first_order", "exact"}), ToleranceGradient],
        "teacher_decay": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="both")],
        "n_iterations": [Interval(Integral, 1, None, closed="left")],
        "mentoring": [StrOptions({"auto"}), Mentoring],
        "predict_with": [StrOptions({"auto", "teacher", "student"})],
        "epoch_selection": [StrOptions({"auto", "last", "agreement", "clid", "trusted"})],
    }

    def __init__(
        self,
        *,
        n_synthetic: int = 10,
        transfer: str | LabelTransfer = "features",
        inner_lr: str | float = "auto",
        meta_lr: str | float = "auto",
        gradient: str | ToleranceGradient = "first_order",
        teacher_decay: str | float = "auto",
        n_iterations: int = 1,
        mentoring: str | Mentoring = "auto",
        predict_with: str = "auto",
        epoch_selection: str = "auto",
        **shared: Any,
    ):
        super().__init__(**shared)
        self.n_synthetic = n_synthetic
        self.transfer = transfer
        self.inner_lr = inner_lr
        self.meta_lr = meta_lr
        self.gradient = gradient
        self.teacher_decay = teacher_decay
        self.n_iterations = n_iterations
        self.mentoring = mentoring
        self.predict_with = predict_with
        self.epoch_selection = epoch_selection

    # --- before training ------------------------------------------------------------------------

    def _check_settings(self) -> None:
        super()._check_settings()
        if self.weight_average is not None or self.n_ensemble:
            raise ValueError(
                f"weight_average={self.weight_average!r} and n_ensemble={self.n_ensemble!r} have "
                "no place in MLNT, which has an average and a choice of its own: leave them out, "
                'and set teacher_decay, predict_with="teacher" and epoch_selection instead.'
            )

    def _prepare(self, problem: Problem) -> Problem:
        if self._selection(problem.trusted) != "trusted":
            return problem
        if problem.trusted is None:
            raise ValueError(
                "epoch_selection='trusted' needs trusted rows, and there are none: pass "
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
        """Return the rule that ``epoch_selection`` stands for."""
        if self.epoch_selection != "auto":
            return self.epoch_selection
        return "last" if trusted is None or not self.n_synthetic else "trusted"

    def _resolve(self, data: TrainingData) -> None:
        """Set the fitted attributes of the values that "auto" stands for."""
        # A momentum of 0.9 makes ten steps of one, so a joint step is a tenth of a separate one.
        largest = self.lr_ * (3 if tolerance_gradient(self.gradient).joint else 30)
        self.inner_lr_ = self.lr_ / 5 if self.inner_lr == "auto" else float(self.inner_lr)
        self.meta_lr_ = largest if self.meta_lr == "auto" else float(self.meta_lr)
        self.n_ramp_epochs_ = self.max_epochs_ / 6
        self.n_pretrain_epochs_ = label_transfer(self.transfer).pretrain_epochs(self.max_epochs_)
        by_length = auto_teacher_decay(self._n_steps(len(data)))
        self.teacher_decay_ = (
            by_length if self.teacher_decay == "auto" else float(self.teacher_decay)
        )
        at_most = "at most " if self.meta_lr == "auto" else ""
        self._say(
            f"meta_lr={at_most}{self.meta_lr_:.3g}, teacher_decay={self.teacher_decay_:.4g}, "
            f"n_ramp_epochs={self.n_ramp_epochs_:.3g}, n_pretrain_epochs={self.n_pretrain_epochs_}"
        )

    # --- the iterations -------------------------------------------------------------------------

    def _fit_networks(self, data: TrainingData, rng: np.random.RandomState) -> None:
        """Train one network for each iteration; the last completed one predicts."""
        self._resolve(data)
        self.n_iterations_ = 0
        features, mentor, believed = None, None, data
        for iteration in range(1, self.n_iterations + 1):
            # The net draws first, so that its start and its batches are those of plain training.
            net = self._build_net(believed, rng, [])
            load_start(self._start, [net])
            meta_seed = _draw_seed(rng) if self.n_synthetic else None
            judges = self._judges(data, rng)
            if iteration == 1 and self.n_synthetic and self.n_pretrain_epochs_:
                with part_of_fit("the pretraining"):
                    guide = self._pretrain(data, rng)
                if guide.interrupted_:
                    net = self.net_ = guide
                    break
                features = self._outputs_of(guide, guide.module_, data)[0]
            net.callbacks += [
                *self._meta_step(data, features, mentor, meta_seed),
                ("teacher", TeacherAverage(self.teacher_decay_)),
                ("choice", self._epoch_choice(data, judges)),
                *(self.callbacks or []),
                *self._progress(),
            ]
            name = f"iteration {iteration} of {self.n_iterations}"
            with part_of_fit(name if self.n_iterations > 1 else "the training"):
                net.fit(believed)
            _forget_rows(net)
            if net.interrupted_ and mentor is not None:  # which is trained, so that it predicts
                current_stop().result = f"the network of iteration {iteration - 1} predicts"
                break
            self.net_ = net
            if net.interrupted_:
                break
            self.n_iterations_ = iteration
            if iteration < self.n_iterations:
                mentor = self._mentor()
                believed = self._believed(data, mentor)
        self.nets_ = [self.net_]

    def _recorded_keys(self) -> list[str]:
        keys = [self.epoch_selection] if self.epoch_selection not in ("auto", "last") else []
        if self.n_synthetic:
            keys += ["meta_loss", *(["meta_lr"] if self.meta_lr == "auto" else [])]
        return keys

    def _judges(self, data: TrainingData, rng: np.random.RandomState) -> Tensor:
        """Return the rows that choose the epoch."""
        judges = getattr(self, "validation_rows_", None)
        if judges is None:
            judges = rng.choice(len(data), min(len(data), _N_JUDGES), replace=False)
        return torch.as_tensor(judges, device=data.device)

    def _pretrain(self, data: TrainingData, rng: np.random.RandomState) -> DeviceNet:
        """Train the network whose features define the neighbours, by cross-entropy on all rows."""
        seed = _draw_seed(rng)
        own = copy.copy(data)
        own.generator = torch.Generator(data.device).manual_seed(seed)
        with seeded(seed, data.device):
            return self._build_net(own, rng, [], max_epochs=self.n_pretrain_epochs_).fit(own)

    def _meta_step(
        self, data: TrainingData, features: Tensor | None, mentor: nn.Module | None, seed: Any
    ) -> list[tuple[str, Any]]:
        """Return the callbacks of the meta step."""
        if not self.n_synthetic:
            return []
        callbacks: list[tuple[str, Any]] = []
        if self.meta_lr == "auto":
            rows = _draw_weighted_rows(data, seed)
            callbacks = [("rate", MetaRate(self.meta_lr_, rows, teacher="teacher"))]
        weight = data.sample_weight
        if weight is None and mentor is not None:  # the meta step uses all rows
            weight = torch.ones(len(data), device=data.device)
        transfer = label_transfer(self.transfer)
        update = NoiseToleranceUpdate(
            features,
            n_synthetic=self.n_synthetic,
            transfer_share=transfer.share,
            n_neighbors=transfer.n_neighbors,
            inner_lr=self.inner_lr_,
            meta_lr="rate" if self.meta_lr == "auto" else self.meta_lr_,
            n_ramp_epochs=self.n_ramp_epochs_,
            gradient=self.gradient,
            mentor=mentor,
            blend=self._mentoring().blend,
            teacher="teacher",
            sample_weight=weight,
            random_state=seed,
        )
        return [*callbacks, ("meta", update)]

    def _epoch_choice(self, data: TrainingData, judges: Tensor) -> EpochChoice:
        """Return the callback that chooses the epoch and the network."""
        by = self._selection(data.trusted)
        if by == "trusted" and not hasattr(self, "validation_rows_"):
            by = "last"  # no trusted row could be spared
        candidates: tuple[str, ...] = (self.predict_with,)
        if self.predict_with == "auto":
            both = ("teacher", "student")
            candidates = both if by == "trusted" else both[:1] if self.n_synthetic else both[1:]
        n_skip = math.ceil(self.n_ramp_epochs_) if self.n_synthetic else 0
        n_skip = min(n_skip, self.max_epochs_ - 1)
        return EpochChoice(by, candidates, n_skip, judges, teacher="teacher")

    @staticmethod
    def _outputs_of(
        net: DeviceNet, module: nn.Module, data: TrainingData
    ) -> tuple[Tensor, Tensor]:
        rows = torch.arange(len(data), device=data.device)
        return outputs_of(module, data, rows, rows_per_pass(net))

    def _mentoring(self) -> Mentoring:
        return self.mentoring if isinstance(self.mentoring, Mentoring) else Mentoring()

    def _mentor(self) -> nn.Module:
        """Return a frozen copy of the network that was chosen."""
        mentor = copy.deepcopy(self.net_.module_).requires_grad_(False)
        mentor.load_state_dict(self._chosen().state)
        return mentor.eval()

    def _believed(self, data: TrainingData, mentor: nn.Module) -> TrainingData:
        """Return the data with weight 0 where the mentor does not believe the label."""
        labels = data.given.cpu().numpy()
        trusted = np.zeros(len(data), bool) if data.trusted is None else data.trusted.cpu().numpy()
        weights = np.ones(len(data))
        if data.sample_weight is not None:
            weights = data.sample_weight.cpu().double().numpy()
        self.kept_rows_ = believed_rows(
            self._outputs_of(self.net_, mentor, data)[1].cpu().double().softmax(dim=1).numpy(),
            labels,
            self._mentoring().threshold,
            trusted,
            weights > 0,
            self.classes_,
        )
        self._say(f"the mentor believes {self.kept_rows_.sum()} of {len(data)} labels")
        weights = weights * self.kept_rows_
        believed = copy.copy(data)
        believed.sample_weight = torch.as_tensor(weights / weights.mean()).float().to(data.device)
        return believed

    # --- the network that predicts --------------------------------------------------------------

    def _chosen(self) -> ChosenNetwork:
        choice = dict(self.net_.callbacks_).get("choice")
        if choice is None:  # the pretraining was interrupted
            epoch = self.net_.n_finished_epochs
            return ChosenNetwork(epoch, "student", copied_state(self.net_.module_))
        return choice.choice_

    def _member_states(self) -> list[dict[str, Tensor]]:
        chosen = self._chosen()
        self.best_epoch_, self.predicts_with_ = chosen.epoch, chosen.name
        return [chosen.state]

    def _finish(self, data: TrainingData) -> None:
        if self.n_synthetic and len(self._proba(data.rows).argmax(dim=1).unique()) == 1:
            meta_lr = f"at most {self.meta_lr_:g}" if self.meta_lr == "auto" else self.meta_lr_
            warn_user(
                "The network predicts one class for all training rows: it has collapsed. Lower "
                f"meta_lr, which is {meta_lr}, or inner_lr, which is {self.inner_lr_:g}.",
                CollapseWarning,
            )


def _draw_seed(rng: np.random.RandomState) -> int:
    return int(rng.randint(np.iinfo(np.int32).max))


def _draw_weighted_rows(data: TrainingData, seed: int) -> Tensor:
    """Draw rows of positive weight, by a generator of their own.

    All other draws are therefore the same for each ``meta_lr``.
    """
    weight = data.sample_weight
    counted = np.arange(len(data)) if weight is None else weight.cpu().numpy().nonzero()[0]
    own = np.random.RandomState(seed)
    rows = own.choice(counted, min(len(counted), _N_JUDGES), replace=False)
    return torch.as_tensor(rows, device=data.device)


def _forget_rows(net: DeviceNet) -> None:
    """Drop what belongs to the training rows, so that a pickle of the net does not hold it."""
    callbacks = dict(net.callbacks_)
    if "meta" in callbacks:
        callbacks["meta"].set_params(features=None, mentor=None, sample_weight=None)
    if "rate" in callbacks:
        callbacks["rate"].set_params(rows=None)

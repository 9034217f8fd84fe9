"""The steps of a purification: epochs of both corrections, and the write-backs between them."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from .agreement import Anchors, find_anchors, neighbourhood_votes, pseudo_clean_rows
from .auxiliary import AuxiliaryClassifier, write_back
from .evidence import (
    anchor_transition,
    calibrate_exponent,
    diagonally_dominant,
    keep_shares,
    label_evidence,
    label_posterior,
    learned_transition,
    nearly_identity,
    raise_to_power,
)
from .intrinsic import IntrinsicCorrection
from .ridge import RidgeSystem
from .soft_labels import LabelState, to_simplex
from .state import LabelledViews, PurificationSettings, PurificationState, RoundPlan

__all__ = ["PurificationRun"]

_RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_MAX_PSEUDO_CLEAN = 1000
_CLASSIFIER_SCALE = 8.0  # multiplies the features: rows of length 1 are learned too slowly


class RegressionOutputs(NamedTuple):
    """Regression outputs of training rows and held-out rows, and the ridge, for each view."""

    training: list[Tensor]
    held: list[Tensor]
    ridges: list[float]


class PurificationRun:
    """Constants of a purification, and the steps that change its state.

    The generator, on the CPU, draws chunks, batches and initial weights. The rows `held` are
    predicted and take no part in the purification.

    Attributes
    ----------
    validation : Tensor of shape (N_v,)
        Indices of the validation rows: the trusted rows or, without any, pseudo-clean ones.
    first : RegressionOutputs
        Outputs of the regression on the given labels.
    exponent : float
        Power of the regression's probabilities that maximises the likelihood of the given labels.
    """

    def __init__(
        self,
        rows: LabelledViews,
        settings: PurificationSettings,
        generator: torch.Generator,
        held: LabelledViews | None = None,
    ):
        self.rows, self.settings, self.held, self._generator = rows, settings, held, generator
        self._always = rows.trusted.nonzero()[:, 0]
        self._chunks = self._split_into_chunks()
        self._systems = [
            [RidgeSystem(view[chunk], groups=self._groups_of(chunk)) for chunk in self._chunks]
            for view in rows.views
        ]
        self.first = self._regression([rows.given] * len(rows.views))
        # No votes where rows are trusted: these can show that a whole neighbourhood is wrong.
        self._votes = None if len(self._always) else self._count_votes()
        proba = _mean(self.first.training)
        anchors = self._find_anchors(proba)
        evidence = label_evidence(self._anchor_transition(anchors), rows.given, rows.trusted)
        self.exponent = calibrate_exponent(proba, evidence)
        self.validation = self._choose_validation_rows(anchors, proba)
        chosen = torch.zeros_like(rows.trusted)
        chosen[self.validation] = True
        learned = [chunk[~chosen[chunk]] for chunk in self._chunks]
        self._learned = [chunk for chunk in learned if len(chunk)]

    def _split_into_chunks(self) -> list[Tensor]:
        """Split a random permutation of the rows; trusted rows are at the end of every chunk."""
        others = (~self.rows.trusted).nonzero()[:, 0]
        order = torch.randperm(len(others), generator=self._generator).to(others.device)
        n_chunks = max(1, -(-len(others) // self.settings.chunk_size))
        return [torch.cat([chunk, self._always]) for chunk in others[order].tensor_split(n_chunks)]

    def _groups_of(self, chunk: Tensor) -> Tensor | None:
        return None if self.rows.groups is None else self.rows.groups[chunk]

    def _count_votes(self) -> Tensor:
        """Count the labels of neighbours in the same chunk, at a cost linear in the rows."""
        votes = torch.zeros_like(self.rows.given, dtype=torch.int16)
        for chunk in self._chunks:
            given, groups = self.rows.given[chunk], self._groups_of(chunk)
            for view in self.rows.views:
                votes[chunk] += neighbourhood_votes(view[chunk], given, groups).to(votes.dtype)
        return votes

    def _find_anchors(self, proba: Tensor) -> Anchors:
        return find_anchors(proba, self._votes, ~self.rows.trusted)

    def _choose_validation_rows(self, anchors: Anchors, proba: Tensor) -> Tensor:
        if self._votes is None:
            return self._always
        max_rows = min(_MAX_PSEUDO_CLEAN, len(proba) // 2)
        return pseudo_clean_rows(anchors, proba, self.rows.given.argmax(dim=1), max_rows)

    @cached_property
    def _intrinsic(self) -> list[IntrinsicCorrection]:
        """The correction of each view; it takes more memory than the features."""
        pairs = zip(self.rows.views, self.first.ridges, strict=True)
        return [self._intrinsic_correction(view, ridge) for view, ridge in pairs]

    @cached_property
    def label_rates(self) -> list[list[float]]:
        """Learning rate of each chunk's labels, for each view."""
        variant = self.settings.variant
        return [
            correction.rates(variant.label_lr, variant.label_optimizer)
            for correction in self._intrinsic
        ]

    def _intrinsic_correction(self, view: Tensor, ridge: float) -> IntrinsicCorrection:
        targets = self.rows.given[self.validation]
        objective = self.settings.variant.objective
        return IntrinsicCorrection(view, self._learned, self.validation, targets, objective, ridge)

    # --- epochs -----------------------------------------------------------------------------

    def begin(self, *, with_steps: bool = True) -> PurificationState:
        """Return the initial state: the given labels, and untrained classifiers.

        Without intrinsic steps in any round, no learning rate is computed.
        """
        variant, given = self.settings.variant, self.rows.given
        no_rates = [[0.0] * len(self._learned)] * len(self.rows.views)
        labels = [
            LabelState(
                given, self._learned, variant.label_parameters, variant.label_optimizer, rates
            )
            for rates in (self.label_rates if with_steps else no_rates)
        ]
        classifiers = [
            AuxiliaryClassifier(
                view.shape[1],
                given.shape[1],
                variant.objective,
                variant.classifier_entropy_sign,
                variant.classifier_lr,
                view,
                self._generator,
            )
            for view in self.rows.views
        ]
        return PurificationState(labels, classifiers, given, ridges=self.first.ridges)

    def advance(
        self, state: PurificationState, plan: RoundPlan, *, with_meta_loss: bool = False
    ) -> None:
        """Carry out one more round: a period of epochs, then a write-back."""
        period = self.settings.variant.correction_period
        if plan.correction == "auxiliary":
            state.classifiers = copy.deepcopy(state.classifiers)  # copies of a state share them
        for _ in range(min(period, self.settings.n_epochs - state.epoch)):
            for view in range(len(self.rows.views)):
                self._epoch(state, plan, view)
            state.epoch += 1
        if with_meta_loss:
            state.meta_loss = self._meta_loss(state)
        if plan.correction == "auxiliary":
            self._write_classification(state)
        else:
            self._write_regression(state)

    def _epoch(self, state: PurificationState, plan: RoundPlan, view: int) -> None:
        """Make one step on the labels of each chunk, and train the classifier on it."""
        labels, features = state.labels[view], self.rows.views[view]
        for k, chunk in enumerate(self._learned):
            if plan.intrinsic_steps:
                self._intrinsic[view].step(labels, k)
            if plan.correction == "auxiliary":
                rows = torch.cat([chunk, self.validation])
                targets = torch.cat([labels.of_chunk(k), labels.of_fixed(self.validation)])
                state.classifiers[view].fit_epoch(_CLASSIFIER_SCALE * features[rows], targets)

    def _meta_loss(self, state: PurificationState) -> float | None:
        if not self._learned:
            return None
        targets = self.rows.given[self.validation]
        errors = [
            (correction.validation_outputs(labels) - targets).square().sum(dim=1).mean()
            for correction, labels in zip(self._intrinsic, state.labels, strict=True)
        ]
        return float(torch.stack(errors).mean())

    # --- write-backs ------------------------------------------------------------------------

    def _write_classification(self, state: PurificationState) -> None:
        """Write back the predictions of the linear classifiers, Y <- C(F)."""
        views = zip(state.classifiers, self.rows.views, strict=True)
        proba = [c.predict_proba(_CLASSIFIER_SCALE * features) for c, features in views]
        self._write(state, proba)
        state.transition = self._learned_transition(state)
        if self.held is not None:
            views = zip(state.classifiers, self.held.views, strict=True)
            held = [c.predict_proba(_CLASSIFIER_SCALE * features) for c, features in views]
            state.held_proba = _mean(held)

    def _write_regression(self, state: PurificationState) -> None:
        """Write back the posterior of the leave-one-out regression and the given labels."""
        outputs = self._regression([labels.all() for labels in state.labels])
        state.ridges = outputs.ridges
        mean = _mean(outputs.training)
        factors = torch.ones_like(mean[0])
        if state.transition is None:
            state.transition = self._anchor_transition(self._find_anchors(mean))
        else:
            state.transition = self._learned_transition(state)
            factors = keep_shares(raise_to_power(mean, self.exponent), mean.mean(dim=0))
        evidence = label_evidence(state.transition, self.rows.given, self.rows.trusted)
        beliefs = [
            label_posterior(raise_to_power(proba, self.exponent) * factors, evidence)
            for proba in outputs.training
        ]
        self._write(state, beliefs)
        if self.held is not None:
            state.held_proba = raise_to_power(
                raise_to_power(_mean(outputs.held), self.exponent) * factors, 1
            )

    def _write(self, state: PurificationState, beliefs: list[Tensor]) -> None:
        """Write labels to all views, swapped; trusted rows keep their labels."""
        trusted = self.rows.trusted[:, None]
        old = [labels.all() for labels in state.labels]
        new = write_back(old, beliefs, self.settings.variant.correction_momentum, swap=True)
        new = [torch.where(trusted, self.rows.given, labels) for labels in new]
        for state_labels, labels in zip(state.labels, new, strict=True):
            state_labels.write(labels)
        state.distribution = to_simplex(_mean(new), least=0)

    def _learned_transition(self, state: PurificationState) -> Tensor:
        others = ~self.rows.trusted
        if not others.any():
            return nearly_identity(self.rows.given)
        transition = learned_transition(state.distribution[others], self.rows.given[others])
        return transition if len(self._always) else diagonally_dominant(transition)

    def _anchor_transition(self, anchors: Anchors) -> Tensor:
        transition = anchor_transition(anchors.by_class, anchors.strictest, self.rows.given)
        return transition if len(self._always) else diagonally_dominant(transition)

    # --- regression -------------------------------------------------------------------------

    def _regression(self, labels: list[Tensor]) -> RegressionOutputs:
        """Return the leave-one-out outputs of each chunk, and the outputs of held-out rows."""
        training, held, ridges = [], [], []
        for view, own in enumerate(labels):
            ridge = self._choose_ridge(view, own)
            outputs = torch.zeros_like(own)
            for chunk, system in zip(self._chunks, self._systems[view], strict=True):
                outputs[chunk] += system.leave_one_out(own[chunk], ridge)
            outputs[self._always] /= len(self._chunks)
            training.append(to_simplex(outputs))
            ridges.append(ridge)
            if self.held is not None:
                held.append(self._predict(self.held.views[view], view, own, ridge))
        return RegressionOutputs(training, held, ridges)

    def _predict(self, features: Tensor, view: int, labels: Tensor, ridge: float) -> Tensor:
        pairs = zip(self._chunks, self._systems[view], strict=True)
        outputs = [system.predict(features, labels[chunk], ridge) for chunk, system in pairs]
        return to_simplex(_mean(outputs))

    def _choose_ridge(self, view: int, labels: Tensor) -> float:
        """Return the given ridge, or the one with the smallest leave-one-out error."""
        ridge = self.settings.variant.ridge
        if ridge != "auto":
            return float(ridge)
        systems = zip(self._chunks, self._systems[view], strict=True)
        by_chunk = [
            system.leave_one_out_errors(labels[chunk], _RIDGES) for chunk, system in systems
        ]
        errors = torch.stack(by_chunk).sum(dim=0).tolist()
        return _RIDGES[errors.index(min(errors))]

    # --- given labels that are kept ---------------------------------------------------------

    def unchanged(self) -> PurificationState:
        """Return the state in which the given labels are kept, rated by the regression.

        The distribution is the mean of the given label and the posterior, so the given label has
        the largest entry.
        """
        given, state = self.rows.given, self.begin().without_labels()
        state.transition = nearly_identity(given)
        evidence = label_evidence(state.transition, given, self.rows.trusted)
        proba = _mean(self.first.training)
        exponent = calibrate_exponent(proba, evidence)
        state.distribution = (
            given + label_posterior(raise_to_power(proba, exponent), evidence)
        ) / 2
        if self.held is not None:
            state.held_proba = raise_to_power(_mean(self.first.held), exponent)
        return state


def _mean(views: list[Tensor]) -> Tensor:
    total = views[0].clone()
    for view in views[1:]:
        total += view
    return total / len(views)

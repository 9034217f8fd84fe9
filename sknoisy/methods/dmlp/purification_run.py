"""One purification: epochs of both corrections, and the write-backs between them."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from .auxiliary import AuxiliaryClassifier, write_back
from .evidence import (
    anchor_transition,
    calibrate_exponent,
    keep_shares,
    label_evidence,
    label_posterior,
    learned_transition,
    nearly_identity,
    sharpen,
)
from .intrinsic import IntrinsicCorrection
from .pseudo_clean import Anchors, find_anchors, neighbourhood_votes, pseudo_clean_rows
from .ridge import RidgeSystem
from .soft_labels import LabelState, to_simplex
from .state import Choice, Rows, Settings, State

__all__ = ["PurificationRun"]

_RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_MAX_PSEUDO_CLEAN = 1000
_CLASSIFIER_SCALE = 8.0  # of the features: rows of length 1 would be learned too slowly


class Outputs(NamedTuple):
    """What a correction's models say of training rows and of held-out ones, for each view."""

    training: list[Tensor]
    held: list[Tensor]
    ridges: list[float]


class PurificationRun:
    """What stays the same while labels are purified, and the steps that change them.

    Parameters
    ----------
    rows : Rows
        Training rows.
    settings : Settings
        Options.
    generator : torch.Generator
        On the CPU; draws chunks, batches and starts.
    held : Rows, optional
        Rows that have no part in it and judge it.

    Attributes
    ----------
    validation : Tensor of shape (N_v,)
        Rows that judge the labels of the others: the trusted ones, else pseudo-clean ones.
    first : Outputs
        The regression's on the given labels.
    label_rates : list of list of float
        Learning rate of each chunk's labels, for each view.
    exponent : float
        Power of its probabilities under which the given labels are likeliest.
    """

    def __init__(
        self,
        rows: Rows,
        settings: Settings,
        generator: torch.Generator,
        held: Rows | None = None,
    ):
        self.rows, self.settings, self.held, self._generator = rows, settings, held, generator
        self._always = rows.trusted.nonzero()[:, 0]
        self._chunks = self._split_into_chunks()
        self._systems = [
            [RidgeSystem(view[chunk]) for chunk in self._chunks] for view in rows.views
        ]
        self.first = self._regression([rows.given] * len(rows.views))
        # Where somebody vouches for labels, these may show that a neighbourhood is wrong.
        self._votes = None if len(self._always) else self._count_votes()
        proba = _mean(self.first.training)
        anchors = self._find_anchors(proba)
        transition = anchor_transition(anchors.by_class, anchors.strictest, rows.given)
        evidence = label_evidence(transition, rows.given, rows.trusted)
        self.exponent = calibrate_exponent(proba, evidence)
        self.validation = self._choose_validation_rows(anchors, proba)
        chosen = torch.zeros_like(rows.trusted)
        chosen[self.validation] = True
        learned = [chunk[~chosen[chunk]] for chunk in self._chunks]
        self._learned = [chunk for chunk in learned if len(chunk)]
        self._intrinsic = [
            self._intrinsic_correction(view, ridge)
            for view, ridge in zip(rows.views, self.first.ridges, strict=True)
        ]
        self.label_rates = [
            correction.rates(settings.label_lr, settings.optimizer)
            for correction in self._intrinsic
        ]

    def _split_into_chunks(self) -> list[Tensor]:
        """By a fixed permutation; trusted rows belong to every chunk, and stand at its end."""
        others = (~self.rows.trusted).nonzero()[:, 0]
        order = torch.randperm(len(others), generator=self._generator).to(others.device)
        n_chunks = max(1, -(-len(others) // self.settings.chunk_size))
        return [torch.cat([chunk, self._always]) for chunk in others[order].tensor_split(n_chunks)]

    def _count_votes(self) -> Tensor:
        """Of the neighbours in the same chunk: the cost is linear in the rows."""
        votes = torch.zeros_like(self.rows.given)
        for chunk in self._chunks:
            given = self.rows.given[chunk]
            votes[chunk] = _mean([neighbourhood_votes(v[chunk], given) for v in self.rows.views])
        return votes

    def _find_anchors(self, proba: Tensor) -> Anchors:
        return find_anchors(proba, self._votes, ~self.rows.trusted)

    def _choose_validation_rows(self, anchors: Anchors, proba: Tensor) -> Tensor:
        if self._votes is None:
            return self._always
        max_rows = min(_MAX_PSEUDO_CLEAN, len(proba) // 2)
        return pseudo_clean_rows(anchors, proba, self.rows.given.argmax(dim=1), max_rows)

    def _intrinsic_correction(self, view: Tensor, ridge: float) -> IntrinsicCorrection:
        targets = self.rows.given[self.validation]
        objective = self.settings.objective
        return IntrinsicCorrection(view, self._learned, self.validation, targets, objective, ridge)

    # --- epochs -----------------------------------------------------------------------------

    def begin(self) -> State:
        """The given labels, and fresh classifiers."""
        options, given = self.settings, self.rows.given
        labels = [
            LabelState(given, self._learned, options.label_param, options.optimizer, rates)
            for rates in self.label_rates
        ]
        classifiers = [
            AuxiliaryClassifier(
                view.shape[1],
                given.shape[1],
                options.objective,
                options.entropy_sign,
                options.classifier_lr,
                view,
                self._generator,
            )
            for view in self.rows.views
        ]
        return State(labels, classifiers, given, ridges=self.first.ridges)

    def advance(self, state: State, choice: Choice) -> State:
        """The state after one more round: a period of epochs, and the write-back at its end."""
        state = copy.deepcopy(state)
        for _ in range(min(self.settings.eac_period, self.settings.n_epochs - state.epoch)):
            for view in range(len(self.rows.views)):
                self._epoch(state, choice, view)
            state.epoch += 1
        state.meta_loss = self._meta_loss(state)
        if choice.correction == "auxiliary":
            self._write_classification(state)
        else:
            self._write_regression(state)
        return state

    def _epoch(self, state: State, choice: Choice, view: int) -> None:
        """Of each chunk, one step on its labels, and one pass of the classifier over it."""
        labels, features = state.labels[view], self.rows.views[view]
        for k, chunk in enumerate(self._learned):
            if choice.intrinsic_steps:
                self._intrinsic[view].step(labels, k)
            if choice.correction == "auxiliary":
                rows = torch.cat([chunk, self.validation])
                targets = torch.cat([labels.of_chunk(k), labels.of_fixed(self.validation)])
                state.classifiers[view].fit_epoch(_CLASSIFIER_SCALE * features[rows], targets)

    def _meta_loss(self, state: State) -> float | None:
        if not self._learned:
            return None
        targets = self.rows.given[self.validation]
        errors = [
            (correction.validation_outputs(labels) - targets).square().sum(dim=1).mean()
            for correction, labels in zip(self._intrinsic, state.labels, strict=True)
        ]
        return float(torch.stack(errors).mean())

    # --- write-backs ------------------------------------------------------------------------

    def _write_classification(self, state: State) -> None:
        """The auxiliary correction, Y <- C(F)."""
        views = zip(state.classifiers, self.rows.views, strict=True)
        proba = [c.predict_proba(_CLASSIFIER_SCALE * features) for c, features in views]
        self._write(state, proba)
        state.transition = self._learned_transition(state)
        if self.held is not None:
            views = zip(state.classifiers, self.held.views, strict=True)
            held = [c.predict_proba(_CLASSIFIER_SCALE * features) for c, features in views]
            state.held_proba = _mean(held)

    def _write_regression(self, state: State) -> None:
        """The intrinsic correction: out-of-fold regression, then what the given label says."""
        outputs = self._regression([labels.all() for labels in state.labels])
        state.ridges = outputs.ridges
        mean = _mean(outputs.training)
        factors = torch.ones_like(mean[0])
        if state.transition is None:
            anchors = self._find_anchors(mean)
            given = self.rows.given
            state.transition = anchor_transition(anchors.by_class, anchors.strictest, given)
        else:
            state.transition = self._learned_transition(state)
            factors = keep_shares(sharpen(mean, self.exponent), mean.mean(dim=0))
        evidence = label_evidence(state.transition, self.rows.given, self.rows.trusted)
        beliefs = [
            label_posterior(sharpen(proba, self.exponent) * factors, evidence)
            for proba in outputs.training
        ]
        self._write(state, beliefs)
        if self.held is not None:
            state.held_proba = sharpen(sharpen(_mean(outputs.held), self.exponent) * factors, 1)

    def _write(self, state: State, beliefs: list[Tensor]) -> None:
        """To all views, swapped; trusted rows keep their labels."""
        trusted = self.rows.trusted[:, None]
        old = [labels.all() for labels in state.labels]
        new = write_back(old, beliefs, self.settings.eac_momentum, swap=True)
        new = [torch.where(trusted, self.rows.given, labels) for labels in new]
        for state_labels, labels in zip(state.labels, new, strict=True):
            state_labels.write(labels)
        state.distribution = to_simplex(_mean(new), least=0)

    def _learned_transition(self, state: State) -> Tensor:
        others = ~self.rows.trusted
        if not others.any():
            return nearly_identity(self.rows.given)
        return learned_transition(state.distribution[others], self.rows.given[others])

    # --- regression -------------------------------------------------------------------------

    def _regression(self, labels: list[Tensor]) -> Outputs:
        """What the ridge regression on the other rows of its chunk says of each row."""
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
        return Outputs(training, held, ridges)

    def _predict(self, features: Tensor, view: int, labels: Tensor, ridge: float) -> Tensor:
        pairs = zip(self._chunks, self._systems[view], strict=True)
        outputs = [system.predict(features, labels[chunk], ridge) for chunk, system in pairs]
        return to_simplex(_mean(outputs))

    def _choose_ridge(self, view: int, labels: Tensor) -> float:
        """The given one, or that of the smallest leave-one-out error on the labels."""
        if self.settings.ridge != "auto":
            return float(self.settings.ridge)
        errors = [0.0] * len(_RIDGES)
        for chunk, system in zip(self._chunks, self._systems[view], strict=True):
            for i, ridge in enumerate(_RIDGES):
                outputs = system.leave_one_out(labels[chunk], ridge)
                errors[i] += float((outputs - labels[chunk]).square().sum())
        return _RIDGES[errors.index(min(errors))]

    # --- labels that stay as they are -------------------------------------------------------

    def unchanged(self) -> State:
        """Given labels taken as they are; the regression says how far to believe them.

        The distribution is halfway between the given label and the posterior, so that the given
        label remains the largest entry.
        """
        given, state = self.rows.given, self.begin()
        state.transition = nearly_identity(given)
        evidence = label_evidence(state.transition, given, self.rows.trusted)
        proba = _mean(self.first.training)
        exponent = calibrate_exponent(proba, evidence)
        state.distribution = (given + label_posterior(sharpen(proba, exponent), evidence)) / 2
        if self.held is not None:
            state.held_proba = sharpen(_mean(self.first.held), exponent)
        return state


def _mean(views: list[Tensor]) -> Tensor:
    return torch.stack(views).mean(dim=0)

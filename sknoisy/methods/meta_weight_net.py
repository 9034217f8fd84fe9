"""Classifier for noisy labels by Meta-Weight-Net."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.utils.class_weight import compute_sample_weight
from torch import Tensor

from .._compat import StrOptions
from .._docs import share_docs
from .._engine.batches import TrainingData
from .._engine.problem import Problem
from ..meta import LDAMLoss, MetaModel, WNet
from ..meta.models import per_sample_loss
from .meta_learning import META_LR, MetaLearningClassifier, adam, resolve_auto

__all__ = ["MetaWeightNetClassifier"]


@share_docs
class MetaWeightNetClassifier(MetaLearningClassifier):
    """Classifier for noisy labels by Meta-Weight-Net.

    A small weighting network computes the weight of a row from its loss. It is trained to lower
    the loss on the meta set after a virtual step. The weights of a batch are scaled to sum 1.

    Trusted rows are passed as ``clean_mask`` and form the meta set. If there are none, the meta
    set consists of rows of small loss, chosen anew after each epoch
    (:class:`~sknoisy.callbacks.PseudoCleanRows`).

    Parameters
    ----------
    {loss, class_weight, gradient}
    meta_lr : "auto" or float, default="auto"
        Step size of the weighting network, by Adam. "auto" stands for 1e-3.
    {meta_batch_size, n_warmup_epochs, module, module_params, optimizer, optimizer_params, lr}
    {lr_schedule, max_epochs, batch_size, max_time, augment, standardize, device, precision}
    {callbacks, verbose}
    {random_state, pretrained, weight_average, n_ensemble}
    {warm_start, checkpoint}

    Attributes
    ----------
    {classes_, label_distribution_, purified_labels_, clean_proba_}
    sample_weight_ : ndarray of shape (n_samples,)
        Weight of each row by the weighting network, in [0, 1], before normalisation. Absent if
        training ended in the warm-up.
    {meta_rows_, layer_names_, n_recoveries_, n_skipped_batches_, net_}
    {history_, n_iter_, batch_size_, n_ranks_, n_warmup_epochs_, n_features_in_}
    {feature_names_in_}
    {image_shape_}

    References
    ----------
    J. Shu, Q. Xie, L. Yi, Q. Zhao, S. Zhou, Z. Xu and D. Meng. Meta-Weight-Net: Learning an
    Explicit Mapping For Sample Weighting. NeurIPS 2019.

    Examples
    --------
    >>> from sknoisy import MetaWeightNetClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.3, random_state=0)
    >>> clf = MetaWeightNetClassifier(max_epochs=15, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.85)
    True
    """

    _parameter_constraints: dict = {
        **MetaLearningClassifier._parameter_constraints,
        "loss": [StrOptions({"cross_entropy", "ldam"})],
        "meta_lr": META_LR,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        *,
        loss: str = "cross_entropy",
        class_weight: dict | str | None = None,
        gradient: Any = "forward",
        meta_lr: str | float = "auto",
        meta_batch_size: int = 100,
        n_warmup_epochs: str | int = "auto",
        **shared: Any,
    ):
        super().__init__(**shared)
        self.loss = loss
        self.class_weight = class_weight
        self.gradient = gradient
        self.meta_lr = meta_lr
        self.meta_batch_size = meta_batch_size
        self.n_warmup_epochs = n_warmup_epochs

    def _prepare(self, problem: Problem) -> Problem:
        if self.class_weight is None:
            return problem
        of_class = compute_sample_weight(self.class_weight, problem.classes[problem.given])
        with np.errstate(invalid="ignore"):  # the check below refuses what is invalid
            weights = problem.scale_weights(of_class)
        if not np.isfinite(weights).all() or weights.min() < 0 or not weights.any():
            raise ValueError(
                f"class_weight={self.class_weight!r} must give weights of 0 or more to the "
                "training rows, finite and not all 0."
            )
        return replace(problem, sample_weight=weights)

    def _meta_model(self, data: TrainingData, *, has_trusted_rows: bool) -> MetaModel:
        self.meta_lr_ = resolve_auto(self.meta_lr, 1e-3)
        return WNet(loss=self._row_loss(data), optimizer=adam(self.meta_lr_))

    def _row_loss(self, data: TrainingData) -> Callable[..., Tensor]:
        if self.loss == "cross_entropy":
            return per_sample_loss
        targets = data.targets
        if data.sample_weight is not None:
            targets = targets[data.sample_weight > 0]
        counts = torch.bincount(targets, minlength=len(self.classes_)).clamp(min=1)
        return LDAMLoss(counts.tolist())

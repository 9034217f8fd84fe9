"""Classifier for noisy labels by a meta soft label corrector (MSLC)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .._compat import StrOptions
from .._docs import share_docs
from .._engine.batches import TrainingData
from ..meta import MetaModel, SoftLabelCorrector
from .meta_learning import META_LR, MetaLearningClassifier, adam, resolve_auto

__all__ = ["MSLCClassifier"]


@share_docs
class MSLCClassifier(MetaLearningClassifier):
    """Classifier for noisy labels by a meta soft label corrector (MSLC).

    The soft label of each row is a mixture of its given label, its last soft label and the
    prediction. Two small networks compute the shares from the losses. They are trained to lower
    the loss on the meta set after a virtual step.

    Trusted rows are passed as ``clean_mask`` and form the meta set. If there are none, the meta
    set consists of rows of small loss, chosen anew after each epoch
    (:class:`~sknoisy.callbacks.PseudoCleanRows`).

    Parameters
    ----------
    targets : {"hard", "soft"}, default="hard"
        How the last soft label and the prediction enter the loss. "hard" replaces them by their
        most probable class, as in the released code. "soft" uses them unchanged, as in the paper.
    {gradient}
    meta_lr : "auto" or float, default="auto"
        Step size of the two small networks, by Adam. "auto" stands for 1e-3.
    {meta_batch_size, n_warmup_epochs, module, module_params, optimizer, optimizer_params, lr}
    {lr_schedule, max_epochs, batch_size, max_time, augment, standardize, device, precision}
    {callbacks, verbose}
    {random_state, pretrained, weight_average, n_ensemble}
    {warm_start, checkpoint}

    Attributes
    ----------
    {classes_, label_distribution_, purified_labels_, clean_proba_}
    sample_weight_ : ndarray of shape (n_samples,)
        Share of the given label in the soft label of each row. Absent if training ended in the
        warm-up.
    {meta_rows_, layer_names_, n_recoveries_}
    {n_skipped_batches_, net_, history_, n_iter_, batch_size_, n_ranks_, n_warmup_epochs_}
    {n_features_in_}
    {feature_names_in_, image_shape_}

    References
    ----------
    Y. Wu, J. Shu, Q. Xie, Q. Zhao and D. Meng. Learning to Purify Noisy Labels via Meta Soft Label
    Corrector. AAAI 2021.

    Examples
    --------
    >>> from sknoisy import MSLCClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.3, random_state=0)
    >>> clf = MSLCClassifier(max_epochs=15, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.85)
    True
    """

    _parameter_constraints: dict = {
        **MetaLearningClassifier._parameter_constraints,
        "meta_lr": META_LR,
        "targets": [StrOptions({"soft", "hard"})],
    }

    def __init__(
        self,
        *,
        targets: str = "hard",
        gradient: Any = "forward",
        meta_lr: str | float = "auto",
        meta_batch_size: int = 100,
        n_warmup_epochs: str | int = "auto",
        **shared: Any,
    ):
        super().__init__(**shared)
        self.targets = targets
        self.gradient = gradient
        self.meta_lr = meta_lr
        self.meta_batch_size = meta_batch_size
        self.n_warmup_epochs = n_warmup_epochs

    def _meta_model(
        self, data: TrainingData, *, has_trusted_rows: bool
    ) -> Callable[..., MetaModel]:
        self.meta_lr_ = resolve_auto(self.meta_lr, 1e-3)
        return partial(
            SoftLabelCorrector, len(data), targets=self.targets, optimizer=adam(self.meta_lr_)
        )

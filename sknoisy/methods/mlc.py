"""Classifier for noisy labels by meta label correction (MLC)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any

from .._compat import Interval, StrOptions
from .._docs import share_docs
from .._engine.batches import TrainingData
from .._engine.problem import Problem
from ..meta import LabelCorrector, MetaModel
from .meta_learning import META_LR, MetaLearningClassifier, adam, resolve_auto, trust_more

__all__ = ["MLCClassifier"]


@share_docs
class MLCClassifier(MetaLearningClassifier):
    """Classifier for noisy labels by meta label correction (MLC).

    A corrector network computes a soft label from the penultimate features and the given label of
    a row, and the network is trained on the soft labels. The corrector is trained to lower the
    loss on the meta set after a virtual step.

    Trusted rows are passed as ``clean_mask`` and form the meta set. If there are none, the meta
    set consists of rows of small loss, chosen anew after each epoch
    (:class:`~sknoisy.callbacks.PseudoCleanRows`). In training, the rows of the meta set keep
    their given labels.

    Parameters
    ----------
    skip : bool, default=True
        Whether the soft label is a mixture with the given label, as released for Clothing1M. If
        False, it is the softmax of the corrector alone, as released for CIFAR.
    {trusted_weight, gradient}
    meta_lr : "auto" or float, default="auto"
        Step size of the corrector, by Adam. "auto" stands for 1e-3. Without trusted rows, the eps
        of Adam is 1e-3, because smaller meta gradients are noise.
    {meta_batch_size, n_warmup_epochs, module, module_params, optimizer, optimizer_params, lr}
    {lr_schedule, max_epochs, batch_size, max_time, augment, standardize, device, precision}
    {callbacks, verbose}
    {random_state, pretrained, weight_average, n_ensemble}
    {warm_start, checkpoint}

    Attributes
    ----------
    {classes_, label_distribution_, purified_labels_, clean_proba_}
    sample_weight_ : ndarray of shape (n_samples,)
        Probability of the given label in the soft label of each row; 1 for rows of the meta set.
        Absent if training ended in the warm-up.
    {meta_rows_, layer_names_, n_recoveries_}
    {n_skipped_batches_, net_, history_, n_iter_, batch_size_, n_ranks_, n_warmup_epochs_}
    {n_features_in_}
    {feature_names_in_, image_shape_}

    References
    ----------
    G. Zheng, A. H. Awadallah and S. Dumais. Meta Label Correction for Noisy Label Learning. AAAI
    2021.

    Examples
    --------
    >>> from sknoisy import MLCClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.3, random_state=0)
    >>> clf = MLCClassifier(max_epochs=12, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.85)
    True
    """

    _parameter_constraints: dict = {
        **MetaLearningClassifier._parameter_constraints,
        "trusted_weight": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "meta_lr": META_LR,
        "skip": ["boolean"],
    }

    def __init__(
        self,
        *,
        skip: bool = True,
        trusted_weight: str | float = "auto",
        gradient: Any = "forward",
        meta_lr: str | float = "auto",
        meta_batch_size: int = 100,
        n_warmup_epochs: str | int = "auto",
        **shared: Any,
    ):
        super().__init__(**shared)
        self.skip = skip
        self.trusted_weight = trusted_weight
        self.gradient = gradient
        self.meta_lr = meta_lr
        self.meta_batch_size = meta_batch_size
        self.n_warmup_epochs = n_warmup_epochs

    def _prepare(self, problem: Problem) -> Problem:
        return trust_more(problem, self.trusted_weight)

    def _meta_model(
        self, data: TrainingData, *, has_trusted_rows: bool
    ) -> Callable[..., MetaModel]:
        self.meta_lr_ = resolve_auto(self.meta_lr, 1e-3)
        # Once the network has fitted the pseudo-clean rows, their gradient is small and mostly
        # noise. With the usual eps, Adam would scale it up to steps of full size.
        eps = 1e-8 if has_trusted_rows else 1e-3
        return partial(
            LabelCorrector,
            skip=self.skip,
            trust_meta_rows=True,
            optimizer=adam(self.meta_lr_, eps=eps),
        )

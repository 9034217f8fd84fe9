"""Classifier for noisy labels by a meta-learned transition matrix."""

from __future__ import annotations

from numbers import Real
from typing import Any

from .._compat import Interval, StrOptions
from .._docs import share_docs
from .._engine.batches import TrainingData
from .._engine.problem import Problem
from ..callbacks import MetaUpdate
from ..learners.probabilities import normalized
from ..meta import MetaModel, TransitionCorrector
from .meta_learning import META_LR, MetaLearningClassifier, resolve_auto, trust_more

__all__ = ["TransitionMLCClassifier"]


@share_docs
class TransitionMLCClassifier(MetaLearningClassifier):
    """Classifier for noisy labels by a meta-learned transition matrix.

    In every batch, a transition matrix on the logits starts at the identity and makes one step
    that lowers the loss on the meta set. The network is trained on the given labels through the
    matrix, and predicts without it. This method is called "MLC" in the FaMUS paper. It is not the
    method of :class:`~sknoisy.MLCClassifier`.

    Trusted rows are passed as ``clean_mask`` and form the meta set. If there are none, the meta
    set consists of rows of small loss, chosen anew after each epoch
    (:class:`~sknoisy.callbacks.PseudoCleanRows`). The rows of the meta set are trained on without
    the matrix.

    Parameters
    ----------
    {trusted_weight, gradient}
    meta_lr : "auto" or float, default="auto"
        Step size of the matrix. "auto" stands for 10; the released 0.11 hardly moves it.
    {meta_batch_size, n_warmup_epochs, module, module_params, optimizer, optimizer_params, lr}
    {lr_schedule, max_epochs, batch_size, max_time, augment, standardize, device, precision}
    {callbacks, verbose}
    {random_state, pretrained, weight_average, n_ensemble}
    {warm_start, checkpoint}

    Attributes
    ----------
    {classes_, label_distribution_, purified_labels_, clean_proba_}
    sample_weight_ : ndarray of shape (n_samples,)
        Probability of the given label of each row, by the logits without the matrix. Absent if
        training ended in the warm-up.
    transition_ : ndarray of shape (n_classes, n_classes), float64
        Mean of the matrix over all batches, with true classes in rows, which are scaled to sum 1.
    {meta_rows_, layer_names_, n_recoveries_, n_skipped_batches_, net_}
    {history_, n_iter_, batch_size_, n_ranks_, n_warmup_epochs_, n_features_in_}
    {feature_names_in_}
    {image_shape_}

    References
    ----------
    Z. Wang, G. Hu and Q. Hu. Training Noise-Robust Deep Neural Networks via Meta-Learning. CVPR
    2020.

    Examples
    --------
    >>> from sknoisy import TransitionMLCClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.3, random_state=0)
    >>> clf = TransitionMLCClassifier(max_epochs=18, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.85)
    True
    """

    _parameter_constraints: dict = {
        **MetaLearningClassifier._parameter_constraints,
        "meta_lr": META_LR,
        "trusted_weight": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        *,
        trusted_weight: str | float = "auto",
        gradient: Any = "forward",
        meta_lr: str | float = "auto",
        meta_batch_size: int = 100,
        n_warmup_epochs: str | int = "auto",
        **shared: Any,
    ):
        super().__init__(**shared)
        self.trusted_weight = trusted_weight
        self.gradient = gradient
        self.meta_lr = meta_lr
        self.meta_batch_size = meta_batch_size
        self.n_warmup_epochs = n_warmup_epochs

    def _prepare(self, problem: Problem) -> Problem:
        return trust_more(problem, self.trusted_weight)

    def _meta_model(self, data: TrainingData, *, has_trusted_rows: bool) -> MetaModel:
        self.meta_lr_ = resolve_auto(self.meta_lr, 10.0)
        return TransitionCorrector(
            len(self.classes_), step_size=self.meta_lr_, trust_meta_rows=True
        )

    def _finish_meta(self, meta: MetaUpdate, data: TrainingData) -> None:
        # The columns of the mean sum to 1, and the rows only roughly.
        self.transition_ = normalized(meta.meta_model_.mean_transition.cpu().double().numpy())

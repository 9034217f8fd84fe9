"""Classifier for noisy labels by learning to reweight examples (L2R)."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from skorch.callbacks import GradientNormClipping

from .._compat import Interval
from .._docs import share_docs
from .._engine.batches import TrainingData
from .._engine.net import DeviceNet
from ..meta import L2RWeights, MetaModel
from .meta_learning import MetaLearningClassifier

__all__ = ["L2RClassifier"]


@share_docs
class L2RClassifier(MetaLearningClassifier):
    """Classifier for noisy labels by learning to reweight examples (L2R).

    In every batch, the weight of a row is proportional to the amount by which a step on this row
    alone would lower the loss on the meta set. This is the positive part of the inner product of
    the gradients of both losses.

    Trusted rows are passed as ``clean_mask`` and form the meta set. If there are none, the meta
    set consists of rows of small loss, chosen anew after each epoch
    (:class:`~sknoisy.callbacks.PseudoCleanRows`).

    Parameters
    ----------
    max_grad_norm : float or None, default=2.0
        Largest norm of the gradient of a batch. Longer gradients are scaled down to it. The few
        rows that have weight are those of long gradients, and without a bound, some fits of small
        networks without batch norm end in constant predictions. None stands for no bound, as
        published.
    {gradient, meta_batch_size, n_warmup_epochs, module, module_params, optimizer}
    optimizer_params : dict or None, default=None
        Further arguments of the optimiser. By default, ``weight_decay`` is 5e-4 for images. For
        tables it is 5e-3 or, for the default MLP, ten times the value that
        :func:`~sknoisy.networks.mlp_settings` returns.
    lr : "auto" or float, default="auto"
        Learning rate of the network. "auto": 0.05, more for larger batches.
    {lr_schedule, max_epochs, batch_size, max_time, augment, standardize, device, precision}
    {callbacks, verbose}
    {random_state, pretrained, weight_average, n_ensemble}
    {warm_start, checkpoint}

    Attributes
    ----------
    {classes_, label_distribution_, purified_labels_, clean_proba_}
    sample_weight_ : ndarray of shape (n_samples,)
        Mean weight of each row over its batches, divided by the largest one. Absent if training
        ended in the warm-up.
    {meta_rows_, layer_names_, n_recoveries_, n_skipped_batches_, net_}
    {history_, n_iter_, batch_size_, n_ranks_}
    n_warmup_epochs_ : int
        Value of ``n_warmup_epochs`` after "auto" is resolved.
    {n_features_in_, feature_names_in_, image_shape_}

    References
    ----------
    M. Ren, W. Zeng, B. Yang and R. Urtasun. Learning to Reweight Examples for Robust Deep
    Learning. ICML 2018.

    Examples
    --------
    >>> from sknoisy import L2RClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.3, random_state=0)
    >>> clf = L2RClassifier(max_epochs=20, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.85)
    True
    """

    _parameter_constraints: dict = {
        **MetaLearningClassifier._parameter_constraints,
        "max_grad_norm": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        *,
        max_grad_norm: float | None = 2.0,
        gradient: Any = "forward",
        meta_batch_size: int = 100,
        n_warmup_epochs: str | int = "auto",
        **shared: Any,
    ):
        super().__init__(**shared)
        self.max_grad_norm = max_grad_norm
        self.gradient = gradient
        self.meta_batch_size = meta_batch_size
        self.n_warmup_epochs = n_warmup_epochs

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        callbacks = super()._callbacks(data, random_state)
        if self.max_grad_norm is not None:
            callbacks.append(("clip", GradientNormClipping(self.max_grad_norm)))
        return callbacks

    def _networks(self, data: TrainingData, rng: np.random.RandomState) -> list[DeviceNet]:
        # Rows that the network already fits keep increasing its logits, without bound if there is
        # no batch norm. For images, the usual weight decay gave better results.
        factor = 10 if self.image_shape_ is None else 1
        return [self._build_net(data, rng, weight_decay_factor=factor)]

    def _meta_model(self, data: TrainingData, *, has_trusted_rows: bool) -> MetaModel:
        return L2RWeights(len(data))

"""Classifier for noisy labels by a faster meta update strategy (FaMUS)."""

from __future__ import annotations

import copy
from numbers import Integral, Real
from typing import Any

import numpy as np

from .._compat import Interval
from .._docs import share_docs
from .._engine.batches import TrainingData
from .._engine.net import DeviceNet
from ..meta import LayerSampledGradient
from .meta_weight_net import MetaWeightNetClassifier

__all__ = ["FaMUSClassifier"]


@share_docs
class FaMUSClassifier(MetaWeightNetClassifier):
    """Classifier for noisy labels by a faster meta update strategy (FaMUS).

    Meta-Weight-Net, made faster and steadier: samplers choose the layers through which the meta
    gradient goes, and two networks are trained side by side, each judged by rows that the other
    one takes for clean. Both predict.

    Trusted rows are passed as ``clean_mask``, and both networks are judged by them. Without them
    each network chooses rows of small loss for the other, anew after each epoch
    (:class:`~sknoisy.callbacks.PseudoCleanRows`).

    Parameters
    ----------
    n_active_layers : int, default=4
        Number K of sampled layers that shall be active.
    sampler_lr : float, default=0.1
        Step size of the samplers.
    reg_weight : float, default=0.1
        Weight of the loss that draws the number of active layers to K.
    match_weight : float, default=0.1
        Weight of the loss that draws the last layer's gradient to that of the meta batch.
    gradient : {"famus", "forward", "reverse"} or callable, default="famus"
        "famus": layers are sampled. The others, see :class:`~sknoisy.MetaWeightNetClassifier`,
        turn the sampling off and make the four parameters above void.
    {loss, class_weight}
    meta_lr : "auto" or float, default="auto"
        Step size of the weighting networks, by Adam. "auto": 1e-3.
    {meta_batch_size, n_warmup_epochs, module, module_params, optimizer, optimizer_params, lr}
    {lr_schedule, max_epochs, batch_size, augment, standardize, device}
    callbacks : list or None, default=None
        Further skorch callbacks; the second network gets copies.
    {verbose, random_state}

    Attributes
    ----------
    {classes_, clean_proba_}
    sample_weight_ : ndarray of shape (n_samples,)
        What the weighting networks say of each row, in [0, 1], as a mean. Absent if
        training ended in the warm-up.
    meta_rows_ : ndarray of shape (n_meta,)
        Rows that judged the first network: the trusted ones, or those that the second network
        took for clean in the last epoch.
    layer_names_, layer_usage_ : tuple of str, ndarray of shape (n_epochs, n_layers)
        Layers and the share of steps in which each was active, by epochs of the meta update, in
        the first network; of a gradient that samples layers only.
    {n_recoveries_, n_skipped_batches_}
    net_ : DeviceNet
        The fitted skorch net of the first network; its module sees scaled rows.
    nets_ : list of DeviceNet
        Both nets; the mean of their logits predicts.
    {history_, n_iter_, n_warmup_epochs_, n_features_in_, feature_names_in_}
    {image_shape_}

    References
    ----------
    Y. Xu, L. Zhu, L. Jiang and Y. Yang. Faster Meta Update Strategy for Noise-Robust Deep
    Learning. CVPR 2021.

    Examples
    --------
    >>> from sknoisy import FaMUSClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.3, random_state=0)
    >>> clf = FaMUSClassifier(max_epochs=20, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.85)
    True
    """

    _parameter_constraints: dict = {
        **MetaWeightNetClassifier._parameter_constraints,
        "n_active_layers": [Interval(Integral, 0, None, closed="left")],
        "sampler_lr": [Interval(Real, 0, None, closed="left")],
        "reg_weight": [Interval(Real, 0, None, closed="left")],
        "match_weight": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        n_active_layers: int = 4,
        sampler_lr: float = 0.1,
        reg_weight: float = 0.1,
        match_weight: float = 0.1,
        gradient: Any = "famus",
        loss: str = "cross_entropy",
        class_weight: dict | str | None = None,
        meta_lr: str | float = "auto",
        meta_batch_size: int = 100,
        n_warmup_epochs: str | int = "auto",
        module=None,
        module_params: dict[str, Any] | None = None,
        optimizer="sgd",
        optimizer_params: dict[str, Any] | None = None,
        lr: float = 0.05,
        lr_schedule="cosine",
        max_epochs: int = 60,
        batch_size: int = 100,
        augment="auto",
        standardize: str | bool = "auto",
        device="auto",
        callbacks: list | None = None,
        verbose: int = 0,
        random_state=None,
    ):
        super().__init__(
            loss=loss,
            class_weight=class_weight,
            gradient=gradient,
            meta_lr=meta_lr,
            meta_batch_size=meta_batch_size,
            n_warmup_epochs=n_warmup_epochs,
            module=module,
            module_params=module_params,
            optimizer=optimizer,
            optimizer_params=optimizer_params,
            lr=lr,
            lr_schedule=lr_schedule,
            max_epochs=max_epochs,
            batch_size=batch_size,
            augment=augment,
            standardize=standardize,
            device=device,
            callbacks=callbacks,
            verbose=verbose,
            random_state=random_state,
        )
        self.n_active_layers = n_active_layers
        self.sampler_lr = sampler_lr
        self.reg_weight = reg_weight
        self.match_weight = match_weight

    def _strategy(self) -> Any:
        if self.gradient != "famus":
            return super()._strategy()
        return LayerSampledGradient(
            n_active=self.n_active_layers,
            reg_weight=self.reg_weight,
            match_weight=self.match_weight,
            sampler_lr=self.sampler_lr,
        )

    # Algorithm 2: each network is judged by what the other one takes for clean.
    _meta_rows = "peer.pseudo_clean"

    def _networks(self, data: TrainingData, rng: np.random.RandomState) -> list[DeviceNet]:
        extra = [*(self.callbacks or []), *self._progress()]
        copies = copy.deepcopy(self.callbacks or [])
        return [self._build_net(data, rng, callbacks) for callbacks in (extra, copies)]

"""Classifier for noisy labels by a faster meta update strategy (FaMUS)."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np

from .._compat import Interval, StrOptions
from .._docs import share_docs
from .._engine.batches import TrainingData
from .._engine.net import DeviceNet
from .._engine.problem import Problem
from ..callbacks import PseudoCleanRows
from ..meta import LayerSampledGradient
from .divide_mix import DIVISION, division, label_distribution_of, net_of
from .meta_weight_net import MetaWeightNetClassifier

__all__ = ["FaMUSClassifier"]


@share_docs
class FaMUSClassifier(MetaWeightNetClassifier):
    """Classifier for noisy labels by a faster meta update strategy (FaMUS).

    FaMUS is a faster and more stable Meta-Weight-Net. Samplers select the layers through which
    the meta gradient is computed. Two networks are trained side by side, and each of them selects
    the meta set of the other one. The mean of their logits is used for prediction.

    Trusted rows are passed as ``clean_mask`` and form the meta set of both networks. If there are
    none, each network chooses rows of small loss for the other one, anew after each epoch
    (:class:`~sknoisy.callbacks.PseudoCleanRows`).

    Parameters
    ----------
    n_active_layers : int, default=4
        Target number K of active layers among the sampled ones.
    sampler_lr : float, default=0.1
        Step size of the samplers.
    reg_weight : float, default=0.1
        Weight of the loss that pulls the number of active layers towards K.
    match_weight : float, default=0.1
        Weight of the loss that pulls the gradient of the last layer towards that of the meta
        batch.
    gradient : {"famus", "forward", "reverse"} or callable, default="famus"
        Gradient strategy. "famus" samples layers. With any other strategy of
        :class:`~sknoisy.MetaWeightNetClassifier`, the four parameters above have no effect.
    semi : {None, "dividemix"}, default=None
        "dividemix" trains the networks on DivideMix's targets, as the released code does: those of
        :class:`~sknoisy.DivideMixClassifier` with its defaults. The weighting networks then weigh
        the mixtures of rows by their losses, cross-entropies or squared errors. The released code
        mixes and refines the rows of the meta batch, too; here they have their given labels.
    {loss, class_weight}
    meta_lr : "auto" or float, default="auto"
        Step size of the weighting networks, by Adam. "auto" stands for 1e-3.
    {meta_batch_size, n_warmup_epochs, module, module_params, optimizer, optimizer_params, lr}
    {lr_schedule, max_epochs, batch_size, max_time, augment, standardize, device, precision}
    callbacks : list or None, default=None
        Additional skorch callbacks. The second network receives copies of them.
    {verbose, random_state, pretrained, weight_average, n_ensemble}
    {warm_start, checkpoint}

    Attributes
    ----------
    {classes_, label_distribution_, purified_labels_, clean_proba_}
    sample_weight_ : ndarray of shape (n_samples,)
        Weight of each row, in [0, 1], before normalisation, as the mean of both weighting
        networks. Absent if training ended in the warm-up.
    meta_rows_ : ndarray of shape (n_meta,)
        Indices of the rows in the meta set of the first network: the trusted rows or, if there
        are none, the rows that the second network chose for the last epoch.
    layer_names_, layer_usage_ : tuple of str, ndarray of shape (n_epochs, n_layers)
        Names of the layers of the first network, and the share of steps in which each layer was
        active, for each epoch with meta updates. Defined only if the gradient strategy samples
        layers.
    {n_recoveries_, n_skipped_batches_}
    net_ : DeviceNet
        The fitted skorch net of the first network. Its module expects scaled rows.
    nets_ : list of DeviceNet
        Both fitted skorch nets.
    {history_, n_iter_, batch_size_, n_warmup_epochs_, n_features_in_, feature_names_in_}
    {image_shape_}

    References
    ----------
    Y. Xu, L. Zhu, L. Jiang and Y. Yang. Faster Meta Update Strategy for Noise-Robust Deep
    Learning. CVPR 2021.

    Examples
    --------
    >>> from sknoisy import FaMUSClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.2, random_state=0)
    >>> clf = FaMUSClassifier(max_epochs=10, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.85)
    True
    """

    _parameter_constraints: dict = {
        **MetaWeightNetClassifier._parameter_constraints,
        "semi": [StrOptions({"dividemix"}), None],
        "n_active_layers": [Interval(Integral, 0, None, closed="left")],
        "sampler_lr": [Interval(Real, 0, None, closed="left")],
        "reg_weight": [Interval(Real, 0, None, closed="left")],
        "match_weight": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        semi: str | None = None,
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
        **shared: Any,
    ):
        super().__init__(
            loss=loss,
            class_weight=class_weight,
            gradient=gradient,
            meta_lr=meta_lr,
            meta_batch_size=meta_batch_size,
            n_warmup_epochs=n_warmup_epochs,
            **shared,
        )
        self.semi = semi
        self.n_active_layers = n_active_layers
        self.sampler_lr = sampler_lr
        self.reg_weight = reg_weight
        self.match_weight = match_weight

    def _prepare(self, problem: Problem) -> Problem:
        if self.semi is not None and self.loss != "cross_entropy":
            raise ValueError(
                f"loss={self.loss!r} reads one label of each row, but semi={self.semi!r} learns "
                'distributions. Pass loss="cross_entropy", or semi=None.'
            )
        return super()._prepare(problem)

    def _strategy(self) -> Any:
        if self.gradient != "famus":
            return super()._strategy()
        return LayerSampledGradient(
            n_active=self.n_active_layers,
            reg_weight=self.reg_weight,
            match_weight=self.match_weight,
            sampler_lr=self.sampler_lr,
        )

    # Algorithm 2: the pseudo-clean rows of each network are the meta set of the other one.
    _meta_rows = "peer.pseudo_clean"

    def _pseudo_clean(self, n_warmup_epochs: int, seed: int) -> PseudoCleanRows:
        if self.semi is None:
            return super()._pseudo_clean(n_warmup_epochs, seed)
        return division(n_warmup_epochs, seed)

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        callbacks = super()._callbacks(data, random_state)
        if self.semi is not None and DIVISION not in dict(callbacks):  # there are trusted rows
            seed = int(random_state.randint(np.iinfo(np.int32).max))
            callbacks.insert(1, (DIVISION, division(self.n_warmup_epochs_, seed)))
        return callbacks

    def _networks(self, data: TrainingData, rng: np.random.RandomState) -> list[DeviceNet]:
        if self.semi is None:
            return self._build_pair(data, rng)
        return self._build_pair(data, rng, net_class=partial(net_of, self))

    def _label_distribution(self, data: TrainingData, proba: np.ndarray) -> np.ndarray:
        return proba if self.semi is None else label_distribution_of(self.nets_, data, proba)

"""Classifier for noisy labels by learning to reweight examples (L2R)."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from skorch.callbacks import GradientNormClipping

from .._compat import Interval
from .._engine.batches import TrainingData
from ..meta import L2RWeights, MetaModel
from ..networks import MLPSettings
from .meta_learning import MetaLearningClassifier

__all__ = ["L2RClassifier"]


class L2RClassifier(MetaLearningClassifier):
    """Classifier for noisy labels by learning to reweight examples (L2R).

    In every batch, a sample counts as far as a step on it alone would lower the loss on trusted
    rows: the weights are the positive part of the inner products of its gradient and theirs.

    Trusted rows are passed as ``clean_mask``. Without them the meta set are the rows of small
    loss, chosen anew after each epoch (:class:`~sknoisy.callbacks.PseudoCleanRows`).

    Parameters
    ----------
    max_grad_norm : float or None, default=2.0
        The gradient of a batch is scaled down to this norm if it is longer. The few rows that have
        weight are those of long gradients: without a bound, some fits of small networks without
        batch norm end in constant predictions. None: no bound, as published.
    gradient : {"forward", "reverse", "famus"} or callable, default="forward"
        Gradient strategy: :class:`~sknoisy.meta.ForwardGradient`,
        :class:`~sknoisy.meta.ReverseGradient`, :class:`~sknoisy.meta.LayerSampledGradient` with
        their defaults, or such a class or instance.
    meta_batch_size : int, default=100
        Rows per meta batch.
    n_warmup_epochs : "auto" or int, default="auto"
        Epochs of plain cross-entropy first. "auto": 5, at most half of ``max_epochs``.
    module : None, nn.Module class, factory or instance, default=None
        The network; it returns logits. None: an MLP for tables, the small
        :class:`~sknoisy.networks.PreActResNet` for images. An instance is deep-copied.
    module_params : dict or None, default=None
        Arguments of the class or factory, or of the default network. ``n_features``,
        ``in_channels`` and ``n_classes`` are filled in where the signature names them.
    optimizer : {"sgd", "adam", "adamw"} or torch optimizer class, default="sgd"
        Optimiser of the network; "sgd" has momentum 0.9.
    optimizer_params : dict or None, default=None
        Its further arguments. Unless given, ``weight_decay`` is 5e-4 for images and, for tables,
        5e-3 or ten times what :func:`~sknoisy.networks.mlp_settings` says for the default MLP.
    lr : float, default=0.05
        Learning rate of the network.
    lr_schedule : {"cosine", "constant"} or callable, default="cosine"
        Schedule by epochs; "cosine" ends at a fiftieth of ``lr``. A callable takes the optimiser
        and returns a torch scheduler.
    max_epochs : int, default=60
        Passes over the data.
    batch_size : int, default=100
        Rows per batch.
    augment : {"auto", "flip+crop", "crop"}, None or callable, default="auto"
        Augmentation of training images, on whole batches: ``augment(images, generator)``. "auto":
        "flip+crop" for images, none for tables.
    standardize : "auto" or bool, default="auto"
        Shift and scale columns, or the channels of images, to mean 0 and variance 1. "auto": for
        images, and for tables that the default network reads.
    device : "auto", str or torch.device, default="auto"
        "auto": a CUDA GPU if there is one, else the CPU.
    callbacks : list or None, default=None
        Further skorch callbacks.
    verbose : int, default=0
        1 shows a progress bar, and says what "auto" and missing trusted rows stood for.
    random_state : int, RandomState or None, default=None
        Decides all draws; on a CPU, two fits with the same int give the same model bit for bit.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels.
    clean_proba_ : ndarray of shape (n_samples,)
        Probability that the given label is right: the model's probability of it, 1 for trusted
        rows.
    sample_weight_ : ndarray of shape (n_samples,)
        Mean weight of each row over its batches, as a share of the largest. Absent if
        training ended in the warm-up.
    meta_rows_ : ndarray of shape (n_meta,)
        Rows of the meta set: the trusted ones, or the pseudo-clean ones of the last epoch.
    layer_names_, layer_usage_ : tuple of str, ndarray of shape (n_epochs, n_layers)
        Layers and the share of steps in which each was active, by epochs of the meta update; of a
        gradient that samples layers only.
    n_recoveries_ : int
        How often a collapsing network was set back to an earlier epoch, with a
        :class:`~sknoisy.exceptions.CollapseWarning`.
    n_skipped_batches_ : int
        Batches of which no row had any weight; the network made no step on them.
    net_ : DeviceNet
        The fitted skorch net; its module sees scaled rows.
    history_ : skorch.history.History
        Per epoch: ``train_loss``, ``meta_loss``, ``event_lr``, ``dur``, and ``n_pseudo_clean`` if
        there are no trusted rows.
    n_iter_ : int
        Epochs that were run.
    n_warmup_epochs_ : int
        The values that "auto" stood for.
    n_features_in_ : int
        Columns, or pixels times channels.
    feature_names_in_ : ndarray of shape (n_features,)
        Column names, if X was a frame of strings.
    image_shape_ : tuple or None
        Shape of one image.

    References
    ----------
    M. Ren, W. Zeng, B. Yang and R. Urtasun. Learning to Reweight Examples for Robust Deep
    Learning. ICML 2018.

    Examples
    --------
    >>> from sknoisy import L2RClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.3, random_state=0)
    >>> clf = L2RClassifier(max_epochs=40, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.85)
    True
    """

    _parameter_constraints: dict = {
        **MetaLearningClassifier._parameter_constraints,
        "max_grad_norm": [Interval(Real, 0, None, closed="neither"), None],
    }
    del _parameter_constraints["meta_lr"]  # its meta model lives for one batch

    def __init__(
        self,
        *,
        max_grad_norm: float | None = 2.0,
        gradient: Any = "forward",
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
        self.max_grad_norm = max_grad_norm
        self.gradient = gradient
        self.meta_batch_size = meta_batch_size
        self.n_warmup_epochs = n_warmup_epochs

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        callbacks = super()._callbacks(data, random_state)
        if self.max_grad_norm is not None:
            callbacks.append(("clip", GradientNormClipping(self.max_grad_norm)))
        return callbacks

    def _resolve_meta_lr(self) -> float:
        return 0.0

    def _weight_decay(self, settings: MLPSettings) -> float:
        # Pushed along by rows that it fits already, the logits of a network without batch norm
        # grow without bound. Of images 5e-4 was better.
        factor = 10 if self.image_shape_ is None else 1
        return factor * super()._weight_decay(settings)

    def _meta_model(self, data: TrainingData) -> MetaModel:
        return L2RWeights(len(data))

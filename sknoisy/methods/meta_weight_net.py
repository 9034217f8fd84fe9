"""Classifier for noisy labels by Meta-Weight-Net."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils.class_weight import compute_sample_weight

from .._compat import StrOptions
from .._engine.batches import TrainingData
from ..meta import LDAMLoss, MetaModel, WNet
from .meta_learning import MetaLearningClassifier

__all__ = ["MetaWeightNetClassifier"]


class MetaWeightNetClassifier(MetaLearningClassifier):
    """Classifier for noisy labels by Meta-Weight-Net.

    A small network turns the loss of a sample into its weight, and learns from the loss on trusted
    rows after a virtual step. A batch's weights are scaled to sum 1.

    Trusted rows are passed as ``clean_mask``. Without them the meta set are the rows of small
    loss, chosen anew after each epoch (:class:`~sknoisy.callbacks.PseudoCleanRows`).

    Parameters
    ----------
    loss : {"cross_entropy", "ldam"}, default="cross_entropy"
        Training loss of a row; "ldam" has a wider margin for rarer given classes
        (:class:`~sknoisy.meta.LDAMLoss`).
    class_weight : dict, {"balanced"} or None, default=None
        Weights of the given classes in the training loss, by label; a class that a dict leaves
        out weighs 1. "balanced": each counts the same. They multiply ``sample_weight``.
    gradient : {"forward", "reverse", "famus"} or callable, default="forward"
        Gradient strategy: :class:`~sknoisy.meta.ForwardGradient`,
        :class:`~sknoisy.meta.ReverseGradient`, :class:`~sknoisy.meta.LayerSampledGradient` with
        their defaults, or such a class or instance.
    meta_lr : "auto" or float, default="auto"
        Step size of the weighting network, by Adam. "auto": 1e-3.
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
        Its further arguments. Unless given, ``weight_decay`` is 5e-4 or, for the default MLP, what
        :func:`~sknoisy.networks.mlp_settings` says.
    lr : float, default=0.05
        Learning rate of the network, also the size of the virtual step.
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
        What the weighting network says of each row, in [0, 1], before normalisation. Absent if
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
    n_warmup_epochs_, meta_lr_ : int, float
        The values that "auto" stood for.
    n_features_in_ : int
        Columns, or pixels times channels.
    feature_names_in_ : ndarray of shape (n_features,)
        Column names, if X was a frame of strings.
    image_shape_ : tuple or None
        Shape of one image.

    References
    ----------
    J. Shu, Q. Xie, L. Yi, Q. Zhao, S. Zhou, Z. Xu and D. Meng. Meta-Weight-Net: Learning an
    Explicit Mapping For Sample Weighting. NeurIPS 2019.

    Examples
    --------
    >>> from sknoisy import MetaWeightNetClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.3, random_state=0)
    >>> clf = MetaWeightNetClassifier(max_epochs=20, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.85)
    True
    """

    _parameter_constraints: dict = {
        **MetaLearningClassifier._parameter_constraints,
        "loss": [StrOptions({"cross_entropy", "ldam"})],
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
        self.loss = loss
        self.class_weight = class_weight
        self.gradient = gradient
        self.meta_lr = meta_lr
        self.meta_batch_size = meta_batch_size
        self.n_warmup_epochs = n_warmup_epochs

    def _training_data(self, X, encoded, weights, *rest) -> TrainingData:
        if self.class_weight is not None:
            of_class = compute_sample_weight(self.class_weight, self.classes_[encoded])
            weights = of_class if weights is None else weights * of_class
            if not np.isfinite(weights).all() or weights.min() < 0 or not weights.any():
                raise ValueError(
                    f"class_weight={self.class_weight!r} must give weights of 0 or more, finite "
                    "and not all 0, to the rows of training."
                )
            weights = weights / weights.mean()
        return super()._training_data(X, encoded, weights, *rest)

    def _meta_model(self, data: TrainingData) -> MetaModel:
        if self.loss == "cross_entropy":
            return WNet()
        targets = data.targets
        if data.sample_weight is not None:
            targets = targets[data.sample_weight > 0]
        counts = torch.bincount(targets, minlength=len(self.classes_)).clamp(min=1)
        return WNet(loss=LDAMLoss(counts.tolist()))

"""CLID-MU: a meta update that needs no clean labels."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._compat import Interval, StrOptions
from .._docs import share_docs
from .._engine.batches import TrainingData
from ..base import NetworkClassifier
from ..callbacks import CheckpointEnsemble, CLIDScore, CollapseGuard, MetaUpdate
from ..meta import VRI, CLIDObjective, CrossEntropyObjective, ForwardGradient, MAEObjective, WNet
from .class_balance import class_balance, class_exponents
from .meta_learning import meta_set, resolve_warmup

__all__ = ["CLIDMUClassifier"]


@share_docs
class CLIDMUClassifier(NetworkClassifier):
    """Classifier for noisy labels by CLID-MU: a meta update that needs no clean labels.

    A weighting network learns, beside the classifier, how far to believe each label. It is judged
    by cross-layer information divergence (CLID) after a virtual step: clean training keeps the
    neighbourhood structure of the penultimate features consistent with that of the predictions,
    and no label is needed to measure that. CLID also chooses the epochs whose logits are summed
    for prediction.

    Parameters
    ----------
    weighting : {"wnet", "vri"}, default="wnet"
        "wnet": a weight per row from its loss (:class:`~sknoisy.meta.WNet`). "vri": a random scale
        per row and class from features and label (:class:`~sknoisy.meta.VRI`).
    normalize : {"auto", "class", "batch"} or float in [0, 1], default="auto"
        How far each given class keeps its share of a batch's weight, an exponent: 0 or "batch" is
        the published normalisation over the batch, 1 or "class" keeps each class's share. "auto":
        0.75 where the given classes are equally frequent, less the less they are so, and less for
        the rarer ones. Without effect on "vri".
    temperature : float, default=0.5
        Temperature of CLID's feature graph.
    n_meta : "auto" or int, default="auto"
        Rows of the unlabelled meta set; they stay in the training set. "auto": 1,000, or all.
    meta : bool, default=True
        False: plain cross-entropy, no weighting network.
    meta_objective : {"clid", "cross_entropy", "mae"}, default="clid"
        What judges a virtual step. The two others read labels: those of the trusted rows or,
        without ``clean_mask``, of the rows of small loss, chosen anew after each epoch
        (:class:`~sknoisy.callbacks.PseudoCleanRows`).
    meta_lr : "auto" or float, default="auto"
        Step size of the weighting network; 0 freezes it at its start. "auto": with "sgd" 0.2, or
        0.05 for fewer than 800 rows, or 0.002 for images, times the balance of the given classes
        in [0, 1]; with "adam" 1e-5.
    meta_optimizer : {"auto", "sgd", "adam"}, default="auto"
        "auto": "sgd" for "wnet", "adam" for "vri", as published.
    meta_optimizer_params : dict or None, default=None
        Its further arguments; the released code has ``{"weight_decay": 5e-4}``.
    {meta_batch_size}
    meta_every : int, default=1
        Update the weighting network at every k-th batch.
    n_warmup_epochs : "auto" or int, default="auto"
        Epochs of plain cross-entropy first, before features can judge. "auto": 5, at most half of
        ``max_epochs``.
    n_ensemble : int, default=5
        Epochs with the lowest CLID whose logits are summed for prediction; 0: the last epoch.
    ensemble_by : {"clid", "meta_loss"}, default="clid"
        What ranks the epochs: CLID of the meta set after the epoch, or the mean meta loss seen
        during it.
    kl_weight : float, default=0.01
        Weight of the KL divergence of posterior and prior; "vri" only.
    kl_mode : {"inner", "outer"}, default="inner"
        "inner": the KL divergence is part of the virtual step's loss, where it has no gradient, as
        released. "outer": part of the meta loss. "vri" only.
    share_forward : bool, default=True
        Let the actual step go on from the forward pass of the virtual step. False takes less
        memory and a tenth more time; the result is the same.
    {module, module_params, optimizer, optimizer_params, lr}
    lr_schedule : {"cosine", "constant"} or callable, default="cosine"
        Schedule by epochs; "cosine" ends at a fiftieth of ``lr``. A callable takes the optimiser
        and returns a torch scheduler: ``partial(CosineAnnealingLR, T_max=5, eta_min=1e-3)`` is
        the released one.
    {max_epochs, batch_size, augment, standardize, device, callbacks}
    verbose : int, default=0
        1 shows a progress bar.
    {random_state}

    Attributes
    ----------
    {classes_, clean_proba_}
    sample_weight_ : ndarray of shape (n_samples,)
        What the weighting network says of each row, in [0, 1]: its weight before normalisation,
        or with "vri" the rectified probability of the given label. Absent if ``meta=False``, or
        if training ended in the warm-up.
    net_ : DeviceNet
        The fitted skorch net, at its last epoch.
    history_ : skorch.history.History
        Per epoch: ``train_loss``, ``meta_loss``, ``clid``, ``event_lr``, ``dur``.
    {n_iter_}
    ensemble_epochs_ : list of int
        Epochs (from 1) whose logits are summed, the best first.
    n_warmup_epochs_, meta_lr_, exponent_ : int, float, ndarray of shape (n_classes,)
        The values that "auto" stood for.
    n_recoveries_ : int
        How often a collapse was detected and answered.
    {n_features_in_, feature_names_in_, image_shape_}

    See Also
    --------
    sknoisy.metrics.clid : The divergence as a metric.
    sknoisy.callbacks.MetaUpdate : The same update on a stock skorch net.

    References
    ----------
    .. [1] CLID-MU: Cross-Layer Information Divergence Based Meta Update Strategy for Learning
       with Noisy Labels. KDD 2025, arXiv:2507.11807.
    .. [2] J. Shu et al. Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting.
       NeurIPS 2019.

    Examples
    --------
    >>> from sknoisy import CLIDMUClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.3, random_state=0)
    >>> clf = CLIDMUClassifier(max_epochs=20, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.85)
    True
    >>> suspicious = clf.clean_proba_ < 0.5
    >>> bool(digits.noise_mask[:900][suspicious].mean() > 0.8)
    True
    """

    _parameter_constraints: dict = {
        **NetworkClassifier._parameter_constraints,
        "weighting": [StrOptions({"wnet", "vri"})],
        "normalize": [
            StrOptions({"auto", "class", "batch"}),
            Interval(Real, 0, 1, closed="both"),
        ],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "n_meta": [StrOptions({"auto"}), Interval(Integral, 2, None, closed="left")],
        "meta": ["boolean"],
        "meta_objective": [StrOptions({"clid", "cross_entropy", "mae"})],
        "meta_lr": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "meta_optimizer": [StrOptions({"auto", "sgd", "adam"})],
        "meta_optimizer_params": [dict, None],
        "meta_batch_size": [Interval(Integral, 2, None, closed="left")],
        "meta_every": [Interval(Integral, 1, None, closed="left")],
        "n_warmup_epochs": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "n_ensemble": [Interval(Integral, 0, None, closed="left")],
        "ensemble_by": [StrOptions({"clid", "meta_loss"})],
        "kl_weight": [Interval(Real, 0, None, closed="left")],
        "kl_mode": [StrOptions({"inner", "outer"})],
        "share_forward": ["boolean"],
    }

    def __init__(
        self,
        *,
        weighting: str = "wnet",
        normalize: str | float = "auto",
        temperature: float = 0.5,
        n_meta: str | int = "auto",
        meta: bool = True,
        meta_objective: str = "clid",
        meta_lr: str | float = "auto",
        meta_optimizer: str = "auto",
        meta_optimizer_params: dict[str, Any] | None = None,
        meta_batch_size: int = 100,
        meta_every: int = 1,
        n_warmup_epochs: str | int = "auto",
        n_ensemble: int = 5,
        ensemble_by: str = "clid",
        kl_weight: float = 0.01,
        kl_mode: str = "inner",
        share_forward: bool = True,
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
        self.weighting = weighting
        self.normalize = normalize
        self.temperature = temperature
        self.n_meta = n_meta
        self.meta = meta
        self.meta_objective = meta_objective
        self.meta_lr = meta_lr
        self.meta_optimizer = meta_optimizer
        self.meta_optimizer_params = meta_optimizer_params
        self.meta_batch_size = meta_batch_size
        self.meta_every = meta_every
        self.n_warmup_epochs = n_warmup_epochs
        self.n_ensemble = n_ensemble
        self.ensemble_by = ensemble_by
        self.kl_weight = kl_weight
        self.kl_mode = kl_mode
        self.share_forward = share_forward

    def _check_method(self, data: TrainingData, clean_mask: np.ndarray | None) -> None:
        if self.n_ensemble and self.ensemble_by == "meta_loss" and not self.meta:
            raise ValueError(
                "ensemble_by='meta_loss' ranks epochs by the meta update, which meta=False turns "
                "off: take ensemble_by='clid' or n_ensemble=0."
            )

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        n_meta = min(1000 if self.n_meta == "auto" else int(self.n_meta), len(data))
        unlabelled = random_state.choice(len(data), n_meta, replace=False)
        seeds = random_state.randint(np.iinfo(np.int32).max, size=2)
        warmup = self.n_warmup_epochs
        if not self.meta and warmup != "auto":  # it only says which epochs cannot be chosen
            warmup = min(int(warmup), self.max_epochs - 1)
        self.n_warmup_epochs_ = resolve_warmup(warmup, self.max_epochs)
        callbacks: list[Any] = []
        if self.meta:
            finders: list[Any] = []
            rows: Any = unlabelled
            if self.meta_objective != "clid":
                finders, rows = meta_set(data, self.n_warmup_epochs_, int(seeds[0]))
            judges = "rows of small loss" if finders else f"{len(rows)} rows"
            self._say(f"n_warmup_epochs={self.n_warmup_epochs_}, meta set: {judges}")
            callbacks += [
                ("guard", CollapseGuard(max(self.n_warmup_epochs_, 1), rows=unlabelled)),
                *finders,
                ("meta", self._meta_update(data, rows, int(seeds[0]))),
            ]
        if self.n_ensemble:
            # The guard stands before: a collapsed network has a low CLID.
            score = CLIDScore(
                unlabelled,
                temperature=self.temperature,
                batch_size=self.meta_batch_size,
                random_state=int(seeds[1]),
            )
            n_skip = min(self.n_warmup_epochs_, self.max_epochs - 1)
            ensemble = CheckpointEnsemble(self.ensemble_by, self.n_ensemble, n_skip_epochs=n_skip)
            callbacks += [("clid", score), ("ensemble", ensemble)]
        return callbacks

    def _meta_update(self, data: TrainingData, rows: np.ndarray, seed: int) -> MetaUpdate:
        objectives: dict[str, Any] = {
            "clid": CLIDObjective(self.temperature),
            "cross_entropy": CrossEntropyObjective(),
            "mae": MAEObjective(),
        }
        name = self.meta_optimizer
        if name == "auto":
            name = "sgd" if self.weighting == "wnet" else "adam"
        by_default = self._default_meta_lr(data) if name == "sgd" else 1e-5
        self.meta_lr_ = by_default if self.meta_lr == "auto" else float(self.meta_lr)
        self._say(f"meta_lr={self.meta_lr_:.3g} by {name}")
        return MetaUpdate(
            self._meta_model(data),
            objectives[self.meta_objective],
            ForwardGradient(self.share_forward),
            meta_rows=rows,
            meta_lr=self.meta_lr_,
            meta_optimizer=torch.optim.SGD if name == "sgd" else torch.optim.Adam,
            meta_optimizer_params=self.meta_optimizer_params,
            meta_batch_size=self.meta_batch_size,
            meta_every=self.meta_every,
            n_warmup_epochs=self.n_warmup_epochs_,
            random_state=seed,
        )

    def _default_meta_lr(self, data: TrainingData) -> float:
        if self.image_shape_ is not None:
            # Pooled features are all positive and point much the same way: CLID says little.
            rate = 0.002
        else:
            rate = 0.2 if len(data) >= 800 else 0.05
        return rate * class_balance(self._counts(data))

    def _meta_model(self, data: TrainingData):
        if self.weighting == "vri":
            return partial(VRI, kl_weight=self.kl_weight, kl_mode=self.kl_mode)
        self.exponent_ = class_exponents(self.normalize, self._counts(data))
        return WNet(exponent=torch.as_tensor(self.exponent_))

    def _counts(self, data: TrainingData) -> np.ndarray:
        counts = torch.bincount(data.targets, data.sample_weight, minlength=len(self.classes_))
        return counts.cpu().double().numpy()

    def _member_states(self) -> list[dict[str, Tensor]]:
        ensemble = dict(self.net_.callbacks_).get("ensemble")
        if ensemble is None or not ensemble.members_:
            self.ensemble_epochs_ = [self.n_iter_]
            return super()._member_states()
        self.ensemble_epochs_ = [epoch for _, epoch, _ in ensemble.members_]
        return [state for _, _, state in ensemble.members_]

    def _finish(self, data: TrainingData) -> None:
        if not self.meta:
            return
        callbacks = dict(self.net_.callbacks_)
        self.n_recoveries_ = callbacks["guard"].n_recoveries_
        if callbacks["meta"].n_steps_:
            self.sample_weight_ = callbacks["meta"].weigh_rows(self.net_, data)

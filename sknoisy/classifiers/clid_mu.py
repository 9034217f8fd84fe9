"""CLID-MU: a meta update that needs no clean labels."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor

from ..base import BaseNoisyLabelClassifier
from ..callbacks import CheckpointEnsemble, CLIDScore, CollapseGuard, MetaUpdate
from ..data import TrainingData
from ..meta import (
    VRI,
    BatchOutputs,
    CLIDObjective,
    CrossEntropyObjective,
    ForwardGradient,
    MAEObjective,
    WNet,
)

__all__ = ["CLIDMUClassifier"]


class CLIDMUClassifier(BaseNoisyLabelClassifier):
    """Placeholder docstring."""

    _parameter_constraints: dict = {
        **BaseNoisyLabelClassifier._parameter_constraints,
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
        self.meta_batch_size = meta_batch_size
        self.meta_every = meta_every
        self.n_warmup_epochs = n_warmup_epochs
        self.n_ensemble = n_ensemble
        self.ensemble_by = ensemble_by
        self.kl_weight = kl_weight
        self.kl_mode = kl_mode
        self.share_forward = share_forward

    def _check_method(self, data: TrainingData, clean_mask: np.ndarray | None) -> None:
        if self.meta_objective != "clid" and clean_mask is None:
            raise ValueError(
                f"meta_objective={self.meta_objective!r} judges by trusted labels: pass clean_mask "
                "to fit, or take meta_objective='clid', which reads no labels."
            )

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        n_meta = min(len(data), 1000) if self.n_meta == "auto" else min(self.n_meta, len(data))
        unlabelled = random_state.choice(len(data), n_meta, replace=False)
        seed = partial(random_state.randint, np.iinfo(np.int32).max)
        warmup = self.n_warmup_epochs
        if warmup == "auto":
            warmup = 5
        self.n_warmup_epochs_ = warmup
        callbacks: list[Any] = []
        if self.meta:
            trusted = self.meta_objective != "clid"
            rows = np.flatnonzero(data.trusted.cpu()) if trusted else unlabelled
            callbacks.append(("meta", self._meta_update(data, rows, warmup, seed())))
            callbacks.append(
                ("guard", CollapseGuard(max(warmup, 1), rows=unlabelled, random_state=seed()))
            )
        if self.n_ensemble:
            score = CLIDScore(unlabelled, temperature=self.temperature,
                              batch_size=self.meta_batch_size, random_state=seed())
            ensemble = CheckpointEnsemble(
                self.ensemble_by, self.n_ensemble, n_skip_epochs=min(warmup, self.max_epochs - 1)
            )
            callbacks += [("clid", score), ("ensemble", ensemble)]
        return callbacks

    def _meta_update(self, data, rows, warmup, seed) -> MetaUpdate:
        objectives: dict[str, Any] = {
            "clid": CLIDObjective(self.temperature),
            "cross_entropy": CrossEntropyObjective(),
            "mae": MAEObjective(),
        }
        name = self.meta_optimizer
        if name == "auto":
            name = "sgd" if self.weighting == "wnet" else "adam"
        rate = self.meta_lr
        if rate == "auto":
            rate = 0.1 if name == "sgd" else 3e-4
        return MetaUpdate(
            self._meta_model(data),
            objectives[self.meta_objective],
            ForwardGradient(self.share_forward),
            meta_rows=rows,
            meta_lr=rate,
            meta_optimizer=torch.optim.SGD if name == "sgd" else torch.optim.Adam,
            meta_batch_size=self.meta_batch_size,
            meta_every=self.meta_every,
            n_warmup_epochs=warmup,
            random_state=seed,
        )

    def _meta_model(self, data: TrainingData):
        if self.weighting == "vri":
            return partial(VRI, kl_weight=self.kl_weight, kl_mode=self.kl_mode)
        counts = torch.bincount(data.targets, minlength=len(self.classes_))
        return WNet(exponent=_exponents(self.normalize, counts))

    def _member_states(self) -> list[dict[str, Tensor]]:
        ensemble = dict(self.net_.callbacks_).get("ensemble")
        if ensemble is None or not ensemble.members_:
            return super()._member_states()
        return [state for _, _, state in ensemble.members_]

    def _finish(self, data: TrainingData) -> None:
        pass


def _exponents(normalize: str | float, counts: Tensor) -> Tensor:
    named = {"batch": 0.0, "class": 1.0, "auto": 0.5}
    exponent = named[normalize] if isinstance(normalize, str) else float(normalize)
    return torch.full((len(counts),), exponent)

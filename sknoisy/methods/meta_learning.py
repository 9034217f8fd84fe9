"""What the classifiers share that judge a virtual step by trusted or pseudo-clean rows."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from .._compat import Interval, StrOptions
from .._engine.batches import TrainingData
from .._engine.net import DeviceNet
from ..base import NetworkClassifier
from ..callbacks import CollapseGuard, MetaUpdate, PseudoCleanRows
from ..exceptions import warn_user
from ..meta import (
    CrossEntropyObjective,
    ForwardGradient,
    LayerSampledGradient,
    MetaModel,
    ReverseGradient,
)

__all__ = ["MetaLearningClassifier", "meta_set", "resolve_warmup"]

_GRADIENTS: dict[str, Callable[[], Any]] = {
    "forward": ForwardGradient,
    "reverse": ReverseGradient,
    "famus": LayerSampledGradient,
}


def resolve_warmup(n_warmup_epochs: str | int, max_epochs: int) -> int:
    """Epochs of plain training; "auto" stands for 5, at most half of all."""
    if n_warmup_epochs == "auto":
        return min(5, max_epochs // 2)
    n_warmup = int(n_warmup_epochs)
    if n_warmup >= max_epochs:
        warn_user(
            f"n_warmup_epochs={n_warmup} leaves none of the {max_epochs} epochs to the meta "
            "update, so this is plain cross-entropy. Raise max_epochs, or lower n_warmup_epochs.",
            UserWarning,
        )
    return n_warmup


def meta_set(
    data: TrainingData, n_warmup_epochs: int, seed: int, min_per_class: int | float = 10
) -> tuple[list, Any]:
    """Callbacks that find the meta set, and the meta set: trusted rows or pseudo-clean ones."""
    if data.trusted is not None:
        rows = data.trusted
        if data.sample_weight is not None:  # a row that does not count judges nobody either
            rows = rows & (data.sample_weight > 0)
        if rows.any():
            return [], rows.nonzero()[:, 0].cpu().numpy()
    finder = PseudoCleanRows(n_warmup_epochs, min_per_class=min_per_class, random_state=seed)
    return [("pseudo_clean", finder)], finder


class MetaLearningClassifier(NetworkClassifier):
    """Base of the methods whose meta objective is the cross-entropy of trusted rows.

    A method says what its meta model is (:meth:`_meta_model`) and how fast it learns.
    """

    _parameter_constraints: dict = {
        **NetworkClassifier._parameter_constraints,
        "gradient": [StrOptions({"forward", "reverse", "famus"}), callable],
        "meta_lr": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "meta_batch_size": [Interval(Integral, 2, None, closed="left")],
        "n_warmup_epochs": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
    }
    gradient: Any = "forward"
    trusted_weight: str | float = 1.0
    meta_lr: str | float = "auto"
    meta_batch_size: int
    n_warmup_epochs: str | int

    _trusts_meta_rows = False  # whether rows of small loss keep their label in training
    _min_meta_per_class: int | float = 10  # of those rows
    _adam_eps = 1e-8  # where they judge

    # --- the seam ---------------------------------------------------------------------------

    def _meta_model(self, data: TrainingData) -> MetaModel | Callable[..., MetaModel]:
        """The meta model, or its factory."""
        raise NotImplementedError

    def _default_meta_lr(self) -> float:
        """What ``meta_lr="auto"`` stands for."""
        return 1e-3

    def _resolve_meta_lr(self) -> float:
        """Set ``meta_lr_``, the step size of the meta model, and return it."""
        self.meta_lr_ = self._default_meta_lr() if self.meta_lr == "auto" else float(self.meta_lr)
        return self.meta_lr_

    def _meta_nets(self) -> list[DeviceNet]:
        """The nets, each with a meta model of its own."""
        return [self.net_]

    def _strategy(self) -> Any:
        """The gradient strategy."""
        if isinstance(self.gradient, str):
            return _GRADIENTS[self.gradient]()
        return self.gradient() if isinstance(self.gradient, type) else self.gradient

    # --- the life cycle ---------------------------------------------------------------------

    def _training_data(self, X, encoded, weights, trusted, *rest) -> TrainingData:
        trusted_weight: Any = self.trusted_weight
        if trusted_weight == "auto":
            # A network for images learns the trusted rows by heart before it has learned the rest.
            trusted_weight = 8.0 if X.ndim == 2 else 1.0
        if trusted is not None and trusted_weight != 1:
            of_trust = np.where(trusted, trusted_weight, 1.0)
            weights = of_trust if weights is None else weights * of_trust
            weights = weights / weights.mean()
        return super()._training_data(X, encoded, weights, trusted, *rest)

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        seeds = random_state.randint(np.iinfo(np.int32).max, size=2)
        self.n_warmup_epochs_ = resolve_warmup(self.n_warmup_epochs, self.max_epochs)
        meta_lr = self._resolve_meta_lr()
        finders, rows = meta_set(
            data, self.n_warmup_epochs_, int(seeds[0]), self._min_meta_per_class
        )
        judges = "rows of small loss" if finders else f"{len(rows)} trusted rows"
        self._say(f"n_warmup_epochs={self.n_warmup_epochs_}, meta set: {judges}")
        update = MetaUpdate(
            self._meta_model(data),
            CrossEntropyObjective(),
            self._strategy(),
            meta_rows=rows,
            meta_lr=meta_lr,
            meta_optimizer=torch.optim.Adam,
            meta_optimizer_params={"eps": self._adam_eps} if finders else None,
            meta_batch_size=self.meta_batch_size,
            n_warmup_epochs=self.n_warmup_epochs_,
            trust_meta_rows=self._trusts_meta_rows,
            random_state=int(seeds[1]),
        )
        guard = CollapseGuard(max(self.n_warmup_epochs_, 1), random_state=int(seeds[1]))
        return [("guard", guard), *finders, ("meta", update)]

    @staticmethod
    def _meta_update(net: DeviceNet) -> MetaUpdate:
        return dict(net.callbacks_)["meta"]

    def _finish(self, data: TrainingData) -> None:
        updates = [(self._meta_update(net), net) for net in self._meta_nets()]
        guards = [dict(net.callbacks_)["guard"] for _, net in updates]
        self.n_recoveries_ = sum(guard.n_recoveries_ for guard in guards)
        self.n_skipped_batches_ = sum(meta.n_skipped_batches_ for meta, _ in updates)
        weights = [meta.weigh_rows(net, data) for meta, net in updates if meta.n_steps_]
        meta = updates[0][0]
        if not meta.n_steps_:
            return
        self.sample_weight_ = np.mean(weights, axis=0)
        self.meta_rows_ = meta.meta_rows_
        usage = [epoch["layer_usage"] for epoch in self.history_ if "layer_usage" in epoch]
        if usage:
            names = meta.gradient_.layer_names
            self.layer_names_ = tuple(name.removeprefix("module.") for name in names)
            self.layer_usage_ = np.array(usage)

    def _purify(self, data: TrainingData) -> None:
        """Set ``purified_labels_`` by the soft labels of the meta model."""
        meta = self._meta_update(self.net_)
        if meta.n_steps_:
            self.purified_labels_ = self.classes_[meta.guide_rows(self.net_, data).argmax(axis=1)]

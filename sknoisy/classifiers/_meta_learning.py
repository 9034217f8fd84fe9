"""What the classifiers share that judge a virtual step by trusted or pseudo-clean rows."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions

from ..base import BaseNoisyLabelClassifier
from ..callbacks import MetaUpdate, PseudoCleanRows
from ..data import TrainingData
from ..meta import (
    CrossEntropyObjective,
    ForwardGradient,
    LayerSampledGradient,
    MetaModel,
    ReverseGradient,
)
from ..net import DeviceNet

__all__ = ["FAMILY_CONSTRAINTS", "MetaLearningClassifier", "default_warmup", "meta_set"]

FAMILY_CONSTRAINTS: dict[str, list] = {
    "gradient": [StrOptions({"forward", "reverse", "famus"}), callable],
    "meta_lr": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
    "meta_batch_size": [Interval(Integral, 1, None, closed="left")],
    "n_warmup_epochs": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
}

_GRADIENTS: dict[str, Callable[[], Any]] = {
    "forward": ForwardGradient,
    "reverse": ReverseGradient,
    "famus": LayerSampledGradient,
}


def default_warmup(n_warmup_epochs: str | int, max_epochs: int) -> int:
    """Epochs of plain training that "auto" stands for: 5, at most half of all."""
    return min(5, max_epochs // 2) if n_warmup_epochs == "auto" else int(n_warmup_epochs)


def meta_set(data: TrainingData, n_warmup_epochs: int, seed: int) -> tuple[list, Any]:
    """Callbacks that find the meta set, and the meta set: trusted rows or pseudo-clean ones."""
    if data.trusted is not None:
        return [], data.trusted.nonzero()[:, 0].cpu().numpy()
    rows = PseudoCleanRows(n_warmup_epochs, random_state=seed)
    return [("pseudo_clean", rows)], rows


class MetaLearningClassifier(BaseNoisyLabelClassifier):
    """Base of the methods whose meta objective is the cross-entropy of trusted rows.

    A method says what its meta model is (:meth:`_meta_model`) and how fast it learns.
    """

    gradient: Any = "forward"
    meta_lr: str | float = "auto"
    meta_batch_size: int
    n_warmup_epochs: str | int

    # --- the seam ---------------------------------------------------------------------------

    def _meta_model(self, data: TrainingData) -> MetaModel | Callable[..., MetaModel]:
        """The meta model, or its factory."""
        raise NotImplementedError

    def _default_meta_lr(self) -> float:
        """What ``meta_lr="auto"`` stands for."""
        return 1e-3

    def _strategy(self) -> Any:
        """The gradient strategy."""
        return _GRADIENTS[self.gradient]() if isinstance(self.gradient, str) else self.gradient

    # --- the life cycle ---------------------------------------------------------------------

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        seeds = random_state.randint(np.iinfo(np.int32).max, size=2)
        self.n_warmup_epochs_ = default_warmup(self.n_warmup_epochs, self.max_epochs)
        if "meta_lr" in self.get_params(deep=False):
            self.meta_lr_ = (
                self._default_meta_lr() if self.meta_lr == "auto" else float(self.meta_lr)
            )
        finders, rows = meta_set(data, self.n_warmup_epochs_, int(seeds[0]))
        if finders:
            self._say("no trusted rows were passed, rows of small loss are the meta set")
        update = MetaUpdate(
            self._meta_model(data),
            CrossEntropyObjective(),
            self._strategy(),
            meta_rows=rows,
            meta_lr=getattr(self, "meta_lr_", 0.0),
            meta_optimizer=torch.optim.Adam,
            meta_batch_size=self.meta_batch_size,
            n_warmup_epochs=self.n_warmup_epochs_,
            random_state=int(seeds[1]),
        )
        return [*finders, ("meta", update)]

    @staticmethod
    def _meta_update(net: DeviceNet) -> MetaUpdate:
        return dict(net.callbacks_)["meta"]

    def _finish(self, data: TrainingData) -> None:
        meta = self._meta_update(self.net_)
        self.n_skipped_batches_ = meta.n_skipped_batches_
        if not meta.n_steps_:
            return
        self.meta_rows_ = meta.meta_rows_
        self.sample_weight_ = meta.weigh_rows(self.net_, data)
        usage = [epoch["layer_usage"] for epoch in self.history_ if "layer_usage" in epoch]
        if usage:
            self.layer_names_ = meta.gradient_.layer_names
            self.layer_usage_ = np.array(usage)

    def _purify(self, data: TrainingData) -> None:
        """Set ``purified_labels_`` by the soft labels of the meta model."""
        meta = self._meta_update(self.net_)
        if meta.n_steps_:
            labels = meta.guide_rows(self.net_, data)[:, : len(self.classes_)]
            self.purified_labels_ = self.classes_[labels.argmax(axis=1)]

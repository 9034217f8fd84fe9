"""Base class and helpers of the classifiers whose meta set is trusted or pseudo-clean rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from .._compat import Interval, StrOptions
from .._engine.batches import TrainingData
from .._engine.net import DeviceNet
from .._engine.problem import Problem
from ..base import NetworkClassifier
from ..callbacks import CollapseGuard, MetaUpdate, PseudoCleanRows
from ..exceptions import warn_user
from ..meta import (
    CrossEntropyObjective,
    ForwardGradient,
    LayerSampledGradient,
    ReverseGradient,
)

__all__ = [
    "GRADIENT",
    "META_LR",
    "MetaLearningClassifier",
    "adam",
    "gradient_strategy",
    "resolve_warmup",
    "trust_more",
    "trusted_rows",
]

# Constraints of parameters that several methods share.
GRADIENT = [StrOptions({"forward", "reverse", "famus"}), callable]
META_LR = [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")]

_GRADIENTS: dict[str, Callable[[], Any]] = {
    "forward": ForwardGradient,
    "reverse": ReverseGradient,
    "famus": LayerSampledGradient,
}


def gradient_strategy(gradient: Any) -> Any:
    """Return the gradient strategy for a value of the parameter ``gradient``."""
    if isinstance(gradient, str):
        return _GRADIENTS[gradient]()
    return gradient() if isinstance(gradient, type) else gradient


def resolve_warmup(n_warmup_epochs: str | int, max_epochs: int) -> int:
    """Return the number of warm-up epochs; "auto" stands for 5, at most half of all epochs."""
    if n_warmup_epochs == "auto":
        return min(5, max_epochs // 2)
    n_warmup = int(n_warmup_epochs)
    if n_warmup >= max_epochs:
        warn_user(
            f"n_warmup_epochs={n_warmup} leaves none of the {max_epochs} epochs for meta updates, "
            "so training is plain cross-entropy. Raise max_epochs, or lower n_warmup_epochs.",
            UserWarning,
        )
    return n_warmup


def trusted_rows(data: TrainingData) -> np.ndarray | None:
    """Return the indices of trusted rows of positive weight, or None if there are none."""
    if data.trusted is None:
        return None
    rows = data.trusted
    if data.sample_weight is not None:  # rows without weight are not in the meta set
        rows = rows & (data.sample_weight > 0)
    return rows.nonzero()[:, 0].cpu().numpy() if rows.any() else None


def adam(lr: float, eps: float = 1e-8) -> Callable[..., torch.optim.Optimizer]:
    """Return a factory of Adam optimisers, which is called with the parameters."""
    return partial(torch.optim.Adam, lr=lr, eps=eps)


def trust_more(problem: Problem, trusted_weight: str | float) -> Problem:
    """Return the problem with the weights of trusted rows times ``trusted_weight``."""
    if trusted_weight == "auto":
        # With more weight, a network for images memorises the trusted rows before it learns the
        # others.
        trusted_weight = 1.0 if problem.is_image else 8.0
    if problem.trusted is None or trusted_weight == 1:
        return problem
    factors = np.where(problem.trusted, float(trusted_weight), 1.0)
    return replace(problem, sample_weight=problem.scale_weights(factors))


class MetaLearningClassifier(NetworkClassifier):
    """Base of the methods whose meta objective is the cross-entropy of trusted rows.

    A method implements :meth:`_meta_model`, which returns its meta model.
    """

    _parameter_constraints: dict = {
        **NetworkClassifier._parameter_constraints,
        "gradient": GRADIENT,
        "meta_batch_size": [Interval(Integral, 2, None, closed="left")],
        "n_warmup_epochs": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
    }
    gradient: Any
    meta_batch_size: int
    n_warmup_epochs: str | int

    # --- what a method adds -----------------------------------------------------------------

    def _meta_model(self, data: TrainingData, *, judged_by_trusted: bool) -> Any:
        """Return the meta model, or a factory of it, with its optimiser and step size.

        Parameters
        ----------
        data : TrainingData
            Training data on the device.
        judged_by_trusted : bool
            Whether the meta set consists of trusted rows; otherwise of pseudo-clean rows.
        """
        raise NotImplementedError

    def _pseudo_clean(self, n_warmup_epochs: int, seed: int) -> PseudoCleanRows:
        """Return the callback that chooses the meta set if there are no trusted rows."""
        return PseudoCleanRows(n_warmup_epochs, random_state=seed)

    def _strategy(self) -> Any:
        """Return the gradient strategy."""
        return gradient_strategy(self.gradient)

    # --- the life cycle ---------------------------------------------------------------------

    _meta_rows = "pseudo_clean"  # name of the callback that chooses them without trusted rows

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        seeds = random_state.randint(np.iinfo(np.int32).max, size=2)
        self.n_warmup_epochs_ = resolve_warmup(self.n_warmup_epochs, self.max_epochs)
        rows: Any = trusted_rows(data)
        judged_by_trusted = rows is not None
        finders = []
        if not judged_by_trusted:
            rows = self._meta_rows
            finder = self._pseudo_clean(self.n_warmup_epochs_, int(seeds[0]))
            finders = [("pseudo_clean", finder)]
        judges = f"{len(rows)} trusted rows" if judged_by_trusted else "rows of small loss"
        self._say(f"n_warmup_epochs={self.n_warmup_epochs_}, meta set: {judges}")
        update = MetaUpdate(
            self._meta_model(data, judged_by_trusted=judged_by_trusted),
            CrossEntropyObjective(),
            self._strategy(),
            meta_rows=rows,
            meta_batch_size=self.meta_batch_size,
            n_warmup_epochs=self.n_warmup_epochs_,
            random_state=int(seeds[1]),
        )
        guard = CollapseGuard(
            max(self.n_warmup_epochs_, 1), meta_update="meta", random_state=int(seeds[1])
        )
        return [("guard", guard), *finders, ("meta", update)]

    @staticmethod
    def _meta_update(net: DeviceNet) -> MetaUpdate:
        return dict(net.callbacks_)["meta"]

    def _finish(self, data: TrainingData) -> None:
        updates = [(self._meta_update(net), net) for net in self.nets_]
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
        """Set ``purified_labels_`` to the most probable classes of the soft labels."""
        meta = self._meta_update(self.net_)
        if meta.n_steps_:
            self.purified_labels_ = self.classes_[meta.guide_rows(self.net_, data).argmax(axis=1)]

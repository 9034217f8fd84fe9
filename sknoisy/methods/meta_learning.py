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
    "resolve_auto",
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


def resolve_auto(value: str | float, default: float) -> float:
    """Return a parameter as a float, or the default if it is "auto"."""
    return default if value == "auto" else float(value)


def resolve_warmup(n_warmup_epochs: str | int, max_epochs: int) -> int:
    """Return the number of warm-up epochs; "auto" stands for 5, at most half of all epochs."""
    if n_warmup_epochs == "auto":
        return min(5, max_epochs // 2)
    n_warmup = int(n_warmup_epochs)
    if n_warmup >= max_epochs:
        warn_user(
            f"n_warmup_epochs={n_warmup} leaves none of the {max_epochs} epochs to the method, "
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
    # A network for images that gives them more weight memorises them before it learns other rows.
    weight = resolve_auto(trusted_weight, 1.0 if problem.is_image else 8.0)
    if problem.trusted is None or weight == 1:
        return problem
    factors = np.where(problem.trusted, weight, 1.0)
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

    def _meta_model(self, data: TrainingData, *, has_trusted_rows: bool) -> Any:
        """Return the meta model, or a factory of it, with its optimiser and step size.

        Parameters
        ----------
        data : TrainingData
            Training data on the device.
        has_trusted_rows : bool
            Whether the meta set consists of trusted rows; otherwise of pseudo-clean rows.
        """
        raise NotImplementedError

    def _pseudo_clean(self, n_warmup_epochs: int, seed: int) -> PseudoCleanRows:
        """Return the callback that chooses the meta set if there are no trusted rows."""
        return PseudoCleanRows(n_warmup_epochs, random_state=seed)

    def _strategy(self) -> Any:
        """Return the gradient strategy."""
        return gradient_strategy(self.gradient)

    def _recorded_keys(self) -> list[str]:
        keys = [*super()._recorded_keys(), "set_back"]
        return [*keys, *(["meta_loss"] if self.n_warmup_epochs == 0 else [])]

    def _finish_meta(self, meta: MetaUpdate, data: TrainingData) -> None:
        """Set the fitted attributes of the method, if any meta update was made."""

    # --- the life cycle ---------------------------------------------------------------------

    _meta_rows = "pseudo_clean"  # name of the callback that chooses them without trusted rows

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        seeds = random_state.randint(np.iinfo(np.int32).max, size=2)
        self.n_warmup_epochs_ = resolve_warmup(self.n_warmup_epochs, self.max_epochs_)
        trusted = trusted_rows(data)
        choosers = []
        if trusted is None:
            chooser = self._pseudo_clean(self.n_warmup_epochs_, int(seeds[0]))
            choosers = [("pseudo_clean", chooser)]
        meta_set = "rows of small loss" if trusted is None else f"{len(trusted)} trusted rows"
        self._say(f"n_warmup_epochs={self.n_warmup_epochs_}, meta set: {meta_set}")
        update = MetaUpdate(
            self._meta_model(data, has_trusted_rows=trusted is not None),
            CrossEntropyObjective(),
            self._strategy(),
            meta_rows=self._meta_rows if trusted is None else trusted,
            meta_batch_size=self.meta_batch_size,
            n_warmup_epochs=self.n_warmup_epochs_,
            random_state=int(seeds[1]),
        )
        guard = CollapseGuard(
            max(self.n_warmup_epochs_, 1), meta_update="meta", random_state=int(seeds[1])
        )
        return [("guard", guard), *choosers, ("meta", update)]

    def _finish(self, data: TrainingData) -> None:
        callbacks = [dict(net.callbacks_) for net in self.nets_]
        updates = [named["meta"] for named in callbacks]
        self.n_recoveries_ = sum(named["guard"].n_recoveries_ for named in callbacks)
        self.n_skipped_batches_ = sum(update.n_skipped_batches_ for update in updates)
        meta = updates[0]
        if not meta.n_steps_:
            return
        weights = [
            update.weigh_rows(net, data)
            for update, net in zip(updates, self.nets_, strict=True)
            if update.n_steps_
        ]
        self.sample_weight_ = np.mean(weights, axis=0)
        self.meta_rows_ = meta.meta_rows_
        usage = [epoch["layer_usage"] for epoch in self.history_ if "layer_usage" in epoch]
        if usage:
            names = meta.gradient_.layer_names
            self.layer_names_ = tuple(name.removeprefix("module.") for name in names)
            self.layer_usage_ = np.array(usage)
        self._finish_meta(meta, data)

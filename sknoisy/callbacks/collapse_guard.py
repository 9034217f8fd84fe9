"""Callback that detects a collapse of the network and recovers from it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from skorch.callbacks import Callback
from torch import Tensor

from .._engine.construction import random_state_of
from .._engine.evaluation import copied_state, draw_rows, evaluate, keep_rows, rows_per_pass
from .._engine.held_state import held_state, hold_state
from ..exceptions import CollapseWarning, warn_user
from ..meta import MetaModel
from .named import callback_named

__all__ = ["CollapseGuard"]

_LOST_PROBABILITY = 0.25
_ROUNDING = 1e-12  # the information of constant predictions is not exactly 0


class _Predictions(NamedTuple):
    """Summary of the predictions on the watched rows.

    Attributes
    ----------
    information : float
        Mutual information of row and prediction.
    share, probability : Tensor of shape (n_classes,)
        For each class, the share of rows for which it is predicted, and its mean probability.
    """

    information: float
    share: Tensor
    probability: Tensor


class _States(NamedTuple):
    """State dicts after an epoch; ``meta_model`` is None if there is no meta model."""

    epoch: int
    module: dict[str, Any]
    meta_model: dict[str, Any] | None


class CollapseGuard(Callback):
    """Set a collapsing network back to its last good epoch and slow the meta model down.

    A constant prediction is a trivial minimum of CLID, and a weighting network can starve whole
    classes. After each epoch, the predictions p on fixed rows are compared with those after the
    warm-up. The network has collapsed in two cases:

    - The mutual information between row and prediction, H(mean p) - mean H(p), falls below
      ``tolerance`` times its reference. It is 0 for a constant prediction, however unequal the
      classes are.
    - For one of the classes, the share of rows for which it is predicted falls below
      ``tolerance`` times its reference, and its mean probability below a quarter of its
      reference. Classes are watched if their reference share and their share of the user's
      weight are at least half of an even share. Counting predictions ignores rare classes that
      look frequent only because of noise, and the probability does not fall if a poorly trained
      network is merely undecided.

    After a collapse, the network and the meta model return to the last good epoch. If they
    collapse again within ``n_reference_epochs``, the last good epoch was close to the collapse,
    and they return to the reference epoch. Both optimisers start afresh, the meta optimiser at a
    tenth of its step size, and a :class:`~sknoisy.exceptions.CollapseWarning` is issued.

    The guard must come before a :class:`PseudoCleanRows` in the list of callbacks. Otherwise the
    collapsed network would choose the rows.

    Parameters
    ----------
    n_reference_epochs : int, default=5
        Epoch after which the reference is taken.
    tolerance : float, default=0.05
        Share of the reference below which the network counts as collapsed.
    rows : int or array-like of int, default=1000
        Rows of the X given to ``fit`` to watch, or the number of rows to draw from those that the
        net trains on.
    meta_update : str, default="MetaUpdate"
        Name of the :class:`MetaUpdate` whose meta model is set back and slowed down, too, if the
        net has one. An unnamed callback has the name of its class.
    random_state : int, RandomState or None, default=None
        Controls the draw of the rows.

    Attributes
    ----------
    n_recoveries_ : int
        Number of times that the network was set back. In the history, ``"set_back"`` is True
        for epochs after which this happened.

    Examples
    --------
    >>> from sknoisy.callbacks import CollapseGuard
    >>> CollapseGuard(tolerance=0.1).tolerance
    0.1
    """

    def __init__(
        self,
        n_reference_epochs=5,
        *,
        tolerance=0.05,
        rows=1000,
        meta_update="MetaUpdate",
        random_state=None,
    ):
        self.n_reference_epochs = n_reference_epochs
        self.tolerance = tolerance
        self.rows = rows
        self.meta_update = meta_update
        self.random_state = random_state

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Drop the reference of an earlier training."""
        self.n_recoveries_ = 0
        self._X: Any = X
        self._index: Tensor | None = None
        self._reference: _Predictions | None = None
        self._first: _States | None = None
        self._good: _States | None = None
        self._set_back_at = -math.inf

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        """Compare the predictions with the reference, and recover from a collapse."""
        if self._index is None:
            rng = random_state_of(self.random_state)
            rows = draw_rows(dataset_train, self.rows, rng, self._X)
            self._index = torch.as_tensor(rows, device=net.device)
            keep_rows(dataset_train, self._index, id(self))
        net.history.record("set_back", False)
        if len(net.history) < self.n_reference_epochs:
            return
        now = self._predictions(net, dataset_train, self._index)
        trouble = None
        if self._reference is None:
            n_classes = len(now.share)
            wanted = _weight_by_class(dataset_train, n_classes) >= 0.5 / n_classes
            self._reference = now._replace(share=torch.where(wanted, now.share, 0.0))
        else:
            trouble = self._trouble(now, self._reference)
        if trouble is None:
            self._good = self._states(net)
            self._first = self._first or self._good
        else:
            self._recover(net, trouble)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Drop the rows and the kept states."""
        self._X = self._index = self._reference = None
        self._first = self._good = None

    def state_dict(self, net):
        """Return the state after an epoch, for a checkpoint."""
        names = ("n_recoveries_", "_index", "_reference", "_first", "_good", "_set_back_at")
        return held_state(self, *names)

    def load_state_dict(self, state, net, data):
        """Restore what :meth:`state_dict` returned."""
        hold_state(self, state)  # on the CPU, as the reference is
        if self._index is not None:
            self._index = self._index.to(net.device)
        self._reference = self._reference and _Predictions(*self._reference)
        self._first, self._good = (kept and _States(*kept) for kept in (self._first, self._good))

    def _meta_model(self, net) -> MetaModel | None:
        if not any(hasattr(callback, "meta_model_") for _, callback in net.callbacks_):
            return None
        return callback_named(net, self.meta_update, "meta_update", "meta_model_").meta_model_

    def _states(self, net) -> _States:
        model = self._meta_model(net)
        return _States(
            len(net.history),
            copied_state(net.module_),
            None if model is None else copied_state(model),
        )

    def _predictions(self, net, dataset, index: Tensor) -> _Predictions:
        batches = evaluate(net, dataset, index, rows_per_pass(net))
        proba = torch.cat([logits for _, logits, _ in batches]).cpu().double().softmax(dim=1)
        mean = proba.mean(dim=0)
        information = _entropy(mean) - _entropy(proba).mean()
        share = torch.bincount(proba.argmax(dim=1), minlength=len(mean)) / len(proba)
        return _Predictions(information.item(), share, mean)

    def _trouble(self, now: _Predictions, reference: _Predictions) -> str | None:
        if not now.information > self.tolerance * reference.information - _ROUNDING:
            return "the predictions became nearly constant"
        lost = (
            (reference.share >= 0.5 / len(now.share))
            & (now.share < self.tolerance * reference.share)
            & (now.probability < _LOST_PROBABILITY * reference.probability)
        )
        if lost.any():
            return f"{int(lost.sum())} of {len(lost)} classes are hardly predicted any more"
        return None

    def _recover(self, net, trouble: str) -> None:
        self.n_recoveries_ += 1
        net.history.record("set_back", True)
        now = len(net.history)
        is_on_the_edge = now - self._set_back_at <= max(self.n_reference_epochs, 1)
        self._set_back_at = now
        target = self._first if is_on_the_edge else self._good
        assert target is not None  # the reference epoch was a good one
        net.module_.load_state_dict(target.module)
        net.optimizer_.state.clear()
        cure = "lower lr"
        model = self._meta_model(net)
        if model is not None and target.meta_model is not None:
            model.load_state_dict(target.meta_model)
            if (rate := model.slow_down()) is not None:
                cure = f"meta_lr continues at {rate:g}; pass a lower meta_lr"
        what = "reference" if is_on_the_edge else "last good"
        warn_user(
            f"Epoch {now}: {trouble}. The network was set back to the {what} epoch, "
            f"{target.epoch} ({cure} to avoid this).",
            CollapseWarning,
        )


def _weight_by_class(dataset, n_classes: int) -> Tensor:
    """Return the share of each given class in the user's weight, or ones without weights."""
    if getattr(dataset, "sample_weight", None) is None:
        return torch.ones(n_classes)
    weights = torch.bincount(dataset.targets, dataset.sample_weight, minlength=n_classes).cpu()
    return weights / weights.sum()


def _entropy(proba: Tensor) -> Tensor:
    return torch.special.entr(proba).sum(dim=-1)

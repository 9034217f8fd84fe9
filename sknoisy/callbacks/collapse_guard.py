"""Detection of and recovery from a collapse of the network under a meta update."""

from __future__ import annotations

import copy
import warnings

import torch
from sklearn.utils import check_random_state
from skorch.callbacks import Callback
from torch import Tensor

from ..exceptions import CollapseWarning
from ._evaluation import draw_rows, evaluate
from .meta_update import MetaUpdate

__all__ = ["CollapseGuard"]

_ROUNDING = 1e-12  # constant predictions have an information of not quite 0


class CollapseGuard(Callback):
    """Set a collapsing network back to its last good epoch and slow the meta model down.

    CLID has a trivial minimum, the constant prediction, and a weighting network can starve whole
    classes. After each epoch the predictions p on fixed rows are compared with those after the
    warm-up:

    - the mutual information between row and prediction, H(mean p) - mean H(p), is 0 for a constant
      prediction, however unequal the classes are;
    - a class that was predicted for at least half its even share of the rows has lost nearly all
      of them. Counting predictions passes over rare classes that noise alone made look frequent.

    If either falls below ``tolerance`` times its reference, the network and the meta model return
    to the last good epoch, both optimisers start afresh, the meta model's at a tenth of its rate,
    and a :class:`~sknoisy.exceptions.CollapseWarning` tells so.

    Parameters
    ----------
    n_reference_epochs : int, default=5
        The reference is taken after this epoch.
    tolerance : float, default=0.05
        Share of the reference below which the network counts as collapsed.
    rows : int or array-like of int, default=1000
        Rows of the training set that are watched, or how many to draw.
    random_state : int, RandomState or None, default=None
        Draws the rows.

    Attributes
    ----------
    n_recoveries_ : int
        How often the network was set back.

    Examples
    --------
    >>> from sknoisy.callbacks import CollapseGuard
    >>> CollapseGuard(tolerance=0.1).tolerance
    0.1
    """

    def __init__(self, n_reference_epochs=5, *, tolerance=0.05, rows=1000, random_state=None):
        self.n_reference_epochs = n_reference_epochs
        self.tolerance = tolerance
        self.rows = rows
        self.random_state = random_state

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Forget the reference."""
        self.n_recoveries_ = 0
        self._index: Tensor | None = None
        self._reference: tuple[float, Tensor] | None = None
        self._good: tuple[dict, dict | None] = ({}, None)

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        """Compare with the reference, recover if need be."""
        if self._index is None:
            rng = check_random_state(self.random_state)
            rows = draw_rows(len(dataset_train), self.rows, rng)
            self._index = torch.as_tensor(rows, device=net.device)
        if len(net.history) < self.n_reference_epochs:
            return
        information, share = self._predictions(net, dataset_train, self._index)
        trouble = None
        if self._reference is None:
            self._reference = information, share
        else:
            trouble = self._trouble(information, share, *self._reference)
        if trouble is None:
            self._keep(net)
        else:
            self._recover(net, trouble)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Forget the data and the kept states."""
        self._index = self._reference = None
        self._good = ({}, None)

    def _predictions(self, net, dataset, index: Tensor) -> tuple[float, Tensor]:
        """Mutual information of row and prediction, and the share of rows of each class."""
        batches = evaluate(net, dataset, index, batch_size=4096)
        proba = torch.cat([logits for _, logits, _ in batches]).double().softmax(dim=1)
        mean = proba.mean(dim=0)
        information = _entropy(mean) - _entropy(proba).mean()
        share = torch.bincount(proba.argmax(dim=1), minlength=len(mean)) / len(proba)
        return information.item(), share.cpu()

    def _trouble(
        self,
        information: float,
        share: Tensor,
        reference_information: float,
        reference_share: Tensor,
    ) -> str | None:
        if not information > self.tolerance * reference_information - _ROUNDING:
            return "the predictions became nearly constant"
        lost = (reference_share >= 0.5 / len(share)) & (share < self.tolerance * reference_share)
        if lost.any():
            return f"{int(lost.sum())} of {len(share)} classes are hardly predicted any more"
        return None

    def _keep(self, net) -> None:
        meta = _meta_update(net)
        self._good = (
            copy.deepcopy(net.module_.state_dict()),
            None if meta is None else copy.deepcopy(meta.meta_model_.state_dict()),
        )

    def _recover(self, net, trouble: str) -> None:
        self.n_recoveries_ += 1
        state, meta_state = self._good
        net.module_.load_state_dict(state)
        net.optimizer_.state.clear()
        meta = _meta_update(net)
        cure = "lower lr"
        if meta is not None and meta_state is not None:
            meta.meta_model_.load_state_dict(meta_state)
            rate = meta.meta_optimizer_.param_groups[0]["lr"] / 10
            meta.reset_optimizer(rate)
            cure = f"meta_lr continues at {rate:g}; pass a lower meta_lr"
        warnings.warn(
            f"Epoch {len(net.history)}: {trouble}. The network was set back to the last good "
            f"epoch ({cure} to avoid this).",
            CollapseWarning,
            stacklevel=2,
        )


def _entropy(proba: Tensor) -> Tensor:
    return torch.special.entr(proba).sum(dim=-1)


def _meta_update(net) -> MetaUpdate | None:
    return next((cb for _, cb in net.callbacks_ if isinstance(cb, MetaUpdate)), None)

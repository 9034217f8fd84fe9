"""One of the two nets of DivideMix, and the constants that depend on the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..._engine.batches import Batch, TrainingData
from ..._engine.net import DeviceNet
from ...meta import weighted_mean
from ...networks.batch_norm import kept_statistics
from ..semi_supervised import MixMatchNet
from ..semi_supervised.mixing import sharpen
from ..semi_supervised.mixmatch import Mixtures, of_rows

__all__ = ["DIVISION", "DivideMixNet", "default_lambda_u", "refine"]

DIVISION = "pseudo_clean"  # name of the callback that divides the rows

_FEW_WRONG, _LAMBDA_U = 0.2, 25.0


def refine(given: Tensor, predicted: Tensor, clean_proba: Tensor, temperature: float) -> Tensor:
    """Return sharpened mixtures of given labels and predictions, both (n, n_classes).

    The share of the given label is the probability (n,) that it is right.
    """
    # DivideMix, eqs. (3) and (4), label co-refinement
    return sharpen(torch.lerp(predicted, given, clean_proba[:, None]), temperature)


def default_lambda_u(noise_rate: float) -> float:
    """Return the weight of the squared error for an estimated share of wrong labels."""
    return 0.0 if noise_rate < _FEW_WRONG else _LAMBDA_U


class DivideMixNet(MixMatchNet):
    """One of the two nets of DivideMix: MixMatch by a division of the rows that the other makes.

    In the warm-up, the net learns all labels by cross-entropy. Afterwards, the rows that the other
    net, ``net.peers[0]``, takes for right are those with labels, anew in each epoch; all other
    rows of positive weight are those without. If the other net chose fewer rows than a batch, the
    rows that are most probably right are added. The targets of :class:`MixMatchNet` are changed:

    - of a row with a label, the mixture of the label and the net's own prediction, in proportion
      to the probability that the label is right, sharpened (co-refinement);
    - of a row without, the mean prediction of both nets, sharpened (co-guessing).

    Batch norm counts the views that are not mixed in its running statistics, and no mixtures: the
    rows that it divides and predicts are not mixed either.

    The callback ``"pseudo_clean"`` of each net, a :class:`~sknoisy.callbacks.PseudoCleanRows`,
    holds its division. A net that is trained alone divides the rows by its own losses and guesses
    alone.

    Parameters
    ----------
    module, criterion, **kwargs
        As in :class:`MixMatchNet`.
    n_warmup_epochs : int, default=5
        Number of epochs of cross-entropy.
    unlabeled_weight : float or None, default=None
        Weight of the squared error. None: by :func:`default_lambda_u`.
    noise_rate : float or None, default=None
        Share of wrong labels. None: the mean probability of a wrong label after the warm-up, over
        the mixtures of both nets.
    confidence_penalty : float, default=0.0
        Weight of the mean negative entropy of the predictions in the loss of the warm-up.

    Attributes
    ----------
    noise_rate_ : float or None
        Share of wrong labels; None before the warm-up ends.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.callbacks import PerSampleCrossEntropy, PseudoCleanRows
    >>> from sknoisy._engine.rows import TensorRows
    >>> from sknoisy._engine.batches import TrainingData
    >>> from sknoisy.methods.divide_mix import DivideMixNet
    >>> rows = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    >>> data = TrainingData(TensorRows(rows), (rows[:, 0] > 0).long())
    >>> net = DivideMixNet(
    ...     torch.nn.Linear(4, 2), PerSampleCrossEntropy, n_warmup_epochs=1, max_epochs=3,
    ...     callbacks=[("pseudo_clean", PseudoCleanRows(1, random_state=0))], batch_size=10,
    ...     verbose=0, generator=torch.Generator().manual_seed(0))
    >>> len(net.fit(data).history)
    3
    """

    def __init__(
        self,
        module,
        criterion,
        *,
        n_warmup_epochs: int = 5,
        unlabeled_weight: float | None = None,
        noise_rate: float | None = None,
        confidence_penalty: float = 0.0,
        **kwargs,
    ):
        super().__init__(module, criterion, unlabeled_weight=unlabeled_weight or 0.0, **kwargs)
        self.n_warmup_epochs, self.confidence_penalty = n_warmup_epochs, confidence_penalty
        self.noise_rate = noise_rate
        self.noise_rate_ = noise_rate
        self._sets_weight = unlabeled_weight is None
        self._clean_proba: Tensor | None = None

    held_names: tuple[str, ...] = (*MixMatchNet.held_names, "noise_rate_", "unlabeled_weight")

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Prepare the draws, and forget the estimate of an earlier training."""
        super().on_train_begin(net, X=X, y=y, **kwargs)
        self.noise_rate_ = self.noise_rate

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Drop what only training needs."""
        super().on_train_end(net, X=X, y=y, **kwargs)
        self._clean_proba = None

    def __getstate__(self):
        return {**super().__getstate__(), "_clean_proba": None}

    # --- the division -----------------------------------------------------------------------

    def get_iterator(self, dataset: TrainingData, training: bool = False) -> Any:
        """Return the batches of the warm-up, or of the mixtures by the present division."""
        if not training or len(self.history) <= self.n_warmup_epochs:
            return DeviceNet.get_iterator(self, dataset, training)
        nets = (self, *self.peers)
        splits = [dict(net.callbacks_)[DIVISION] for net in nets]
        self._estimate_noise(splits, dataset)
        labeled = self._divide(splits[-1], dataset)
        return super().get_iterator(dataset.only(labeled), training)

    def _estimate_noise(self, splits: list[Any], data: TrainingData) -> None:
        if self.noise_rate_ is None:
            counts = data.counts.cpu().numpy()
            clean = [split.clean_proba_[counts].mean() for split in splits]
            self.noise_rate_ = float(1 - np.mean(clean))
        if self._sets_weight:
            self.unlabeled_weight = default_lambda_u(self.noise_rate_)

    def _divide(self, split: Any, data: TrainingData) -> Tensor:
        """Return the rows with labels; the source gets the other rows of positive weight."""
        counts, clean_proba = data.counts.cpu().numpy(), split.clean_proba_
        is_labeled = np.zeros(len(data), bool)
        is_labeled[split.rows_] = True
        others = np.flatnonzero(counts & ~is_labeled)
        n_missing = max(int(self.batch_size) - int(is_labeled.sum()), 0)
        is_labeled[others[np.argsort(-clean_proba[others], kind="stable")[:n_missing]]] = True
        labeled = torch.as_tensor(is_labeled, device=data.device)
        without = ~labeled if data.sample_weight is None else ~labeled & (data.sample_weight > 0)
        self.source.set_unlabeled(without.nonzero()[:, 0])
        # To float32 first: not every device has float64.
        self._clean_proba = torch.as_tensor(clean_proba.astype(np.float32), device=data.device)
        return labeled.nonzero()[:, 0]

    # --- a step -----------------------------------------------------------------------------

    def _targets(self, views: Tensor, batch: Batch) -> Tensor:
        assert self._clean_proba is not None
        n, given = len(batch[1]), self.source.one_hot(batch[1])
        own = self._predict(self.module_, views, counts=True)
        clean_proba = self._clean_proba[batch.rows].to(given.dtype)
        refined = refine(given, own[:n], clean_proba, self.temperature)
        if n == len(own):
            return refined
        without = of_rows(views, slice(n, None))
        guesses = [own[n:], *(self._predict(peer.module_, without) for peer in self.peers)]
        # eqs. (5) and (6), co-guessing
        return torch.cat([refined, sharpen(torch.stack(guesses).mean(dim=0), self.temperature)])

    def loss_of(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Return the loss of mixtures or of a batch of the warm-up, and the logits of its rows."""
        if isinstance(batch, Mixtures):
            with kept_statistics(self.module_):
                return super().loss_of(batch)
        loss, logits = DeviceNet.loss_of(self, batch)
        if self.confidence_penalty:
            log_p = F.log_softmax(logits, dim=1)
            negative_entropy = (log_p.exp() * log_p).sum(dim=1)  # eq. (2)
            penalty = weighted_mean(negative_entropy, batch.sample_weight)
            loss = loss + self.confidence_penalty * penalty
        return loss, logits

"""Classifier for noisy labels by two networks that choose rows for each other (Co-teaching)."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor
from torch.nn import functional as F

from .._compat import Interval
from .._docs import share_docs
from .._engine.batches import Batch, TrainingData
from .._engine.held_state import held_state, hold_state
from .._engine.net import DeviceNet
from ..base import NetworkClassifier
from ..meta.models import per_sample_loss
from .noise_rate import NOISE_RATE, NoiseRate

__all__ = ["CoTeachingClassifier", "SmallLossRows", "forget_rate"]

_LEAST_SHARE = 0.25  # of the rows of a class, relative to the share of all rows


def forget_rate(noise_rate: float, epoch: int, n_ramp_epochs: int) -> float:
    """Return the share of each batch that is left out in an epoch, counted from 0.

    It grows linearly from 0 in the first epoch of the ramp to `noise_rate` in the last one.
    """
    if n_ramp_epochs <= 1:
        return noise_rate
    return noise_rate * min(epoch / (n_ramp_epochs - 1), 1)  # 1 - R(T) of the paper


class SmallLossRows(Callback):
    """Choice of the rows of small loss in each batch.

    Trusted rows are always chosen, rows without weight never. If less than a quarter as large a
    share of a given class as of all rows was chosen lately, its row of smallest loss in the batch
    is chosen, so that no class is emptied.

    Attributes
    ----------
    counts_ : Tensor of shape (2, n_classes)
        Numbers of rows of each given class, seen and chosen; each epoch halves those before.
    """

    def __init__(self, n_classes: int):
        self.n_classes = n_classes

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Begin to count."""
        self.counts_ = torch.zeros(2, self.n_classes, device=net.device)

    def on_epoch_begin(self, net, **kwargs):
        """Halve the counts."""
        self.counts_ /= 2

    def state_dict(self, net):
        """Return the state after an epoch, for a checkpoint."""
        return held_state(self, "counts_")

    def load_state_dict(self, state, net, data):
        """Restore what :meth:`state_dict` returned."""
        hold_state(self, state, net.device)

    @torch.no_grad()
    def choose(self, logits: Tensor, batch: Batch, share: float) -> Tensor:
        """Return the positions in the batch of the chosen rows, int64, in ascending order.

        Their number is ``int(share * n)`` of n rows with weight, but at least 1 and, if there are
        trusted rows, the number of those and of the rows of classes with few chosen ones.
        """
        targets, counted = batch[1], torch.ones_like(batch[1], dtype=torch.bool)
        losses, n_rows = per_sample_loss(logits, targets), len(targets)
        if batch.sample_weight is not None:
            counted = batch.sample_weight > 0
            losses, n_rows = losses.where(counted, torch.inf), int(counted.sum())
        first, n_chosen = self._left_behind(losses, targets), int(share * n_rows)
        if batch.trusted is not None:
            first |= batch.trusted & counted
            n_chosen = max(n_chosen, int(first.sum()))
        order = losses.where(~first, -torch.inf).argsort(stable=True)
        chosen = order[: max(n_chosen, 1)].sort().values
        labels = F.one_hot(targets, self.n_classes) * counted[:, None]
        self.counts_ += torch.stack([labels.sum(dim=0), labels[chosen].sum(dim=0)])
        return chosen

    def _left_behind(self, losses: Tensor, targets: Tensor) -> Tensor:
        """Return the mask of the row of smallest loss of each class with few chosen rows."""
        smallest = losses.new_full((self.n_classes,), torch.inf)
        smallest = smallest.scatter_reduce(0, targets, losses, "amin")
        seen, chosen = self.counts_
        is_behind = chosen * seen.sum() < _LEAST_SHARE * seen * chosen.sum()
        return is_behind[targets] & (losses == smallest[targets]) & losses.isfinite()


@share_docs
class CoTeachingClassifier(NetworkClassifier):
    """Classifier for noisy labels by two networks that choose rows for each other (Co-teaching).

    Networks learn right labels before wrong ones. In each batch, each of two networks chooses the
    rows of small loss, and the other one is trained on them. The share of rows that are left out
    grows to the noise rate. As the networks start differently, each filters some of the errors of
    the other one. The mean of their logits is used for prediction.

    No trusted rows are needed. Those of ``clean_mask`` are always chosen.

    Parameters
    ----------
    noise_rate : "auto" or float, default="auto"
        Share of wrong labels, in [0, 1), which is the share of the rows that are left out. "auto":
        it is estimated after three epochs, from the labels of the rows of whose class the networks
        are surest.
    n_ramp_epochs : int, default=10
        Number of epochs in which the share of left out rows grows linearly from 0. 1: it is
        constant.
    {module, module_params, optimizer, optimizer_params}
    lr : "auto" or float, default="auto"
        Learning rate of the networks. "auto": 0.05, more for larger batches.
    {lr_schedule, max_epochs, batch_size, max_time, augment, standardize, device, precision}
    callbacks : list or None, default=None
        Additional skorch callbacks. The second network receives copies of them.
    verbose : int, default=0
        1 shows a progress bar and messages.
    {random_state, pretrained, weight_average, n_ensemble}
    {warm_start, checkpoint}

    Attributes
    ----------
    {classes_, label_distribution_, purified_labels_, clean_proba_}
    noise_rate_ : float
        The value that "auto" stood for: the mean of the estimates of both networks.
    net_ : DeviceNet
        The fitted skorch net of the first network. Its module expects scaled rows.
    nets_ : list of DeviceNet
        Both fitted skorch nets.
    history_ : skorch.history.History
        Per epoch of ``net_``: ``train_loss`` on the chosen rows, ``event_lr`` and ``dur``.
    {n_iter_, batch_size_, n_features_in_, feature_names_in_, image_shape_}

    References
    ----------
    B. Han, Q. Yao, X. Yu, G. Niu, M. Xu, W. Hu, I. Tsang and M. Sugiyama. Co-teaching: Robust
    Training of Deep Neural Networks with Extremely Noisy Labels. NeurIPS 2018.

    Examples
    --------
    >>> from sknoisy import CoTeachingClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.4, random_state=0)
    >>> clf = CoTeachingClassifier(max_epochs=15, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.85)
    True
    """

    _parameter_constraints: dict = {
        **NetworkClassifier._parameter_constraints,
        "noise_rate": NOISE_RATE,
        "n_ramp_epochs": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self, *, noise_rate: str | float = "auto", n_ramp_epochs: int = 10, **shared: Any
    ):
        super().__init__(**shared)
        self.noise_rate = noise_rate
        self.n_ramp_epochs = n_ramp_epochs

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        return [
            ("noise_rate", NoiseRate(self.noise_rate)),
            ("small_loss", SmallLossRows(len(self.classes_))),
        ]

    def _networks(self, data: TrainingData, rng: np.random.RandomState) -> list[DeviceNet]:
        return self._build_pair(data, rng)

    def _joint_step(self, nets: Sequence[DeviceNet], batch: Batch) -> list[dict[str, Any]]:
        epoch = len(nets[0].history) - 1
        share = 1 - forget_rate(_mean_rate(nets), epoch, self.n_ramp_epochs)
        all_logits, chosen = [], []
        for net in nets:
            net._set_training(True)
            all_logits.append(net.infer(batch[0]))
            small_loss = dict(net.callbacks_)["small_loss"]
            chosen.append(small_loss.choose(all_logits[-1].detach(), batch, share))
        steps = []
        # Algorithm 1: each network learns from the rows that the other one has chosen.
        for net, logits, rows in zip(nets, all_logits, reversed(chosen), strict=True):
            net.share_logits(logits[rows])
            steps.append(net.train_step(batch.only(rows)))
        return steps

    def _finish(self, data: TrainingData) -> None:
        self.noise_rate_ = _mean_rate(self.nets_)


def _mean_rate(nets: Sequence[DeviceNet]) -> float:
    return sum(dict(net.callbacks_)["noise_rate"].rate_ for net in nets) / len(nets)

"""Classifier for noisy labels by sparse over-parameterisation (SOP, SOP+)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn import functional as F

from .._compat import Interval, StrOptions
from .._docs import share_docs
from .._engine.batches import Batch, TrainingData
from .._engine.net import DeviceNet
from .._engine.strong_augment import STRONG_AUGMENT
from ..base import NetworkClassifier
from ..meta import BatchOutputs, weighted_mean
from .semi_supervised.unlabeled import SemiSupervisedNet

__all__ = ["SOPClassifier", "SOPPlusNet", "SparseCorrectionLoss", "auto_lr_v"]

_START = 1e-8  # of u and v
_EPS = 1e-4  # least probability
_SWITCH_ON = 0.3  # part of the epochs after which a row that always disagrees is corrected
_LEAST_VISITS = 10
_RATIO = 0.1  # lr_u / lr_v: u also grows by the cross-entropy


def auto_lr_v(batch_size: int, max_epochs: int) -> float:
    """Return a step size with which v grows from its start to 1 in three tenths of the epochs.

    They are ten epochs at least, so that rows that are learned late are not corrected before.
    Where the network predicts another class than the given one, each visit multiplies v by
    1 + 4 lr / batch_size. A row is visited once in each epoch.
    """
    growth = (1 / _START) ** (1 / max(_SWITCH_ON * max_epochs, _LEAST_VISITS))
    return batch_size * (growth - 1) / 4


class SparseCorrectionLoss(nn.Module):
    r"""Loss of the predictions after a learned correction of each row.

    Row i with the one-hot label y has the corrections :math:`U = \min(u_i^2, 1) y` and
    :math:`V = \min(v_i^2, 1) (1 - y)`, where :math:`u_i` is a number and :math:`v_i` a vector of a
    number per class. With p the predicted probabilities, the loss is

    .. math:: -\log q_y + \lVert e + U - V - y \rVert^2 , \qquad
              q \propto \max(p + U - V, 10^{-4}) ,

    where e is one-hot at the most probable class. The network and u get the gradient of the first
    term, u and v that of the second one. Rows that the network keeps disagreeing with are
    corrected; for others, u and v stay at their start, 1e-8. Trusted rows have no correction.

    The corrections are buffers: :meth:`step` makes a step of gradient descent on those of the last
    batch, with step sizes of their own.

    Parameters
    ----------
    n_samples, n_classes : int
        Numbers of training rows and of classes.
    lr_u, lr_v : float
        Step sizes.
    balance_weight : float, default=0
        Weight of the cross-entropy of the mean q in the batch with the class shares `prior`, which
        is added to the loss of each row.
    prior : Tensor of shape (n_classes,) or None, default=None
        Class shares that sum to 1. None: equal shares.

    Attributes
    ----------
    u, v : Tensor of shape (n_samples, 1) and (n_samples, n_classes)
        The corrections.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.meta import BatchOutputs
    >>> from sknoisy.methods.sop import SparseCorrectionLoss
    >>> loss = SparseCorrectionLoss(4, 2, lr_u=1.0, lr_v=1.0)
    >>> logits, y = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1])
    >>> losses = loss(BatchOutputs(logits, None, y, rows=torch.tensor([2, 3])))
    >>> losses.detach().round(decimals=2)  # cross-entropy, and 2 for the wrong prediction
    tensor([0.1300, 4.1300])
    """

    u: Tensor
    v: Tensor
    prior: Tensor

    def __init__(
        self,
        n_samples: int,
        n_classes: int,
        *,
        lr_u: float,
        lr_v: float,
        balance_weight: float = 0.0,
        prior: Tensor | None = None,
    ):
        super().__init__()
        self.lr_u, self.lr_v, self.balance_weight = lr_u, lr_v, balance_weight
        self.register_buffer("u", torch.full((n_samples, 1), _START))
        self.register_buffer("v", torch.full((n_samples, n_classes), _START))
        prior = torch.full((n_classes,), 1 / n_classes) if prior is None else prior
        self.register_buffer("prior", prior)
        self._visited: tuple[Tensor, Tensor | None, Tensor, Tensor] | None = None

    def forward(self, batch: BatchOutputs) -> Tensor:
        """Return the loss of each row, shape (n,)."""
        assert batch.rows is not None
        u, v = (values[batch.rows].requires_grad_() for values in (self.u, self.v))
        self._visited = batch.rows, batch.sample_weight, u, v
        logits = batch.logits.to(u.dtype)
        given = F.one_hot(batch.targets, logits.shape[1]).to(u)
        push, pull = (u.square() * given).clamp(0, 1), (v.square() * (1 - given)).clamp(0, 1)
        if batch.trusted is not None:
            push, pull = (part * ~batch.trusted[:, None] for part in (push, pull))
        corrected = _corrected(logits.softmax(dim=1), push, pull)
        losses = -(given * corrected.log()).sum(dim=1)
        predicted = F.one_hot(logits.argmax(dim=1), logits.shape[1]).to(u)
        losses = losses + (predicted + push - pull - given).square().sum(dim=1)
        if self.balance_weight:
            losses = losses + self.balance_weight * self._imbalance(corrected, batch.sample_weight)
        return losses

    def _imbalance(self, corrected: Tensor, weights: Tensor | None) -> Tensor:
        """Return the cross-entropy of the mean corrected prediction with the prior."""
        if weights is not None:
            corrected = corrected * weights[:, None] / weights.mean().clamp(min=_EPS)
        return -(self.prior * corrected.mean(dim=0).clamp(_EPS, 1).log()).sum()

    @torch.no_grad()
    def step(self) -> None:
        """Make a step of gradient descent on u and v in the rows of the last batch.

        The steps do not depend on sample weights: a heavy row is not corrected sooner.
        """
        assert self._visited is not None
        (rows, weights, u, v), self._visited = self._visited, None
        for values, part, lr in ((self.u, u, self.lr_u), (self.v, v, self.lr_v)):
            assert part.grad is not None  # step follows the backward pass
            gradient = part.grad
            if weights is not None:
                gradient = gradient / weights.clamp(min=_EPS)[:, None]
            values[rows] = part - lr * gradient


def _corrected(proba: Tensor, push: Tensor, pull: Tensor) -> Tensor:
    """Return the corrected predictions q, all in [1e-4, 1]."""
    corrected = (proba + push - pull.detach()).clamp(min=_EPS)
    return (corrected / corrected.sum(dim=1, keepdim=True).clamp(min=_EPS)).clamp(_EPS, 1)


class _CorrectionStep(Callback):
    """Step of the corrections after each backward pass."""

    def on_grad_computed(self, net, **kwargs):
        net.criterion_.row_loss.step()


class SOPPlusNet(SemiSupervisedNet):
    """Net of SOP+: a weak and a strong view of each row in one forward pass.

    The criterion is computed on the weak views. To it is added ``consistency_weight`` times the
    divergence of the predictions for the strong views from those for the weak ones,
    KL(weak || strong), which are treated as constants.

    Parameters
    ----------
    module, criterion, **kwargs
        As in ``DeviceNet``.
    consistency_weight : float
        Weight of the divergence.
    generator : torch.Generator
        Generator on the CPU of the draws of the views, if the data have no augmentation.
    """

    def __init__(self, module, criterion, *, consistency_weight: float, generator, **kwargs):
        super().__init__(
            module,
            criterion,
            unlabeled=None,
            alpha=0.0,
            corruption_rate=None,
            generator=generator,
            **kwargs,
        )
        self.consistency_weight = consistency_weight

    def loss_of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch and the logits of its weak views."""
        X, y = batch
        views = torch.cat([self.source.weak(X), self.source.strong(X)])
        weak, strong = self.infer(views).chunk(2)
        self.criterion_.batch = batch
        loss = self.criterion_(weak, y)
        divergence = weighted_mean(consistency(weak, strong), batch.sample_weight)
        return loss + self.consistency_weight * divergence, weak


def consistency(weak: Tensor, strong: Tensor) -> Tensor:
    """Return KL(weak || strong) of the predictions of each row; the weak ones are constants."""
    predicted, target = strong.log_softmax(dim=1), weak.detach().log_softmax(dim=1)
    return F.kl_div(predicted, target, reduction="none", log_target=True).sum(dim=1)


@share_docs
class SOPClassifier(NetworkClassifier):
    """Classifier for noisy labels by sparse over-parameterisation (SOP, SOP+).

    Each training row has a correction, which is added to the prediction in the loss and starts
    near 0. Where the network keeps disagreeing with the given label, the correction grows and
    takes up the label, and the network is no longer pulled towards it. Other rows are not
    corrected. SOP+ adds a strong view of each row, for which the network should predict the same,
    and a penalty if a class is predicted too rarely.

    No trusted rows are needed. Those of ``clean_mask`` are not corrected.

    Parameters
    ----------
    plus : bool, default=False
        Whether to train by SOP+.
    lr_u, lr_v : "auto" or float, default="auto"
        Step sizes of the corrections towards the given class and away from the other ones.
        They are constant over the epochs. "auto": ``lr_v`` is such that a row with which the
        network always disagrees is corrected after three tenths of the epochs, and ``lr_u`` is a
        tenth of ``lr_v``.
    consistency_weight : float, default=0.9
        Weight of the divergence of the predictions for strong views in SOP+.
    balance_weight : float, default=0.1
        Weight of the penalty for classes that are predicted too rarely in SOP+.
    {strong_augment, module, module_params, optimizer, optimizer_params}
    lr : "auto" or float, default="auto"
        Learning rate of the network. "auto": 0.05, more for larger batches.
    {lr_schedule, max_epochs, batch_size, max_time, augment, standardize, device, precision}
    {callbacks}
    verbose : int, default=0
        1 shows a progress bar and messages.
    {random_state, pretrained, weight_average, n_ensemble}
    {warm_start, checkpoint}

    Attributes
    ----------
    {classes_, label_distribution_, purified_labels_, clean_proba_}
    lr_u_, lr_v_ : float
        The values that "auto" stood for.
    {net_}
    history_ : skorch.history.History
        Per epoch: ``train_loss``, ``event_lr`` and ``dur``.
    {n_iter_, batch_size_, n_features_in_, feature_names_in_, image_shape_}

    References
    ----------
    S. Liu, Z. Zhu, Q. Qu and C. You. Robust Training under Label Noise by Over-parameterization.
    ICML 2022.

    Examples
    --------
    >>> from sknoisy import SOPClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.4, random_state=0)
    >>> clf = SOPClassifier(max_epochs=30, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.85)
    True
    """

    _parameter_constraints: dict = {
        **NetworkClassifier._parameter_constraints,
        "plus": ["boolean"],
        "strong_augment": STRONG_AUGMENT,
        "lr_u": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "lr_v": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "consistency_weight": [Interval(Real, 0, None, closed="left")],
        "balance_weight": [Interval(Real, 0, None, closed="left")],
    }

    _strong_views = "autoaugment"

    def __init__(
        self,
        *,
        plus: bool = False,
        lr_u: str | float = "auto",
        lr_v: str | float = "auto",
        consistency_weight: float = 0.9,
        balance_weight: float = 0.1,
        strong_augment: str | Callable[..., Tensor] | None = "auto",
        **shared: Any,
    ):
        super().__init__(**shared)
        self.plus = plus
        self.lr_u = lr_u
        self.lr_v = lr_v
        self.consistency_weight = consistency_weight
        self.balance_weight = balance_weight
        self.strong_augment = strong_augment

    def _loss(self, data: TrainingData) -> Callable[[BatchOutputs], Tensor]:
        lr_v = auto_lr_v(min(self.batch_size_, len(data)), self.max_epochs_)
        self.lr_v_ = lr_v if self.lr_v == "auto" else float(self.lr_v)
        self.lr_u_ = _RATIO * lr_v if self.lr_u == "auto" else float(self.lr_u)
        counts = torch.bincount(data.targets, data.sample_weight, len(self.classes_)).float()
        return SparseCorrectionLoss(
            len(data),
            len(self.classes_),
            lr_u=self.lr_u_,
            lr_v=self.lr_v_,
            balance_weight=self.balance_weight if self.plus else 0.0,
            prior=counts / counts.sum(),
        )

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        return [("corrections", _CorrectionStep())]

    def _networks(self, data: TrainingData, rng: np.random.RandomState) -> list[DeviceNet]:
        if not self.plus:
            return super()._networks(data, rng)
        generator = torch.Generator().manual_seed(int(rng.randint(np.iinfo(np.int32).max)))
        net_class = partial(
            SOPPlusNet, consistency_weight=self.consistency_weight, generator=generator
        )
        return [self._build_net(data, rng, net_class=net_class)]

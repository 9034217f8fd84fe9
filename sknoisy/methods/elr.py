"""Classifier for noisy labels by early-learning regularisation (ELR, ELR+)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._compat import Interval, StrOptions
from .._docs import share_docs
from .._engine.batches import Batch, TrainingData, row_order
from .._engine.net import DeviceNet
from .._engine.sizes import auto_teacher_decay
from ..base import NetworkClassifier
from ..callbacks import TeacherAverage
from ..meta import BatchOutputs
from ..meta.models import per_sample_loss
from ..networks.precision import logits_of
from .semi_supervised.mixing import mixing_share, mixup

__all__ = ["ELRClassifier", "EarlyLearningLoss"]

_EPS = 1e-4  # bound of the probabilities, as in the released code


class EarlyLearningLoss(nn.Module):
    r"""Cross-entropy with early-learning regularisation, for each row.

    The loss of a row with label y, predicted probabilities p and target t is

    .. math:: -\log p_y + \lambda \log(1 - \langle p, t \rangle) ,

    where t is the moving average of the row's predictions:
    :math:`t \leftarrow \beta t + (1 - \beta) p` at each visit. Probabilities are clipped to
    [1e-4, 1 - 1e-4], and those in t are normalised. The target of a trusted row is its label.

    Parameters
    ----------
    n_samples, n_classes : int
        Numbers of training rows and of classes.
    memory_decay : float
        Beta, in [0, 1).
    reg_weight : float
        Lambda, not negative.

    Attributes
    ----------
    memory : Tensor of shape (n_samples, n_classes)
        The targets; zeros before the first visit of a row.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.meta import BatchOutputs
    >>> from sknoisy.methods.elr import EarlyLearningLoss
    >>> loss = EarlyLearningLoss(4, 2, memory_decay=0.7, reg_weight=3.0)
    >>> rows = torch.tensor([2, 3])
    >>> loss(BatchOutputs(torch.zeros(2, 2), None, torch.tensor([0, 1]), rows=rows)).shape
    torch.Size([2])
    >>> loss.memory[2:].sum(dim=1)
    tensor([0.3000, 0.3000])
    """

    memory: Tensor

    def __init__(self, n_samples: int, n_classes: int, *, memory_decay: float, reg_weight: float):
        super().__init__()
        self.memory_decay, self.reg_weight = memory_decay, reg_weight
        self.register_buffer("memory", torch.zeros(n_samples, n_classes))

    @torch.no_grad()
    def remember(self, batch: BatchOutputs) -> Tensor:
        """Update the memory by the logits of a batch; return its rows, (n, n_classes)."""
        assert batch.rows is not None
        proba = _probabilities(batch.logits)
        proba /= proba.sum(dim=1, keepdim=True)
        last = self.memory[batch.rows]
        targets = self.memory_decay * last + (1 - self.memory_decay) * proba  # ELR, eq. (9)
        if batch.trusted is not None:
            given = F.one_hot(batch.targets, proba.shape[1]).to(targets)
            targets = torch.where(batch.trusted[:, None], given, targets)
        self.memory[batch.rows] = targets.to(self.memory)
        return targets

    def regularizer(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return lambda log(1 - <p, t>) of each row, for targets t (n, n_classes)."""
        agreement = (targets * _probabilities(logits)).sum(dim=1)
        return self.reg_weight * torch.log1p(-agreement)  # ELR, eq. (6)

    def forward(self, batch: BatchOutputs) -> Tensor:
        """Return the loss of each row, shape (n,), after the update of the memory."""
        targets = self.remember(batch)
        losses = per_sample_loss(batch.logits, batch.targets)
        return losses + self.regularizer(batch.logits, targets)


class MixedEarlyLearningLoss(EarlyLearningLoss):
    """The loss of ELR+ on mixtures of rows.

    ``mixed`` are the mixtures of the targets t, and ``batch.targets`` those of the one-hot labels
    times their sample weights, both of shape (n, n_classes). The net sets ``mixed`` before the
    loss is called.
    """

    mixed: Tensor

    def forward(self, batch: BatchOutputs) -> Tensor:
        """Return the loss of each mixture, shape (n,)."""
        losses = -(batch.targets * batch.logits.log_softmax(dim=1)).sum(dim=1)
        weights = batch.targets.sum(dim=1)
        return losses + weights * self.regularizer(batch.logits, self.mixed)


class ELRPlusNet(DeviceNet):
    """One of the two nets of ELR+.

    Each needs the callback ``"teacher"``, a :class:`~sknoisy.callbacks.TeacherAverage`. In each
    step, the teacher of the other net predicts the rows of the batch, and these predictions are
    averaged in the memory. Rows, labels and targets are then mixed with those of other rows of the
    batch, in the same way.

    Parameters
    ----------
    module, criterion, **kwargs
        As in ``DeviceNet``. The criterion has a :class:`MixedEarlyLearningLoss`.
    alpha : float
        Parameter of the beta distribution of the mixing shares. 0: rows are not mixed.

    Attributes
    ----------
    generator : torch.Generator
        Generator on the CPU of the shares and of the pairs of rows.
    """

    def __init__(self, module, criterion, *, alpha: float, **kwargs):
        super().__init__(module, criterion, **kwargs)
        self.alpha, self.generator = alpha, torch.Generator()

    held_names: tuple[str, ...] = ("generator", "_shares")

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Seed the draws of the shares."""
        super().on_train_begin(net, X=X, y=y, **kwargs)
        seed = torch.randint(2**62, (), generator=self.generator).item()
        self._shares = np.random.default_rng(int(seed))

    def loss_of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch and the logits of its mixtures."""
        X, y = batch
        loss = self.criterion_.row_loss
        with torch.no_grad():
            logits = logits_of(_teacher(self.peers[0]), X)
        targets = loss.remember(
            BatchOutputs(logits, None, y, trusted=batch.trusted, rows=batch.rows)
        )
        labels = F.one_hot(y, logits.shape[1]).to(logits)
        if batch.sample_weight is not None:
            labels = labels * batch.sample_weight[:, None]
        share = mixing_share(self.alpha if X.is_floating_point() else 0.0, self._shares)
        pairs = row_order(len(y), self.generator, y.device)
        mixed = partial(mixup, share=share, permutation=pairs)
        loss.mixed = mixed(targets)
        logits = self.infer(mixed(X) if share < 1 else X)
        return self.criterion_(logits, mixed(labels)), logits


def _probabilities(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1).clamp(_EPS, 1 - _EPS)


@share_docs
class ELRClassifier(NetworkClassifier):
    """Classifier for noisy labels by early-learning regularisation (ELR, ELR+).

    Networks learn right labels before wrong ones. ELR averages the predictions for each training
    row over the epochs, and holds the network to this average: the gradient of a label that it
    contradicts is cancelled. ELR+ trains two networks, each held to the predictions of the other
    one's weight average, on mixtures of rows.

    No trusted rows are needed. The target of those in ``clean_mask`` is their label.

    Parameters
    ----------
    plus : bool, default=False
        Whether to train by ELR+.
    memory_decay : float, default=0.7
        Share beta of its past that the average of a row's predictions keeps at each visit, in
        [0, 1).
    reg_weight : "auto" or float, default="auto"
        Weight lambda of the regularisation. 0: plain cross-entropy. "auto": 3 for tables, else 1.
        The paper has 3 and 1, for symmetric and asymmetric noise; 3 holds a network for images to
        what it predicts before it has learned much, unless training is long.
    mixup_alpha : "auto" or float, default="auto"
        Parameter of the beta distribution from which ELR+ draws the share of a row in its mixture,
        anew for each batch. 0: rows are not mixed. Nor are rows of integers, such as tokens.
        "auto": 0 for tables, else 1.
    {module, module_params, optimizer, optimizer_params}
    lr : "auto" or float, default="auto"
        Learning rate of the network. "auto": 0.05, more for larger batches.
    {lr_schedule, max_epochs, batch_size, max_time, augment, standardize, device, precision}
    callbacks : list or None, default=None
        Additional skorch callbacks. The second network of ELR+ receives copies of them.
    verbose : int, default=0
        1 shows a progress bar and messages.
    {random_state, pretrained, weight_average, n_ensemble}
    {warm_start, checkpoint}

    Attributes
    ----------
    {classes_, label_distribution_, purified_labels_, clean_proba_}
    reg_weight_, mixup_alpha_ : float
        Values that "auto" stood for. ``mixup_alpha_`` is absent without ELR+.
    net_ : DeviceNet
        The fitted skorch net, with ELR+ of the first network. Its module expects scaled rows.
    nets_ : list of DeviceNet
        All fitted skorch nets: two with ELR+.
    history_ : skorch.history.History
        Per epoch of ``net_``: ``train_loss``, ``event_lr`` and ``dur``.
    {n_iter_, batch_size_, n_ranks_, n_features_in_, feature_names_in_, image_shape_}

    References
    ----------
    S. Liu, J. Niles-Weed, N. Razavian and C. Fernandez-Granda. Early-Learning Regularization
    Prevents Memorization of Noisy Labels. NeurIPS 2020.

    Examples
    --------
    >>> from sknoisy import ELRClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.4, random_state=0)
    >>> clf = ELRClassifier(max_epochs=30, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.85)
    True
    """

    _parameter_constraints: dict = {
        **NetworkClassifier._parameter_constraints,
        "plus": ["boolean"],
        "memory_decay": [Interval(Real, 0, 1, closed="left")],
        "reg_weight": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "mixup_alpha": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        plus: bool = False,
        memory_decay: float = 0.7,
        reg_weight: str | float = "auto",
        mixup_alpha: str | float = "auto",
        **shared: Any,
    ):
        super().__init__(**shared)
        self.plus = plus
        self.memory_decay = memory_decay
        self.reg_weight = reg_weight
        self.mixup_alpha = mixup_alpha

    def _check_settings(self) -> None:
        super()._check_settings()
        if self.plus and self.weight_average is not None:
            raise ValueError(
                f"weight_average={self.weight_average!r} has no place in ELR+, whose networks "
                "have averages of their own: pass weight_average=None, or plus=False."
            )

    def _loss(self, data: TrainingData) -> Callable[[BatchOutputs], Tensor]:
        made = MixedEarlyLearningLoss if self.plus else EarlyLearningLoss
        by_rows = 3.0 if data.is_table else 1.0
        self.reg_weight_ = by_rows if self.reg_weight == "auto" else float(self.reg_weight)
        return made(
            len(data),
            len(self.classes_),
            memory_decay=self.memory_decay,
            reg_weight=self.reg_weight_,
        )

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        if not self.plus:
            return []
        decay = auto_teacher_decay(self._n_steps(len(data)))
        return [("teacher", TeacherAverage(decay))]

    def _networks(self, data: TrainingData, rng: np.random.RandomState) -> list[DeviceNet]:
        if not self.plus:
            return super()._networks(data, rng)
        by_rows = 0.0 if data.is_table else 1.0
        self.mixup_alpha_ = by_rows if self.mixup_alpha == "auto" else float(self.mixup_alpha)
        net_class = partial(ELRPlusNet, alpha=self.mixup_alpha_)
        nets = self._build_pair(data, rng, net_class=net_class)
        for net in nets:  # after the nets, whose batches are thus those of plain training
            net.generator.manual_seed(int(rng.randint(np.iinfo(np.int32).max)))
        return nets

    @property
    def _teacher(self) -> str | None:
        return "teacher" if self.plus else super()._teacher


def _teacher(net: DeviceNet) -> nn.Module:
    return dict(net.callbacks_)["teacher"].teacher_

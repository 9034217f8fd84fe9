"""FixMatch and FlexMatch: confident predictions on weak views are the labels of strong views."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice, repeat

import torch
from torch import Tensor
from torch.nn import functional as F

from ..._engine.batches import Batch, Batches, TrainingData
from ..._engine.net import DeviceNet
from ...networks.precision import logits_of
from ..noise_rate import NoiseRate
from .unlabeled import SemiSupervisedNet

__all__ = ["ConfidenceByNoise", "FixMatchNet", "FlexMatchNet"]

_THRESHOLD = 0.95  # of clean labels, as in the papers


class FixMatchNet(SemiSupervisedNet):
    """Net with cross-entropy on rows with labels, and on confident rows without (FixMatch).

    Each step takes a batch of rows with labels and ``unlabeled_ratio`` as many rows without. The
    pseudo-label of a row without label is the most probable class of its weak view. The loss is

        cross-entropy of weak views of the rows with labels
        + ``unlabeled_weight`` * mean over the rows without labels of the cross-entropy of the
        strong view and the pseudo-label, or 0 where the probability is below ``threshold``.

    Weights of the rows with labels come from the criterion and its guide. The sample weight of a
    row without label multiplies its term. Trusted rows among the rows without labels keep their
    labels, whatever the network predicts.

    An epoch is a pass over all rows: the rows with labels are repeated until all full batches of
    the others have been used, or the other way round.

    Parameters
    ----------
    module, criterion, **kwargs
        As in ``DeviceNet``.
    unlabeled : Tensor of shape (m,)
        Rows of the training data whose labels are not read, int64. They may be rows with labels.
    threshold : float or None, default=0.95
        Least probability of a pseudo-label. None: only the rows with labels are learned, until a
        callback sets the attribute ``threshold``.
    unlabeled_weight : float, default=1.0
        Weight of the second term.
    unlabeled_ratio : int, default=1
        Rows without labels per row with a label in a step.
    generator : torch.Generator
        Generator on the CPU of the order of the rows without labels.

    Notes
    -----
    Pseudo-labels are made in eval mode, as in :class:`MixMatchNet`: dropout adds no noise to them,
    and no gradient is computed of the weak views.

    References
    ----------
    K. Sohn et al., FixMatch: Simplifying Semi-Supervised Learning with Consistency and
    Confidence, NeurIPS 2020.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.callbacks import PerSampleCrossEntropy
    >>> from sknoisy._engine.rows import TensorRows
    >>> from sknoisy._engine.batches import TrainingData
    >>> from sknoisy.methods.semi_supervised import FixMatchNet
    >>> data = TrainingData(TensorRows(torch.randn(30, 4)), torch.arange(30) % 2)
    >>> net = FixMatchNet(
    ...     torch.nn.Linear(4, 2), PerSampleCrossEntropy, unlabeled=torch.arange(30),
    ...     generator=torch.Generator().manual_seed(0), max_epochs=2, batch_size=10, verbose=0)
    >>> len(net.fit(data.only(torch.arange(10))).history)
    2
    """

    def __init__(
        self,
        module,
        criterion,
        *,
        unlabeled: Tensor,
        threshold: float | None = _THRESHOLD,
        unlabeled_weight: float = 1.0,
        unlabeled_ratio: int = 1,
        generator: torch.Generator,
        **kwargs,
    ):
        super().__init__(
            module,
            criterion,
            unlabeled=unlabeled,
            alpha=0.0,
            corruption_rate=0.0,
            generator=generator,
            **kwargs,
        )
        self.threshold, self.unlabeled_weight = threshold, unlabeled_weight
        self.unlabeled_ratio, self.n_unlabeled = unlabeled_ratio, len(unlabeled)

    held_names: tuple[str, ...] = (*SemiSupervisedNet.held_names, "threshold")

    def get_iterator(self, dataset: TrainingData, training: bool = False):
        """Return batches of weak views of the rows with labels, as many as an epoch has steps."""
        batches = Batches(dataset, self.batch_size, self.order if training else None)
        if not training:
            return batches
        n_full = self.n_unlabeled // (self.unlabeled_ratio * self.batch_size)
        return _Repeated(batches, max(len(batches), n_full))

    def loss_of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch and the logits of its rows."""
        if self.threshold is None:
            return DeviceNet.loss_of(self, batch)
        others = self.source.next_unlabeled()
        labels, is_confident = self._pseudo_labels(others, self.threshold)
        loss, logits = DeviceNet.loss_of(self, batch)
        of_strong = logits_of(self.module_, self.source.strong(others[0]))
        losses = F.cross_entropy(of_strong, labels, reduction="none") * is_confident
        if others.sample_weight is not None:
            losses = losses * others.sample_weight
        return loss + self.unlabeled_weight * losses.mean(), logits  # FixMatch, eqs. (3) and (4)

    @torch.no_grad()
    def _pseudo_labels(self, batch: Batch, threshold: float) -> tuple[Tensor, Tensor]:
        """Return the labels of rows, and whether they are confident, both of shape (n,)."""
        self._set_training(False)
        logits = logits_of(self.module_, self.source.weak(batch[0]))
        self._set_training(True)
        confidence, labels = logits.softmax(dim=1).max(dim=1)
        is_confident = confidence >= self._thresholds(batch.rows, labels, confidence, threshold)
        if batch.trusted is not None:
            labels = torch.where(batch.trusted, batch[1], labels)
            is_confident = is_confident | batch.trusted
        return labels, is_confident

    def _thresholds(
        self, rows: Tensor, labels: Tensor, confidence: Tensor, threshold: float
    ) -> Tensor | float:
        """Return the least probabilities of the pseudo-labels of some rows."""
        return threshold


class FlexMatchNet(FixMatchNet):
    r"""FixMatch with a threshold for each class, lower for classes learned late (FlexMatch).

    Each row remembers the last pseudo-label whose probability reached ``threshold``. With
    :math:`n_k` rows that remember class k and :math:`n_0` that remember none, the threshold of the
    class is

    .. math:: \tau \frac{a_k}{2 - a_k}, \qquad a_k = \frac{n_k}{\max(n_0, n_1, \dots, n_K)} .

    Parameters
    ----------
    module, criterion, **kwargs
        As in :class:`FixMatchNet`.

    References
    ----------
    B. Zhang et al., FlexMatch: Boosting Semi-Supervised Learning with Curriculum Pseudo Labeling,
    NeurIPS 2021.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.callbacks import PerSampleCrossEntropy
    >>> from sknoisy._engine.rows import TensorRows
    >>> from sknoisy._engine.batches import TrainingData
    >>> from sknoisy.methods.semi_supervised import FlexMatchNet
    >>> data = TrainingData(TensorRows(torch.randn(30, 4)), torch.arange(30) % 2)
    >>> net = FlexMatchNet(
    ...     torch.nn.Linear(4, 2), PerSampleCrossEntropy, unlabeled=torch.arange(30),
    ...     generator=torch.Generator().manual_seed(0), max_epochs=2, batch_size=10, verbose=0)
    >>> len(net.fit(data.only(torch.arange(10))).history)
    2
    """

    _remembered: Tensor | None = None
    _counts: Tensor | None = None

    held_names: tuple[str, ...] = (*FixMatchNet.held_names, "_remembered", "_counts")

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Begin with rows that remember no pseudo-label."""
        super().on_train_begin(net, X=X, y=y, **kwargs)
        n_classes = self.source.one_hot(X.targets[:1]).shape[1]
        # The last class stands for none.
        self._remembered = torch.full((len(X),), n_classes, device=X.device)
        self._counts = torch.zeros(n_classes + 1, dtype=torch.int64, device=X.device)
        self._counts[-1] = self.n_unlabeled

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Drop what only training needs."""
        super().on_train_end(net, X=X, y=y, **kwargs)
        self._remembered = self._counts = None

    def __getstate__(self):
        return {**super().__getstate__(), "_remembered": None, "_counts": None}

    def _thresholds(
        self, rows: Tensor, labels: Tensor, confidence: Tensor, threshold: float
    ) -> Tensor:
        assert self._remembered is not None
        assert self._counts is not None
        thresholds = flexible_thresholds(self._counts, threshold)[labels]
        before = self._remembered[rows]
        now = torch.where(confidence >= threshold, labels, before)
        ones = torch.ones_like(rows)
        self._counts.index_add_(0, before, -ones).index_add_(0, now, ones)
        self._remembered[rows] = now
        return thresholds


class ConfidenceByNoise(NoiseRate):
    """Set the threshold of a net to 0.95 times the estimated share of right labels.

    A network that has learned a share r of wrong labels predicts the right class with probability
    1 - r at best, so that nothing would reach the threshold of the papers. The rate r is estimated
    as by :class:`~sknoisy.methods.noise_rate.NoiseRate`. Until then, there are no pseudo-labels:
    those of a random network would mislead the estimate.
    """

    def __init__(self) -> None:
        super().__init__("auto")

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Begin without pseudo-labels."""
        super().on_train_begin(net, X=X, y=y, **kwargs)
        net.threshold = None

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        """Estimate the noise rate at the end of the warm-up, and set the threshold."""
        super().on_epoch_end(net, dataset_train=dataset_train, **kwargs)
        if self.is_known_:
            net.threshold = _THRESHOLD * (1 - self.rate_)


def flexible_thresholds(counts: Tensor, threshold: float) -> Tensor:
    """Return the thresholds (n_classes,) of FlexMatch.

    `counts` (n_classes + 1,) are the rows that remember each class, and last those that remember
    none.
    """
    learned = counts[:-1] / counts.max().clamp(min=1)  # FlexMatch, eqs. (5), (6) and (11)
    return threshold * learned / (2 - learned)  # eqs. (7) and (12)


class _Repeated:
    """The first n batches of one epoch after the other."""

    def __init__(self, batches: Batches, n: int):
        self.batches, self.n = batches, n

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[Batch]:
        return islice(chain.from_iterable(repeat(self.batches)), self.n)

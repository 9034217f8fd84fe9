"""Meta models that correct labels instead of weighting rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .models import BatchOutputs, MetaModel, per_sample_loss

__all__ = ["LabelCorrector", "SoftLabelCorrector", "TransitionCorrector"]

_ADAM = partial(torch.optim.Adam, lr=1e-3)
_TRUST = 2.0  # initial bias of a gate, which then starts at sigmoid(2) = 0.88


class _SoftLabels(MetaModel):
    """Base class of the meta models whose guidance is a soft label per row."""

    def forward(self, batch: BatchOutputs) -> Tensor:
        """Return soft labels (n, n_classes) on the simplex; trusted rows keep the given label."""
        labels = self.correct(batch)
        if batch.trusted is not None:
            given = _one_hot(batch.targets, labels)
            labels = torch.where(batch.trusted[:, None], given, labels)
        return labels

    def correct(self, batch: BatchOutputs) -> Tensor:
        """Return the soft labels of all rows, regardless of trust."""
        raise NotImplementedError

    def row_losses(self, logits: Tensor, guidance: Tensor, batch: BatchOutputs) -> Tensor:
        """Return the cross-entropy of each row with its soft label."""
        return -(guidance * logits.log_softmax(dim=1)).sum(dim=1)

    def sample_weight(self, batch: BatchOutputs) -> Tensor:
        """Return the probability of the given label under the soft label."""
        return self(batch).gather(1, batch.targets[:, None])[:, 0]


class LabelCorrector(_SoftLabels):
    """Soft label as a learned function of penultimate features and given label.

    Features and an embedding of the label go through two tanh layers to a softmax.

    Parameters
    ----------
    n_features : int
        Width of the penultimate features.
    n_classes : int
        Number of classes.
    n_embedding : int, default=128
        Width of the label embedding.
    n_hidden : int, default=128
        Width of both hidden layers.
    skip : bool, default=False
        Whether to mix the given label in, ``(1 - s) * output + s * given`` with a learned s in
        (0, 1), as the released code does for Clothing1M. s starts near 0.88, so that given labels
        are trusted at first and correction is learned.
    trust_meta_rows : bool, default=False
        Whether rows of the meta set keep their labels in training, too.
    optimizer : callable, default=functools.partial(torch.optim.Adam, lr=1e-3)
        Called with the meta parameters; returns their optimiser. See :class:`MetaModel`.

    References
    ----------
    G. Zheng et al., Meta Label Correction for Noisy Label Learning, AAAI 2021, section 3.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.meta import BatchOutputs, LabelCorrector
    >>> batch = BatchOutputs(torch.zeros(4, 2), torch.zeros(4, 3), torch.tensor([0, 1, 0, 1]))
    >>> labels = LabelCorrector(n_features=3, n_classes=2)(batch)
    >>> torch.allclose(labels.sum(dim=1), torch.ones(4))
    True
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        *,
        n_embedding: int = 128,
        n_hidden: int = 128,
        skip: bool = False,
        trust_meta_rows: bool = False,
        optimizer: Callable[..., torch.optim.Optimizer] = _ADAM,
    ):
        super().__init__(optimizer)
        self.trust_meta_rows = trust_meta_rows
        self.embedding = nn.Embedding(n_classes, n_embedding)
        self.body = nn.Sequential(
            nn.Linear(n_features + n_embedding, n_hidden),
            nn.Tanh(),
            nn.Linear(n_hidden, n_hidden),
            nn.Tanh(),
        )
        self.output = nn.Linear(n_hidden, n_classes)
        self.gate = nn.Linear(n_hidden, 1) if skip else None
        if self.gate is not None:
            nn.init.constant_(self.gate.bias, _TRUST)

    def correct(self, batch: BatchOutputs) -> Tensor:
        """Return the softmax of the output, mixed with the given label if `skip` is True."""
        assert batch.features is not None  # set in every batch for a meta model
        hidden = self.body(torch.cat([batch.features, self.embedding(batch.targets)], dim=1))
        labels = self.output(hidden).softmax(dim=1)
        if self.gate is None:
            return labels
        return torch.lerp(labels, _one_hot(batch.targets, labels), self.gate(hidden).sigmoid())


class SoftLabelCorrector(_SoftLabels):
    r"""Soft label mixed from the given label, the row's last soft label and the prediction.

    .. math::

        \tilde y_t = a\, y + (1 - a) (b\, \tilde y_{t-1} + (1 - b)\, p_t), \qquad
        a = A(\mathrm{CE}(p_t, y)), \quad b = B(\mathrm{CE}(p_t, \tilde y_{t-1}))

    where A and B are two networks 1 - ReLU(n_hidden) - sigmoid. a starts near 0.88, so that given
    labels are trusted at first and correction is learned. The soft label of each row is kept from
    epoch to epoch; in the warm-up it is the prediction, and before the first visit the given
    label.

    Parameters
    ----------
    n_samples : int
        Number of rows of the training set.
    n_classes : int
        Number of classes.
    n_hidden : int, default=100
        Width of the hidden layers of A and B.
    targets : {"soft", "hard"}, default="soft"
        "soft": the equation above, as in the paper. "hard": the last soft label and the prediction
        are replaced by their most probable class in the loss, as in the released code.
    optimizer : callable, default=functools.partial(torch.optim.Adam, lr=1e-3)
        Called with the meta parameters; returns their optimiser. See :class:`MetaModel`.

    Attributes
    ----------
    memory : Tensor of shape (n_samples, n_classes)
        Soft labels; zeros for rows that have not been visited.

    References
    ----------
    Y. Wu et al., Learning to Purify Noisy Labels via Meta Soft Label Corrector, AAAI 2021.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.meta import BatchOutputs, SoftLabelCorrector
    >>> rows, y = torch.arange(4), torch.tensor([0, 1, 0, 1])
    >>> batch = BatchOutputs(torch.zeros(4, 2), torch.zeros(4, 3), y, rows=rows)
    >>> SoftLabelCorrector(n_samples=4, n_classes=2)(batch).shape
    torch.Size([4, 2])
    """

    def __init__(
        self,
        n_samples: int,
        n_classes: int,
        *,
        n_hidden: int = 100,
        targets: str = "soft",
        optimizer: Callable[..., torch.optim.Optimizer] = _ADAM,
    ):
        super().__init__(optimizer)
        if targets not in ("soft", "hard"):
            raise ValueError(f"targets must be 'soft' or 'hard', got {targets!r}.")
        self.targets = targets
        self.trust_given = _gate(n_hidden, _TRUST)
        self.trust_memory = _gate(n_hidden)
        self.memory: Tensor
        self.register_buffer("memory", torch.zeros(n_samples, n_classes))
        self._next: Tensor | None = None

    def correct(self, batch: BatchOutputs) -> Tensor:
        """Return the new soft labels; they are stored after the actual step."""
        if batch.rows is None:
            raise TypeError(
                "SoftLabelCorrector keeps a soft label for each row, but the batches have no row "
                "numbers: fit a sknoisy classifier, or use batches with an attribute `rows`."
            )
        proba = batch.logits.softmax(dim=1)
        given = _one_hot(batch.targets, proba)
        last = self.memory[batch.rows]
        last = torch.where(last.sum(dim=1, keepdim=True) > 0, last, given)
        log_proba = batch.logits.log_softmax(dim=1)
        a = self.trust_given(-(given * log_proba).sum(dim=1, keepdim=True))
        b = self.trust_memory(-(last * log_proba).sum(dim=1, keepdim=True))
        soft = a * given + (1 - a) * (b * last + (1 - b) * proba)
        self._next = soft.detach()
        if self.targets == "soft":
            return soft
        last, proba = (_one_hot(p.argmax(dim=1), p) for p in (last, proba))
        return a * given + (1 - a) * (b * last + (1 - b) * proba)

    def observe(self, batch: BatchOutputs, guidance: Tensor | None) -> None:
        """Store the soft labels of the batch, or its predictions in the warm-up."""
        if batch.rows is None:
            return
        kept = batch.logits.softmax(dim=1) if guidance is None else self._next
        assert kept is not None
        self.memory[batch.rows] = kept.to(self.memory)

    def sample_weight(self, batch: BatchOutputs) -> Tensor:
        """Return the share a of the given label."""
        share = self.trust_given(per_sample_loss(batch.logits, batch.targets)[:, None])[:, 0]
        return share if batch.trusted is None else torch.where(batch.trusted, 1.0, share)


class TransitionCorrector(MetaModel):
    r"""A transition matrix on the logits that is computed anew for each batch.

    In each batch, T starts at the identity and takes one step against the meta gradient,
    :math:`T \leftarrow \max(T - \eta \, \partial M / \partial T, 0)`. Its columns are then scaled
    to sum 1; columns of zeros are not changed. The training loss is the cross-entropy of the
    logits z T. Trusted rows and predictions use the logits z.

    Parameters
    ----------
    n_classes : int
        Number of classes.
    step_size : float, default=0.11
        Step size :math:`\eta`.
    trust_meta_rows : bool, default=False
        Whether rows of the meta set keep their labels in training, too.

    Attributes
    ----------
    mean_transition : Tensor of shape (n_classes, n_classes)
        Mean of T over the batches.

    References
    ----------
    Z. Wang et al., Training Noise-Robust Deep Neural Networks via Meta-Learning, CVPR 2020.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.meta import BatchOutputs, TransitionCorrector
    >>> batch = BatchOutputs(torch.zeros(4, 2), torch.zeros(4, 3), torch.tensor([0, 1, 0, 1]))
    >>> corrector = TransitionCorrector(n_classes=2, step_size=1.0)
    >>> corrector.begin_batch(4)
    >>> corrector.learn([torch.tensor([[0.0, -1.0], [2.0, 0.0]])])
    >>> corrector(batch)
    tensor([[1.0000, 0.5000],
            [0.0000, 0.5000]])
    """

    def __init__(self, n_classes: int, *, step_size: float = 0.11, trust_meta_rows: bool = False):
        super().__init__()
        self.step_size, self.trust_meta_rows = step_size, trust_meta_rows
        self.mean_transition: Tensor
        self.n_batches: Tensor
        self.register_buffer("mean_transition", torch.eye(n_classes))
        self.register_buffer("n_batches", torch.zeros(()))
        self._transition = torch.eye(n_classes)

    def meta_parameters(self) -> list[Tensor]:
        """Return the matrix of this batch."""
        return [self._transition]

    def begin_batch(self, n_rows: int) -> None:
        """Set the matrix to the identity."""
        mean = self.mean_transition
        self._transition = torch.eye(
            len(mean), dtype=mean.dtype, device=mean.device, requires_grad=True
        )

    def learn(self, gradients: Sequence[Tensor]) -> None:
        """Make one step, keep its positive part and scale the columns to sum 1."""
        step = (self._transition.detach() - self.step_size * gradients[0]).clamp(min=0)
        total = step.sum(dim=0)
        self._transition = step / torch.where(total > 0, total, 1.0)

    def slow_down(self) -> float:
        """Take a tenth of the step size, which is returned."""
        self.step_size /= 10
        return self.step_size

    def forward(self, batch: BatchOutputs) -> Tensor:
        """Return the matrix, shape (n_classes, n_classes); it is the same for all rows."""
        return self._transition

    def row_losses(self, logits: Tensor, guidance: Tensor, batch: BatchOutputs) -> Tensor:
        """Return the cross-entropy of the transformed logits; trusted rows use them unchanged."""
        transformed = logits @ guidance
        if batch.trusted is not None:
            transformed = torch.where(batch.trusted[:, None], logits, transformed)
        return per_sample_loss(transformed, batch.targets)

    def observe(self, batch: BatchOutputs, guidance: Tensor | None) -> None:
        """Update the mean matrix."""
        if guidance is not None:
            self.n_batches += 1
            self.mean_transition += (guidance.detach() - self.mean_transition) / self.n_batches

    def sample_weight(self, batch: BatchOutputs) -> Tensor:
        """Return the probability of the given label under the logits z."""
        proba = batch.logits.softmax(dim=1).gather(1, batch.targets[:, None])[:, 0]
        return proba if batch.trusted is None else torch.where(batch.trusted, 1.0, proba)


def _one_hot(targets: Tensor, like: Tensor) -> Tensor:
    return F.one_hot(targets, like.shape[1]).to(like)


def _gate(n_hidden: int, bias: float | None = None) -> nn.Sequential:
    """Return a network from a loss to (0, 1); `bias` is the initial bias of its output."""
    output = nn.Linear(n_hidden, 1)
    if bias is not None:
        nn.init.constant_(output.bias, bias)
    return nn.Sequential(nn.Linear(1, n_hidden), nn.ReLU(), output, nn.Sigmoid())

"""Weighting networks: WNet of Meta-Weight-Net and variational rectification (VRI)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .models import BatchOutputs, MetaModel, balance_weights, per_sample_loss

__all__ = ["VRI", "WNet", "gaussian_kl"]

_START_LOSSES = (0.0, 4.0)  # small and large, whose weights are compared at the start
_SGD = partial(torch.optim.SGD, lr=0.1)
_ADAM = partial(torch.optim.Adam, lr=1e-5)


class WNet(MetaModel):
    """Weight of a sample as a learned function of its loss: 1 - ReLU(n_hidden) - sigmoid.

    At the start, the weight of a large loss is at most that of a small loss: a random output layer
    that violates this changes its sign. Few or short meta steps cannot turn such a start.

    Parameters
    ----------
    n_hidden : int, default=100
        Width of the hidden layer.
    exponent : float or Tensor of shape (n_classes,), default=0.0
        Degree in [0, 1] to which each given class keeps its share of the batch, see
        :func:`~sknoisy.meta.balance_weights`; 0 is the published normalisation over the batch.
    loss : callable, default=per_sample_loss
        ``loss(logits, targets)`` returns the training loss of each row, shape (n,). The default is
        the cross-entropy; :class:`~sknoisy.meta.LDAMLoss` is another.
    optimizer : callable, default=functools.partial(torch.optim.SGD, lr=0.1)
        Called with the meta parameters; returns their optimiser. See :class:`MetaModel`.

    References
    ----------
    J. Shu et al., Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting, NeurIPS
    2019, section 2.2.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.meta import BatchOutputs, WNet
    >>> batch = BatchOutputs(torch.zeros(4, 2), torch.zeros(4, 3), torch.tensor([0, 1, 0, 1]))
    >>> WNet()(batch).sum().item()
    1.0
    """

    weights_can_vanish = False  # a sigmoid is positive, and the weights are divided by the largest

    def __init__(
        self,
        n_hidden: int = 100,
        exponent: float | Tensor = 0.0,
        loss: Callable[[Tensor, Tensor], Tensor] = per_sample_loss,
        optimizer: Callable[..., torch.optim.Optimizer] = _SGD,
    ):
        super().__init__(optimizer)
        self.loss = loss
        self.hidden = nn.Linear(1, n_hidden)
        self.output = nn.Linear(n_hidden, 1)
        self._start_decreasing()
        exponents = torch.as_tensor(exponent, dtype=torch.float32)
        if not ((exponents >= 0) & (exponents <= 1)).all():
            raise ValueError(f"exponent must lie in [0, 1], got {exponent!r}.")
        self.exponent: Tensor | None
        self.register_buffer("exponent", exponents if exponents.any() else None)

    @torch.no_grad()
    def _start_decreasing(self) -> None:
        """Turn the sign of the output layer if a row of large loss has the larger weight."""
        small, large = self.weigh(torch.tensor(_START_LOSSES))
        if small < large:
            self.output.weight.neg_()

    @torch.no_grad()
    def flatten_start(self, factor: float) -> None:
        """Multiply the slope of the score by a factor from 0, which makes all weights equal."""
        self.output.weight.mul_(factor)

    def weigh(self, losses: Tensor) -> Tensor:
        """Return the weights v in (0, 1) of per-sample losses, shape (n,)."""
        hidden = F.relu(self.hidden(losses[:, None]))
        return self.output(hidden).sigmoid()[:, 0]

    def forward(self, batch: BatchOutputs) -> Tensor:
        """Return the normalised weights of a batch, times the user's sample weights.

        Before normalisation, a trusted row has the largest weight of the batch.
        """
        weights = self.weigh(self.loss(batch.logits, batch.targets))
        if batch.trusted is not None:
            # With a fixed weight, the meta model would lower all other weights: this fits the
            # trusted rows, which are also in the meta set.
            counted = weights
            if batch.sample_weight is not None:
                counted = torch.where(batch.sample_weight > 0, weights, 0.0)
            weights = torch.where(batch.trusted, counted.amax(), weights)
        exponent = self.exponent
        if exponent is not None:
            exponent = exponent.to(weights).expand(batch.logits.shape[1])
        classes = _classes(batch.targets)
        return balance_weights(weights, classes, exponent, batch.sample_weight)

    def training_loss(self, logits: Tensor, guidance: Tensor, batch: BatchOutputs) -> Tensor:
        """Return the weighted sum of the row losses; the guidance includes sample weights."""
        return (guidance * self.loss(logits, batch.targets)).sum()

    def sample_weight(self, batch: BatchOutputs) -> Tensor:
        """Return the weights v before normalisation; 1 for trusted rows."""
        weights = self.weigh(self.loss(batch.logits, batch.targets))
        return weights if batch.trusted is None else torch.where(batch.trusted, 1.0, weights)


def _classes(targets: Tensor) -> Tensor:
    """Return targets (n,), or the most probable classes of distributions (n, n_classes)."""
    return targets if targets.ndim == 1 else targets.argmax(dim=1)


def gaussian_kl(mean: Tensor, std: Tensor, prior_mean: Tensor, prior_std: Tensor) -> Tensor:
    """Return KL(N(mean, std) || N(prior_mean, prior_std)), the mean over all entries.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.meta import gaussian_kl
    >>> round(gaussian_kl(*torch.tensor([0.5, 0.8, 0.0, 1.0], dtype=torch.float64)).item(), 6)
    0.168144
    """
    ratio = (std**2 + (mean - prior_mean) ** 2) / (2 * prior_std**2)
    return (torch.log(prior_std / std) + ratio - 0.5).mean()


class VRI(MetaModel):
    """Variational rectification: a random vector that scales the logits of every sample.

    The posterior q(v | x, y) reads penultimate features and an embedding of the given label; the
    prior p(v | x) is the same network with the embedding replaced by zeros. A draw is
    v = sigmoid(mean + std * noise), and the training loss is the cross-entropy of softmax(v * z).
    The embedding of a soft label is that of its most probable class.

    Parameters
    ----------
    n_features : int
        Width d of the penultimate features.
    n_classes : int
        Number of classes.
    n_embedding : int, default=64
        Width of the label embedding.
    hidden : tuple of int, default=(1024, 512, 512)
        Widths of the tanh layers.
    kl_weight : float, default=0.0
        Weight of KL(posterior || prior) in the meta loss. The released code adds the term to the
        training loss of the virtual step instead, where the features are detached, so that it has
        no gradient and no effect; the default is equivalent to this.
    loss : callable, default=per_sample_loss
        ``loss(logits, targets)`` returns the training loss of each row, shape (n,), from scaled
        logits.
    optimizer : callable, default=functools.partial(torch.optim.Adam, lr=1e-5)
        Called with the meta parameters; returns their optimiser. See :class:`MetaModel`.

    References
    ----------
    Variational Rectification Inference for Learning with Noisy Labels, IJCV 2024; its use under
    CLID in arXiv:2507.11807.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.meta import BatchOutputs, VRI
    >>> batch = BatchOutputs(torch.zeros(4, 2), torch.zeros(4, 3), torch.tensor([0, 1, 0, 1]))
    >>> VRI(n_features=3, n_classes=2)(batch).shape
    torch.Size([4, 2])
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        *,
        n_embedding: int = 64,
        hidden: tuple[int, ...] = (1024, 512, 512),
        kl_weight: float = 0.0,
        loss: Callable[[Tensor, Tensor], Tensor] = per_sample_loss,
        optimizer: Callable[..., torch.optim.Optimizer] = _ADAM,
    ):
        super().__init__(optimizer)
        self.kl_weight, self.loss = kl_weight, loss
        self.embedding = nn.Embedding(n_classes, n_embedding)
        widths = (n_features + n_embedding, *hidden)
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [nn.Linear(n_in, n_out), nn.Tanh()]
        self.body = nn.Sequential(*layers)
        self.mean = nn.Linear(widths[-1], n_classes)
        self.log_variance = nn.Linear(widths[-1], n_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)

    def gaussian(self, features: Tensor | None, targets: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return mean and std (n, n_classes) of the posterior, or of the prior without targets."""
        assert features is not None  # set in every batch for a meta model
        if targets is None:
            embedded = features.new_zeros(len(features), self.embedding.embedding_dim)
        else:
            embedded = self.embedding(_classes(targets))
        hidden = self.body(torch.cat([features, embedded], dim=1))
        return self.mean(hidden), (self.log_variance(hidden) / 2).exp()

    def forward(self, batch: BatchOutputs) -> Tensor:
        """Return one draw v of the posterior per row, shape (n, n_classes)."""
        mean, std = self.gaussian(batch.features, batch.targets)
        scale = (mean + std * torch.randn_like(mean)).sigmoid()
        if batch.trusted is not None:  # a trusted label needs no rectification
            scale = torch.where(batch.trusted[:, None], 1.0, scale)
        return scale

    def row_losses(self, logits: Tensor, guidance: Tensor, batch: BatchOutputs) -> Tensor:
        """Return the loss of the scaled logits of each row."""
        return self.loss(logits * guidance, batch.targets)

    def penalty(self, batch: BatchOutputs) -> Tensor | None:
        """Return kl_weight * KL(posterior || prior), None if the weight is 0."""
        if not self.kl_weight:
            return None
        posterior = self.gaussian(batch.features, batch.targets)
        return self.kl_weight * gaussian_kl(*posterior, *self.gaussian(batch.features, None))

    def sample_weight(self, batch: BatchOutputs) -> Tensor:
        """Return the probability of the given label, rectified at the posterior's mean."""
        mean, _ = self.gaussian(batch.features, batch.targets)
        proba = (batch.logits * mean.sigmoid()).softmax(dim=1)
        weights = proba.gather(1, batch.targets[:, None])[:, 0]
        return weights if batch.trusted is None else torch.where(batch.trusted, 1.0, weights)

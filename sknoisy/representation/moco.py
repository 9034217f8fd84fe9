"""MoCo: contrast two views of a row with a queue of earlier rows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import get_ema_multi_avg_fn

from .._compat import Interval, StrOptions
from .._engine.augment import Augmentation
from .._engine.rows import Rows
from ..networks.precision import logits_of
from ._augment import NAMES, check_augment, resolve_augment
from ._base import BaseRepresentation, share_docs
from .encoder import Projected

__all__ = ["MoCo", "MomentumContrast", "queue_info_nce"]


class MomentumContrast(nn.Module):
    """Query network, key network (its moving average), and a queue of earlier keys.

    Parameters
    ----------
    network : Projected
        The query network.
    projection_dim : int
        Number of columns of its output.
    queue_size : int
        Number of keys in the queue, which starts with random directions.
    momentum : float
        Momentum of the key network's moving average.
    """

    queue: Tensor

    def __init__(self, network: nn.Module, projection_dim: int, queue_size: int, momentum: float):
        super().__init__()
        self.momentum = momentum
        self.query = network
        self.key = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(queue_size, projection_dim), dim=1))

    def forward(self, views: Tensor) -> Tensor:
        """Return the similarities of n queries to their own keys and to those of the queue.

        In training, the key network is updated before the keys are computed, and the queue
        afterwards.

        Parameters
        ----------
        views : Tensor of shape (2n, ...)
            n first views, which give the queries, then n second views, which give the keys.

        Returns
        -------
        similarity : Tensor of shape (n, 1 + queue_size)
            Cosines; the own key comes first.
        """
        first, second = views.chunk(2)
        queries = F.normalize(logits_of(self.query, first), dim=1)
        with torch.no_grad():
            if self.training:
                self._follow()
            keys = F.normalize(logits_of(self.key, second), dim=1)
        own = (queries * keys).sum(dim=1, keepdim=True)
        similarity = torch.cat([own, queries @ self.queue.T], dim=1)
        if self.training:  # the newest keys come first
            self.queue = torch.cat([keys, self.queue])[: len(self.queue)]
        return similarity

    def _follow(self) -> None:
        """Update the key network: MoCo, eq. (2)."""
        average = get_ema_multi_avg_fn(self.momentum)
        average([*self.key.parameters()], [*self.query.parameters()], None)


def queue_info_nce(similarity: Tensor, temperature: float) -> Tensor:
    """Compute the cross-entropy of n queries that classify their own key among all keys.

    Parameters
    ----------
    similarity : Tensor of shape (n, 1 + queue_size)
        Cosines; the own key comes first.
    temperature : float
        Divides the similarities.

    Returns
    -------
    loss : Tensor of shape ()
        Mean over the queries; log(1 + queue_size) if all keys are equally similar.
    """
    own = torch.zeros(len(similarity), dtype=torch.int64, device=similarity.device)
    return F.cross_entropy(similarity / temperature, own)  # MoCo, eq. (1)


@share_docs
class MoCo(BaseRepresentation):
    """Self-supervised features of images and tables by MoCo.

    As in :class:`SimCLR`, the network learns to recognise a view of a row by another view of the
    same row, here among the rows of a queue of earlier batches instead of the rest of the batch,
    so batches may be small. A second network, the moving average of the first, computes the
    entries of the queue, so that old entries stay comparable with new ones.

    Parameters
    ----------
    queue_size : int, default=4096
        Number of earlier rows in the queue, at most the number of training rows.
    momentum : float, default=0.99
        Share that the averaged network keeps of itself in each step. The paper's 0.999 needs tens
        of thousands of steps.
    temperature : float, default=0.2
        Divides the similarities in the loss; the lower, the more the nearest rows count.
    {augment}

        - "flip+crop+color", "crop+color", "flip+crop" or "crop", for images: "crop" cuts out a
          rectangle of a fifth of the area or more and enlarges it, "flip" mirrors half of the
          images, "color" changes brightness and contrast and, of three channels, hue and
          saturation.
        - "corruption", for tables: 30 % of the entries of each row are replaced by values of the
          same columns in other rows.
        - "auto": "flip+crop+color" for images, "corruption" for tables.
        - a callable: ``augment(rows, generator)``, on whole batches as the network sees them.
        - None: the views differ by the dropout of the network only.
    {encoder, encoder_params, projection_dim, optimizer}
    optimizer_params : dict or None, default=None
        Further arguments of the optimiser. ``weight_decay`` is 1e-4 by default.
    {lr, lr_schedule, max_epochs}
    batch_size : int, default=128
        Rows per batch.
    {standardize, device, precision, checkpoint, callbacks, verbose, random_state}

    Attributes
    ----------
    {encoder_, net_, history_, n_iter_, precision_}
    queue_size_ : int
        Length of the queue.
    {n_features_in_, feature_names_in_, image_shape_}

    See Also
    --------
    SimCLR : Compares within the batch.
    SCARF : Made for tables.

    References
    ----------
    K. He, H. Fan, Y. Wu, S. Xie and R. Girshick. Momentum Contrast for Unsupervised Visual
    Representation Learning. CVPR 2020.

    X. Chen, H. Fan, R. Girshick and K. He. Improved Baselines with Momentum Contrastive Learning.
    2020. (The projection head, the change of colours, and the temperature.)

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sknoisy.representation import MoCo
    >>> X = load_digits().images[:500, ..., None]
    >>> moco = MoCo(augment="crop+color", max_epochs=2, random_state=0).fit(X)
    >>> moco.transform(X).shape, moco.queue_size_
    ((500, 64), 500)
    """

    _parameter_constraints: dict = {
        **BaseRepresentation._parameter_constraints,
        "queue_size": [Interval(Integral, 1, None, closed="left")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "augment": [StrOptions(NAMES), None, callable],
    }
    _weight_decay = 1e-4
    _loss = staticmethod(queue_info_nce)

    def __init__(
        self,
        *,
        queue_size: int = 4096,
        momentum: float = 0.99,
        temperature: float = 0.2,
        augment: str | Callable[..., Tensor] | None = "auto",
        encoder=None,
        encoder_params: dict[str, Any] | None = None,
        projection_dim: int = 128,
        optimizer="adam",
        optimizer_params: dict[str, Any] | None = None,
        lr: float = 1e-3,
        lr_schedule="cosine",
        max_epochs: int = 100,
        batch_size: int = 128,
        standardize: str | bool = "auto",
        device="auto",
        precision: str = "auto",
        checkpoint=None,
        callbacks: list | None = None,
        verbose: int = 0,
        random_state=None,
    ):
        super().__init__(
            encoder=encoder,
            encoder_params=encoder_params,
            projection_dim=projection_dim,
            temperature=temperature,
            optimizer=optimizer,
            optimizer_params=optimizer_params,
            lr=lr,
            lr_schedule=lr_schedule,
            max_epochs=max_epochs,
            batch_size=batch_size,
            standardize=standardize,
            device=device,
            precision=precision,
            checkpoint=checkpoint,
            callbacks=callbacks,
            verbose=verbose,
            random_state=random_state,
        )
        self.queue_size = queue_size
        self.momentum = momentum
        self.augment = augment

    def _check_method(self, X) -> None:
        check_augment(self.augment, X, type(self).__name__)

    def _views(self, rows: Rows) -> tuple[Augmentation | None, Augmentation | None]:
        augment = resolve_augment(self.augment, rows, self._scaling)
        return augment, augment

    def _module(self, network: Projected, n_rows: int) -> nn.Module:
        self.queue_size_ = min(self.queue_size, n_rows)
        return MomentumContrast(network, self.projection_dim, self.queue_size_, self.momentum)

"""SCARF: contrastive learning on tables by random feature corruption."""

from __future__ import annotations

from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .._compat import Interval
from .._engine.augment import Augmentation
from .._engine.rows import Rows
from .._engine.views import FeatureCorruption
from ._augment import check_corruption
from ._base import BaseRepresentation, share_docs

__all__ = ["SCARF", "info_nce"]


def info_nce(projections: Tensor, temperature: float) -> Tensor:
    """Compute the cross-entropy of n rows that classify their own among n corrupted copies.

    Parameters
    ----------
    projections : Tensor of shape (2n, p)
        n rows, then their copies in the same order.
    temperature : float
        Divides the cosine similarities.

    Returns
    -------
    loss : Tensor of shape ()
        Mean over the rows; log n if copies are no more similar than the rest.
    """
    # SCARF, Algorithm 1: s_ij and the loss, without its constant -log n
    rows, copies = F.normalize(projections, dim=1).chunk(2)
    own = torch.arange(len(rows), device=rows.device)
    return F.cross_entropy(rows @ copies.T / temperature, own)


@share_docs
class SCARF(BaseRepresentation):
    """Self-supervised features of tables by random feature corruption (SCARF).

    In a copy of each row, most entries are replaced by values of the same columns in other rows.
    An encoder under a small projection head learns to match copies with rows, and so learns how
    columns depend on each other. After training, the head is dropped, and the encoder's output
    gives the features. No labels are used, so wrong labels do no harm.

    Parameters
    ----------
    corruption_rate : float, default=0.6
        Share of the columns that are replaced in a copy, rounded down to whole columns, but at
        least one column.
    temperature : float, default=1.0
        Divides the similarities in the loss; the lower, the more the nearest rows count.
    encoder : None, nn.Module class, factory or instance, default=None
        The network; it returns features (n, d). None: an MLP of four layers of 256 units. If the
        module has timm's ``get_classifier``, its last layer is removed. An instance is
        deep-copied.
    {encoder_params}
    projection_dim : int, default=256
        Number of columns of the projection head's output, which the loss compares.
    {optimizer}
    optimizer_params : dict or None, default=None
        Further arguments of the optimiser.
    {lr, lr_schedule, max_epochs}
    batch_size : int, default=128
        Rows per batch. Each row is contrasted with all others of its batch.
    {standardize, device, precision, checkpoint, callbacks, verbose, random_state}

    Attributes
    ----------
    {encoder_, net_, history_, n_iter_, precision_}
    n_features_in_ : int
        Number of columns.
    {feature_names_in_}
    image_shape_ : None
        Always None; the other transformers also take images.

    See Also
    --------
    SimCLR : Takes images, and tables with augmentations of your own.

    References
    ----------
    D. Bahri, H. Jiang, Y. Tay and D. Metzler. SCARF: Self-Supervised Contrastive Learning using
    Random Feature Corruption. ICLR 2022.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sknoisy.representation import SCARF
    >>> X, y = load_digits(return_X_y=True)
    >>> SCARF(max_epochs=2, random_state=0).fit_transform(X).shape
    (1797, 256)
    """

    _parameter_constraints: dict = {
        **BaseRepresentation._parameter_constraints,
        "corruption_rate": [Interval(Real, 0, 1, closed="both")],
    }
    _loss = staticmethod(info_nce)

    def __init__(
        self,
        *,
        corruption_rate: float = 0.6,
        temperature: float = 1.0,
        encoder=None,
        encoder_params: dict[str, Any] | None = None,
        projection_dim: int = 256,
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
        self.corruption_rate = corruption_rate

    def _check_method(self, X) -> None:
        if X.ndim != 2:
            raise ValueError(
                f"SCARF takes tables, but X has the shape {X.shape}. Use SimCLR or MoCo."
            )
        if self.corruption_rate > 0:
            check_corruption(X, type(self).__name__)

    def _views(self, rows: Rows) -> tuple[Augmentation | None, Augmentation | None]:
        return None, FeatureCorruption(rows, self.corruption_rate)

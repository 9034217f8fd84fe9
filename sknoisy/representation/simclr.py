"""SimCLR: contrast two views of a row with all other rows of the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .._compat import StrOptions
from .._engine.augment import Augmentation
from .._engine.rows import Rows
from ._augment import NAMES, check_augment, resolve_augment
from ._base import BaseRepresentation, share_docs

__all__ = ["SimCLR", "nt_xent"]


def nt_xent(projections: Tensor, temperature: float) -> Tensor:
    """Compute the normalised, temperature-scaled cross-entropy of n pairs.

    Parameters
    ----------
    projections : Tensor of shape (2n, p)
        Rows i and n + i are a pair.
    temperature : float
        Divides the cosine similarities.

    Returns
    -------
    loss : Tensor of shape ()
        Mean over the 2n rows; log(2n - 1) if partners are no more similar than the rest.
    """
    z = F.normalize(projections, dim=1)
    # SimCLR, eq. (1): softmax of s_ik / tau over all k except i
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    similarity = (z @ z.T / temperature).masked_fill(itself, -torch.inf)
    partners = torch.arange(len(z), device=z.device).roll(len(z) // 2)
    return F.cross_entropy(similarity, partners)


@share_docs
class SimCLR(BaseRepresentation):
    """Self-supervised features of images and tables by SimCLR.

    Two random views are made of each row. An encoder under a small projection head learns which
    two views in a batch come from the same row. After training, the head is dropped, and the
    encoder's output gives the features. No labels are used, so wrong labels do no harm.

    Parameters
    ----------
    temperature : float, default=0.5
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
        Further arguments of the optimiser. ``weight_decay`` is 1e-6 by default.
    {lr, lr_schedule, max_epochs}
    batch_size : int, default=128
        Rows per batch. Each row is contrasted with all others of its batch, so a step on a larger
        batch learns more; with few data, the number of steps matters more.
    {standardize, device, precision, checkpoint, callbacks, verbose, random_state}

    Attributes
    ----------
    {encoder_, net_, history_, n_iter_, precision_, n_features_in_, feature_names_in_}
    {image_shape_}

    See Also
    --------
    MoCo : Contrasts with a queue of earlier batches; an epoch costs a quarter less.
    SCARF : Made for tables.

    References
    ----------
    T. Chen, S. Kornblith, M. Norouzi and G. Hinton. A Simple Framework for Contrastive Learning of
    Visual Representations. ICML 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sknoisy.representation import SimCLR
    >>> digits = load_digits()
    >>> X, y = digits.images[:500, ..., None], digits.target[:500]
    >>> simclr = SimCLR(augment="crop+color", max_epochs=2, random_state=0)
    >>> simclr.fit_transform(X).shape
    (500, 64)
    >>> model = make_pipeline(simclr, LogisticRegression(max_iter=500)).fit(X, y)
    >>> model.predict(X[:3]).shape
    (3,)
    """

    _parameter_constraints: dict = {
        **BaseRepresentation._parameter_constraints,
        "augment": [StrOptions(NAMES), None, callable],
    }
    _weight_decay = 1e-6
    _loss = staticmethod(nt_xent)

    def __init__(
        self,
        *,
        temperature: float = 0.5,
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
        self.augment = augment

    def _check_method(self, X) -> None:
        check_augment(self.augment, X, type(self).__name__)

    def _views(self, rows: Rows) -> tuple[Augmentation | None, Augmentation | None]:
        augment = resolve_augment(self.augment, rows, self._scaling)
        return augment, augment

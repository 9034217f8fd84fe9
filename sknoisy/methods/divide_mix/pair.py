"""What an estimator needs to train two nets of DivideMix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..._engine.batches import TrainingData
from ..._engine.label_distribution import spread_over_others
from ..._engine.net import DeviceNet
from ...callbacks import PseudoCleanRows
from .net import DIVISION, DivideMixNet

__all__ = ["division", "label_distribution_of", "net_of", "new_net"]

_ALPHA_OF_TABLES, _ALPHA_OF_IMAGES = 0.2, 4.0


def division(
    n_warmup_epochs: int, seed: int, *, threshold: float = 0.5, noise_rate: str | float = "auto"
) -> PseudoCleanRows:
    """Return the callback that divides the rows for the other net.

    If the mixture does not separate the rows, the share of right labels is taken from each class:
    half of the rows, unless `noise_rate` is given.
    """
    share = 0.5 if noise_rate == "auto" else 1 - float(noise_rate)
    return PseudoCleanRows(
        n_warmup_epochs,
        threshold=threshold,
        stratify=False,
        fallback_share=share,
        random_state=seed,
    )


def new_net(
    module: Any,
    criterion: Any,
    *,
    is_image: bool,
    alpha: str | float = "auto",
    lambda_u: str | float = "auto",
    noise_rate: str | float = "auto",
    **settings: Any,
) -> DivideMixNet:
    """Return a net with a generator of its own, seeded by torch's."""
    if alpha == "auto":
        alpha = _ALPHA_OF_IMAGES if is_image else _ALPHA_OF_TABLES
    return DivideMixNet(
        module,
        criterion,
        alpha=float(alpha),
        unlabeled_weight=None if lambda_u == "auto" else float(lambda_u),
        noise_rate=None if noise_rate == "auto" else float(noise_rate),
        generator=torch.Generator().manual_seed(int(torch.randint(2**31, ()))),
        **settings,
    )


def net_of(estimator: Any, module: Any, criterion: Any, **settings: Any) -> DivideMixNet:
    """Return a net for an estimator that has the framework's defaults.

    Its ``n_warmup_epochs_`` is read here, since callbacks that set it are made before the net.
    """
    is_image, n_warmup_epochs = estimator.image_shape_ is not None, estimator.n_warmup_epochs_
    return new_net(
        module, criterion, is_image=is_image, n_warmup_epochs=n_warmup_epochs, **settings
    )


def label_distribution_of(
    nets: Sequence[DeviceNet], data: TrainingData, proba: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distribution of each row's label, (n, n_classes), by the last division.

    The given label has the mean probability of both nets that it is right; the rest is divided
    among the other classes in proportion to the predictions `proba`. Rows without a label or a
    weight, and all rows if training ended in the warm-up, have the predictions.
    """
    found = [dict(net.callbacks_)[DIVISION].clean_proba_ for net in nets]
    if any(clean_proba is None for clean_proba in found):
        return proba
    given = data.given.cpu().numpy()
    distribution = spread_over_others(np.mean(found, axis=0), proba, given)
    return np.where(data.counts.cpu().numpy()[:, None], distribution, proba)

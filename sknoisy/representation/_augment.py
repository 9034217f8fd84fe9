"""The parameter ``augment`` of SimCLR and MoCo: its names, checks and functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .._engine.augment import Augmentation, resolve_augmentation
from .._engine.rows import Rows
from .._engine.scaling import InputScaling, is_image
from .._engine.views import FeatureCorruption, ImageViews

__all__ = ["NAMES", "check_augment", "check_corruption", "resolve_augment"]

_FOR_IMAGES = {
    "flip+crop+color": {"flip": True, "color": True},
    "crop+color": {"flip": False, "color": True},
    "flip+crop": {"flip": True, "color": False},
    "crop": {"flip": False, "color": False},
}
NAMES = {"auto", "corruption", *_FOR_IMAGES}

# Both views are corrupted here; SCARF corrupts 60 % of one view.
_RATE = 0.3


def check_corruption(X, name: str) -> None:
    """Check that a table has several columns: one that is replaced leaves nothing of its row.

    Raises
    ------
    ValueError
        If X has one column; `name` is that of the estimator.
    """
    if X.shape[1] == 1:
        raise ValueError(
            f"X has 1 feature(s), but {name} learns how columns depend on each other: it needs at "
            "least 2."
        )


def check_augment(augment: Any, X, name: str) -> None:
    """Check that the augmentation suits the rows.

    Raises
    ------
    ValueError
        If `augment` is made for images and X is a table, or the other way round, if X is neither,
        or a table of one column. `name` is that of the estimator.
    """
    if X.ndim != 2 and not is_image(X):
        if isinstance(augment, str):
            raise ValueError(
                f"augment={augment!r} is made for images and tables, but X has the shape "
                f"{X.shape}. Pass a function of rows and generator that returns a view of them."
            )
        return
    if augment in _FOR_IMAGES and not is_image(X):
        raise ValueError(
            f"augment={augment!r} is made for images, but X is a table of shape {X.shape}. Pass "
            '"auto" or "corruption", or images of shape (n, H, W, C).'
        )
    if augment in {"auto", "corruption"} and not is_image(X):
        check_corruption(X, name)
    if augment == "corruption" and is_image(X):
        raise ValueError(
            f"augment='corruption' is made for tables, but X holds images of shape {X.shape}. "
            f'Pass "auto" or one of {list(_FOR_IMAGES)}.'
        )


def resolve_augment(
    augment: str | Callable[..., Tensor] | None, rows: Rows, scaling: InputScaling
) -> Augmentation | None:
    """Return the augmentation of both views.

    "auto" is "flip+crop+color" for images and "corruption" for tables.
    """
    if augment == "auto":
        augment = "corruption" if scaling.channel_axis_ is None else "flip+crop+color"
    if augment == "corruption":
        return FeatureCorruption(rows, _RATE)
    if isinstance(augment, str):
        return ImageViews(scaling, **_FOR_IMAGES[augment])
    return resolve_augmentation(augment)

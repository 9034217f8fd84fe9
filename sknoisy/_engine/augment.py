"""Random augmentation of whole image batches, on the device of the images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .scaling import InputScaling
from .strong_augment import StrongViews

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "InTurn",
    "random_flip_crop",
    "resolve_augmentation",
    "strong_views",
]

# Called with images (n, C, H, W) and a generator on their device; returns as many images.
Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def random_flip_crop(
    images: Tensor,
    *,
    padding: int | None = 4,
    flip: bool = True,
    generator: torch.Generator,
) -> Tensor:
    """Pad each image by reflection, crop it at a random place and mirror it at random.

    `padding` pixels are added at each border, so that an image is shifted by at most this many.
    None stands for an eighth of the shorter side, but at least 1, which gives the 4 pixels usual
    on the 32 x 32 images of CIFAR. Pass ``flip=False`` if left and right differ in meaning, as in
    digits.

    There are up to two draws from the generator. ``offsets = torch.randint(2 * padding + 1, (2,
    n))`` gives the top and left edges of the crops within the padded images. If `flip` is True,
    ``torch.randint(2, (n, 1))`` follows, in which 1 marks the crops that are mirrored left to
    right.

    The result is a new tensor of the shape (n, C, H, W), the dtype and the device of `images`.
    ValueError is raised if `images` does not have 4 dimensions, if `padding` is negative or not
    less than H and W, or if `generator` is on another type of device.
    """
    if images.ndim != 4:
        raise ValueError(
            f"Augmentation needs images of shape (n, C, H, W), got {tuple(images.shape)}; pass "
            "augment=None for other data."
        )
    n, channels, height, width = images.shape
    device = images.device
    if padding is None:
        padding = max(1, min(height, width) // 8)
    _check(images, padding, generator)
    offsets = torch.randint(2 * padding + 1, (2, n), generator=generator, device=device)
    top, left = offsets - padding
    rows = torch.arange(height, device=device) + top[:, None]
    columns = torch.arange(width, device=device).expand(n, width)
    if flip:
        mirrored = torch.randint(2, (n, 1), generator=generator, device=device).bool()
        columns = torch.where(mirrored, columns.flip(1), columns)
    columns = columns + left[:, None]
    # Gathering pixels by one flat index is several times faster than indexing with four arrays.
    pixels = _reflect(rows, height)[:, :, None] * width + _reflect(columns, width)[:, None, :]
    pixels = pixels.flatten(1)[:, None].expand(n, channels, height * width)
    return images.flatten(2).gather(2, pixels).view(images.shape)


def resolve_augmentation(
    augment: str | Augmentation | None,
    scaling: InputScaling | None = None,
    device: torch.device | None = None,
    *,
    parameter: str = "augment",
) -> Augmentation | None:
    """Return the augmentation that an ``augment`` parameter stands for; None gives None.

    "flip+crop" stands for :func:`random_flip_crop` with ``padding=None``, "crop" for the same
    without flips, for digits and letters. "strong" and "autoaugment" stand for
    :class:`StrongViews` of the kinds "randaugment" and "autoaugment", followed by "flip+crop", and
    "strong-noflip" for "randaugment" followed by "crop". A callable is called as
    ``augment(images, generator)`` on whole batches. At each call, TypeError is raised if its
    result is not a tensor, and ValueError if that does not have the shape of the images. The
    augmentation can be pickled if `augment` can.

    Strong views need the `scaling` of the images and their `device`. `parameter` is the name for
    messages.

    ValueError is raised if `augment` is an unknown name, or one of strong views and the rows are
    no images. TypeError is raised if `augment` is of another type.
    """
    if augment is None:
        return None
    if isinstance(augment, str):
        if augment in _WEAK:
            return _WEAK[augment]
        if augment in _STRONG and scaling is not None and device is not None:
            kind, weak = _STRONG[augment]
            return InTurn(strong_views(kind, scaling, device, name=augment), _WEAK[weak])
        raise ValueError(
            f"{parameter}={augment!r} is not known; choose one of {list(_WEAK)}, None, or pass a "
            "function of images and generator."
        )
    if not callable(augment):
        raise TypeError(
            f"{parameter} must be one of {list(_WEAK)}, a function of images and generator, or "
            f"None; got {augment!r}."
        )
    return _Checked(augment, parameter)


def strong_views(
    kind: str,
    scaling: InputScaling,
    device: torch.device,
    *,
    parameter: str = "augment",
    name: str | None = None,
) -> StrongViews:
    """Return strong views of images.

    ValueError is raised if `scaling` was not fitted on images; the message contains the value
    `name` of the `parameter`, by default the kind.
    """
    if scaling.channel_axis_ is None:
        raise ValueError(
            f"{parameter}={name or kind!r} is made for images of shape (n, H, W, C) or "
            '(n, C, H, W) with 1, 3 or 4 channels. Pass "auto", None, or a function of rows and '
            "generator for other data."
        )
    return StrongViews(scaling, kind, device)


class InTurn:
    """Augmentations that are applied one after the other."""

    def __init__(self, *augmentations: Augmentation):
        self.augmentations = augmentations

    def __call__(self, X: Tensor, generator: torch.Generator) -> Tensor:
        for augmentation in self.augmentations:
            X = augmentation(X, generator)
        return X


class _Checked:
    """A user's augmentation with a check that its result has the shape of the rows."""

    def __init__(self, function: Augmentation, parameter: str):
        self.function, self.parameter = function, parameter

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        augmented = self.function(images, generator)
        if not isinstance(augmented, Tensor):
            raise TypeError(
                f"{self.parameter} must return a tensor, got {type(augmented).__name__}."
            )
        if augmented.shape != images.shape:
            raise ValueError(
                f"{self.parameter} must return one row of the same shape for each of the "
                f"{len(images)} images, so {tuple(images.shape)}; got shape "
                f"{tuple(augmented.shape)}."
            )
        return augmented


def _flip_crop(images: Tensor, generator: torch.Generator) -> Tensor:
    return random_flip_crop(images, padding=None, generator=generator)


def _crop(images: Tensor, generator: torch.Generator) -> Tensor:
    return random_flip_crop(images, padding=None, flip=False, generator=generator)


_WEAK: dict[str, Augmentation] = {"flip+crop": _flip_crop, "crop": _crop}

# Kind of the strong views and the weak augmentation that follows.
_STRONG = {
    "strong": ("randaugment", "flip+crop"),
    "strong-noflip": ("randaugment", "crop"),
    "autoaugment": ("autoaugment", "flip+crop"),
}

#: Names of augmentations of images.
AUGMENTATIONS = (*_WEAK, *_STRONG)


def _reflect(index: Tensor, size: int) -> Tensor:
    """Reflect indices in [-size + 1, 2 size - 2] into [0, size - 1], without repeated edges."""
    index = index.abs()
    return torch.minimum(index, 2 * (size - 1) - index)


def _check(images: Tensor, padding: int, generator: torch.Generator) -> None:
    """Raise ValueError if the padding does not fit or the generator is on another device."""
    if not 0 <= padding < min(images.shape[2:]):
        raise ValueError(
            f"padding={padding} must be at least 0 and less than height and width of the images, "
            f"{tuple(images.shape[2:])}."
        )
    if generator.device.type != images.device.type:
        raise ValueError(
            f"The generator is on {generator.device}, but the images are on {images.device}; "
            f"create it with torch.Generator({str(images.device)!r})."
        )

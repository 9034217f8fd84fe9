"""Augmentation of whole image batches on their device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Augmentation", "random_flip_crop", "resolve_augmentation"]

# Takes images (n, C, H, W) and a generator on their device, returns as many images.
Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def random_flip_crop(
    images: Tensor,
    *,
    padding: int | None = 4,
    flip: bool = True,
    generator: torch.Generator,
) -> Tensor:
    """Crop each image at random out of its reflect-padded self, and flip half of them.

    The draws are ``offsets = torch.randint(2 * padding + 1, (2, n))``, the top and left edges of
    the crops within the padded images, then, with `flip`, ``torch.randint(2, (n, 1))``, 1 for a
    crop to be mirrored left to right.

    Parameters
    ----------
    images : Tensor of shape (n, C, H, W), any dtype
        Left as they are.
    padding : int or None, default=4
        Pixels added at each border, so that an image moves by up to as many. Less than H and W.
        None: an eighth of the shorter side, at least one, as the 4 of 32 usual on CIFAR.
    flip : bool, default=True
        Mirror each image with probability 1/2; False where left and right differ in meaning, as
        in digits.
    generator : torch.Generator
        Source of the draws, on the device of `images`.

    Returns
    -------
    Tensor of shape (n, C, H, W), of the dtype and on the device of `images`

    Raises
    ------
    ValueError
        If `images` has another number of dimensions, if `padding` is negative or not less than H
        and W, or if `generator` lives on another type of device.

    Examples
    --------
    >>> import torch
    >>> from sknoisy._engine.augment import random_flip_crop
    >>> images = torch.arange(9).reshape(1, 1, 3, 3)
    >>> random_flip_crop(images, padding=1, generator=torch.Generator().manual_seed(7))
    tensor([[[[5, 4, 3],
              [2, 1, 0],
              [5, 4, 3]]]])
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


def resolve_augmentation(augment: str | Augmentation | None) -> Augmentation | None:
    """Turn an ``augment`` parameter into a function of images and generator.

    Parameters
    ----------
    augment : {"flip+crop", "crop"}, callable or None
        - "flip+crop": :func:`random_flip_crop` with ``padding=None``.
        - "crop": the same without flips, for digits and letters.
        - a callable: called as ``augment(images, generator)`` on whole batches.
        - None: no augmentation.

    Returns
    -------
    callable or None
        It can be pickled if `augment` can. Of a callable, what it returns is checked: a TypeError
        is raised unless that is a tensor, a ValueError unless it has one row per image.

    Raises
    ------
    ValueError
        If the name is not known.
    TypeError
        If `augment` is neither a string, nor callable, nor None.

    Examples
    --------
    >>> import torch
    >>> from sknoisy._engine.augment import resolve_augmentation
    >>> augment = resolve_augmentation("crop")
    >>> augment(torch.zeros(2, 1, 8, 8), torch.Generator()).shape
    torch.Size([2, 1, 8, 8])
    """
    if augment is None:
        return None
    if isinstance(augment, str):
        if augment not in _NAMED:
            raise ValueError(
                f"augment={augment!r} is not known; choose one of {list(_NAMED)}, None, or pass a "
                "function of images and generator."
            )
        return _NAMED[augment]
    if not callable(augment):
        raise TypeError(
            f"augment must be one of {list(_NAMED)}, a function of images and generator, or None; "
            f"got {augment!r}."
        )
    return _Checked(augment)


class _Checked:
    """A user's augmentation whose result is checked, lest labels go to other images."""

    def __init__(self, function: Augmentation):
        self.function = function

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        augmented = self.function(images, generator)
        if not isinstance(augmented, Tensor):
            raise TypeError(f"augment must return a tensor, got {type(augmented).__name__}.")
        if augmented.ndim == 0 or len(augmented) != len(images):
            raise ValueError(
                f"augment must return one row for each of the {len(images)} images, got shape "
                f"{tuple(augmented.shape)}."
            )
        return augmented


def _flip_crop(images: Tensor, generator: torch.Generator) -> Tensor:
    return random_flip_crop(images, padding=None, generator=generator)


def _crop(images: Tensor, generator: torch.Generator) -> Tensor:
    return random_flip_crop(images, padding=None, flip=False, generator=generator)


_NAMED: dict[str, Augmentation] = {"flip+crop": _flip_crop, "crop": _crop}


def _reflect(index: Tensor, size: int) -> Tensor:
    """Fold indices from -size + 1 to 2 size - 2 into 0 ... size - 1, edges not repeated."""
    index = index.abs()
    return torch.minimum(index, 2 * (size - 1) - index)


def _check(images: Tensor, padding: int, generator: torch.Generator) -> None:
    """Raise where the padding does not fit or the generator lives elsewhere."""
    if not 0 <= padding < min(images.shape[2:]):
        raise ValueError(
            f"padding={padding} must be at least 0 and less than height and width of the images, "
            f"{tuple(images.shape[2:])}."
        )
    if generator.device.type != images.device.type:
        raise ValueError(
            f"The generator is on {generator.device}, the images are on {images.device}; make it "
            f"with torch.Generator({str(images.device)!r})."
        )

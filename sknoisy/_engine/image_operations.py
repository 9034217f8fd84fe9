"""The operations of RandAugment and AutoAugment on uint8 images, exactly as Pillow computes them.

A batch is changed by one call, in which each image has an operation and a magnitude of its own.
The result for an image does not depend on the others, and is the same on all devices that have
float64; without it, as on Apple GPUs, single values may differ by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["CODES", "Rectangles", "apply_operations", "cutout", "widest_float"]

# The groups stand together: tables, blends and affine maps.
_OPERATIONS = (
    "identity", "auto_contrast", "equalize", "invert", "solarize", "posterize", "brightness",
    "contrast", "color", "sharpness", "rotate", "shear_x", "shear_y", "translate_x", "translate_y",
)  # fmt: skip

#: Numbers of the operations.
CODES = {name: code for code, name in enumerate(_OPERATIONS)}

_LUMA = (19595, 38470, 7471)  # of red, green and blue, in units of 2^-16
_Operation = Callable[[Tensor, Tensor, Tensor], Tensor]


class Rectangles(NamedTuple):
    """One rectangle per image: first and last row and column, int64 of shape (n,), inclusive."""

    top: Tensor
    bottom: Tensor
    left: Tensor
    right: Tensor


def apply_operations(images: Tensor, operation: Tensor, magnitude: Tensor) -> Tensor:
    """Change each image by its operation.

    =================  ===============================================================
    operation          magnitude
    =================  ===============================================================
    identity           not read
    auto_contrast      not read: the values of each channel are spread over 0 to 255
    equalize           not read: the histogram of each channel is made even
    invert             not read
    solarize           values from this threshold on are inverted
    posterize          number of bits that are kept, 0 to 8; fractions are cut off
    brightness         factor: 0 is black, 1 the image
    contrast           factor: 0 is the mean grey, 1 the image
    color              factor: 0 is grey, 1 the image
    sharpness          factor: 0 is a smoothed image, 1 the image
    rotate             degrees, counter-clockwise
    shear_x, shear_y   shift of the content to the left, or up, per pixel of the other axis
    translate_x, _y    shift of the content to the left, or up, in pixels
    =================  ===============================================================

    Rotated, sheared and shifted images take the nearest pixel, and are black where there is none.
    Grey is the luma if there are three channels, else the mean of the channels.

    Parameters
    ----------
    images : Tensor of uint8 of shape (n, C, H, W)
    operation : Tensor of int64 of shape (n,)
        Numbers as in ``CODES``.
    magnitude : Tensor of shape (n,)
        Floating point; in float64, the result is that of Pillow bit for bit.

    Returns
    -------
    changed : Tensor of uint8 of shape (n, C, H, W)
    """
    first_blend, first_map = CODES["color"], CODES["rotate"]
    groups: tuple[tuple[_Operation, Tensor], ...] = (
        (_by_table, (operation > CODES["identity"]) & (operation < first_blend)),
        (_by_blend, (operation >= first_blend) & (operation < first_map)),
        (_by_map, operation >= first_map),
    )
    for operate, chosen in groups:
        images = _on_chosen(chosen, operate, images, operation, magnitude)
    return images


def cutout(images: Tensor, rectangles: Rectangles, fill: Tensor | float) -> Tensor:
    """Fill a rectangle of each image; `fill` is a number or has the shape (1, C, 1, 1)."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    top, bottom, left, right = (edge[:, None] for edge in rectangles)
    in_rows = (rows >= top) & (rows <= bottom)
    in_columns = (columns >= left) & (columns <= right)
    inside = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return torch.where(inside, fill, images)


def widest_float(device: torch.device) -> torch.dtype:
    """Return float64, or float32 on devices that do not have it."""
    return torch.float32 if device.type == "mps" else torch.float64


def _on_chosen(
    chosen: Tensor, operate: _Operation, images: Tensor, operation: Tensor, magnitude: Tensor
) -> Tensor:
    """Return the images, of which the chosen ones are changed."""
    if images.device.type == "cpu":
        rows = chosen.nonzero()[:, 0]
        if len(rows) == 0:
            return images
        changed = operate(images[rows], operation[rows], magnitude[rows])
        return images.index_copy(0, rows, changed)
    # A GPU would have to wait for the number of rows; it changes all of them in the same time.
    return torch.where(_per_image(chosen), operate(images, operation, magnitude), images)


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _by_table(images: Tensor, operation: Tensor, magnitude: Tensor) -> Tensor:
    """Replace values by a table of 256 entries for each image and channel."""
    values = images.flatten(2)
    index = values.long()
    x = torch.arange(256, dtype=torch.uint8, device=images.device)
    magnitude = magnitude[:, None, None]
    low, high = values.amin(2, keepdim=True).long(), values.amax(2, keepdim=True).long()

    def where(name: str, table: Tensor, otherwise: Tensor) -> Tensor:
        return torch.where((operation == CODES[name])[:, None, None], table, otherwise)

    # An inverted image is one that is solarised from 0 on.
    threshold = where("invert", torch.zeros_like(magnitude), magnitude)
    solarized = torch.where(x < threshold, x, 255 - x)
    bits = 8 - magnitude.clamp(0, 8).to(torch.uint8)
    base = where("contrast", _mean_luma(images)[:, None, None], torch.zeros_like(low[:, :1]))
    blended = _blend(base, x, magnitude)
    table = where("auto_contrast", _contrast_table(x, low, high, magnitude.dtype), x)
    table = where("equalize", _equalizing_table(x, index, high), table)
    table = where("posterize", (x >> bits) << bits, table)
    for name, changed in (
        ("invert", solarized),
        ("solarize", solarized),
        ("brightness", blended),
        ("contrast", blended),
    ):
        table = where(name, changed, table)
    return table.gather(2, index).view(images.shape)


def _contrast_table(x: Tensor, low: Tensor, high: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the tables that spread values from `low` to `high` over 0 to 255."""
    span = (high - low).clamp(min=1).to(dtype)
    scale = torch.full_like(span, 255) / span  # 255 / span would be 255 times a rounded 1 / span
    spread = (x * scale).sub_(low * scale).clamp_(0, 255).to(torch.uint8)
    return torch.where(high > low, spread, x)


def _equalizing_table(x: Tensor, index: Tensor, high: Tensor) -> Tensor:
    """Return the tables that make histograms even, for values (n, C, pixels) up to `high`."""
    n, channels, n_pixels = index.shape
    # Sums of integers do not depend on the order of the additions, on a GPU either.
    counts = torch.zeros((n, channels, 256), dtype=torch.int32, device=x.device)
    counts.scatter_add_(2, index, torch.ones_like(index, dtype=torch.int32))
    step = (n_pixels - counts.gather(2, high)) // 255
    below = counts.cumsum(2, dtype=torch.int32) - counts
    even = ((step // 2 + below) // step.clamp(min=1)).clamp_(max=255).to(torch.uint8)
    return torch.where(step > 0, even, x)


def _luma(images: Tensor) -> Tensor:
    """Return the grey values (n, 1, H, W), int32."""
    channels = images.shape[1]
    weights = _LUMA if channels == 3 else (2**16 // channels,) * channels
    luma = torch.full_like(images[:, :1], 2**15, dtype=torch.int32)
    for channel, weight in enumerate(weights):
        luma += weight * images[:, channel, None].int()
    return luma >> 16


def _mean_luma(images: Tensor) -> Tensor:
    """Return the mean grey value of each image, rounded half up, int64 of shape (n,)."""
    n_pixels = images.shape[2] * images.shape[3]
    return (2 * _luma(images).flatten(1).sum(1) + n_pixels) // (2 * n_pixels)


def _blend(base: Tensor, x: Tensor, factor: Tensor) -> Tensor:
    """Return uint8 values on the line from `base` (factor 0) to `x` (factor 1), cut off."""
    start = base.float()
    return (start + factor.float() * (x.float() - start)).clamp(0, 255).to(torch.uint8)


def _by_blend(images: Tensor, operation: Tensor, magnitude: Tensor) -> Tensor:
    """Change colour or sharpness."""
    is_color = _per_image(operation == CODES["color"])
    base = torch.where(is_color, _luma(images).short(), _smoothed(images))
    return _blend(base, images, _per_image(magnitude))


def _smoothed(images: Tensor) -> Tensor:
    """Return means of 3 x 3 pixels in which the middle one counts five times, int16.

    The pixels at the border keep their values.
    """
    smoothed = images.short()
    rows = smoothed[:, :, :-2] + smoothed[:, :, 1:-1] + smoothed[:, :, 2:]
    box = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    inner = smoothed[:, :, 1:-1, 1:-1]
    inner.copy_((box + 4 * inner + 6) // 13)
    return smoothed


def _by_map(images: Tensor, operation: Tensor, magnitude: Tensor) -> Tensor:
    """Rotate, shear or shift."""
    height, width = images.shape[2:]
    to_column, to_row = _map_of(operation, magnitude, height, width)
    x = torch.arange(width, device=images.device)
    y = torch.arange(height, device=images.device)[:, None]
    column, row = _fixed_point(to_column, x, y), _fixed_point(to_row, x, y)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    pixel = torch.where(inside, row * width + column, 0).flatten(1)[:, None]
    taken = images.flatten(2).gather(2, pixel.expand(-1, images.shape[1], -1))
    return taken.view(images.shape) * inside[:, None]


def _map_of(
    operation: Tensor, magnitude: Tensor, height: int, width: int
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return the maps from output coordinates to an input column and row.

    Each map has three coefficients of shape (n,): of x, of y, and the constant.
    """

    def where(name: str, value: Tensor, otherwise: Tensor | float) -> Tensor:
        return torch.where(operation == CODES[name], value, otherwise)

    angle = -magnitude.deg2rad()
    cos, sin = where("rotate", angle.cos(), 1.0), where("rotate", angle.sin(), 0.0)
    x, y = width / 2, height / 2  # the centre of the rotation
    shift_x = where("translate_x", magnitude, x - x * cos - y * sin)
    shift_y = where("translate_y", magnitude, y + x * sin - y * cos)
    return (
        (cos, where("shear_x", magnitude, sin), shift_x),
        (where("shear_y", magnitude, -sin), cos, shift_y),
    )


def _fixed_point(coefficients: tuple[Tensor, ...], x: Tensor, y: Tensor) -> Tensor:
    """Evaluate a map at the middles of the pixels, in units of 2^-16 as Pillow does."""
    of_x, of_y, constant = coefficients
    start, step_x, step_y = (
        torch.floor(2**16 * value + 0.5).long()[:, None, None]
        for value in (constant + of_x / 2 + of_y / 2, of_x, of_y)
    )
    return start + x * step_x + y * step_y >> 16

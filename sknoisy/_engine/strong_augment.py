"""Strong augmentation of whole image batches: RandAugment, AutoAugment and Cutout.

All parameters are drawn per image, from one generator in a fixed order: first those of the
operations, then those of the rectangle that Cutout fills.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from .._compat import StrOptions
from .image_operations import CODES, Rectangles, apply_operations, cutout, widest_float
from .scaling import InputScaling

__all__ = [
    "STRONG_AUGMENT",
    "AutoAugment",
    "Draws",
    "RandAugment",
    "StrongViews",
    "centred_rectangles",
    "pushed_rectangles",
]

_KINDS = {"randaugment", "promix", "autoaugment"}

#: Constraints of the parameter ``strong_augment``.
STRONG_AUGMENT: list = [StrOptions({"auto", *_KINDS}), None, callable]

_SIDE = 32  # of the images for which the papers state shifts in pixels


class Draws(NamedTuple):
    """Operations of n images: numbers and magnitudes of shape (rounds, n)."""

    operation: Tensor
    magnitude: Tensor


class Policy(Protocol):
    """Draws the operations of a batch."""

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Draws:
        """Return the operations of n images."""
        ...


class RandAugment:
    """In each round, each image gets one of the operations, drawn uniformly.

    `magnitudes` holds base and slope of the magnitude as functions of the level: an integer from 1
    to `n_levels`, or real between 0 and 1 if `n_levels` is 0. Rotations, shears and shifts get a
    random sign. Shifts are shares of the image's side; with integer levels, they are cut to whole
    pixels. With `probability`, an operation is applied, else the identity.
    """

    def __init__(
        self,
        magnitudes: dict[str, tuple[float, float]],
        *,
        n_rounds: int,
        probability: float,
        n_levels: int,
        device: torch.device,
    ):
        self.n_rounds, self.probability, self.n_levels = n_rounds, probability, n_levels
        self.codes = torch.tensor([CODES[name] for name in magnitudes], device=device)
        pairs = torch.tensor(list(magnitudes.values()), dtype=widest_float(device))
        self.base, self.slope = pairs.to(device).T

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Draws:
        """Return the operations of n images; operation, level, sign and gate are drawn in turn."""
        size = self.n_rounds, n
        draw: dict[str, Any] = {"generator": generator, "device": self.codes.device}
        drawn = torch.randint(len(self.codes), size, **draw)
        if self.n_levels:
            level = torch.randint(1, self.n_levels + 1, size, **draw)
        else:
            level = torch.rand(size, dtype=self.base.dtype, **draw)
        is_positive = torch.randint(2, size, **draw).bool()
        is_on = torch.rand(size, **draw) < self.probability
        operation, magnitude = self.codes[drawn], self.base[drawn] + self.slope[drawn] * level
        whole_pixels = self.n_levels > 0
        magnitude = _for_size(operation, magnitude, height, width, whole_pixels=whole_pixels)
        magnitude = _with_sign(operation, magnitude, is_positive)
        return Draws(torch.where(is_on, operation, CODES["identity"]), magnitude)


class AutoAugment:
    """Each image gets one of the sub-policies, drawn uniformly: two operations in turn.

    An operation has a name, a probability and a level. Rotations, shears and shifts get a random
    sign.
    """

    def __init__(self, policies: tuple, *, device: torch.device):
        flat = [step for policy in policies for step in policy]
        dtype = widest_float(device)
        codes = torch.tensor([CODES[name] for name, _, _ in flat])
        probability = torch.tensor([probability for _, probability, _ in flat])
        magnitude = torch.tensor([_OF_LEVEL[name](level) for name, _, level in flat], dtype=dtype)
        # One row for the first and one for the second operations.
        self.codes, self.probability, self.magnitude = (
            values.view(-1, 2).T.contiguous().to(device)
            for values in (codes, probability, magnitude)
        )

    def draw(self, n: int, height: int, width: int, generator: torch.Generator) -> Draws:
        """Return the operations of n images; sub-policy, sign and gate are drawn in turn."""
        draw: dict[str, Any] = {"generator": generator, "device": self.codes.device}
        drawn = torch.randint(self.codes.shape[1], (n,), **draw)
        is_positive = torch.randint(2, (2, n), **draw).bool()
        is_on = torch.rand((2, n), **draw) < self.probability[:, drawn]
        operation, magnitude = self.codes[:, drawn], self.magnitude[:, drawn]
        magnitude = _for_size(operation, magnitude, height, width, whole_pixels=True)
        magnitude = _with_sign(operation, magnitude, is_positive)
        return Draws(torch.where(is_on, operation, CODES["identity"]), magnitude)


def _for_size(
    operation: Tensor, magnitude: Tensor, height: int, width: int, *, whole_pixels: bool
) -> Tensor:
    """Turn shifts, which are shares of the side, into pixels."""
    is_x, is_y = operation == CODES["translate_x"], operation == CODES["translate_y"]
    shift = magnitude * torch.where(is_x, width, height)
    return torch.where(is_x | is_y, shift.trunc() if whole_pixels else shift, magnitude)


def _with_sign(operation: Tensor, magnitude: Tensor, is_positive: Tensor) -> Tensor:
    has_sign = operation >= CODES["rotate"]  # the affine maps, the last in the list
    return torch.where(has_sign & ~is_positive, -magnitude, magnitude)


# Level 1 to 9 of the released FixMatch: (base, slope), section "FixMatch MC" of its pools.
_ENHANCE = (0.05, 0.09)
_FIXMATCH = {
    "auto_contrast": (0, 0), "brightness": _ENHANCE, "color": _ENHANCE, "contrast": _ENHANCE,
    "equalize": (0, 0), "identity": (0, 0), "posterize": (4, 0.4), "rotate": (0, 3),
    "sharpness": _ENHANCE, "shear_x": (0, 0.03), "shear_y": (0, 0.03), "solarize": (256, -25.6),
    "translate_x": (0, 0.03), "translate_y": (0, 0.03),
}  # fmt: skip

# Of the released ProMix: least value and width of the range. The random sign makes the ranges of
# the affine maps symmetric.
_PROMIX = {
    "auto_contrast": (0, 0), "brightness": (0.05, 0.9), "color": (0.05, 0.9),
    "contrast": (0.05, 0.9), "equalize": (0, 0), "identity": (0, 0), "posterize": (4, 4),
    "rotate": (0, 30), "sharpness": (0.05, 0.9), "shear_x": (0, 0.3), "shear_y": (0, 0.3),
    "solarize": (0, 256), "translate_x": (0, 0.3), "translate_y": (0, 0.3),
}  # fmt: skip


def _enhancement(level: int) -> float:
    return 0.18 * level + 0.1


# Magnitudes of AutoAugment's levels as in the released SOP+.
_OF_LEVEL: dict[str, Callable[[int], float]] = {
    "auto_contrast": float, "brightness": _enhancement, "color": _enhancement,
    "contrast": _enhancement, "equalize": float, "invert": float,
    "posterize": lambda level: 4 - int(0.4 * level), "rotate": lambda level: 3 * level,
    "sharpness": _enhancement, "shear_y": lambda level: 0.03 * level,
    "solarize": lambda level: 256 - int(25.6 * level),
    "translate_x": lambda level: level / _SIDE, "translate_y": lambda level: level / _SIDE,
}  # fmt: skip

# The policy learned on CIFAR-10: name, probability and level of both operations.
_CIFAR10 = (
    (("invert", 0.1, 7), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("auto_contrast", 0.5, 0), ("equalize", 0.9, 0)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("color", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 0), ("equalize", 0.5, 0)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("color", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, 0), ("auto_contrast", 0.4, 0)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("color", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 0)),
    (("equalize", 0.2, 0), ("auto_contrast", 0.6, 0)),
    (("equalize", 0.2, 0), ("equalize", 0.6, 0)),
    (("color", 0.9, 9), ("equalize", 0.6, 0)),
    (("auto_contrast", 0.8, 0), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("color", 0.7, 0)),
    (("solarize", 0.4, 5), ("auto_contrast", 0.9, 0)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("auto_contrast", 0.9, 0), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 0), ("invert", 0.1, 0)),
    (("translate_y", 0.7, 9), ("auto_contrast", 0.9, 0)),
)


def pushed_rectangles(centre: Tensor, side: Tensor, height: int, width: int) -> Rectangles:
    """Return squares that the left and the upper edge push inwards, as in FixMatch and ProMix.

    `centre` (2, n) are the row and the column, in [0, H) and [0, W), `side` (n,) the sides; both
    are real. Both ends are filled, so that a side of 16 covers 17 pixels. The right and the lower
    edge cut the squares off.
    """
    start = (centre - side / 2).clamp(min=0).long()
    stop = (start + side).long()  # beyond the image at its right and lower edge, which cut it off
    return Rectangles(start[0], stop[0], start[1], stop[1])


def centred_rectangles(centre: Tensor, side: int) -> Rectangles:
    """Return squares of `side` pixels that all four edges cut off, as in SOP+.

    `centre` (2, n) are the row and the column, int64.
    """
    start = centre - side // 2
    return Rectangles(start[0], start[0] + side - 1, start[1], start[1] + side - 1)


class StrongViews:
    """Random operations and Cutout on standardised images.

    The images are turned into uint8, in a unit in which 0 and 255 are the least and the largest
    value of the training images (0 and 255 if they are uint8), and back. The images may have any
    size; squares have half of the shorter side, 16 pixels for the 32 x 32 images of CIFAR.

    ==============  =============================================================================
    `kind`          what is drawn
    ==============  =============================================================================
    "randaugment"   FixMatch: two operations, each with probability 1/2, moderate levels; a grey
                    square
    "promix"        ProMix: three operations of any level; a grey square of random size
    "autoaugment"   SOP+: a sub-policy of AutoAugment for CIFAR-10; a square of the mean colour
    ==============  =============================================================================

    Parameters
    ----------
    scaling : InputScaling
        Fitted on the training images.
    kind : {"randaugment", "promix", "autoaugment"}
    device : torch.device
        Device of the images.
    """

    def __init__(self, scaling: InputScaling, kind: str, device: torch.device):
        self.kind = kind
        self.low, self.span = scaling.pixel_range(device)
        self.policy: Policy
        rgb = (127.0, 127.0, 127.0)
        if kind == "randaugment":
            self.policy = RandAugment(
                _FIXMATCH, n_rounds=2, probability=0.5, n_levels=9, device=device
            )
        elif kind == "promix":
            self.policy = RandAugment(
                _PROMIX, n_rounds=3, probability=1.0, n_levels=0, device=device
            )
            rgb = (125.0, 123.0, 114.0)
        else:
            self.policy = AutoAugment(_CIFAR10, device=device)
        self.colour = torch.tensor(rgb, device=device).view(1, 3, 1, 1) / 255
        self.grey = self.colour.mean(dim=1, keepdim=True)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return one view of each image, floating point of shape (n, C, H, W)."""
        n, _, height, width = images.shape
        draws = self.policy.draw(n, height, width, generator)
        pixels = ((images - self.low) / self.span * 255).round().clamp(0, 255).to(torch.uint8)
        for operation, magnitude in zip(*draws, strict=True):
            pixels = apply_operations(pixels, operation, magnitude)
        views = pixels.to(images.dtype) / 255 * self.span + self.low
        rectangles = self._rectangles(n, height, width, generator)
        return cutout(views, rectangles, self._fill(images.shape[1]))

    def _fill(self, n_channels: int) -> Tensor | float:
        if self.kind == "autoaugment":
            return 0.0
        return self.low + (self.colour if n_channels == 3 else self.grey) * self.span

    def _rectangles(
        self, n: int, height: int, width: int, generator: torch.Generator
    ) -> Rectangles:
        """Draw the squares: centres, then sides."""
        draw: dict[str, Any] = {"generator": generator, "device": self.low.device}
        side = min(height, width) / 2
        centre = torch.rand((2, n), **draw)
        centre = torch.stack([centre[0] * height, centre[1] * width])
        if self.kind == "autoaugment":
            return centred_rectangles(centre.long(), math.floor(side))
        share = torch.rand(n, **draw) if self.kind == "promix" else torch.ones_like(centre[0])
        return pushed_rectangles(centre, share * math.floor(side), height, width)

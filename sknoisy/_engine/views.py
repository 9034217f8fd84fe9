"""Random views of whole batches on their device: image crops, flips and colours, corruption."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .augment import Augmentation, InTurn, resolve_augmentation, strong_views
from .batches import TrainingData
from .rows import Rows
from .scaling import InputScaling

__all__ = [
    "FeatureCorruption",
    "ImageViews",
    "TwoViews",
    "color_jitter",
    "random_flip",
    "random_resized_crop",
    "strong_augmentation",
]

_N_DONORS = 256  # number of rows from which the new values of a batch are drawn
_STRONG_RATE = 0.3  # share of the columns that the strong view of a table takes from other rows


def _parts_of_colour() -> tuple[Tensor, Tensor, Tensor]:
    """Return matrices from a pixel to its luma, its chroma, and its chroma turned by pi / 2."""
    to_yiq = torch.tensor(
        [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]],
        dtype=torch.float64,
    )
    from_yiq = to_yiq.inverse()
    luma = to_yiq[0].expand(3, 3)
    quarter = from_yiq[:, 1:] @ torch.stack([-to_yiq[2], to_yiq[1]])
    return luma, torch.eye(3, dtype=torch.float64) - luma, quarter


_PARTS = _parts_of_colour()


def random_resized_crop(
    images: Tensor,
    generator: torch.Generator,
    *,
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Cut a random rectangle out of each image and enlarge it to the size of the image.

    `images` (n, C, H, W) are floating point. The rectangle's share of the area is uniform in
    `scale`, the logarithm of its width over its height, in pixels, is uniform between the
    logarithms of `ratio`, and its place is uniform within the image. Sides that would be longer
    than those of the image are cut to them. Pixels are interpolated linearly.
    """
    n, _, height, width = images.shape
    area, log_ratio, *place = torch.rand((4, n), generator=generator, device=images.device)
    area = scale[0] + (scale[1] - scale[0]) * area
    low, high = math.log(ratio[0]), math.log(ratio[1])
    shape = torch.exp(low + (high - low) * log_ratio)
    # Shares of the image's width and height.
    sides = torch.stack(
        [(area * shape * height / width).sqrt(), (area / shape * width / height).sqrt()]
    ).clamp_max(1)
    # The image spans [-1, 1] on both axes; the crop's centre stays (1 - side) away from 0.
    centres = (2 * torch.stack(place) - 1) * (1 - sides)
    theta = torch.cat([torch.diag_embed(sides.T), centres.T[:, :, None]], dim=2)
    grid = F.affine_grid(theta.to(images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def random_flip(images: Tensor, generator: torch.Generator, *, p: float = 0.5) -> Tensor:
    """Mirror each image (n, C, H, W) left to right with probability `p`."""
    draws = torch.rand((len(images), 1, 1, 1), generator=generator, device=images.device)
    return torch.where(draws < p, images.flip(3), images)


def color_jitter(
    images: Tensor,
    generator: torch.Generator,
    *,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.1,
    p: float = 0.8,
    p_grey: float = 0.2,
) -> Tensor:
    r"""Change brightness and contrast of each image, and saturation and hue if it has colours.

    `images` (n, C, H, W) are floating point, with values in [0, 1]. Let the factors b, c and s be
    uniform in :math:`1 \pm` `brightness`, `contrast` and `saturation`, the angle d uniform in
    :math:`\pm 2 \pi` times `hue`, w the weights of the luma, and M the mean luma of the image.
    Then a pixel x becomes

    .. math:: b \, (c \, T x + (1 - c) \, M), \qquad
              T = 1 w^T + s \, (\cos d \, (I - 1 w^T) + \sin d \, R),

    clipped to [0, 1]. With probability 1 - `p`, the factors are 1 and the angle is 0. T keeps the
    luma; it rotates and scales the chroma, which is the colour plane of YIQ, and R is the rotation
    of this plane by 90 degrees. With s = 0, an image is grey; s is set to 0 with probability
    `p_grey`, whatever `p`. For images with another number of channels, T is the identity and M the
    mean of all values.

    The draws are one ``torch.rand((6, n, 1, 1))``: the first four give b, c, s and d, the last two
    are compared with `p` and `p_grey`.
    """
    n, n_channels = images.shape[:2]
    draws = torch.rand((6, n, 1, 1), generator=generator, device=images.device).to(images.dtype)
    spread = images.new_tensor([brightness, contrast, saturation, 2 * math.pi * hue])
    change = spread.view(4, 1, 1, 1) * (2 * draws[:4] - 1) * (draws[4] < p)
    b, c, s = 1 + change[:3]
    pixels = images.flatten(2)
    if n_channels == 3:
        s = s * (draws[5] >= p_grey)
        parts = [part.to(images.dtype).to(images.device) for part in _PARTS]
        mean = (parts[0] @ pixels.mean(dim=2, keepdim=True))[:, :1]
        pixels = _turn(s, change[3], *parts) @ pixels
    else:
        mean = pixels.mean(dim=(1, 2), keepdim=True)
    return torch.lerp(mean, pixels, c).mul_(b).clamp_(0, 1).view(images.shape)


def _turn(s: Tensor, angle: Tensor, luma: Tensor, colour: Tensor, quarter: Tensor) -> Tensor:
    """Return the matrices T of :func:`color_jitter`, of shape (n, 3, 3)."""
    return luma + s * (angle.cos() * colour + angle.sin() * quarter)


class ImageViews:
    """Random views of standardised images: a crop, a flip and a change of colours.

    `scaling` was fitted on the training images. The colours are changed in a unit in which 0 and 1
    are the least and the largest value of these images (0 and 255 if they are uint8), not in the
    unit of the network's input. `flip` and `color` switch off the second and the third part.
    """

    def __init__(self, scaling: InputScaling, *, flip: bool = True, color: bool = True):
        self.scaling, self.flip, self.color = scaling, flip, color

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return one view of each image."""
        images = random_resized_crop(images, generator)
        if self.flip:
            images = random_flip(images, generator)
        if self.color:
            low, span = self.scaling.pixel_range(images.device)
            images = color_jitter((images - low) / span, generator) * span + low
        return images


class FeatureCorruption:
    """Replace some entries of each row by values of the same columns in other rows.

    In each row, a random subset of ``floor(rate * d)`` columns is replaced, but at least one
    column of several if the rate is positive. Each new value is that
    of a training row drawn for this entry, and so a draw from the marginal distribution of the
    column. The values for one batch come from 256 rows that are drawn for the batch, so that the
    rows may also be on a disk. `among`, int64 of shape (m,), restricts the rows from which values
    are taken.
    """

    def __init__(self, rows: Rows, rate: float, among: Tensor | None = None):
        self.rows, self.rate, self.among = rows, rate, among

    def __call__(self, X: Tensor, generator: torch.Generator) -> Tensor:
        """Return corrupted copies of rows (n, d)."""
        draw: dict[str, Any] = {"generator": generator, "device": X.device}
        n = len(self.rows if self.among is None else self.among)
        index = torch.randint(n, (_N_DONORS,), **draw)
        donors = self.rows.take(index if self.among is None else self.among[index])
        values = donors.gather(0, torch.randint(_N_DONORS, X.shape, **draw))
        # SCARF, Algorithm 1: I_i, a subset of q = floor(c M) of the M features; with few features
        # at least one, else the views would be equal.
        q = math.floor(self.rate * X.shape[1] + 1e-9)
        if self.rate > 0 and X.shape[1] > 1:
            q = max(q, 1)
        corrupted = torch.rand(X.shape, **draw).argsort(dim=1) < q
        return torch.where(corrupted, values, X)


class TwoViews:
    """Two views of each row in one tensor: the n first views, then the n second ones.

    `first` and `second` are augmentations; None does not change the rows.
    """

    def __init__(self, first: Augmentation | None, second: Augmentation | None):
        self.augmentations = first, second

    def __call__(self, X: Tensor, generator: torch.Generator) -> Tensor:
        """Return both views, of shape (2n, ...)."""
        return torch.cat([X if a is None else a(X, generator) for a in self.augmentations])


def strong_augmentation(
    strong_augment: str | Augmentation | None,
    kind: str,
    data: TrainingData,
    scaling: InputScaling,
    *,
    is_table: bool,
) -> Augmentation | None:
    """Return the augmentation for strong views that a ``strong_augment`` parameter stands for.

    "auto" stands for the strong views of images of this `kind`, for :class:`FeatureCorruption` of
    tables, and for None for other rows. The augmentation of the data follows in each case. None
    gives None.

    ValueError is raised if `strong_augment` names strong views of images, and the rows are no
    images.
    """
    strong: Augmentation | None
    if strong_augment == "auto" and is_table:
        weights = data.sample_weight
        counted = None if weights is None else weights.nonzero()[:, 0]
        strong = FeatureCorruption(data.rows, _STRONG_RATE, counted)
    elif strong_augment == "auto" and scaling.channel_axis_ is None:
        return None
    elif isinstance(strong_augment, str):
        name = kind if strong_augment == "auto" else strong_augment
        strong = strong_views(name, scaling, data.device, parameter="strong_augment")
    else:
        strong = resolve_augmentation(strong_augment, parameter="strong_augment")
    return strong if strong is None or data.augment is None else InTurn(strong, data.augment)

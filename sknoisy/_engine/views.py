"""Random views of whole batches on their device: image crops, flips and colours, corruption."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .augment import Augmentation
from .rows import Rows
from .scaling import InputScaling

__all__ = [
    "FeatureCorruption",
    "ImageViews",
    "TwoViews",
    "color_jitter",
    "random_flip",
    "random_resized_crop",
]

_N_DONORS = 256  # number of rows from which the new values of a batch are drawn


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

    The rectangle's share of the area is uniform in `scale`, the logarithm of its width over its
    height is uniform between the logarithms of `ratio`, and its place is uniform within the image.
    Sides that would be longer than those of the image are cut to them. Pixels are interpolated
    linearly.

    Parameters
    ----------
    images : Tensor of shape (n, C, H, W), floating point
        Images; they are not modified.
    generator : torch.Generator
        Source of the draws, on the device of `images`.
    scale : tuple of float, default=(0.2, 1.0)
        Least and largest share of the area.
    ratio : tuple of float, default=(3/4, 4/3)
        Least and largest ratio of width to height, in pixels.

    Returns
    -------
    Tensor of shape (n, C, H, W)

    Examples
    --------
    >>> import torch
    >>> from sknoisy._engine.views import random_resized_crop
    >>> images = torch.rand(2, 3, 8, 8)
    >>> random_resized_crop(images, torch.Generator()).shape
    torch.Size([2, 3, 8, 8])
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
    """Mirror each image left to right with probability `p`.

    Parameters
    ----------
    images : Tensor of shape (n, C, H, W)
        Images; they are not modified.
    generator : torch.Generator
        Source of the draws, on the device of `images`.
    p : float, default=0.5
        Probability that an image is mirrored.

    Returns
    -------
    Tensor of shape (n, C, H, W)
    """
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

    Let the factors b, c and s be uniform in :math:`1 \pm` `brightness`, `contrast` and
    `saturation`, the angle d uniform in :math:`\pm 2 \pi` times `hue`, w the weights of the luma,
    and M the mean luma of the image. Then a pixel x becomes

    .. math:: b \, (c \, T x + (1 - c) \, M), \qquad
              T = 1 w^T + s \, (\cos d \, (I - 1 w^T) + \sin d \, R),

    clipped to [0, 1]. T keeps the luma; it rotates and scales the chroma, which is the colour
    plane of YIQ, and R is the rotation of this plane by 90 degrees. With s = 0, an image is
    grey. For images with another number of channels than 3, T is the identity and M the mean of
    all values.

    The draws are one ``torch.rand((6, n, 1, 1))``: the first four give b, c, s and d, the last
    two are compared with `p` and `p_grey`.

    Parameters
    ----------
    images : Tensor of shape (n, C, H, W), floating point
        Images with values in [0, 1]; they are not modified.
    generator : torch.Generator
        Source of the draws, on the device of `images`.
    brightness, contrast, saturation : float, default=0.4
        Largest deviation of the factors from 1.
    hue : float, default=0.1
        Largest rotation, as a fraction of the full circle.
    p : float, default=0.8
        Probability that brightness, contrast, saturation and hue of an image are changed.
    p_grey : float, default=0.2
        Probability that an image of three channels is made grey.

    Returns
    -------
    Tensor of shape (n, C, H, W), in [0, 1]

    Examples
    --------
    >>> import torch
    >>> from sknoisy._engine.views import color_jitter
    >>> image = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    >>> grey = color_jitter(image, torch.Generator(), p=0, p_grey=1)
    >>> [round(value, 3) for value in grey.flatten().tolist()]  # the luma of red
    [0.299, 0.299, 0.299]
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

    The colours are changed in a unit in which 0 and 1 are the least and the largest value of the
    training images (0 and 255 if they are uint8), not in the unit of the network's input.

    Parameters
    ----------
    scaling : InputScaling
        Scaling that was fitted on the training images.
    flip : bool, default=True
        Whether to mirror each image with probability 1/2.
    color : bool, default=True
        Whether to change brightness, contrast, saturation and hue, and make some images grey.
    """

    def __init__(self, scaling: InputScaling, *, flip: bool = True, color: bool = True):
        self.scaling, self.flip, self.color = scaling, flip, color

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return one view of each image."""
        images = random_resized_crop(images, generator)
        if self.flip:
            images = random_flip(images, generator)
        if self.color:
            low, span = self._range(images)
            images = color_jitter((images - low) / span, generator) * span + low
        return images

    def _range(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return least value and span (1, C, 1, 1) of the channels, in the network's unit."""
        assert self.scaling.range_ is not None
        ends = torch.tensor(self.scaling.range_, device=images.device).view(2, 1, 1, 1)
        low, high = self.scaling.apply(ends.expand(2, images.shape[1], 1, 1)).split(1)
        span = high - low
        return low, torch.where(span > 0, span, 1)


class FeatureCorruption:
    """Replace some entries of each row by values of the same columns in other rows.

    In each row, a random subset of ``floor(rate * d)`` columns is replaced. Each new value is that
    of a training row drawn for this entry, and so a draw from the marginal distribution of the
    column. The values for one batch come from 256 rows that are drawn for the batch, so that the
    rows may also be on a disk.

    Parameters
    ----------
    rows : Rows
        The training rows.
    rate : float
        Share of the columns to replace, in [0, 1].
    among : Tensor of shape (m,) or None, default=None
        Rows from which values are taken, int64; None: all rows.
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
        # SCARF, Algorithm 1: I_i, a subset of q = floor(c M) of the M features
        q = math.floor(self.rate * X.shape[1] + 1e-9)
        corrupted = torch.rand(X.shape, **draw).argsort(dim=1) < q
        return torch.where(corrupted, values, X)


class TwoViews:
    """Two views of each row in one tensor: the n first views, then the n second ones.

    Parameters
    ----------
    first, second : callable or None
        Augmentations; None does not change the rows.
    """

    def __init__(self, first: Augmentation | None, second: Augmentation | None):
        self.augmentations = first, second

    def __call__(self, X: Tensor, generator: torch.Generator) -> Tensor:
        """Return both views, of shape (2n, ...)."""
        return torch.cat([X if a is None else a(X, generator) for a in self.augmentations])

"""FMix: two images are combined by a random mask of connected regions."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["fmix", "random_mask"]

_DECAY_POWER = 3


def random_mask(height: int, width: int, share: float, generator: torch.Generator) -> Tensor:
    """Draw a mask of zeros and ones, of shape (height, width) on the CPU.

    The pixels that are 1 are those of a random grey image that are brightest. The image has a
    spectrum of power that falls with the frequency, so that the regions are connected.

    Parameters
    ----------
    height, width : int
        Size of the mask.
    share : float
        Share of the pixels that are 1, in [0, 1]. The number of pixels is rounded up or down with
        equal chance.
    generator : torch.Generator
        Generator on the CPU.
    """
    vertical, horizontal = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
    frequency = torch.hypot(vertical, horizontal).clamp(min=1 / max(height, width))
    noise = torch.randn((*frequency.shape, 2), generator=generator)
    spectrum = torch.view_as_complex(noise) / frequency**_DECAY_POWER
    grey = torch.fft.irfft2(spectrum, s=(height, width)).flatten()
    n_exact = share * len(grey)
    rounds_up = bool(torch.randint(2, (), generator=generator))
    n_ones = int(n_exact) + (rounds_up and n_exact > int(n_exact))
    mask = torch.zeros_like(grey)
    mask[grey.argsort(descending=True)[:n_ones]] = 1
    return mask.view(height, width)


def fmix(images: Tensor, mask: Tensor, permutation: Tensor) -> Tensor:
    """Return images (n, C, H, W) where the mask (H, W) is 1, and permuted ones elsewhere."""
    return torch.where(mask.to(images.device).bool(), images, images[permutation])

"""The unit of pixel values: 0 to 255, 0 to 1, or centred around 0."""

from __future__ import annotations

import numpy as np

__all__ = ["PixelUnit"]

_ROWS = 1024  # images read at a time
_STEP = 1 / 255  # of fractions that were pixels of uint8
_CENTRED = 10.0  # standardised values of images are smaller


class PixelUnit:
    """Unit of the pixel values of images, to compare those of ``fit`` and ``predict``.

    ``dtype`` is that of the images, ``low`` and ``high`` are their least and largest value, and
    the unit of uint8 is from 0 to 255 whatever the images. ``name`` is "pixels" for values that
    are clearly in the unit from 0 to 255, "fractions" for 0 to 1, "centred" for standardised
    values, or None, for example for black images.
    """

    def __init__(self, images: np.ndarray):
        self.dtype = images.dtype
        self.low, self.high = np.inf, -np.inf
        is_float = images.dtype.kind == "f"
        are_whole, are_steps = True, True
        for start in range(0, len(images), _ROWS):
            block = np.asarray(images[start : start + _ROWS])
            self.low = min(self.low, float(block.min()))
            self.high = max(self.high, float(block.max()))
            if is_float and are_whole:
                are_whole = bool((block == np.rint(block)).all())
            if is_float and are_steps:
                steps = block.astype(np.float64) / _STEP
                are_steps = bool((np.abs(steps - np.rint(steps)) < 1e-2).all())
        self.name = self._name(are_whole, are_steps)
        if images.dtype == np.uint8:
            self.low, self.high = 0.0, 255.0

    def _name(self, are_whole: bool, are_steps: bool) -> str | None:
        if self.low >= 0 and self.high <= 255 and self.high > (1 if are_whole else 32):
            return "pixels"
        if are_whole:
            return None
        if self.low >= 0 and self.high <= 1 and (self.high > 0.5 or are_steps):
            return "fractions"
        return "centred" if self.low < 0 and max(-self.low, self.high) <= _CENTRED else None

    def check(self, images: np.ndarray) -> None:
        """Raise ValueError if images may be in another unit."""
        if images.dtype == self.dtype and self.dtype.kind != "f":
            return
        is_float = images.dtype.kind == self.dtype.kind == "f"
        if is_float and self.name is None:
            return
        given = PixelUnit(images)
        if is_float:
            units = {given.name, self.name}
            are_apart = "pixels" in units and bool(units & {"fractions", "centred"})
        else:
            are_apart = not (given._may_be_pixels() and self._may_be_pixels())
        if are_apart:
            raise ValueError(
                f"X holds images of {given.dtype} from {given.low:g} to {given.high:g}, but "
                f"images of {self.dtype} from {self.low:g} to {self.high:g} were fitted: the "
                f"numbers may not mean the same. Convert X to {self.dtype}, in the unit of fit."
            )

    def _may_be_pixels(self) -> bool:
        """Return whether values in this range are clearly pixels from 0 to 255, not fractions."""
        is_wide = self.dtype.kind in "iu" or self.high == 0 or self.high > 1.5
        return self.low >= 0 and self.high <= 255 and is_wide

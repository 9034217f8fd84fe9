"""scikit-learn's handwritten digits with noisy labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sklearn.datasets import load_digits
from sklearn.utils import Bunch

from ..noise import MNIST_ASYMMETRIC
from ._noise_by_name import corrupt_by_name


def load_noisy_digits(
    *,
    noise: str | None = "symmetric",
    rate: float = 0.4,
    noise_params: Mapping[str, Any] | None = None,
    return_X_y: bool = False,
    random_state: Any = None,
) -> Bunch | tuple[Any, Any]:
    """Return 1797 handwritten digits of 8 x 8 pixels, with noisy labels and the clean ones.

    The digits come with scikit-learn, so nothing is downloaded.

    Parameters
    ----------
    noise : {"symmetric", "pairflip", "class_map", "superclass", "random_map", \
            "instance_dependent"}, default="symmetric"
        Function of `sknoisy.noise` that makes the noisy labels; None: clean labels.
    rate : float, default=0.4
        Noise rate in [0, 1].
    noise_params : dict, default=None
        Further arguments of this function. The default mapping of "class_map" is
        `sknoisy.noise.MNIST_ASYMMETRIC`; "superclass" needs {"groups": ...}.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    random_state : int, Generator, RandomState or None, default=None
        Source of the noise.

    Returns
    -------
    digits : Bunch
        - data : ndarray of shape (1797, 64), float64, grey values from 0 to 16
        - images : ndarray of shape (1797, 8, 8), the same values
        - target : ndarray of shape (1797,), int64, noisy labels
        - target_clean : ndarray of shape (1797,), int64
        - noise_mask : ndarray of shape (1797,), bool, True where the two differ
        - transition : ndarray of shape (10, 10), or (1797, 10) for "instance_dependent"
        - target_names, feature_names, DESCR : as of :func:`sklearn.datasets.load_digits`
    (data, target) : tuple
        If `return_X_y`.

    Raises
    ------
    ValueError
        If `noise` is unknown or lacks an argument, or `rate` is not valid.

    Examples
    --------
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(noise="pairflip", rate=0.3, random_state=0)
    >>> digits.data.shape, digits.target.shape
    ((1797, 64), (1797,))
    >>> bool(abs(digits.noise_mask.mean() - 0.3) < 0.05)
    True
    """
    digits = load_digits()
    if noise == "class_map":
        noise_params = {"mapping": MNIST_ASYMMETRIC, **(noise_params or {})}
    noisy = corrupt_by_name(digits.data, digits.target, noise, rate, noise_params, random_state)
    if return_X_y:
        return digits.data, noisy.y
    realised = f"Labels in `target`: noise={noise!r}, {noisy.mask.mean():.1%} wrong."
    return Bunch(
        data=digits.data,
        images=digits.images,
        target=noisy.y,
        target_clean=digits.target,
        noise_mask=noisy.mask,
        transition=noisy.transition,
        target_names=digits.target_names,
        feature_names=digits.feature_names,
        DESCR=f"{digits.DESCR}\n{realised}\n",
    )

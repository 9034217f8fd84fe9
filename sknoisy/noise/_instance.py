"""Instance-dependent noise: the wrong label of a sample depends on its features."""

from __future__ import annotations

import numbers
from collections.abc import Hashable, Iterable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from scipy.stats import truncnorm
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, check_consistent_length

from ._labels import NoisyLabels, check_n_classes, check_rate, decode, encode
from ._sampling import draw_classes
from .streams import own_generator

# Numbers held as float64 at a time: 32 MB.
_CHUNK_ENTRIES = 2**22


def instance_dependent(
    X: ArrayLike,
    y: ArrayLike,
    rate: float | ArrayLike,
    *,
    std: float = 0.1,
    per_class_weights: bool = True,
    scale: float | Literal["standard"] = 1.0,
    classes: Iterable[Hashable] | None = None,
    random_state: Any = None,
) -> NoisyLabels:
    r"""Replace labels by random projections of the features.

    Sample i of class k keeps its label with probability :math:`1 - q_i`, where :math:`q_i` is
    normal around `rate`, truncated to [0, 1]; else it gets a class from the softmax of
    :math:`x_i^T A_k` over the wrong classes. The entries of :math:`A_k` are standard normal.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
        Features: a dense array or frame of numbers, or images, which are read as flat vectors.
    y : array-like of shape (n_samples,)
        Clean labels of any type. Not modified.
    rate : float or array-like of shape (n_samples,)
        Mean in [0, 1] of the flip probability before truncation, one number or one per sample.
        Truncation moves the expected rate: with the default `std`, 0.1 becomes 0.1288, 0.2
        becomes 0.2055, and 0.3 to 0.7 hardly change. Exactly 0 means no noise.
    std : float, default=0.1
        Standard deviation of the flip probability before truncation; 0: it equals `rate`.
    per_class_weights : bool, default=True
        Whether each class has its own matrix :math:`A_k`, as published; False: all share one.
    scale : float or "standard", default=1.0
        Factor on X, which decides how sharp the softmax is. Raw pixels from 0 to 255 with factor
        1 give every image one practically certain wrong class; smaller factors spread the flips.
        "standard" standardises each column and divides by the root of their number, so that the
        projections have variance 1 whatever the units of the columns.
    classes : iterable of labels, default=None
        All classes, in the order of the columns of the transition matrix; None: those in y,
        sorted.
    random_state : int, Generator, RandomState or None, default=None
        Source of the draws. An integer gives the same labels everywhere.

    Returns
    -------
    result : NoisyLabels
        Named tuple `y`, `mask` and `transition` of shape (n_samples, n_classes).

    Raises
    ------
    TypeError
        If X is sparse.
    ValueError
        If X is not finite or not numeric, differs from y in length, `rate` lies outside [0, 1],
        there are fewer than two classes, or `std` or `scale` is out of range.

    Notes
    -----
    X is converted to float64 in chunks of 32 MB, and one matrix :math:`A_k` of
    n_features x n_classes numbers is held at a time.

    References
    ----------
    Xia et al., "Part-dependent label noise: Towards instance-dependent label noise",
    NeurIPS 2020, Algorithm 2. The parts in its title belong to its estimator of the transition
    matrix, not to this generator.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sknoisy.noise import instance_dependent
    >>> X, y = load_digits(return_X_y=True)
    >>> noisy = instance_dependent(X, y, 0.4, random_state=0)
    >>> noisy.transition.shape
    (1797, 10)
    >>> bool(abs(noisy.mask.mean() - 0.4) < 0.05)
    True
    """
    X = np.asarray(check_array(X, allow_nd=True, dtype="numeric", input_name="X"))
    codes, decoder = encode(y, classes)
    check_consistent_length(X, codes)
    n_classes = check_n_classes(len(decoder))
    rng = own_generator(random_state, "instance_dependent")
    # The matrices are drawn from a seed of their own, one stream per class, so that a class has
    # the same one whichever samples and classes stand beside it.
    seed = int(rng.integers(2**63))
    q = _flip_probabilities(rate, std, len(codes), rng)
    features = _Features(X.reshape(len(X), -1), scale)
    transition = np.empty((len(codes), n_classes))
    for k in np.unique(codes):
        rows = np.flatnonzero(codes == k)
        stream = np.random.default_rng([seed, k if per_class_weights else 0])
        A = stream.standard_normal((features.width, n_classes))
        for chunk in _chunks(rows, features.width):
            logits = features(chunk) @ A
            logits[:, k] = -np.inf
            transition[chunk] = q[chunk, None] * softmax(logits, axis=1)
        transition[rows, k] = 1 - q[rows]
    return decode(decoder, codes, draw_classes(transition, rng), transition)


def _flip_probabilities(
    rate: float | ArrayLike, std: float, n_samples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw the flip probabilities q_i from the normal distribution truncated to [0, 1]."""
    if not isinstance(std, numbers.Real) or not 0 <= std < np.inf:
        raise ValueError(f"std={std!r} must be a number of at least 0.")
    if np.ndim(rate) == 0:
        mean = np.full(n_samples, check_rate(rate))
    else:
        mean = np.array(rate, dtype=np.float64)
        if mean.shape != (n_samples,) or not ((mean >= 0) & (mean <= 1)).all():
            raise ValueError(
                f"rate of shape {mean.shape} must be a number or one per sample, "
                f"({n_samples},), all from 0 to 1."
            )
    if std == 0:
        return mean
    # By the inverse distribution function: one uniform draw per sample, whatever its mean.
    drawn = truncnorm.ppf(
        rng.random(n_samples), (0 - mean) / std, (1 - mean) / std, loc=mean, scale=std
    )
    return np.where(mean == 0, 0.0, np.clip(drawn, 0, 1))


class _Features:
    """Rows of X as scaled float64, converted on access."""

    def __init__(self, flat: NDArray[Any], scale: float | str) -> None:
        self.flat = flat
        self.shift: float | NDArray[np.float64] = 0.0
        self.factor: float | NDArray[np.float64]
        if scale == "standard":
            scaler = StandardScaler()
            for chunk in _chunks(np.arange(len(flat)), flat.shape[1]):
                scaler.partial_fit(flat[chunk].astype(np.float64))
            self.shift = scaler.mean_
            self.factor = 1 / (scaler.scale_ * np.sqrt(flat.shape[1]))
        elif isinstance(scale, numbers.Real) and 0 <= scale < np.inf:
            self.factor = float(scale)
        else:
            raise ValueError(f"scale={scale!r} must be 'standard' or a number of at least 0.")

    @property
    def width(self) -> int:
        return self.flat.shape[1]

    def __call__(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        return (self.flat[rows].astype(np.float64) - self.shift) * self.factor


def _chunks(rows: NDArray[np.intp], n_features: int) -> Iterator[NDArray[np.intp]]:
    """Split rows so that a chunk of them holds a bounded number of entries."""
    step = max(1, _CHUNK_ENTRIES // max(1, n_features))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]

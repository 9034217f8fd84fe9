"""A random classification problem with noisy labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import make_classification

from ..noise.streams import own_generator
from ._noise_by_name import corrupt_by_name


def make_noisy_classification(
    n_samples: int = 1000,
    n_features: int = 20,
    *,
    n_classes: int = 3,
    n_informative: int | None = None,
    class_sep: float = 1.0,
    weights: Any = None,
    noise: str | None = "symmetric",
    rate: float = 0.4,
    noise_params: Mapping[str, Any] | None = None,
    random_state: Any = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Make a problem by :func:`sklearn.datasets.make_classification`, and add label noise.

    Each class is one Gaussian cluster at a corner of a cube; features that are not informative
    are standard normal. scikit-learn's own ``flip_y`` is 0, so the clean labels have no noise.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of samples.
    n_features : int, default=20
        Number of features.
    n_classes : int, default=3
        Number of classes.
    n_informative : int, default=None
        Number of informative features, at least ``log2(n_classes)``. None: half of all features,
        or this minimum if it is more.
    class_sep : float, default=1.0
        Half the edge length of the cube; larger values make the problem easier.
    weights : array-like of shape (n_classes,), default=None
        Shares of the classes; None: equal.
    noise : {"symmetric", "pairflip", "class_map", "superclass", "random_map", \
            "instance_dependent"}, default="symmetric"
        Function of `sknoisy.noise` that makes the noisy labels; None: clean labels.
    rate : float, default=0.4
        Its rate in [0, 1].
    noise_params : dict, default=None
        Further arguments of this function. "class_map" needs {"mapping": ...}, "superclass"
        needs {"groups": ...}.
    random_state : int, Generator, RandomState or None, default=None
        Seed of the problem and, by a separate stream, of the noise. With an integer, problems
        that differ in the noise only have the same X and clean labels.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), float64
        Features, in random order of rows and columns.
    y : ndarray of shape (n_samples,), int64
        Noisy labels.
    y_clean : ndarray of shape (n_samples,), int64
        Clean labels.

    Raises
    ------
    ValueError
        If the sizes do not fit each other, `noise` is unknown, lacks an argument, or refuses
        `rate`.

    Examples
    --------
    >>> from sknoisy.datasets import make_noisy_classification
    >>> X, y, y_clean = make_noisy_classification(200, 8, rate=0.25, random_state=0,
    ...                                           noise_params={"exact_count": True})
    >>> X.shape, int((y != y_clean).sum())
    ((200, 8), 50)
    """
    needed = max(1, int(np.ceil(np.log2(n_classes))))
    rng = own_generator(random_state, "make_noisy_classification")
    X, y_clean = make_classification(
        n_samples,
        n_features,
        n_informative=max(needed, n_features // 2) if n_informative is None else n_informative,
        n_redundant=0,
        n_classes=n_classes,
        n_clusters_per_class=1,
        weights=weights,
        flip_y=0,
        class_sep=class_sep,
        random_state=int(rng.integers(2**31)),
    )
    noisy = corrupt_by_name(X, y_clean, noise, rate, noise_params, rng)
    return X, noisy.y, y_clean

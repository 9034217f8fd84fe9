"""Transition matrix and noise rate from given labels and class probabilities, with intervals."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias
from warnings import warn

import numpy as np
from numpy.typing import ArrayLike

from ._by_probabilities import (
    Estimates,
    Repeats,
    anchor_estimates,
    argmax_estimates,
    confident_estimates,
    dual_estimates,
)
from ._estimation import noise_rate
from ._labels import Matrix, check_n_classes, encode
from ._neighbors import neighbor_codes, neighbors_estimates
from .probabilities import check_probabilities
from .streams import own_generator

Method: TypeAlias = Literal["argmax", "confident", "anchor", "dual", "neighbors"]

_BY_PROBABILITIES = {
    "argmax": argmax_estimates,
    "confident": confident_estimates,
    "anchor": anchor_estimates,
    "dual": dual_estimates,
}


def estimate_transition_matrix(
    y: ArrayLike,
    proba: ArrayLike | None = None,
    *,
    method: Method = "argmax",
    classes: Iterable[Hashable] | None = None,
    X: ArrayLike | None = None,
) -> Matrix:
    """Estimate the transition matrix from given labels alone, without clean ones.

    Parameters
    ----------
    y : array-like of shape (n,)
        Given labels of any type, none missing.
    proba : array-like or sparse of shape (n, n_classes), default=None
        Class probabilities of a classifier that has not seen the label of the row, such as
        ``cross_val_predict(..., method="predict_proba")``. float32 stays float32; a sparse array
        may hold the largest few of each row. Needed by all methods but "neighbors".
    method : {"argmax", "confident", "anchor", "dual", "neighbors"}, default="argmax"
        "argmax"
            The most probable class counts as the true one.
        "confident"
            Rows count where a class reaches its mean probability over the rows that are given
            it [1]_. A row that reaches several classes counts for the most probable of them.
        "anchor"
            Row i of the matrix holds the probabilities of one row that is surely of class i [2]_.
            The paper takes the row where class i is most probable. Here a tenth of the rows that
            are given class i are skipped: the extreme row shows the errors of the classifier.
        "dual"
            Product of two matrices [3]_: from the true to the most probable class, by the most
            probable row of each class, and from there to the given label, by counts. Suits
            probabilities near 0 and 1; where they follow the noisy labels exactly, the product
            counts the noise twice.
        "neighbors"
            The matrix that explains best how often rows agree in their labels with their two
            nearest neighbours in `X` [4]_. Needs no classifier, but 100 rows for each class, and
            takes at most 20 classes.
    classes : iterable of labels, default=None
        All classes, in the order of the columns of `proba`; None: those in y, sorted.
    X : array-like or sparse of shape (n, n_features), default=None
        Features for "neighbors". Distances are Euclidean, so columns should be of one scale.

    Returns
    -------
    transition : ndarray of shape (n_classes, n_classes), float64
        ``transition[i, j]`` is the estimated probability of the given class j if the true class
        is i. Rows sum to 1. A class of which nothing is known gets its row of the identity.

    Warns
    -----
    UserWarning
        If "neighbors" finds a row whose largest entry is off the diagonal: the classes may be
        permuted.

    Raises
    ------
    ValueError
        If the method is unknown, its `proba` or `X` is missing or does not fit y, y is empty or
        holds missing labels, or there are too few rows or too many classes for "neighbors".

    See Also
    --------
    estimate_transition : Count pairs of clean and noisy labels.
    bootstrap_interval : Confidence interval of each entry.

    Notes
    -----
    On five tables with three kinds of noise, and the mean of the probabilities of a forest and of
    :class:`~sknoisy.CLIDMUClassifier`, the mean distance of a row to the true one (sum of absolute
    differences) was 0.10 for "argmax", 0.17 for "dual" and 0.19 for "confident". "anchor" needs
    probabilities that follow the noisy labels exactly; it then is the best.

    References
    ----------
    .. [1] Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset
       labels", JAIR 70, 2021.
    .. [2] Patrini et al., "Making deep neural networks robust to label noise: a loss correction
       approach", CVPR 2017.
    .. [3] Yao et al., "Dual T: reducing estimation error for transition matrix in label-noise
       learning", NeurIPS 2020.
    .. [4] Zhu, Song and Liu, "Clusterability as an alternative to anchor points when learning with
       noisy labels", ICML 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sknoisy.noise import estimate_transition_matrix, pairflip
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> noisy, _, transition = pairflip(y, 0.3, random_state=0)
    >>> forest = RandomForestClassifier(min_samples_leaf=10, oob_score=True, random_state=0)
    >>> forest = forest.fit(X, noisy)
    >>> estimate_transition_matrix(noisy, forest.oob_decision_function_).round(1)
    array([[0.7, 0.3, 0. ],
           [0. , 0.6, 0.3],
           [0.2, 0.1, 0.7]])
    """
    [(transition, _)] = _estimates(y, proba, method, classes, X)
    if method == "neighbors" and (transition.argmax(axis=1) != np.arange(len(transition))).any():
        warn(
            "The transition matrix by neighbours has a row whose largest entry is off the "
            "diagonal. The classes may be permuted, or neighbours in X seldom share their class.",
            stacklevel=2,
        )
    return transition


def estimate_noise_rate(
    y: ArrayLike,
    proba: ArrayLike,
    *,
    method: Literal["argmax", "confident", "anchor", "dual"] = "argmax",
    classes: Iterable[Hashable] | None = None,
) -> float:
    """Estimate the share of wrong labels from given labels and class probabilities.

    Parameters
    ----------
    y : array-like of shape (n,)
        Given labels of any type, none missing.
    proba : array-like or sparse of shape (n, n_classes)
        Class probabilities of a classifier that has not seen the label of the row.
    method : {"argmax", "confident", "anchor", "dual"}, default="argmax"
        See :func:`estimate_transition_matrix`. "argmax" gives the share of rows whose most
        probable class is another than the given one. "anchor" and "dual" take the shares of true
        classes under which the transition matrix gives the labels their frequencies.
    classes : iterable of labels, default=None
        All classes, in the order of the columns of `proba`; None: those in y, sorted.

    Returns
    -------
    rate : float
        Estimated share of wrong labels, in [0, 1]. It contains the errors of the classifier: on
        clean labels "argmax" gives its error rate.

    Raises
    ------
    ValueError
        If the method is unknown, `proba` does not fit y, or y is empty or holds missing labels.

    See Also
    --------
    bootstrap_interval : Confidence interval of the rate.

    Examples
    --------
    >>> from sknoisy.noise import estimate_noise_rate
    >>> proba = [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.1, 0.9]]
    >>> estimate_noise_rate(["cat", "dog", "dog", "dog"], proba)
    0.25
    """
    if method == "neighbors":
        raise ValueError(
            'method="neighbors" gives a transition matrix alone: '
            'noise_rate(estimate_transition_matrix(y, method="neighbors", X=X), prior).'
        )
    [(transition, shares)] = _estimates(y, proba, method, classes, None)
    return noise_rate(transition, shares)


def bootstrap_interval(
    y: ArrayLike,
    proba: ArrayLike | None = None,
    *,
    quantity: Literal["noise_rate", "transition"] = "noise_rate",
    method: Method = "argmax",
    classes: Iterable[Hashable] | None = None,
    X: ArrayLike | None = None,
    n_bootstraps: int = 200,
    confidence_level: float = 0.9,
    random_state: Any = None,
) -> tuple[Any, Any]:
    """Confidence interval of an estimated noise rate or transition matrix over resampled rows.

    Parameters
    ----------
    y : array-like of shape (n,)
        Given labels of any type, none missing.
    proba : array-like or sparse of shape (n, n_classes), default=None
        Class probabilities of a classifier that has not seen the label of the row. Needed by all
        methods but "neighbors".
    quantity : {"noise_rate", "transition"}, default="noise_rate"
        What the interval is for: the rate, or each entry of the matrix.
    method : {"argmax", "confident", "anchor", "dual", "neighbors"}, default="argmax"
        See :func:`estimate_transition_matrix`.
    classes : iterable of labels, default=None
        All classes, in the order of the columns of `proba`; None: those in y, sorted.
    X : array-like or sparse of shape (n, n_features), default=None
        Features for "neighbors". Resampled rows keep their neighbours.
    n_bootstraps : int, default=200
        Number of resamples. Each takes n bytes, and with ``quantity="transition"`` another
        matrix of float64.
    confidence_level : float, default=0.9
        Share of the resampled estimates between the limits, in (0, 1).
    random_state : int, Generator, RandomState or None, default=None
        Source of the resamples. An integer gives the same interval everywhere.

    Returns
    -------
    low, high : float, or ndarray of shape (n_classes, n_classes)
        Percentiles of the estimates. They show how the estimate depends on which rows were drawn.
        The classifier is not fitted again, and its errors are not part of the interval.

    Raises
    ------
    ValueError
        If a parameter lies outside its range, or :func:`estimate_transition_matrix` refuses the
        data.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.noise import bootstrap_interval, symmetric
    >>> y = np.arange(10_000) % 4
    >>> noisy, _, _ = symmetric(y, 0.2, random_state=0)
    >>> low, high = bootstrap_interval(noisy, np.eye(4)[y], random_state=0)
    >>> print(f"{low:.3f} to {high:.3f}")
    0.193 to 0.208
    """
    if quantity not in ("noise_rate", "transition"):
        raise ValueError(f"quantity={quantity!r} must be 'noise_rate' or 'transition'.")
    if not isinstance(n_bootstraps, Integral) or n_bootstraps < 2:
        raise ValueError(f"n_bootstraps={n_bootstraps!r} must be an integer of at least 2.")
    if not isinstance(confidence_level, Real) or not 0 < confidence_level < 1:
        raise ValueError(f"confidence_level={confidence_level!r} must lie between 0 and 1.")
    rng = own_generator(random_state, "bootstrap_interval")
    n = len(encode(y)[0])
    repeats = np.empty((int(n_bootstraps), n), dtype=np.uint8)
    for counts in repeats:
        counts[:] = np.bincount(rng.integers(n, size=n), minlength=n)
    drawn = [
        noise_rate(transition, shares) if quantity == "noise_rate" else transition
        for transition, shares in _estimates(y, proba, method, classes, X, repeats)
    ]
    tail = (1 - float(confidence_level)) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return (float(low), float(high)) if quantity == "noise_rate" else (low, high)


def _estimates(
    y: ArrayLike,
    proba: ArrayLike | None,
    method: Method,
    classes: Iterable[Hashable] | None,
    X: ArrayLike | None,
    repeats: Repeats | None = None,
) -> Estimates:
    """Check the input and return the estimates of each resample; None: of all rows once."""
    codes, decoder = encode(y, classes)
    n_classes = check_n_classes(len(decoder))
    if repeats is None:
        repeats = np.ones((1, len(codes)), dtype=np.uint8)
    if method == "neighbors":
        if X is None:
            raise ValueError('method="neighbors" needs X, the features of the rows.')
        return neighbors_estimates(neighbor_codes(codes, X), n_classes, repeats)
    if method not in _BY_PROBABILITIES:
        known = [*_BY_PROBABILITIES, "neighbors"]
        raise ValueError(f"method={method!r} must be one of {known}.")
    if proba is None:
        raise ValueError(
            f"method={method!r} needs proba, the class probabilities of the rows. Only "
            'method="neighbors" does without.'
        )
    checked = check_probabilities(proba, len(codes), n_classes)
    return _BY_PROBABILITIES[method](codes, checked, n_classes, repeats)

"""Accuracy on the clean labels, estimated from noisy ones and their transition matrix."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_consistent_length

from ._classes import Matrix, check_square, codes_in, order_of

__all__ = ["CorrectedAccuracy", "noise_corrected_accuracy", "noise_corrected_accuracy_score"]

_MAX_CONDITION = 1e3  # beyond it, the correction multiplies the sampling error by hundreds


class CorrectedAccuracy(NamedTuple):
    """Result of :func:`noise_corrected_accuracy_score`.

    Attributes
    ----------
    accuracy : float
        Estimated accuracy on the clean labels, clipped to [0, 1].
    standard_error : float
        Standard error of the estimate before clipping. It takes the transition matrix as known.
        NaN for a single row.

    Examples
    --------
    >>> from sknoisy.metrics import noise_corrected_accuracy_score
    >>> accuracy, standard_error = noise_corrected_accuracy_score(
    ...     [0, 0, 0, 1, 1], [0, 0, 1, 1, 1], [[0.9, 0.1], [0.2, 0.8]]
    ... )
    >>> round(accuracy, 3), round(standard_error, 3)
    (0.943, 0.273)
    """

    accuracy: float
    standard_error: float


def noise_corrected_accuracy_score(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    transition: ArrayLike,
    *,
    classes: Iterable[Hashable] | None = None,
) -> CorrectedAccuracy:
    r"""Estimate the accuracy on the clean labels from noisy labels and a transition matrix.

    Row i with given label :math:`s_i` and prediction :math:`h_i` contributes

    .. math:: z_i = (T^{-1})_{s_i h_i}, \quad E[z_i \mid \text{clean label } y_i] = 1[h_i = y_i],

    as :math:`T T^{-1} = I`. So the mean of z is an unbiased estimate, and
    :math:`\operatorname{std}(z) / \sqrt{n}` is its standard error. Single values of z lie outside
    [0, 1] and are not clipped, only their mean is.

    This holds for rows that the model was not trained on, and for noise that depends on the clean
    class alone. It is wrong for noise that depends on the row. Under symmetric noise the estimate
    is a linear function of the accuracy on the noisy labels: it estimates the level, but ranks
    models as the plain accuracy does.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Given labels of any type.
    y_pred : array-like of shape (n,)
        Predicted labels of the same rows.
    transition : array-like of shape (n_classes, n_classes)
        ``transition[i, j]`` is the probability of given class j for clean class i.
    classes : iterable of labels, default=None
        Classes in the order of the transition matrix; None: all that occur in y_true or y_pred,
        sorted.

    Returns
    -------
    result : CorrectedAccuracy
        Named tuple of ``accuracy`` and ``standard_error``, which takes the matrix as known. If
        it was estimated, resample the rows and estimate it anew each time.

    Raises
    ------
    ValueError
        If the lengths differ, a label is not among the classes, the matrix does not fit the
        classes, its rows do not sum to 1, or its condition number is above 1,000.

    See Also
    --------
    noise_corrected_accuracy : Scorer for cross-validation and searches.
    sknoisy.noise.estimate_transition : Transition matrix of pairs of clean and noisy labels.

    References
    ----------
    N. Natarajan et al., Learning with Noisy Labels, NeurIPS 2013, lemma 1, for two classes;
    G. Patrini et al., Making Deep Neural Networks Robust to Label Noise: a Loss Correction
    Approach, CVPR 2017, theorem 1, for more.

    Examples
    --------
    >>> from sknoisy.metrics import noise_corrected_accuracy_score
    >>> given = ["ham", "ham", "ham", "spam", "spam"]
    >>> predicted = ["ham", "ham", "spam", "spam", "spam"]
    >>> result = noise_corrected_accuracy_score(given, predicted, [[0.9, 0.1], [0.2, 0.8]])
    >>> round(result.accuracy, 3), round(result.standard_error, 3)
    (0.943, 0.273)
    """
    check_consistent_length(y_true, y_pred)
    matrix = _check_invertible(transition)
    order = order_of(matrix, classes, y_true, y_pred)
    z = _corrected(y_true, y_pred, matrix, order)
    error = z.std(ddof=1) / np.sqrt(len(z)) if len(z) > 1 else np.nan
    return CorrectedAccuracy(float(np.clip(z.mean(), 0, 1)), float(error))


def noise_corrected_accuracy(
    transition: ArrayLike, classes: Iterable[Hashable] | None = None
) -> Callable[..., float]:
    """Return a scorer that estimates the accuracy on the clean labels.

    Pass it as ``scoring=noise_corrected_accuracy(transition, classes)``. The scorer is the mean
    that :func:`noise_corrected_accuracy_score` computes, without clipping: so the mean over folds
    is unbiased, and two models above 1 can be told apart.

    Parameters
    ----------
    transition : array-like of shape (n_classes, n_classes)
        ``transition[i, j]`` is the probability of given class j for clean class i.
    classes : iterable of labels, default=None
        Classes in the order of the transition matrix. None: ``classes_`` of the fitted estimator.
        Pass them if a class may be missing in a training fold.

    Returns
    -------
    scorer : callable
        Function of a fitted estimator, X and y that returns a float. It can be pickled and copied.

    Raises
    ------
    ValueError
        If the matrix is not square, its rows do not sum to 1, its condition number is above
        1,000, or the number of classes differs. The scorer raises if y or the predictions hold
        other labels, or the estimator has seen fewer classes and none were passed.

    See Also
    --------
    agreement_scorer : Needs no transition matrix.
    noisy_log_likelihood : Scores probabilities through the transition matrix.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from sknoisy.metrics import noise_corrected_accuracy
    >>> from sknoisy.noise import pairflip
    >>> X, y = load_iris(return_X_y=True)
    >>> noisy = pairflip(y, 0.3, random_state=0)
    >>> scorer = noise_corrected_accuracy(noisy.transition, classes=[0, 1, 2])
    >>> tree = DecisionTreeClassifier(max_depth=2)
    >>> round(float(cross_val_score(tree, X, noisy.y).mean()), 2)
    0.57
    >>> round(float(cross_val_score(tree, X, noisy.y, scoring=scorer).mean()), 2)
    0.82
    """
    matrix = _check_invertible(transition)
    return partial(_score, transition=matrix, classes=order_of(matrix, classes))


def _score(estimator: Any, X: Any, y: Any, *, transition: Matrix, classes: Any) -> float:
    order = order_of(transition, estimator.classes_ if classes is None else classes)
    return float(_corrected(y, estimator.predict(X), transition, order).mean())


def _corrected(y_true: Any, y_pred: Any, transition: Matrix, classes: Any) -> Any:
    """Return z of each row."""
    given = codes_in(y_true, classes, "y_true")
    return np.linalg.inv(transition)[given, codes_in(y_pred, classes, "y_pred")]


def _check_invertible(transition: ArrayLike) -> Matrix:
    matrix = check_square(transition)
    condition = np.linalg.cond(matrix)
    if condition > _MAX_CONDITION:
        raise ValueError(
            f"The condition number of the transition matrix is {condition:.3g}, above "
            f"{_MAX_CONDITION:g}: clean classes have nearly the same given labels, so no accuracy "
            "can be estimated. Use agreement_scorer, or trusted_accuracy on checked rows."
        )
    return matrix

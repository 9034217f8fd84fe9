"""Log-likelihood of noisy labels under probabilities of the clean classes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..noise.probabilities import check_probabilities, pieces
from ._classes import Matrix, check_square, codes_in, order_of

__all__ = ["noisy_log_likelihood", "noisy_log_likelihood_score"]


def noisy_log_likelihood_score(
    y_true: ArrayLike,
    proba: ArrayLike,
    transition: ArrayLike,
    *,
    classes: Iterable[Hashable] | None = None,
) -> float:
    r"""Compute the mean log-likelihood of noisy labels under probabilities of the clean classes.

    With clean-class probabilities :math:`p_i` and given label :math:`s_i` of row i,

    .. math:: \frac{1}{n} \sum_i \log (T^\top p_i)_{s_i} .

    If T is invertible, this is a strictly proper score of the clean probabilities: its expectation
    is largest for the true ones, and for no others. The plain log-likelihood is largest for the
    probabilities of the noisy labels. So a classifier that fits the noise itself, such as a
    logistic regression on the noisy labels, is scored too low here, even if its most probable
    class is the right one. Use this score for classifiers whose probabilities are of the clean
    classes. It judges probabilities; the model with the best ones is not always the most accurate.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Given labels of any type.
    proba : array-like or sparse of shape (n, n_classes)
        Probabilities of the clean classes, float32 or float64. A sparse array may hold the largest
        few of each row.
    transition : array-like of shape (n_classes, n_classes)
        ``transition[i, j]`` is the probability of given class j for clean class i.
    classes : iterable of labels, default=None
        Classes in the order of the matrix and of the columns of proba; None: all that occur in
        y_true, sorted.

    Returns
    -------
    score : float
        Mean over the rows, at most 0; greater is better. Likelihoods below 2.2e-16 count as
        2.2e-16.

    Raises
    ------
    ValueError
        If the arrays do not fit each other, a row of proba or of the matrix does not sum to 1, or
        a label is not among the classes.

    See Also
    --------
    noisy_log_likelihood : Scorer for cross-validation and searches.

    References
    ----------
    G. Patrini et al., Making Deep Neural Networks Robust to Label Noise: a Loss Correction
    Approach, CVPR 2017, theorem 2 (forward correction).

    Examples
    --------
    >>> from sknoisy.metrics import noisy_log_likelihood_score
    >>> transition = [[0.8, 0.2], [0.3, 0.7]]
    >>> proba = [[1, 0], [0, 1], [0.5, 0.5]]
    >>> score = noisy_log_likelihood_score(["ham", "spam", "spam"], proba, transition)
    >>> round(score, 6)  # the mean of log 0.8, log 0.7 and log 0.45
    -0.459442
    """
    matrix = check_square(transition)
    order = order_of(matrix, classes, y_true)
    return _mean_log(codes_in(y_true, order, "y_true"), proba, matrix)


def noisy_log_likelihood(
    transition: ArrayLike, classes: Iterable[Hashable] | None = None
) -> Callable[..., float]:
    """Return a scorer by the likelihood of noisy labels.

    Pass it as ``scoring=noisy_log_likelihood(transition, classes)``. It computes
    :func:`noisy_log_likelihood_score` of ``predict_proba``, with columns in the order of the
    classes. A class that the estimator has not seen has probability 0.

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
        If the matrix is not square, its rows do not sum to 1, or the number of classes differs.
        The scorer raises if y or the estimator has other classes.

    See Also
    --------
    noise_corrected_accuracy : Scores predictions instead of probabilities.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> from sknoisy.metrics import noisy_log_likelihood
    >>> from sknoisy.noise import pairflip
    >>> X, y = load_iris(return_X_y=True)
    >>> noisy = pairflip(y, 0.2, random_state=0)
    >>> scorer = noisy_log_likelihood(noisy.transition, classes=[0, 1, 2])
    >>> clf = LogisticRegression(max_iter=500)
    >>> round(float(cross_val_score(clf, X, noisy.y, scoring=scorer).mean()), 2)
    -0.86
    """
    matrix = check_square(transition)
    return partial(_score, transition=matrix, classes=order_of(matrix, classes))


def _score(estimator: Any, X: Any, y: Any, *, transition: Matrix, classes: Any) -> float:
    order = order_of(transition, estimator.classes_ if classes is None else classes)
    proba = estimator.predict_proba(X)
    seen = codes_in(estimator.classes_, order, "classes_ of the estimator")
    if not np.array_equal(seen, np.arange(len(order))):
        in_order = np.zeros((len(proba), len(order)))
        in_order[:, seen] = proba
        proba = in_order
    return _mean_log(codes_in(y, order, "y"), proba, transition)


def _mean_log(codes: Any, proba: Any, transition: Matrix) -> float:
    checked = check_probabilities(proba, len(codes), len(transition))
    total = 0.0
    for rows, piece in pieces(checked):
        likelihood = np.einsum("ij,ij->i", piece, transition.T[codes[rows]])
        total += np.log(np.maximum(likelihood, np.finfo(np.float64).eps)).sum()
    return float(total / len(codes))

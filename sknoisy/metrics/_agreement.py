"""Agreement of predictions with the labels of near rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.neighbors import NearestNeighbors

from ..noise.checks import encode
from ._table import as_table

__all__ = ["agreement_scorer"]


def agreement_scorer(estimator: Any, X: Any, y: ArrayLike, *, n_neighbors: int = 10) -> float:
    """Score a fitted classifier by its agreement with a vote of near rows; greater is better.

    Each row gets the most frequent given label of its nearest other rows. The score is the share
    of rows for which the classifier predicts this label; where several labels are equally
    frequent, each counts in part. Neither the classifier nor the vote has seen the row's own
    label. A vote of ten labels is wrong more rarely than one label, so the score is less noisy
    than the accuracy on noisy labels. No transition matrix and no clean label is needed. Pass it
    as ``scoring=agreement_scorer``.

    What the score cannot see:

    - Rows on which near labels are wrong together: regions of structured noise, and pairs of
      classes that are exchanged in nearly half of the rows. A model with the same errors is
      preferred. In particular, nearest-neighbour classifiers are preferred to others that are as
      good.
    - Gains over the vote. A model that is right where the vote is wrong loses; the best models of
      a search may be better than nearest neighbours by far.
    - Classes with fewer rows than half of the neighbours, which the vote always overrules.

    Parameters
    ----------
    estimator : classifier
        Fitted classifier.
    X : array-like of shape (n, d)
        Rows that it was not trained on: a table of numbers on one scale. In a search, distances
        are those of the X that is passed to it, before the steps of a pipeline.
    y : array-like of shape (n,)
        Given labels.
    n_neighbors : int, default=10
        Number of rows that vote, at most n - 1. Change it by
        ``functools.partial(agreement_scorer, n_neighbors=5)``. It should be well below the number
        of rows of a class in a fold.

    Returns
    -------
    score : float
        Share in [0, 1].

    Raises
    ------
    ValueError
        If X is no table of finite numbers, there is only one row, or n_neighbors is less than 1.

    See Also
    --------
    clid_scorer : Reads no labels at all.
    noise_corrected_accuracy : Needs a transition matrix.

    References
    ----------
    D. Bahri, H. Jiang and M. Gupta, Deep k-NN for Noisy Labels, ICML 2020, trust a label that a
    vote of its neighbours confirms. O. Madani, D. Pennock and G. Flake, Co-Validation: Using Model
    Disagreement on Unlabeled Data to Validate Classification Algorithms, NeurIPS 2004, choose
    models by their agreement with an independent one, which bounds the error from below.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from sknoisy.metrics import agreement_scorer
    >>> from sknoisy.noise import symmetric
    >>> X, y = load_iris(return_X_y=True)
    >>> y_noisy = symmetric(y, 0.4, random_state=0).y
    >>> tree = DecisionTreeClassifier(random_state=0)
    >>> grid = {"max_leaf_nodes": [3, 100]}
    >>> GridSearchCV(tree, grid, scoring=agreement_scorer).fit(X, y_noisy).best_params_
    {'max_leaf_nodes': 3}
    """
    table = as_table(estimator, X, "agreement_scorer", "rows by their distance")
    if n_neighbors < 1:
        raise ValueError(f"n_neighbors={n_neighbors} must be at least 1.")
    if len(table) < 2:
        raise ValueError("agreement_scorer needs at least two rows: a row has no vote on itself.")
    codes, classes = encode(y)
    nearest = NearestNeighbors(n_neighbors=min(n_neighbors, len(table) - 1)).fit(table)
    neighbors = nearest.kneighbors(return_distance=False)  # of other rows only
    votes = np.zeros((len(codes), len(classes)), dtype=np.int32)
    np.add.at(votes, (np.arange(len(codes))[:, None], codes[neighbors]), 1)
    is_winner = votes == votes.max(axis=1, keepdims=True)
    agrees = np.asarray(estimator.predict(X))[:, None] == classes
    return float((agrees & is_winner).sum(axis=1) @ (1 / is_winner.sum(axis=1)) / len(codes))

"""A decision tree without an estimator around it."""

from __future__ import annotations

import numpy as np

from .._compat import BestSplitter, DepthFirstTreeBuilder, Gini, Tree

__all__ = ["grow_tree"]


def grow_tree(
    X: np.ndarray,
    codes: np.ndarray,
    weights: np.ndarray,
    n_classes: int,
    min_leaf: int,
    random_state: np.random.RandomState,
) -> Tree:
    """Return the tree of a ``DecisionTreeClassifier`` with ``max_features="sqrt"``.

    The validation by the classifier would take longer than the growth where there are few rows.

    Parameters
    ----------
    X : ndarray of float32 of shape (n, d)
        Rows.
    codes : ndarray of int of shape (n,)
        Classes 0, ..., n_classes - 1 of the rows; a class may have none.
    weights : ndarray of float64 of shape (n,)
        Positive weights of the rows.
    n_classes : int
        Number of classes.
    min_leaf : int
        Least number of rows in a leaf.
    random_state : RandomState
        Draws the columns that are tried at each node.

    Returns
    -------
    Tree
        Its ``predict`` returns the probabilities (n, n_classes) of rows of float32.
    """
    n_columns, classes = X.shape[1], np.array([n_classes], dtype=np.intp)
    n_tried = max(1, int(np.sqrt(n_columns)))
    criterion = Gini(1, classes)
    splitter = BestSplitter(criterion, n_tried, min_leaf, 0.0, random_state, None)
    deepest = np.iinfo(np.int32).max
    builder = DepthFirstTreeBuilder(splitter, 2 * min_leaf, min_leaf, 0.0, deepest, 0.0)
    tree = Tree(n_columns, classes, 1)
    builder.build(tree, X, codes.astype(np.float64)[:, None], weights)
    return tree

"""Cross-layer information divergence (CLID)."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import softmax
from sklearn.utils import check_array, check_consistent_length

from ..meta import cross_layer_divergence

__all__ = ["clid", "clid_scorer"]

_BLOCK_ENTRIES = 2**22  # entries of the graphs that are held at a time


def clid(features, proba_or_logits, temperature: float = 0.5) -> float:
    r"""Cross-layer information divergence; lower is better, labels are not needed.

    With cosine similarities :math:`a_{ij}` of the features, L2-normalised predictions q and

    .. math::

        S_{ij} = \frac{\exp(\max(a_{ij}, 0) / \tau)}{\sum_k \exp(\max(a_{ik}, 0) / \tau)}, \quad
        W_{ij} = \frac{q_i \cdot q_j}{\sum_k q_i \cdot q_k}, \quad
        \mathrm{CLID} = -\frac{1}{n} \sum_{ij} W_{ij} \log S_{ij} .

    The value grows with the logarithm of n: compare only values of the same number of rows.

    Parameters
    ----------
    features : array-like of shape (n, d)
        Penultimate features, or any representation of the rows.
    proba_or_logits : array-like of shape (n, n_classes)
        Class probabilities; rows that are not on the simplex are taken for logits.
    temperature : float, default=0.5
        Temperature :math:`\tau` of the feature graph, positive.

    Returns
    -------
    divergence : float

    Raises
    ------
    ValueError
        If the arrays differ in length, hold NaN or infinity, or temperature is not positive.

    References
    ----------
    CLID-MU: Cross-Layer Information Divergence Based Meta Update Strategy for Learning with Noisy
    Labels, KDD 2025, arXiv:2507.11807.

    Examples
    --------
    >>> from sknoisy.metrics import clid
    >>> features = [[1, 0], [0.6, 0.8], [-1, 0.2], [0, 1]]
    >>> logits = [[2, 0, 0], [1, 1, 0], [0, 0, 2], [0, 3, 0]]
    >>> round(clid(features, logits), 6)
    1.275835
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature!r}.")
    f = check_array(features, dtype=np.float64, input_name="features")
    p = check_array(proba_or_logits, dtype=np.float64, input_name="proba_or_logits")
    check_consistent_length(f, p)
    if p.min() < 0 or not np.allclose(p.sum(axis=1), 1):
        p = softmax(p, axis=1)
    f, p = torch.from_numpy(f), torch.from_numpy(p)
    n = len(f)
    step = max(_BLOCK_ENTRIES // n, 1)
    blocks = (slice(start, start + step) for start in range(0, n, step))
    total = sum(cross_layer_divergence(f, p, temperature, rows).sum().item() for rows in blocks)
    return total / n


def clid_scorer(estimator, X, y=None) -> float:
    """Score a fitted classifier by minus CLID: greater is better, and labels are not read.

    Cross-validation scores a model on noisy labels, which favours models that learn the noise
    where it has structure; this scorer compares the model's predictions with the geometry of its
    features instead. Pass it as ``scoring=clid_scorer``. It compares models that have been trained
    to some extent: a network that has hardly moved from its start may have a low CLID too.

    Parameters
    ----------
    estimator : classifier
        Fitted, with ``predict_proba``; its ``features`` are used if it has them, else X.
    X : array-like of shape (n, d), or what the estimator takes
        Rows to score on.
    y : ignored
        For the signature of scorers.

    Returns
    -------
    score : float
        Minus :func:`clid` at temperature 0.5.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> from sknoisy.metrics import clid_scorer
    >>> X, y = load_digits(return_X_y=True)
    >>> model = LogisticRegression(max_iter=500)
    >>> bool((cross_val_score(model, X[:300] / 16, y[:300], scoring=clid_scorer) < 0).all())
    True
    """
    features = estimator.features(X) if hasattr(estimator, "features") else X
    return -clid(features, estimator.predict_proba(X))

"""Cross-layer information divergence (CLID)."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import softmax
from sklearn.utils import check_array, check_consistent_length

from ..meta import cross_layer_divergence
from ._table import as_table

__all__ = ["clid", "clid_scorer"]

_BLOCK_ENTRIES = 2**22  # entries of the graphs that are held in memory at a time


def clid(features, proba_or_logits, temperature: float = 0.5) -> float:
    r"""Compute the cross-layer information divergence; lower is better, no labels are needed.

    With cosine similarities :math:`a_{ij}` of the features, L2-normalised predictions q and

    .. math::

        S_{ij} = \frac{\exp(\max(a_{ij}, 0) / \tau)}{\sum_k \exp(\max(a_{ik}, 0) / \tau)}, \quad
        W_{ij} = \frac{q_i \cdot q_j}{\sum_k q_i \cdot q_k}, \quad
        \mathrm{CLID} = -\frac{1}{n} \sum_{ij} W_{ij} \log S_{ij} .

    The value grows with the logarithm of n: compare values of the same number of rows only.

    Parameters
    ----------
    features : array-like of shape (n, d)
        Penultimate features, or any representation of the rows.
    proba_or_logits : array-like of shape (n, n_classes)
        Class probabilities. If not all rows are on the simplex, the values are taken as logits.
    temperature : float, default=0.5
        Temperature :math:`\tau` of the feature graph, positive.

    Returns
    -------
    divergence : float
        Mean over the rows.

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


def clid_scorer(estimator, X, y=None, *, temperature: float = 0.03) -> float:
    r"""Score a fitted classifier by relative CLID; greater is better, and labels are not read.

    Cross-validation by accuracy scores a model on noisy labels, which favours models that learn
    structured noise. This scorer compares the model's predictions with the geometry of its
    features instead. Pass it as ``scoring=clid_scorer``.

    Candidates have different features, so :func:`clid` is made comparable in two ways. First, it
    is divided by CLID of the same features with equal predictions for all rows. So a model that
    has learnt nothing scores -1, whether its features are parallel or its predictions equal, and
    no model reaches 0. (CLID itself is log n for parallel features, and a good model may have
    more.) Second, the temperature is far below that of training. Features after a ReLU have
    cosines from 0 to 1. At temperature 0.5 their feature graph is nearly uniform, and the model
    that spreads its classes furthest wins, although its predictions contradict its features. At
    0.03 the graph holds near neighbours only. Beyond them the floor in the logarithm bounds the
    cost, so spread gains nothing.

    Cross-validation fits its candidates on fewer rows than the final model. If defaults depend on
    the number of rows, as those of :func:`~sknoisy.networks.mlp_settings` do at 800 rows, use
    enough folds to stay on the same side of the limit; otherwise other models are compared.

    Parameters
    ----------
    estimator : classifier
        Fitted classifier with ``predict_proba``. Its ``features`` are used if it has this method,
        else X, which should then be a table of numbers on one scale.
    X : array-like of shape (n, d), or what the estimator takes
        Rows to score on, the same number for all candidates.
    y : ignored
        Present for the signature of scorers.
    temperature : float, default=0.03
        Temperature of the feature graph. Change it by
        ``functools.partial(clid_scorer, temperature=0.1)``.

    Returns
    -------
    score : float
        CLID divided by CLID of equal predictions, times -1.

    Raises
    ------
    ValueError
        If temperature is not positive, features or probabilities are not finite, or the estimator
        has no method ``features`` and X is no table of finite numbers: text, images, categories,
        missing values, a sparse matrix.

    See Also
    --------
    agreement_scorer : Compares predictions with labels of near rows, for any classifier.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> from sknoisy.metrics import clid_scorer
    >>> X, y = load_digits(return_X_y=True)
    >>> trained, nearly_constant = LogisticRegression(max_iter=500), LogisticRegression(C=1e-8)
    >>> for model in trained, nearly_constant:
    ...     score = cross_val_score(model, X[:300] / 16, y[:300], scoring=clid_scorer).mean()
    ...     print(round(float(score), 1))
    -0.5
    -1.0
    """
    if hasattr(estimator, "features"):
        features = estimator.features(X)
    else:
        features = as_table(
            estimator, X, "clid_scorer", "predictions with features, here X for lack of a method"
        )
    proba = estimator.predict_proba(X)
    of_equal_rows = clid(features, np.full((len(proba), 2), 0.5), temperature)
    return -clid(features, proba, temperature) / of_equal_rows

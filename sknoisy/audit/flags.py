"""Which rows are flagged as suspects, by their scores."""

from __future__ import annotations

import numbers

import numpy as np
from numpy.typing import NDArray

from ..noise.probabilities import Probabilities
from .scores import Codes, Scores, suggestions

__all__ = ["flag_rows"]


def flag_rows(
    codes: Codes,
    proba: Probabilities,
    scores: Scores,
    threshold: str | float,
    trusted: NDArray[np.bool_] | None = None,
    *,
    joint: NDArray[np.float64] | None = None,
) -> NDArray[np.bool_]:
    """Return the rows whose labels look wrong.

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        Codes of the given labels, 0 to n_classes - 1; -1 marks a row without a label.
    proba : ndarray or csr_array of shape (n, n_classes), float32 or float64
        Class probabilities.
    scores : ndarray of shape (n,), float64
        Score of each given label; low scores are suspicious. Rows without a label may have any.
    threshold : {"margin", "per_class"}, float or int
        - "margin": rows for which another class is more probable than the given one, that is,
          whose normalised margin is below 0.5;
        - "per_class": of each given class k the round(n_k - Q[k, k]) rows of lowest score, as many
          as the confident joint Q counts in other true classes;
        - a float from 0 to 1: rows whose score is below it;
        - an int of at least 0: this many rows of lowest score, or all that may be flagged. Of
          equal scores the first rows are taken.
    trusted : ndarray of shape (n,), bool, or None, default=None
        Rows that are never flagged. Rows without a label are not flagged either.
    joint : ndarray of shape (n_classes, n_classes), float64, or None, default=None
        The calibrated confident joint Q in rows, given classes by true classes. "per_class" needs
        it.

    Returns
    -------
    flagged : ndarray of shape (n,), bool
        True for suspects.

    Raises
    ------
    ValueError
        If the threshold is none of these, or "per_class" comes without a joint.

    References
    ----------
    C. Northcutt, L. Jiang and I. Chuang, "Confident learning: estimating uncertainty in dataset
    labels", JAIR 70, 2021, section 3.2, for "per_class" (prune by class).

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.audit.flags import flag_rows
    >>> from sknoisy.audit.scores import normalized_margin
    >>> codes = np.array([0, 0, 1])
    >>> proba = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    >>> scores = normalized_margin(codes, proba)
    >>> flag_rows(codes, proba, scores, "margin")
    array([False,  True, False])
    >>> flag_rows(codes, proba, scores, 2)
    array([False,  True,  True])
    """
    candidates = codes >= 0 if trusted is None else (codes >= 0) & ~trusted
    if isinstance(threshold, str):
        if threshold == "margin":
            return candidates & (suggestions(codes, proba).codes != codes)
        if threshold == "per_class":
            return _lowest_per_class(codes, scores, candidates, joint)
    elif isinstance(threshold, numbers.Real) and not isinstance(threshold, bool):
        if isinstance(threshold, numbers.Integral) and threshold >= 0:
            return _lowest(scores, candidates, int(threshold))
        if not isinstance(threshold, numbers.Integral) and 0 <= threshold <= 1:
            return candidates & (scores < threshold)
    raise ValueError(
        f'threshold={threshold!r}: pass "margin", "per_class", a float from 0 to 1 (rows whose '
        "score is below it), or an int of at least 0 (this many rows of lowest score)."
    )


def _lowest(scores: Scores, candidates: NDArray[np.bool_], n_flagged: int) -> NDArray[np.bool_]:
    """Return the candidates of lowest score, at most so many."""
    rows = np.flatnonzero(candidates)
    flagged = np.zeros(len(scores), dtype=bool)
    flagged[rows[np.argsort(scores[rows], kind="stable")[:n_flagged]]] = True
    return flagged


def _lowest_per_class(
    codes: Codes,
    scores: Scores,
    candidates: NDArray[np.bool_],
    joint: NDArray[np.float64] | None,
) -> NDArray[np.bool_]:
    """Return the candidates of lowest score in each class, as many as the joint counts wrong."""
    if joint is None:
        raise ValueError('threshold="per_class" needs joint, the calibrated confident joint.')
    sizes = np.bincount(codes[codes >= 0], minlength=len(joint))
    counts = np.rint(sizes - joint.diagonal()).astype(np.intp).clip(min=0)
    # Rank of each candidate within its class, from the lowest score.
    rows = np.flatnonzero(candidates)
    rows = rows[np.lexsort((scores[rows], codes[rows]))]
    starts = np.searchsorted(codes[rows], np.arange(len(joint)))
    ranks = np.arange(len(rows)) - starts[codes[rows]]
    flagged = np.zeros(len(scores), dtype=bool)
    flagged[rows[ranks < counts[codes[rows]]]] = True
    return flagged

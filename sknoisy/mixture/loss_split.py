"""Split of the rows by a mixture of their losses; the lower component has the right labels."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length

from .._compat import column_or_1d
from .._engine.indexing import rows_of_classes
from ..exceptions import MixtureWarning, warn_user
from ._loss_posterior import (
    Losses,
    Mask,
    check_candidates,
    check_losses,
    check_mixture,
    fit_losses,
    share_above,
)

__all__ = ["LossSplit", "split_by_loss"]


class LossSplit(NamedTuple):
    """Result of :func:`split_by_loss`.

    Attributes
    ----------
    clean_proba : ndarray of shape (n,), float64
        Estimated probability that the label is right; within a class it never rises with the
        loss.
    is_clean : ndarray of shape (n,), bool
        True where the label is taken as right.

    Examples
    --------
    >>> from sknoisy.mixture import split_by_loss
    >>> clean_proba, is_clean = split_by_loss([0, 0, 0, 0, 9, 9, 9], [0, 0, 1, 1, 0, 0, 1])
    >>> clean_proba.round(3).tolist()
    [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    >>> is_clean.tolist()
    [True, True, True, True, False, False, False]
    """

    clean_proba: NDArray[np.float64]
    is_clean: NDArray[np.bool_]


def split_by_loss(
    losses: ArrayLike,
    targets: ArrayLike,
    *,
    threshold: float = 0.5,
    min_per_class: int | float = 10,
    fallback_share: float = 0.5,
    stratify: bool = False,
    kind: str = "gaussian",
    max_iter: int = 100,
    candidates: ArrayLike | None = None,
    random_state: Any = None,
) -> LossSplit:
    r"""Separate right labels from wrong ones by a two-component mixture of the losses.

    Networks learn right labels first, so rows with right labels have lower losses. The losses are
    scaled to [0, 1], and two Gaussians (or two betas, see ``kind``) are fitted to them:

    .. math:: P(\text{clean} \mid \ell_i) =
        \pi_1 N(\ell_i; \mu_1, \sigma_1^2) / \sum_k \pi_k N(\ell_i; \mu_k, \sigma_k^2),
        \quad \mu_1 < \mu_2.

    Rows whose probability exceeds the threshold are taken as right. Three guards are not in the
    papers:

    - Each given class keeps its ``min_per_class`` rows (or share) of lowest loss, whatever their
      posterior, but at most ``fallback_share`` of its rows. So no class is ever emptied.
    - The log odds of two Gaussians are a parabola. Past its vertex a larger loss would count as
      cleaner; there the odds are held at their value at the vertex.
    - If the mixture does not separate the rows, the ``fallback_share`` of lowest loss of each
      class is taken, with a warning, and ``clean_proba`` is the share of the class's rows that
      have a larger loss (ties count half). This happens if there are fewer than 5 rows (the
      mixture has 5 parameters), if all losses are equal, if EM does not converge, if one Gaussian
      has no worse a BIC, or if the means lie within twice the smaller standard deviation, where
      the density has one mode in whatever proportion the two are mixed.

    The result does not depend on the order of the rows, with one exception: where a guard takes
    some of several rows of equal loss in a class, it takes the first of them.

    Parameters
    ----------
    losses : array-like of shape (n,)
        Per-sample losses, usually cross-entropies. Their scale has no effect.
    targets : array-like of shape (n,)
        Given labels of any type.
    threshold : float, default=0.5
        Threshold in [0, 1]. DivideMix takes 0.6 if nine tenths of the labels are wrong.
    min_per_class : int or float, default=10
        Rows that each class keeps: a whole number from 1, or a share of the class in (0, 1).
    fallback_share : float, default=0.5
        Share of each class, in (0, 1], that is taken if the mixture does not separate the rows.
        The default splits at the median.
    stratify : bool, default=False
        If True, the same share of each class is taken, its rows of lowest loss. The share is that
        of the rows above the threshold among all rows. A network gives the labels of rare classes,
        and of classes that are hard to learn, a high loss even where they are right.
    kind : {"gaussian", "beta"}, default="gaussian"
        Distribution of the two components, as in :func:`loss_mixture`.
    max_iter : int, default=100
        Maximum number of EM steps. EM stops when the mean log-likelihood gains less than 0.01
        (Gaussians) or 0.0001 (betas). The papers stop after 10 steps in any case; Gaussians
        usually converge in two to five.
    candidates : array-like of bool of shape (n,), default=None
        Rows to which the mixture is fitted and from which rows are taken; the others only get a
        ``clean_proba``. None: all.
    random_state : int, RandomState or None, default=None
        Draws the start of the k-means that initialises EM (Gaussians), or all starts after the
        first (betas).

    Returns
    -------
    split : LossSplit
        Named tuple of ``clean_proba`` and ``is_clean``, both of shape (n,).

    Raises
    ------
    ValueError
        If a loss is NaN or infinite, lengths differ, no row is a candidate, or a parameter is out
        of its range.

    Warns
    -----
    MixtureWarning
        If the mixture does not separate the rows.

    References
    ----------
    J. Li et al., DivideMix: Learning with Noisy Labels as Semi-supervised Learning, ICLR 2020,
    section 3.1. Y. Xu et al., Faster Meta Update Strategy for Noise-Robust Deep Learning, CVPR
    2021, Algorithm 2. J. Behboodian, On the modes of a mixture of two normal distributions,
    Technometrics 12, 1970 (one mode).

    Examples
    --------
    >>> from sknoisy.mixture import split_by_loss
    >>> losses = [0.1, 2.1, 0.2, 0.1, 1.9, 0.1, 0.2, 2.0]
    >>> split_by_loss(losses, targets=[0, 0, 0, 0, 1, 1, 1, 1], random_state=0).is_clean
    array([ True, False,  True,  True, False,  True,  True, False])
    """
    split, trouble = split_or_fall_back(
        losses,
        targets,
        threshold=threshold,
        min_per_class=min_per_class,
        fallback_share=fallback_share,
        stratify=stratify,
        kind=kind,
        max_iter=max_iter,
        candidates=candidates,
        random_state=random_state,
    )
    if trouble is not None:
        warn_user(trouble, MixtureWarning)
    return split


def split_or_fall_back(
    losses: ArrayLike,
    targets: ArrayLike,
    *,
    threshold: float,
    min_per_class: int | float,
    fallback_share: float,
    stratify: bool = False,
    kind: str = "gaussian",
    max_iter: int = 100,
    candidates: ArrayLike | None = None,
    random_state: Any = None,
) -> tuple[LossSplit, str | None]:
    """Return the split, and the text of its warning: None if the mixture separated the rows."""
    _check_parameters(threshold, min_per_class, fallback_share)
    check_mixture(kind, max_iter)
    losses, codes, counts = _check_rows(losses, targets, candidates)
    (clean_proba, *_), trouble = fit_losses(losses, counts, kind, max_iter, random_state)
    is_clean = counts & (clean_proba > threshold) & (trouble is None)
    share = is_clean.sum() / counts.sum()
    for rows in rows_of_classes(codes, losses):
        eligible = rows[counts[rows]]
        most = _share_of(eligible, fallback_share)
        least = _share_of(eligible, min_per_class) if min_per_class < 1 else int(min_per_class)
        n_taken = min(least, most) if trouble is None else most
        if stratify and trouble is None:
            is_clean[rows] = False
            n_taken = max(n_taken, _share_of(eligible, share))
        is_clean[eligible[:n_taken]] = True
        if trouble is not None:
            clean_proba[rows] = share_above(losses[rows], losses[eligible])
    if trouble is not None:
        trouble = (
            f"The loss mixture did not separate the rows: {trouble}. The {fallback_share:.0%} of "
            "lowest loss in each class are taken as right instead."
        )
    return LossSplit(clean_proba, is_clean), trouble


def _share_of(rows: NDArray[np.intp], share: float) -> int:
    """Return the number of rows, at least 1; rounded first, as 0.07 * 100 > 7 in floats."""
    return max(math.ceil(round(share * len(rows), 9)), 1)


def _check_parameters(threshold: float, min_per_class: int | float, fallback_share: float) -> None:
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must lie in [0, 1], got {threshold!r}.")
    if not (0 < min_per_class < 1 or (min_per_class >= 1 and float(min_per_class).is_integer())):
        raise ValueError(
            "min_per_class must be a whole number from 1, or a share of the class in (0, 1), got "
            f"{min_per_class!r}."
        )
    if not 0 < fallback_share <= 1:
        raise ValueError(f"fallback_share must lie in (0, 1], got {fallback_share!r}.")


def _check_rows(losses, targets, candidates) -> tuple[Losses, NDArray[np.intp], Mask]:
    """Return the losses, the class codes, and the mask of the candidates."""
    losses = check_losses(losses)
    targets = column_or_1d(targets, input_name="targets")
    check_consistent_length(losses, targets)
    codes = np.unique(targets, return_inverse=True)[1]
    return losses, codes, check_candidates(candidates, losses)

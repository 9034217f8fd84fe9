"""Two-component mixtures of per-sample losses, and the posterior of the lower component."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.utils import check_array

from .._compat import column_or_1d
from ..exceptions import MixtureWarning, warn_user
from ._beta import BetaMixture

__all__ = [
    "LossMixture",
    "check_candidates",
    "check_losses",
    "check_mixture",
    "fit_losses",
    "loss_mixture",
    "share_above",
]

_TOLERANCE, _LEAST_VARIANCE = 1e-2, 5e-4  # EM on Gaussians, as published
_BETA_TOLERANCE = 1e-4  # EM on betas gains less per step
_N_PARAMETERS = 5  # two per component, and one share
_ROUNDING = 1e-6  # losses come from a network in float32

Losses = NDArray[np.float64]
Mask = NDArray[np.bool_]


class LossMixture(NamedTuple):
    """Result of :func:`loss_mixture`.

    Attributes
    ----------
    clean_proba : ndarray of shape (n,), float64
        Posterior of the lower component; it never rises with the loss.
    mixture : GaussianMixture, BetaMixture or None
        Mixture fitted to the losses, scaled to [0, 1], as one column. None if it did not separate
        the rows.
    lower : int or None
        Number of the component of lower mean; None if there is no mixture.
    loss_range : tuple of two floats
        The losses that are scaled to 0 and 1.

    Examples
    --------
    >>> from sknoisy.mixture import loss_mixture
    >>> fitted = loss_mixture([0.1, 0.2, 0.1, 4.0, 5.0, 4.5], random_state=0)
    >>> fitted.loss_range
    (0.1, 5.0)
    >>> float(fitted.mixture.weights_[fitted.lower].round(2))
    0.5
    """

    clean_proba: NDArray[np.float64]
    mixture: GaussianMixture | BetaMixture | None
    lower: int | None
    loss_range: tuple[float, float]


def loss_mixture(
    losses: ArrayLike,
    *,
    kind: str = "gaussian",
    max_iter: int = 100,
    candidates: ArrayLike | None = None,
    random_state: Any = None,
) -> LossMixture:
    r"""Fit two Gaussians, or two beta distributions, to per-sample losses scaled to [0, 1].

    Networks learn right labels first, so rows with right labels have lower losses. The
    probability that a label is right is the posterior of the lower component,

    .. math:: P(\text{clean} \mid \ell_i) =
        \pi_1 f_1(\ell_i) / \sum_k \pi_k f_k(\ell_i), \quad \mu_1 < \mu_2.

    DivideMix fits Gaussians. Losses of right labels pile up at 0 and have a long tail; beta
    distributions can be as steep and as skewed (Arazo et al.).

    One rule is not in the papers: ``clean_proba`` never rises with the loss. The log odds of two
    Gaussians are a parabola. The log odds of two betas have the derivative

    .. math:: \frac{A}{x} - \frac{B}{1 - x} = \frac{A - (A + B) x}{x (1 - x)},
        \quad A = \alpha_1 - \alpha_2, \; B = \beta_1 - \beta_2,

    which changes its sign once, at ``A / (A + B)``, if A and B have the same sign. Otherwise the
    log odds fall everywhere, since :math:`A \ge 0 \ge B` would mean :math:`\mu_1 \ge \mu_2`.
    Beyond the one point where they may turn, the odds are held at their value at this point.

    The result does not depend on the order of the rows.

    Parameters
    ----------
    losses : array-like of shape (n,)
        Per-sample losses, usually cross-entropies. Their scale has no effect.
    kind : {"gaussian", "beta"}, default="gaussian"
        "gaussian": scikit-learn's :class:`~sklearn.mixture.GaussianMixture`. "beta":
        :class:`BetaMixture`.
    max_iter : int, default=100
        Maximum number of EM steps. EM stops when the mean log-likelihood gains less than 0.01
        (Gaussians, as published) or 0.0001 (betas). The papers stop after 10 steps in any case.
    candidates : array-like of bool of shape (n,), default=None
        Rows to which the mixture is fitted; the others only get a ``clean_proba``. None: all.
    random_state : int, RandomState or None, default=None
        Draws the start of the k-means that initialises EM (Gaussians), or all starts after the
        first (betas).

    Returns
    -------
    fitted : LossMixture
        Named tuple of ``clean_proba``, ``mixture``, ``lower`` and ``loss_range``.

    Raises
    ------
    ValueError
        If a loss is NaN or infinite, no row is a candidate, or a parameter is out of its range.

    Warns
    -----
    MixtureWarning
        If the mixture does not separate the rows: there are fewer than 5 rows (the mixture has 5
        parameters), all losses are equal, EM does not converge, one component has no worse a BIC
        (a beta distribution with modes at both ends does not count as one component), or the
        means lie within twice the smaller standard deviation (two such Gaussians have one mode,
        in whatever proportion they are mixed). Then ``clean_proba`` is the share of the
        candidates that have a larger loss (ties count half), and ``mixture`` is None.

    See Also
    --------
    split_by_loss : Splits the rows by this mixture, and by class if it does not separate them.

    References
    ----------
    J. Li et al., DivideMix: Learning with Noisy Labels as Semi-supervised Learning, ICLR 2020,
    section 3.1. E. Arazo et al., Unsupervised Label Noise Modeling and Loss Correction, ICML 2019,
    section 3.1.

    Examples
    --------
    >>> from sknoisy.mixture import loss_mixture
    >>> losses = [0.1, 0.2, 0.1, 4.0, 5.0, 4.5]
    >>> loss_mixture(losses, random_state=0).clean_proba.round(3).tolist()
    [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    >>> loss_mixture(losses, kind="beta", random_state=0).clean_proba.round(3).tolist()
    [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    """
    check_mixture(kind, max_iter)
    losses = check_losses(losses)
    counts = check_candidates(candidates, losses)
    fitted, trouble = fit_losses(losses, counts, kind, max_iter, random_state)
    if trouble is not None:
        warn_user(
            f"The loss mixture did not separate the rows: {trouble}. clean_proba is the share of "
            "rows with a larger loss instead.",
            MixtureWarning,
        )
    return fitted


def check_mixture(kind: str, max_iter: int) -> None:
    """Raise ValueError if `kind` is unknown or `max_iter` is below 1."""
    if kind not in ("gaussian", "beta"):
        raise ValueError(f"kind must be 'gaussian' or 'beta', got {kind!r}.")
    if not max_iter >= 1:
        raise ValueError(f"max_iter must be at least 1, got {max_iter!r}.")


def check_losses(losses) -> Losses:
    """Return the losses as a one-dimensional float64 array; raise unless all are finite."""
    return check_array(
        column_or_1d(losses, input_name="losses"),
        ensure_2d=False,
        dtype=np.float64,
        input_name="losses",
    )


def check_candidates(candidates, losses: Losses) -> Mask:
    """Return the mask of the candidates; all rows if `candidates` is None."""
    if candidates is None:
        return np.ones(len(losses), bool)
    counts = np.asarray(candidates)
    if counts.dtype != bool or counts.shape != losses.shape:
        raise ValueError(
            f"candidates must be boolean with one entry per row, {losses.shape}; got dtype "
            f"{counts.dtype} and shape {counts.shape}."
        )
    if not counts.any():
        raise ValueError("candidates is True nowhere, so there is no row to fit.")
    return counts


def fit_losses(
    losses: Losses, counts: Mask, kind: str, max_iter: int, random_state: Any
) -> tuple[LossMixture, str | None]:
    """Return the mixture, and why it did not separate the rows: None if it did."""
    fitted = np.sort(losses[counts])  # starts are drawn from rows, whose order must not matter
    low, high = float(fitted[0]), float(fitted[-1])
    without = LossMixture(share_above(losses, fitted), None, None, (low, high))
    if len(fitted) < _N_PARAMETERS:
        return without, f"{len(fitted)} rows are fewer than its {_N_PARAMETERS} parameters"
    if high - low <= _ROUNDING * max(abs(low), abs(high)):
        return without, f"all losses are {low:.6g}"
    scaled = ((fitted - low) / (high - low))[:, None]
    mixture = _new_mixture(kind, 2, max_iter, random_state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # reported below
        mixture.fit(scaled)
    if not mixture.converged_:
        return without, f"it did not converge in {max_iter} iterations"
    if not _has_two_components(mixture, scaled, kind):
        return without, "it has one component in effect"
    lower, upper = mixture.means_.ravel().argsort()
    falls = _where_posterior_falls(mixture, lower, upper)
    held = np.clip((losses - low) / (high - low), *falls)
    posterior = mixture.predict_proba(held[:, None])[:, lower]
    return LossMixture(posterior, mixture, int(lower), (low, high)), None


def _new_mixture(kind: str, n_components: int, max_iter: int, random_state: Any) -> Any:
    if kind == "beta":
        return BetaMixture(
            n_components, max_iter=max_iter, tol=_BETA_TOLERANCE, random_state=random_state
        )
    return GaussianMixture(
        n_components,
        max_iter=max_iter,
        tol=_TOLERANCE,
        reg_covar=_LEAST_VARIANCE,
        random_state=random_state,
    )


def _has_two_components(mixture: Any, scaled: NDArray[np.float64], kind: str) -> bool:
    one = _new_mixture(kind, 1, 100, 0).fit(scaled)
    bic = one.bic(scaled) if kind == "gaussian" else _bic_of_one_mode(one, scaled)
    if bic <= mixture.bic(scaled):
        return False
    variances = mixture.variances_ if kind == "beta" else mixture.covariances_
    return bool(np.ptp(mixture.means_) > 2 * math.sqrt(variances.min()))


def _bic_of_one_mode(one: BetaMixture, scaled: NDArray[np.float64]) -> float:
    """Return the BIC of the best beta distribution that does not have modes at both ends.

    A beta distribution whose shapes are both below 1 has modes at both ends and may fit two
    clusters. The likelihood is concave, so the best distribution outside that region then has one
    shape of 1. The other shape is ``s = -1 / mean(log x)``, or the same of 1 - x, and the mean
    log-likelihood is ``log(s) - 1 + 1 / s``.
    """
    if max(one.alphas_.item(), one.betas_.item()) >= 1:
        return one.bic(scaled)
    inside = np.clip(scaled, one.margin, 1 - one.margin)
    shapes = -1 / np.array([np.log(inside).mean(), np.log1p(-inside).mean()])
    height = float((np.log(shapes) - 1 + 1 / shapes).max())
    return 2 * (math.log(len(scaled)) - len(scaled) * height)


def _where_posterior_falls(mixture: Any, lower: int, upper: int) -> tuple[float, float]:
    """Return the range of losses on which the odds of the lower component fall with the loss."""
    if isinstance(mixture, BetaMixture):
        A = float(mixture.alphas_[lower, 0] - mixture.alphas_[upper, 0])
        B = float(mixture.betas_[lower, 0] - mixture.betas_[upper, 0])
        if A * B <= 0:
            return 0.0, 1.0
        return (A / (A + B), 1.0) if A > 0 else (0.0, A / (A + B))
    means, precisions = mixture.means_.ravel(), mixture.precisions_.ravel()
    curvature = precisions[upper] - precisions[lower]  # of the log odds of the lower one
    if curvature == 0:
        return -np.inf, np.inf
    slopes = precisions * means
    vertex = (slopes[upper] - slopes[lower]) / curvature
    return (-np.inf, vertex) if curvature > 0 else (vertex, np.inf)


def share_above(losses: Losses, others: Losses) -> Losses:
    """Return the share of the sorted `others` that exceed each loss; ties count half."""
    if not len(others):
        return np.full(len(losses), 0.5)
    below_or_equal = np.searchsorted(others, losses, side="right")
    below = np.searchsorted(others, losses, side="left")
    return 1 - (below + below_or_equal) / (2 * len(others))

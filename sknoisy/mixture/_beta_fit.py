"""Maximum likelihood of beta mixtures, on distinct rows and their counts.

Columns are independent given the component. The beta distributions are an exponential family:
with T(x) = (log x, log(1 - x)), the mean log-likelihood of a component depends on its rows only
through the mean of T, and it is strictly concave in the two shapes. Shapes and means of T are
arrays of shape (2, n_components, n_features).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, digamma, logsumexp, polygamma

from ._weighted_rows import WeightedRows

__all__ = ["BetaFit", "Betas", "climb", "log_joint", "statistics"]

_TOLERANCE = 1e-10  # of the shapes, relative
_ROUNDING = 1e-12
_MAX_NEWTON = 100  # Newton's method usually takes five
_FAR = 100.0  # times the bound: beyond it, Newton's method is taken to diverge
_TINIEST_SHARE = 1e-9
_N_BISECTIONS = 100  # float64 halves [0, 1] no further

Floats = NDArray[np.float64]


class Betas(NamedTuple):
    """Parameters of a mixture: log shares (k,) and shapes (2, k, n_features)."""

    log_weights: Floats
    shapes: Floats


class BetaFit(NamedTuple):
    """Result of a climb; ``log_likelihoods`` holds the mean over rows after each iteration."""

    mixture: Betas
    log_likelihoods: Floats
    converged: bool


def statistics(log_x: Floats) -> Floats:
    """Return T of each row, shape (2, n_features, m), from the logarithms (n_features, m)."""
    return np.stack([log_x, np.log(-np.expm1(log_x))])


def log_joint(T: Floats, mixture: Betas) -> Floats:
    """Return the logarithm of share times density, shape (k, m)."""
    constant = mixture.log_weights - betaln(*mixture.shapes).sum(axis=1)
    return constant[:, None] + np.einsum("skj,sjm->km", mixture.shapes - 1, T)


def climb(
    rows: WeightedRows, log_resp: Floats, *, max_iter: int, tol: float, max_concentration: float
) -> BetaFit:
    """Run EM from given responsibilities; the likelihood never falls."""
    T = statistics(rows.log_x)
    mixture = _m_step(T, rows.counts, log_resp, None, max_concentration)
    height, log_resp = _e_step(T, rows.counts, mixture)
    heights, converged = [height], False
    while not converged and len(heights) <= max_iter:
        mixture = _m_step(T, rows.counts, log_resp, mixture.shapes, max_concentration)
        height, log_resp = _e_step(T, rows.counts, mixture)
        converged = height - heights[-1] <= tol
        heights.append(height)
    return BetaFit(mixture, np.array(heights[1:]), converged)


def _e_step(T: Floats, counts: Floats, mixture: Betas) -> tuple[float, Floats]:
    """Return the mean log-likelihood and the log-responsibilities of shape (k, m)."""
    joint = log_joint(T, mixture)
    log_density = np.logaddexp.reduce(joint, axis=0)
    return float(np.average(log_density, weights=counts)), joint - log_density


def _m_step(
    T: Floats, counts: Floats, log_resp: Floats, shapes: Floats | None, max_concentration: float
) -> Betas:
    log_resp = log_resp + np.log(counts)
    log_total = logsumexp(log_resp, axis=1)
    mean_T = np.einsum("km,sjm->skj", np.exp(log_resp - log_total[:, None]), T)
    if shapes is None:
        shapes = np.ones_like(mean_T)
    shapes = _fit_betas(mean_T, shapes, max_concentration)
    return Betas(log_total - np.log(counts.sum()), shapes)


def _fit_betas(mean_T: Floats, shapes: Floats, max_concentration: float) -> Floats:
    """Return the shapes of greatest likelihood whose sum, the concentration, is within its bound.

    If the free maximum lies beyond the bound, the constrained one lies on the bound, because the
    log-likelihood is concave.
    """
    shapes = _climb_by_newton(mean_T, shapes, _FAR * max_concentration)
    beyond = shapes.sum(axis=0) > max_concentration
    if beyond.any():
        shapes = shapes.copy()
        shapes[:, beyond] = _on_the_bound(mean_T[:, beyond], max_concentration)
    return shapes


def _height(mean_T: Floats, shapes: Floats) -> Floats:
    """Return the mean log-likelihood of each component and column, up to a constant."""
    return (shapes * mean_T).sum(axis=0) - betaln(*shapes)


def _climb_by_newton(mean_T: Floats, shapes: Floats, far: float) -> Floats:
    """Maximise by Newton's method; shapes stay positive, and steps are halved until they climb."""
    height = _height(mean_T, shapes)
    open_ = np.full(height.shape, True)
    for _ in range(_MAX_NEWTON):
        step = np.where(open_, _newton_step(mean_T, shapes), 0.0)
        room = 0.9 * shapes / np.maximum(-step, _ROUNDING * shapes)
        step *= np.minimum(1.0, room.min(axis=0))
        floor = height - _ROUNDING * (1 + np.abs(height))
        while (low := _height(mean_T, shapes + step) < floor).any():
            step = np.where(low, step / 2, step)
        open_ &= (np.abs(step) > _TOLERANCE * shapes).any(axis=0)
        shapes = shapes + step
        open_ &= shapes.sum(axis=0) < far
        if not open_.any():
            break
        height = _height(mean_T, shapes)
    return shapes


def _newton_step(mean_T: Floats, shapes: Floats) -> Floats:
    """Return the Newton step.

    Minus the Hessian is diag(c) - t 1 1'; the formula of Sherman and Morrison inverts it.
    """
    total = shapes.sum(axis=0)
    slope = mean_T - digamma(shapes) + digamma(total)
    c, t = polygamma(1, shapes), polygamma(1, total)
    plain = slope / c
    return plain + t * plain.sum(axis=0) / (1 - t * (1 / c).sum(axis=0)) / c


def _on_the_bound(mean_T: Floats, concentration: float) -> Floats:
    """Return the best shapes of concentration s.

    They are rs and (1 - r)s, where r is the root of an increasing function,
    ``digamma(rs) - digamma((1 - r)s)`` minus the difference of the means of T.
    """
    target = mean_T[0] - mean_T[1]
    low, high = np.full_like(target, _TINIEST_SHARE), np.full_like(target, 1 - _TINIEST_SHARE)
    for _ in range(_N_BISECTIONS):
        r = (low + high) / 2
        above = digamma(r * concentration) - digamma((1 - r) * concentration) > target
        low, high = np.where(above, low, r), np.where(above, r, high)
    return concentration * np.stack([r, 1 - r])

"""Maximum likelihood of Weibull mixtures, on distinct rows and their counts.

Columns are independent given the component, and everything is computed from the logarithms t of
the data. With scale alpha and shape beta, and z = beta (t - log alpha), the logarithm of a
Weibull density is ``log(beta) + z - t - exp(z)``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize

from ._weighted_rows import WeightedRows

__all__ = [
    "MIN_SHAPE",
    "WeibullFit",
    "Weibulls",
    "climb_by_em",
    "climb_directly",
    "log_joint",
]

MIN_SHAPE = 0.05
_STEEPEST = 500.0  # beyond it, exp is continued as a straight line
_SHAPE_TOLERANCE = 1e-10

Floats = NDArray[np.float64]


class Weibulls(NamedTuple):
    """Parameters of a mixture: log shares (k,), log scales and shapes (k, n_features)."""

    log_weights: Floats
    log_scales: Floats
    shapes: Floats


class WeibullFit(NamedTuple):
    """Result of a climb; ``log_likelihood`` is the mean over rows."""

    mixture: Weibulls
    log_likelihood: float
    n_iter: int
    converged: bool


def log_joint(log_x: Floats, mixture: Weibulls) -> Floats:
    """Return the logarithm of share times density, shape (k, m)."""
    z = _exponents(log_x, mixture)
    log_density = np.log(mixture.shapes)[:, :, None] + z - log_x - _exp(z)
    return mixture.log_weights[:, None] + log_density.sum(axis=1)


def _exponents(log_x: Floats, mixture: Weibulls) -> Floats:
    return mixture.shapes[:, :, None] * (log_x - mixture.log_scales[:, :, None])


def _exp(z: Floats) -> Floats:
    # Beyond the range of floats a straight line keeps the order of the components.
    return np.exp(np.minimum(z, _STEEPEST)) * (1 + np.maximum(z - _STEEPEST, 0))


def climb_by_em(
    rows: WeightedRows, log_resp: Floats, *, max_iter: int, tol: float, max_shape: float
) -> WeibullFit:
    """Run EM from given responsibilities; the likelihood never falls."""
    mixture = _m_step(rows, log_resp, None, max_shape)
    height, log_resp = _e_step(rows, mixture)
    for n_iter in range(1, max_iter + 1):
        mixture = _m_step(rows, log_resp, mixture.shapes, max_shape)
        before = height
        height, log_resp = _e_step(rows, mixture)
        if height - before <= tol:
            return WeibullFit(mixture, height, n_iter, True)
    return WeibullFit(mixture, height, max_iter, False)


def _e_step(rows: WeightedRows, mixture: Weibulls) -> tuple[float, Floats]:
    """Return the mean log-likelihood and the log-responsibilities of shape (k, m)."""
    joint = log_joint(rows.log_x, mixture)
    log_density = np.logaddexp.reduce(joint, axis=0)
    return float(np.average(log_density, weights=rows.counts)), joint - log_density


def _m_step(
    rows: WeightedRows, log_resp: Floats, shapes: Floats | None, max_shape: float
) -> Weibulls:
    log_resp = log_resp + np.log(rows.counts)
    log_total = _log_sum_exp(log_resp)
    log_p = log_resp - log_total[:, None]
    if shapes is None:
        shapes = np.ones((len(log_p), len(rows.log_x)))
    log_scales, shapes = _fit_weibulls(rows.log_x, log_p, shapes, max_shape)
    return Weibulls(log_total - np.log(rows.counts.sum()), log_scales, shapes)


def _fit_weibulls(
    log_x: Floats, log_p: Floats, shapes: Floats, max_shape: float
) -> tuple[Floats, Floats]:
    """Return log scales and shapes of one Weibull per component and column, rows weighted by p.

    The shape is the root of ``sum p x^b t / sum p x^b - 1 / b - sum p t``, which increases in b.
    It is found by Newton's method, with bisection where a step would leave the bracket. The
    likelihood has one maximum in b, so if the root lies beyond a bound, the bound is optimal.
    """
    mean = np.exp(log_p) @ log_x.T
    low, high = np.full_like(shapes, MIN_SHAPE / 2), np.full_like(shapes, 2 * max_shape)
    open_ = np.full(shapes.shape, True)
    while open_.any():
        _, first, variance = _tilted_moments(log_x, log_p, shapes)
        slope = first - 1 / shapes - mean
        low, high = np.where(slope < 0, shapes, low), np.where(slope < 0, high, shapes)
        newton = shapes - slope / (variance + shapes**-2.0)
        tolerance = _SHAPE_TOLERANCE * shapes
        done = np.abs(newton - shapes) <= tolerance
        inside = done | ((low < newton) & (newton < high))
        proposal = np.where(inside, newton, (low + high) / 2)
        shapes = np.where(open_, proposal, shapes)
        within = (low < max_shape) & (high > MIN_SHAPE) & (high - low > tolerance)
        open_ &= ~done & within
    shapes = np.clip(shapes, MIN_SHAPE, max_shape)
    return _tilted_moments(log_x, log_p, shapes)[0] / shapes, shapes


def _tilted_moments(log_x: Floats, log_p: Floats, shapes: Floats) -> tuple[Floats, ...]:
    """Return ``log sum p x^b``, and mean and variance of t under weights p x^b.

    Each has shape (k, n_features).
    """
    exponent = log_p[:, None, :] + shapes[:, :, None] * log_x
    top = exponent.max(axis=-1, keepdims=True)
    tilted = np.exp(exponent - top)
    total = tilted.sum(axis=-1)
    first = (tilted * log_x).sum(axis=-1) / total
    second = (tilted * log_x**2).sum(axis=-1) / total
    return np.log(total) + top[..., 0], first, np.maximum(second - first**2, 0)


def climb_directly(
    rows: WeightedRows, log_resp: Floats, *, max_iter: int, tol: float, max_shape: float
) -> WeibullFit:
    """Run L-BFGS-B on the logits of the shares and the logarithms of scales and shapes."""
    guess = _m_step(rows, log_resp, None, max_shape)
    k, size = len(guess.shapes), guess.shapes.size
    start = [guess.log_weights, guess.log_scales.ravel(), np.log(guess.shapes).ravel()]
    bound = np.r_[np.full(k + size, np.inf), np.full(size, np.log(max_shape))]
    lower = np.r_[np.full(k + size, -np.inf), np.full(size, np.log(MIN_SHAPE))]
    result = minimize(
        _descent,
        np.concatenate(start),
        args=(rows, guess.shapes.shape),
        method="L-BFGS-B",
        jac=True,
        bounds=Bounds(lower, bound),
        options={"maxiter": max_iter, "ftol": tol, "gtol": 1e-8},
    )
    mixture = _unravel(result.x, guess.shapes.shape)
    return WeibullFit(mixture, float(-result.fun), int(result.nit), bool(result.success))


def _unravel(theta: Floats, shape: tuple[int, int]) -> Weibulls:
    k, size = shape[0], shape[0] * shape[1]
    logits, log_scales, log_shapes = np.split(theta, [k, k + size])
    return Weibulls(
        logits - np.logaddexp.reduce(logits),
        log_scales.reshape(shape),
        np.exp(log_shapes).reshape(shape),
    )


def _descent(theta: Floats, rows: WeightedRows, shape: tuple[int, int]) -> tuple[float, Floats]:
    """Return minus the mean log-likelihood, and its gradient (by Fisher's identity)."""
    mixture = _unravel(theta, shape)
    height, log_resp = _e_step(rows, mixture)
    resp = np.exp(log_resp) * (rows.counts / rows.counts.sum())
    z = _exponents(rows.log_x, mixture)
    pull = _exp(z) - 1
    gradient = [
        resp.sum(axis=1) - np.exp(mixture.log_weights),
        (mixture.shapes * (resp[:, None, :] * pull).sum(axis=-1)).ravel(),
        (resp[:, None, :] * (1 - z * pull)).sum(axis=-1).ravel(),
    ]
    return -height, -np.concatenate(gradient)


def _log_sum_exp(a: Floats) -> Floats:
    top = a.max(axis=1, keepdims=True)
    return np.log(np.exp(a - top).sum(axis=1)) + top[:, 0]

"""Mixture of Weibull distributions, for non-negative scores such as counts of epochs."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from .._compat import Interval, StrOptions, column_or_1d, fit_context
from ._density import MixtureDensity
from ._weibull_fit import (
    WeibullFit,
    Weibulls,
    climb_by_em,
    climb_directly,
    log_joint,
)
from ._weighted_rows import WeightedRows, distinct_rows, logarithms

__all__ = ["WeibullMixture", "shift_scores"]

Floats = NDArray[np.float64]


class WeibullMixture(MixtureDensity):
    r"""Mixture of Weibull distributions for non-negative data.

    .. math:: f(x) = \sum_k \pi_k \prod_j
        \frac{\beta_{kj}}{\alpha_{kj}} \Bigl(\frac{x_j}{\alpha_{kj}}\Bigr)^{\beta_{kj} - 1}
        \exp\Bigl(-\Bigl(\frac{x_j}{\alpha_{kj}}\Bigr)^{\beta_{kj}}\Bigr)

    with shares :math:`\pi`, scales :math:`\alpha` and shapes :math:`\beta`. One column is the
    usual case; several columns are independent given the component. Components are ordered by
    scale, or by the geometric mean of the scales of several columns.

    Equal rows are counted and then treated as one. The cost of an iteration grows with the number
    of distinct rows; ten million scores that count epochs cost little more than a sort. The result
    does not depend on the order of the rows.

    Parameters
    ----------
    n_components : int, default=2
        Number of Weibull distributions.
    method : {"em", "direct"}, default="em"
        How the likelihood is maximised. "em": expectation-maximisation; the shapes are found by
        Newton's method within their bounds, the scales in closed form. "direct": L-BFGS-B on all
        parameters at once, as in MILD's released code (which uses a numerical gradient, and falls
        back on other optimisers if one fails).
    n_init : int, default=5
        Number of starts; the result of greatest likelihood is kept. With two components, the
        first start is that of MILD's released code: it cuts the data in the deepest valley beside
        the highest peak of a kernel density estimate. With more, it cuts the data into equal
        shares. The other starts cut at random shares.
    max_iter : int, default=500
        Maximum number of iterations per start.
    tol : float, default=1e-6
        The search stops when the mean log-likelihood gains no more than this in an iteration.
        This rule does not depend on the unit of the data, unlike one relative to the
        log-likelihood. With ``method="direct"`` it is relative if the mean log-likelihood exceeds
        1.
    max_shape : float, default=50
        Upper bound of the shapes; the lower bound is 0.05. Without a bound, a component on a
        single value would have infinite density.
    zero_value : float, default=0.1
        Replaces zeros, at which a Weibull density may be 0 or infinite. If a column has positive
        values of at most ``2 * zero_value``, half of the smallest of them is used instead, which
        keeps the order of the values.
    random_state : int, RandomState or None, default=None
        Draws the starts after the first, and the rows of :meth:`sample`.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Shares of the components.
    scales_ : ndarray of shape (n_components, n_features)
        Scales: 63.2 % of a component lies below its scale, whatever its shape.
    shapes_ : ndarray of shape (n_components, n_features)
        Shapes.
    zero_value_ : ndarray of shape (n_features,)
        The value that replaces zeros in each column.
    converged_ : bool
        Whether the best start converged.
    n_iter_ : int
        Number of iterations of the best start.
    lower_bound_ : float
        Mean log-likelihood of the best start; the name follows scikit-learn's mixtures.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features,)
        Column names, if X was a frame whose column names are strings.

    See Also
    --------
    shift_scores : Shifts scores so that they are non-negative.
    split_by_loss : Separates right labels from wrong ones by a mixture of the losses.

    References
    ----------
    C. Hu et al., MILD: Modeling the Instance Learning Dynamics for Learning with Noisy Labels,
    IJCAI 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.mixture import WeibullMixture
    >>> rng = np.random.default_rng(0)
    >>> scores = np.r_[5 * rng.weibull(1.5, 700), 40 * rng.weibull(8, 300)]
    >>> mixture = WeibullMixture(random_state=0).fit(scores[:, None])
    >>> mixture.scales_.ravel().round()
    array([ 5., 40.])
    >>> mixture.predict([[2], [45]])
    array([0, 1])
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "method": [StrOptions({"em", "direct"})],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "max_shape": [Interval(Real, 1, None, closed="left")],
        "zero_value": [Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_components: int = 2,
        *,
        method: str = "em",
        n_init: int = 5,
        max_iter: int = 500,
        tol: float = 1e-6,
        max_shape: float = 50.0,
        zero_value: float = 0.1,
        random_state: Any = None,
    ):
        self.n_components = n_components
        self.method = method
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.max_shape = max_shape
        self.zero_value = zero_value
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Fit the mixture.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Finite, non-negative values; at least ``n_components`` rows, and at least two.
        y : ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Multiplicity of each row; non-negative and not all zero. None: 1 for each row.

        Returns
        -------
        self : WeibullMixture

        Raises
        ------
        ValueError
            If X, sample_weight or a parameter is not valid.

        Warns
        -----
        ConvergenceWarning
            If the best start did not converge, or X has fewer distinct rows than components.
        """
        X = self._check_X(X, reset=True)
        weights = self._check_rows(X, sample_weight)
        self._forget()
        rows, self.zero_value_ = distinct_rows(X, weights, self.zero_value)
        climbs = (self._climb(rows, start) for start in self._starts(rows))
        best = max(climbs, key=lambda fit: fit.log_likelihood)
        self._warn_of_trouble(best.converged, len(rows.counts))
        order = np.argsort(best.mixture.log_scales.mean(axis=1), kind="stable")
        log_weights, log_scales, shapes = (part[order] for part in best.mixture)
        self.weights_ = np.exp(log_weights)
        self.scales_, self.shapes_ = np.exp(log_scales), shapes
        self.converged_, self.n_iter_ = best.converged, best.n_iter
        self.lower_bound_ = best.log_likelihood
        return self

    def _check_X(self, X, reset: bool) -> Floats:
        X = validate_data(
            self, X, reset=reset, dtype=np.float64, ensure_min_samples=2 if reset else 1
        )
        if X.min() < 0:
            raise ValueError(
                f"Negative values in data passed to {type(self).__name__}: the smallest is "
                f"{X.min():g}. Shift them first: sknoisy.mixture.shift_scores(scores)."
            )
        return X

    def _climb(self, rows: WeightedRows, start: Floats) -> WeibullFit:
        climb = climb_by_em if self.method == "em" else climb_directly
        return climb(rows, start, max_iter=self.max_iter, tol=self.tol, max_shape=self.max_shape)

    def _log_joint(self, X) -> Floats:
        check_is_fitted(self)
        X = self._check_X(X, reset=False)
        mixture = Weibulls(np.log(self.weights_), np.log(self.scales_), self.shapes_)
        return log_joint(logarithms(X, self.zero_value_), mixture)

    def _n_parameters(self) -> int:
        return len(self.weights_) - 1 + 2 * self.scales_.size

    def _draw(self, components: NDArray[np.intp], rng: np.random.RandomState) -> Floats:
        return self.scales_[components] * rng.weibull(self.shapes_[components])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags


def shift_scores(scores: ArrayLike) -> NDArray[np.float64]:
    """Shift scores so that none is negative: the minimum becomes 0 unless it is positive.

    To apply a threshold of the shifted scores to the scores themselves, add their minimum.

    Parameters
    ----------
    scores : array-like of shape (n,)
        Finite scores.

    Returns
    -------
    shifted : ndarray of shape (n,), float64
        ``scores - min(scores)``, or `scores` if all are positive.

    Raises
    ------
    ValueError
        If there is no score, or one is NaN or infinite.

    Examples
    --------
    >>> from sknoisy.mixture import shift_scores
    >>> shift_scores([-4, 0, 2]).tolist()
    [0.0, 4.0, 6.0]
    >>> shift_scores([1, 2]).tolist()
    [1.0, 2.0]
    """
    column = column_or_1d(scores, input_name="scores")
    values = check_array(column, ensure_2d=False, dtype=np.float64, input_name="scores")
    return values - min(values.min(), 0.0)

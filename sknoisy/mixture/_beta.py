"""Mixture of beta distributions, for losses and other scores between two bounds."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from .._compat import Interval, fit_context
from ._beta_fit import BetaFit, Betas, climb, log_joint, statistics
from ._density import MixtureDensity
from ._weighted_rows import WeightedRows, distinct_rows

__all__ = ["BetaMixture"]

Floats = NDArray[np.float64]


class BetaMixture(MixtureDensity):
    r"""Mixture of beta distributions for data between two bounds.

    .. math:: f(x) = \sum_k \pi_k \prod_j
        \frac{x_j^{\alpha_{kj} - 1} (1 - x_j)^{\beta_{kj} - 1}}{B(\alpha_{kj}, \beta_{kj})}

    on (0, 1), with shares :math:`\pi` and shapes :math:`\alpha, \beta`. One column is the usual
    case; several columns are independent given the component. Components are ordered by mean,
    averaged over the columns. Unlike a Gaussian, a beta density can be steep at an end of its
    support, as the density of the losses of right labels is at 0.

    The likelihood is maximised by expectation-maximisation. Each M-step finds the shapes of
    greatest likelihood by Newton's method. Arazo et al. match weighted moments instead, after
    which the likelihood may fall. Equal rows are counted and then treated as one. The result does
    not depend on the order of the rows.

    Parameters
    ----------
    n_components : int, default=2
        Number of beta distributions.
    support : tuple of two floats, default=(0, 1)
        The bounds of the data, the smaller first, the same for all columns.
    n_init : int, default=5
        Number of starts; the result of greatest likelihood is kept. With two components, the
        first start cuts the data in the deepest valley beside the highest peak of a kernel
        density estimate; with more, it cuts the data into equal shares. The other starts cut at
        random shares.
    max_iter : int, default=500
        Maximum number of iterations per start.
    tol : float, default=1e-6
        EM stops when the mean log-likelihood gains no more than this in an iteration.
    max_concentration : float, default=1000
        Upper bound of :math:`\alpha + \beta`, at least 2: the variance of a component of mean m is
        at least ``m (1 - m) / (max_concentration + 1)``. Without a bound, a component on a single
        value would have infinite density.
    margin : float, default=1e-4
        Distance from the ends of the support, as a share of its width, in [1e-12, 0.5). Values
        closer to an end are moved to this distance, as a beta density may be 0 or infinite at an
        end.
    random_state : int, RandomState or None, default=None
        Draws the starts after the first, and the rows of :meth:`sample`.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Shares of the components.
    alphas_, betas_ : ndarray of shape (n_components, n_features)
        Shapes: the exponents at the lower end and at the upper end, plus 1.
    means_ : ndarray of shape (n_components, n_features)
        Means of the components, in the unit of the data.
    variances_ : ndarray of shape (n_components, n_features)
        Variances of the components, in the squared unit of the data.
    converged_ : bool
        Whether the best start converged.
    n_iter_ : int
        Number of iterations of the best start.
    lower_bound_ : float
        Mean log-likelihood of the best start; the name follows scikit-learn's mixtures.
    lower_bounds_ : ndarray of shape (n_iterations,)
        Mean log-likelihood of the best start after each iteration.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features,)
        Column names, if X was a frame whose column names are strings.

    See Also
    --------
    loss_mixture : Fits this mixture to losses of any scale.
    WeibullMixture : Mixture for data without an upper bound.

    References
    ----------
    E. Arazo et al., Unsupervised Label Noise Modeling and Loss Correction, ICML 2019, section 3.1.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.mixture import BetaMixture
    >>> rng = np.random.default_rng(0)
    >>> scores = np.r_[rng.beta(1, 9, 7000), rng.beta(6, 4, 3000)]
    >>> mixture = BetaMixture(random_state=0).fit(scores[:, None])
    >>> mixture.means_.ravel().round(1), mixture.weights_.round(1)
    (array([0.1, 0.6]), array([0.7, 0.3]))
    >>> mixture.predict([[0.05], [0.7]])
    array([0, 1])
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "support": [tuple],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "max_concentration": [Interval(Real, 2, None, closed="left")],
        "margin": [Interval(Real, 1e-12, 0.5, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_components: int = 2,
        *,
        support: tuple[float, float] = (0, 1),
        n_init: int = 5,
        max_iter: int = 500,
        tol: float = 1e-6,
        max_concentration: float = 1000.0,
        margin: float = 1e-4,
        random_state: Any = None,
    ):
        self.n_components = n_components
        self.support = support
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.max_concentration = max_concentration
        self.margin = margin
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Fit the mixture.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Values within the support, its ends included; at least ``n_components`` rows, and at
            least two.
        y : ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Multiplicity of each row; non-negative and not all zero. None: 1 for each row.

        Returns
        -------
        self : BetaMixture

        Raises
        ------
        ValueError
            If X, sample_weight or a parameter is not valid.

        Warns
        -----
        ConvergenceWarning
            If the best start did not converge, or X has fewer distinct rows than components.
        """
        _, width = self._check_support()
        X = self._check_X(X, reset=True)
        weights = self._check_rows(X, sample_weight)
        self._forget()
        rows, _ = distinct_rows(self._to_unit(X), weights, self.margin)
        climbs = (self._climb(rows, start) for start in self._starts(rows))
        best = max(climbs, key=lambda fit: fit.log_likelihoods[-1])
        self._warn_of_trouble(best.converged, len(rows.counts))
        self._keep(best.mixture)
        self.converged_, self.n_iter_ = best.converged, len(best.log_likelihoods)
        self.lower_bounds_ = best.log_likelihoods - X.shape[1] * np.log(width)
        self.lower_bound_ = float(self.lower_bounds_[-1])
        return self

    def _keep(self, mixture: Betas) -> None:
        """Set the fitted attributes, with the components ordered by mean."""
        low, width = self._check_support()
        total = mixture.shapes.sum(axis=0)
        shares = mixture.shapes[0] / total
        order = np.argsort(shares.mean(axis=1), kind="stable")
        self.weights_ = np.exp(mixture.log_weights)[order]
        self.alphas_, self.betas_ = mixture.shapes[:, order]
        self.means_ = low + width * shares[order]
        self.variances_ = width**2 * (shares * (1 - shares) / (total + 1))[order]

    def _check_support(self) -> tuple[float, float]:
        """Return the lower end and the width of the support."""
        ends = self.support
        numbers = len(ends) == 2 and all(isinstance(end, Real) for end in ends)
        if not numbers or not 0 < ends[1] - ends[0] < np.inf:
            raise ValueError(f"support must be two finite numbers, the smaller first; got {ends}.")
        return ends[0], ends[1] - ends[0]

    def _check_X(self, X, reset: bool) -> Floats:
        X = validate_data(
            self, X, reset=reset, dtype=np.float64, ensure_min_samples=2 if reset else 1
        )
        low, high = self.support
        if X.min() < low or X.max() > high:
            raise ValueError(
                f"{type(self).__name__} has support {self.support}, but the values of X go from "
                f"{X.min():g} to {X.max():g}. Scale them, or set support to their bounds."
            )
        return X

    def _to_unit(self, X: Floats) -> Floats:
        low, width = self._check_support()
        return np.clip((X - low) / width, self.margin, 1 - self.margin)

    def _climb(self, rows: WeightedRows, start: Floats) -> BetaFit:
        return climb(
            rows,
            start,
            max_iter=self.max_iter,
            tol=self.tol,
            max_concentration=self.max_concentration,
        )

    def _log_joint(self, X) -> Floats:
        check_is_fitted(self)
        X = self._check_X(X, reset=False)
        mixture = Betas(np.log(self.weights_), np.stack([self.alphas_, self.betas_]))
        T = statistics(np.log(self._to_unit(X).T))
        return log_joint(T, mixture) - X.shape[1] * np.log(self._check_support()[1])

    def _n_parameters(self) -> int:
        return len(self.weights_) - 1 + 2 * self.alphas_.size

    def _draw(self, components: NDArray[np.intp], rng: np.random.RandomState) -> Floats:
        low, width = self._check_support()
        return low + width * rng.beta(self.alphas_[components], self.betas_[components])

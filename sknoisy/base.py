"""The life cycle that every classifier shares: fit the net, predict with it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.func import functional_call

from ._network_estimator import NetworkEstimator
from ._validation import check_X
from .callbacks._evaluation import rows_per_pass
from .callbacks.checkpoint_ensemble import cpu_state
from .data import TrainingData, make_rows
from .exceptions import InterruptedFitWarning
from .networks import WithFeatures

__all__ = ["BaseNoisyLabelClassifier"]


class BaseNoisyLabelClassifier(ClassifierMixin, NetworkEstimator):
    """Base of the classifiers; a method adds its callbacks in :meth:`_callbacks`.

    The parameters are described in :class:`~sknoisy.CLIDMUClassifier`.
    """

    # --- the seam ---------------------------------------------------------------------------

    def _finish(self, data: TrainingData) -> None:
        """Set the method's fitted attributes; the net is trained and in eval mode."""

    def _member_states(self) -> list[dict[str, Tensor]]:
        """State dicts whose logits are summed for prediction, the best first."""
        return [cpu_state(self.net_.module_)]

    # --- fit --------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=False)  # a purifier or selector checks its own
    def fit(self, X, y, *, clean_mask=None, sample_weight=None):
        """Train on noisy labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or images of shape \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Training rows of any numeric dtype: arrays, memory maps, pandas and polars frames,
            CSR and CSC matrices.
        y : array-like of shape (n_samples,)
            Noisy labels of any type.
        clean_mask : array-like of bool of shape (n_samples,) or None, default=None
            True where the label is trusted.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Non-negative weights of the rows in the training loss; only their ratios count.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            On input that cannot be used; the message names the value and the cure.
        NonFiniteLossError
            If the training loss becomes NaN or infinite.
        """
        return self._fit(X, y, clean_mask, sample_weight)

    def _fit_networks(self, data: TrainingData, rng: np.random.RandomState) -> None:
        """Build and train the net; a method that trains two overrides this."""
        extra = [*(self.callbacks or []), *self._progress()]
        self.net_ = self._build_net(data, rng, extra)
        self.net_.fit(data)
        self._warn_of_interruption()

    def _warn_of_interruption(self) -> None:
        if self.net_.interrupted_:
            done = self.net_.n_finished_epochs
            warnings.warn(
                f"fit was interrupted after {done} of {self.max_epochs} epochs; the estimator is "
                "fitted with what was learned so far.",
                InterruptedFitWarning,
                stacklevel=6,
            )

    def _after_fit(self, data: TrainingData) -> None:
        self.net_.module_.eval()
        self.history_ = self.net_.history
        self.n_iter_ = self.net_.n_finished_epochs
        self._states = self._member_states()
        proba = self._proba(data.rows)
        rows = torch.arange(len(data))
        clean_proba = proba[rows, data.given.cpu()]
        if data.trusted is not None:
            clean_proba[data.trusted.cpu()] = 1.0
        self.clean_proba_ = clean_proba.numpy()
        self._finish(data)

    # --- predict ----------------------------------------------------------------------------

    def predict_proba(self, X) -> np.ndarray:
        """Class probabilities.

        Parameters
        ----------
        X : array-like of the kind that was fitted
            Rows.

        Returns
        -------
        proba : ndarray of float64 of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            If X is not of the kind that was fitted, or so extreme that the network gives NaN.
        """
        return self._proba(self._rows(X)).numpy()

    def predict(self, X) -> np.ndarray:
        """Labels of the most probable classes.

        Parameters
        ----------
        X : array-like of the kind that was fitted
            Rows.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            In the type of the labels that were fitted.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            If X is not of the kind that was fitted, or so extreme that the network gives NaN.
        """
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(axis=1)]

    def features(self, X) -> np.ndarray:
        """Penultimate features of the network, the best epoch's if there are several.

        Parameters
        ----------
        X : array-like of the kind that was fitted
            Rows.

        Returns
        -------
        features : ndarray of float64 of shape (n_samples, d)

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            If X is not of the kind that was fitted, or so extreme that the network gives NaN.
        """
        rows = self._rows(X)
        network = WithFeatures(self.net_.module_)
        state = {f"module.{name}": tensor for name, tensor in self._states[0].items()}
        return torch.cat([f for f, _ in self._outputs(network, state, rows)]).numpy()

    def _rows(self, X):
        check_is_fitted(self)
        X = check_X(self, X, reset=False)
        self._scaling.check_unit(X)
        return make_rows(X, self._scaling, torch.device(self.net_.device), in_memory=False)

    def _proba(self, rows) -> Tensor:
        """Softmax of the summed logits of all members, as a mean, float64 on the CPU."""
        logits = [
            torch.cat(list(self._outputs(self.net_.module_, state, rows)))
            for state in self._states
        ]
        return torch.stack(logits).mean(dim=0).softmax(dim=1)

    def _outputs(self, module: nn.Module, state: dict[str, Tensor], rows) -> Iterator[Any]:
        """What a module gives for all rows at another state, without touching its own."""
        device = torch.device(self.net_.device)
        # Of a submodule of two names one: functional_call would put back its own replacement.
        own = {
            f"{prefix}.{name}".removeprefix(".")
            for prefix, part in module.named_modules()
            for name in (*part._parameters, *part._buffers)
        }
        state = {name: tensor.to(device) for name, tensor in state.items() if name in own}
        with torch.no_grad():
            for index in torch.arange(len(rows), device=device).split(rows_per_pass(self.net_)):
                X = rows.take(index)
                output = functional_call(module, state, (X,), tie_weights=False)
                # Float64 on the CPU: some devices have none.
                if isinstance(output, Tensor):
                    yield _finite(output.cpu().double(), int(index[0]))
                else:
                    yield tuple(_finite(part.cpu().double(), int(index[0])) for part in output)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_states")


def _finite(output: Tensor, first_row: int) -> Tensor:
    bad = (~output.isfinite().all(dim=1)).nonzero()
    if len(bad):
        raise ValueError(
            f"The network's output for row {first_row + int(bad[0])} of X is not finite: its "
            "values are too large for float32, or too far from those of fit."
        )
    return output

"""The base classes of the estimators: how a network is built and trained, and how it predicts.

========================  ===================================================================
:class:`NetworkClassifier`  a classifier with a network inside; derive from it for a method of
                            your own
:class:`NetworkEstimator`   the same without prediction, for steps that select or purify
========================  ===================================================================
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.func import functional_call
from tqdm.auto import tqdm

from ._compat import Interval, StrOptions, fit_context
from ._engine.augment import resolve_augmentation
from ._engine.batches import Batch, TrainingData
from ._engine.construction import (
    build_module,
    build_scheduler,
    check_logits,
    optimizer_class,
    optimizer_settings,
    random_state_of,
    resolve_device,
    seeded,
    warn_of_a_shared_gpu,
)
from ._engine.evaluation import cpu_state, rows_per_pass
from ._engine.net import DeviceNet, train_side_by_side
from ._engine.problem import Problem
from ._engine.rows import fits_in_memory, make_rows
from ._engine.scaling import InputScaling
from ._engine.validation import check_clean_mask, check_sample_weight, check_X, encode_labels
from .callbacks import EpochProgress, PerSampleCrossEntropy
from .exceptions import InterruptedFitWarning, warn_user
from .meta import BatchOutputs
from .networks import WithFeatures, mlp_settings

__all__ = ["NetworkClassifier", "NetworkEstimator"]


class NetworkEstimator(BaseEstimator):
    """Base of the estimators that train a network on noisy labels; see :meth:`_fit`.

    The parameters are described in :class:`~sknoisy.CLIDMUClassifier`.
    """

    _parameter_constraints: dict = {
        "module": [None, callable, nn.Module],
        "module_params": [dict, None],
        "optimizer": [StrOptions({"sgd", "adam", "adamw"}), callable],
        "optimizer_params": [dict, None],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "lr_schedule": [StrOptions({"cosine", "constant"}), callable],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "augment": [StrOptions({"auto", "flip+crop", "crop"}), None, callable],
        "standardize": [StrOptions({"auto"}), "boolean"],
        "device": [str, torch.device],
        "callbacks": [list, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        module: type[nn.Module] | Callable[..., nn.Module] | nn.Module | None = None,
        module_params: dict[str, Any] | None = None,
        optimizer: str | Callable[..., torch.optim.Optimizer] = "sgd",
        optimizer_params: dict[str, Any] | None = None,
        lr: float = 0.05,
        lr_schedule: str | Callable[..., Any] = "cosine",
        max_epochs: int = 60,
        batch_size: int = 100,
        augment: str | Callable[..., Tensor] | None = "auto",
        standardize: str | bool = "auto",
        device: str | torch.device = "auto",
        callbacks: list | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ):
        self.module = module
        self.module_params = module_params
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.augment = augment
        self.standardize = standardize
        self.device = device
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    # --- what a method adds -----------------------------------------------------------------

    def _prepare(self, problem: Problem) -> Problem:
        """Select rows, purify labels or change weights, before anything is on the device."""
        return problem

    def _loss(self, data: TrainingData) -> Callable[[BatchOutputs], Tensor] | None:
        """Return the loss of each row of a batch, shape (n,); None is cross-entropy.

        The criterion calls it with the logits, targets, row numbers, sample weights and trust
        flags of a batch, multiplies by the sample weights and takes the mean.
        """
        return None

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        """Return the method's skorch callbacks, as pairs of name and callback."""
        return []

    def _fit_networks(self, data: TrainingData, rng: np.random.RandomState) -> None:
        """Build and train the nets."""
        raise NotImplementedError

    def _after_fit(self, data: TrainingData) -> None:
        """Set the fitted attributes."""
        raise NotImplementedError

    # --- fit --------------------------------------------------------------------------------

    def _fit(self, X, y, clean_mask, sample_weight):
        """Validate, encode, seed, train."""
        X = check_X(self, X, reset=True)
        n_samples = X.shape[0]
        classes, encoded = encode_labels(y, n_samples, type(self).__name__)
        weights = check_sample_weight(sample_weight, X)
        trusted = check_clean_mask(clean_mask, encoded, classes)
        device = resolve_device(self.device)
        warn_of_a_shared_gpu(device)
        rng = random_state_of(self.random_state)
        seed = int(rng.randint(np.iinfo(np.int32).max))

        self._forget()
        self.classes_ = classes
        problem = Problem(X, encoded, encoded, classes, weights, trusted, device, seed)
        data = self._training_data(self._prepare(problem))
        with seeded(seed, device):
            self._fit_networks(data, rng)
            self._after_fit(data)
        return self

    def _forget(self) -> None:
        """Drop what an earlier fit learned: should this one fail, the estimator is not fitted."""
        of_X = {"n_features_in_", "feature_names_in_", "image_shape_"}
        learned = [name for name in vars(self) if name.endswith("_") and name not in of_X]
        for name in [*learned, "_state", "_states"]:
            self.__dict__.pop(name, None)

    def _training_data(self, problem: Problem) -> TrainingData:
        """Fit the input scaling and move the problem to the device."""
        X, device = problem.X, problem.device
        by_default = problem.is_image or self.module is None
        standardize = by_default if self.standardize == "auto" else bool(self.standardize)
        self._scaling = InputScaling(standardize).fit(X)
        augment = self.augment
        if augment == "auto":
            augment = "flip+crop" if problem.is_image else None
        weights, trusted = problem.sample_weight, problem.trusted
        given = torch.as_tensor(problem.given, device=device)
        is_given = problem.targets is problem.given
        data = TrainingData(
            make_rows(X, self._scaling, device, in_memory=fits_in_memory(X, device)),
            given if is_given else torch.as_tensor(problem.targets, device=device),
            None if weights is None else torch.as_tensor(weights, device=device).float(),
            None if trusted is None else torch.as_tensor(trusted, device=device),
            resolve_augmentation(augment),
            torch.Generator(device).manual_seed(problem.seed),
            given,
        )
        if problem.active is None:
            return data
        return data.only(torch.as_tensor(problem.active, device=device))

    def _progress(self) -> list:
        return [EpochProgress(type(self).__name__)] if self.verbose else []

    def _say(self, message: str) -> None:
        if self.verbose:
            tqdm.write(f"{type(self).__name__}: {message}", file=sys.stderr)

    def _build_net(
        self,
        data: TrainingData,
        rng: np.random.RandomState,
        extra_callbacks: list | None = None,
        *,
        max_epochs: int | None = None,
        net_class: Callable[..., DeviceNet] = DeviceNet,
        weight_decay_factor: float = 1.0,
    ) -> DeviceNet:
        """Return an untrained net.

        Parameters
        ----------
        data : TrainingData
            What it will be fitted with; a look at two rows tells the shape.
        rng : RandomState
            Draws the order of the batches, then the method's callbacks.
        extra_callbacks : list or None, default=None
            Stand behind the method's own. None: the user's and the progress bar.
        max_epochs : int or None, default=None
            None: the parameter of the estimator.
        net_class : callable, default=DeviceNet
            Makes the net out of module, criterion and settings.
        weight_decay_factor : float, default=1
            Multiplies the default weight decay.
        """
        max_epochs = self.max_epochs if max_epochs is None else max_epochs
        if extra_callbacks is None:
            extra_callbacks = [*(self.callbacks or []), *self._progress()]
        # Drawn before the callbacks' seeds: methods that differ in callbacks share the order.
        order = torch.Generator().manual_seed(int(rng.randint(np.iinfo(np.int32).max)))
        first = data.take(torch.arange(min(2, len(data)), device=data.device))[0]
        shape, n_classes = tuple(first.shape[1:]), len(self.classes_)
        settings = mlp_settings(len(data), shape[0], n_classes)
        module = build_module(self.module, self.module_params, shape, n_classes, settings)
        module = module.to(data.device, torch.float32)  # as the rows are
        check_logits(module, first, n_classes)
        weight_decay = settings.weight_decay if self.module is None else 5e-4
        defaults = optimizer_settings(self.optimizer, weight_decay_factor * weight_decay)
        params: dict[str, Any] = {**defaults, **(self.optimizer_params or {})}
        return net_class(
            module,
            PerSampleCrossEntropy,
            criterion__row_loss=self._loss(data),
            optimizer=optimizer_class(self.optimizer),
            lr=self.lr,
            max_epochs=max_epochs,
            batch_size=self.batch_size,
            device=str(data.device),
            callbacks=[
                *build_scheduler(self.lr_schedule, self.lr, max_epochs),
                *self._callbacks(data, rng),
                *extra_callbacks,
            ],
            order=order,
            verbose=0,
            **{f"optimizer__{name}": value for name, value in params.items()},
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class NetworkClassifier(ClassifierMixin, NetworkEstimator):
    """Base of the classifiers; a method adds its callbacks in :meth:`_callbacks`.

    The parameters are described in :class:`~sknoisy.CLIDMUClassifier`.
    """

    # --- what a method adds -----------------------------------------------------------------

    def _networks(self, data: TrainingData, rng: np.random.RandomState) -> list[DeviceNet]:
        """Return the untrained nets, which one loop trains side by side."""
        return [self._build_net(data, rng)]

    # Called with the nets and a batch, makes one step of each net and returns what the nets'
    # ``train_step`` return. None: each net goes over its own batches, epoch by epoch.
    _joint_step: Callable[[Sequence[DeviceNet], Batch], list[dict[str, Any]]] | None = None

    def _member_states(self) -> list[dict[str, Tensor]]:
        """Return the state dicts whose logits are averaged for prediction, the best first."""
        return [cpu_state(net.module_) for net in self.nets_]

    def _finish(self, data: TrainingData) -> None:
        """Set the method's fitted attributes; the nets are trained and in eval mode."""

    # --- fit --------------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=False)  # a purifier or selector checks its own
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
        self.nets_ = self._networks(data, rng)
        self.net_ = self.nets_[0]
        train_side_by_side(self.nets_, data, self.max_epochs, self._joint_step)
        if self.net_.interrupted_:
            done = self.net_.n_finished_epochs
            warn_user(
                f"fit was interrupted after {done} of {self.max_epochs} epochs; the estimator is "
                "fitted with what was learned so far.",
                InterruptedFitWarning,
            )

    def _after_fit(self, data: TrainingData) -> None:
        for net in self.nets_:
            net.module_.eval()
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

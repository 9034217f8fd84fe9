"""What every estimator with a network inside shares: its parameters, and the way to a net."""

from __future__ import annotations

import sys
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn
from tqdm.auto import tqdm

from ._construction import (
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
from ._validation import check_clean_mask, check_sample_weight, check_X, encode_labels
from .callbacks import EpochProgress, PerSampleCrossEntropy
from .data import (
    InputScaling,
    TrainingData,
    fits_in_memory,
    make_rows,
    resolve_augmentation,
)
from .net import DeviceNet
from .networks import MLPSettings, mlp_settings

__all__ = ["NetworkEstimator"]


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

    # --- the seam ---------------------------------------------------------------------------

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        """The method's skorch callbacks, in the order in which they are called."""
        return []

    def _check_method(self, data: TrainingData, clean_mask: np.ndarray | None) -> None:
        """Refuse data that the method cannot use, before any work."""

    def _fit_networks(self, data: TrainingData, rng: np.random.RandomState) -> None:
        """Build and train the nets."""
        raise NotImplementedError

    def _after_fit(self, data: TrainingData) -> None:
        """Set the fitted attributes."""
        raise NotImplementedError

    def _net_class(self, data: TrainingData) -> Callable[..., DeviceNet]:
        """What makes a net of module, criterion and settings."""
        return DeviceNet

    def _weight_decay(self, settings: MLPSettings) -> float:
        return settings.weight_decay if self.module is None else 5e-4

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
        data = self._training_data(X, encoded, weights, trusted, device, seed)
        self._check_method(data, trusted)
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

    def _training_data(self, X, encoded, weights, trusted, device, seed) -> TrainingData:
        is_image = X.ndim == 4
        by_default = is_image or self.module is None
        standardize = by_default if self.standardize == "auto" else bool(self.standardize)
        self._scaling = InputScaling(standardize).fit(X)
        augment = ("flip+crop" if is_image else None) if self.augment == "auto" else self.augment
        return TrainingData(
            make_rows(X, self._scaling, device, in_memory=fits_in_memory(X, device)),
            torch.as_tensor(encoded, device=device),
            None if weights is None else torch.as_tensor(weights, device=device).float(),
            None if trusted is None else torch.as_tensor(trusted, device=device),
            resolve_augmentation(augment),
            torch.Generator(device).manual_seed(seed),
        )

    def _progress(self) -> list:
        return [EpochProgress(type(self).__name__)] if self.verbose else []

    def _say(self, message: str) -> None:
        if self.verbose:
            tqdm.write(f"{type(self).__name__}: {message}", file=sys.stderr)

    def _build_net(
        self,
        data: TrainingData,
        rng: np.random.RandomState,
        extra_callbacks: list,
        max_epochs: int | None = None,
    ) -> DeviceNet:
        max_epochs = self.max_epochs if max_epochs is None else max_epochs
        # Drawn before the callbacks' seeds: methods that differ in callbacks share the order.
        order = torch.Generator().manual_seed(int(rng.randint(np.iinfo(np.int32).max)))
        first = data.take(torch.arange(min(2, len(data)), device=data.device))[0]
        shape, n_classes = tuple(first.shape[1:]), len(self.classes_)
        settings = mlp_settings(len(data), shape[0], n_classes)
        module = build_module(self.module, self.module_params, shape, n_classes, settings)
        module = module.to(data.device, torch.float32)  # as the rows are
        check_logits(module, first, n_classes)
        defaults = optimizer_settings(self.optimizer, self._weight_decay(settings))
        params: dict[str, Any] = {**defaults, **(self.optimizer_params or {})}
        return self._net_class(data)(
            module,
            PerSampleCrossEntropy,
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

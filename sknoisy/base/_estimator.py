"""The base class of all estimators that train a network."""

from __future__ import annotations

import copy
import inspect
import math
import sys
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn
from tqdm.auto import tqdm

from .._compat import Interval, StrOptions
from .._engine.augment import AUGMENTATIONS, resolve_augmentation
from .._engine.batches import TrainingData
from .._engine.checkpoint import Checkpoint, open_checkpoint, saved_to
from .._engine.construction import (
    build_module,
    build_scheduler,
    check_image_size,
    check_logits,
    check_optimizer_params,
    optimizer_class,
    optimizer_settings,
    placed,
    resolve_device,
    resolve_precision,
    seeded,
    warn_of_a_shared_gpu,
)
from .._engine.dict_parameters import DictParameters
from .._engine.groups import check_groups
from .._engine.labels import check_clean_mask, check_unlabeled_mask, encode_labels
from .._engine.net import DeviceNet
from .._engine.problem import Problem
from .._engine.ranks import agree, ranks_of
from .._engine.rows import fits_in_memory, make_rows
from .._engine.scaling import InputScaling, scaling_for
from .._engine.sizes import resolved_steps
from .._engine.stopping import current_stop, interruptible
from .._engine.streams import warn_of_label_columns, warn_of_sorted_rows
from .._engine.user_callbacks import check_callbacks
from .._engine.validation import (
    OF_X,
    check_sample_weight,
    check_X,
    forget_fit,
    kept_on_error,
)
from .._engine.views import strong_augmentation
from .._engine.warm_start import WarmStart, check_start, starting_at, warm_start_of
from ..callbacks import EpochProgress, PerSampleCrossEntropy
from ..meta import BatchOutputs
from ..meta.collectives import is_first_rank
from ..networks import MLPSettings, mlp_settings
from ..networks.precision import set_precision

__all__ = ["NetworkEstimator"]


class NetworkEstimator(DictParameters, BaseEstimator):
    """Base of the estimators that train a network on noisy labels, classifiers or not.

    A subclass calls :meth:`_fit` in its ``fit`` or ``fit_resample``, trains in
    :meth:`_fit_networks` and sets its fitted attributes in :meth:`_after_fit`. Classifiers derive
    from :class:`NetworkClassifier`, which implements these two and documents the parameters and
    seams.
    """

    _parameter_constraints: dict = {
        "module": [None, callable, nn.Module],
        "module_params": [dict, None],
        "optimizer": [StrOptions({"sgd", "adam", "adamw"}), callable],
        "optimizer_params": [dict, None],
        "lr": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "lr_schedule": [StrOptions({"cosine", "constant"}), callable],
        "max_epochs": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 2, None, closed="left")],
        "max_time": [None, Interval(Real, 0, None, closed="neither")],
        "augment": [StrOptions({"auto", *AUGMENTATIONS}), None, callable],
        "standardize": [StrOptions({"auto"}), "boolean"],
        "device": [str, torch.device],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
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
        lr: str | float = "auto",
        lr_schedule: str | Callable[..., Any] = "cosine",
        max_epochs: str | int = "auto",
        batch_size: str | int = "auto",
        max_time: float | None = None,
        augment: str | Callable[..., Tensor] | None = "auto",
        standardize: str | bool = "auto",
        device: str | torch.device = "auto",
        precision: str = "auto",
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
        self.max_time = max_time
        self.augment = augment
        self.standardize = standardize
        self.device = device
        self.precision = precision
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    def __init_subclass__(cls, **kwargs):
        """Show the inherited parameters in the signature of a constructor with ``**shared``."""
        super().__init_subclass__(**kwargs)
        own = inspect.signature(cls.__init__)
        if "__init__" in vars(cls) and any(
            p.kind is p.VAR_KEYWORD for p in own.parameters.values()
        ):
            inherited = inspect.signature(super(cls, cls).__init__).parameters
            listed = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
            listed += [p for name, p in inherited.items() if name not in own.parameters]
            vars(cls)["__init__"].__signature__ = own.replace(
                parameters=sorted(listed, key=lambda p: p.kind)
            )

    # --- what a method adds -----------------------------------------------------------------

    #: Kind of the strong views of images for which "auto" stands, in methods that have a parameter
    #: ``strong_augment``: "randaugment", "promix" or "autoaugment".
    _strong_views = "randaugment"

    @property
    def _strong_augment(self) -> Any:
        """Value of the parameter ``strong_augment``; None in methods without strong views."""
        return getattr(self, "strong_augment", None)

    #: Whether X may be a stream: a Parquet file or a data set, which is read in batches.
    _reads_streams = True

    #: Whether a fit can be made by several processes of ``torch.distributed`` together.
    _can_use_ranks = False

    def _prepare(self, problem: Problem) -> Problem:
        """Select rows, purify labels or change weights, before anything is on the device.

        Returns the :class:`Problem` to train on, made by ``dataclasses.replace``: ``active``
        selects rows, ``targets`` are the labels to learn, ``sample_weight`` the weights.
        """
        return problem

    def _loss(self, data: TrainingData) -> Callable[[BatchOutputs], Tensor] | None:
        """Return the loss function of the rows; None stands for the cross-entropy.

        It takes a :class:`~sknoisy.meta.BatchOutputs`: logits with their graph, targets, row
        numbers, sample weights and trust flags. It returns the loss of each row, shape (n,);
        sample weights and the mean are applied afterwards. It is called once for each batch in
        training. An ``nn.Module`` is moved to the device with its buffers, and its parameters are
        trained with those of the network.
        """
        return None

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        """Return the skorch callbacks of the method, a list of pairs of name and callback.

        They are called in this order and refer to one another by name. :meth:`_finish` finds them
        in ``dict(net.callbacks_)``.
        """
        return []

    def _recorded_keys(self) -> list[str]:
        """Return the keys that the method's callbacks record in the history of every epoch.

        The user's callbacks may monitor them.
        """
        return []

    def _fit_networks(self, data: TrainingData, rng: np.random.RandomState) -> None:
        """Build and train the nets; all seeds are drawn from `rng`."""
        raise NotImplementedError

    def _after_fit(self, data: TrainingData) -> None:
        """Set the fitted attributes."""
        raise NotImplementedError

    # --- fit --------------------------------------------------------------------------------

    @interruptible
    def _fit(self, X, y, clean_mask, sample_weight, groups=None, unlabeled_mask=None):
        """Validate the input of ``fit``, prepare the problem, train and return self.

        If the input or the network is refused, the estimator stays as it was.
        """
        self._check_settings()
        start = warm_start_of(self)
        with kept_on_error(self), starting_at(self, start):
            problem, checkpoint, rng = self._validated(
                X, y, clean_mask, sample_weight, groups, unlabeled_mask
            )
            self._check_network(problem)
        with saved_to(checkpoint), starting_at(self, start):
            self._learn(problem, rng)
        return self

    def _validated(
        self, X, y, clean_mask, sample_weight, groups, unlabeled_mask
    ) -> tuple[Problem, Checkpoint | None, np.random.RandomState]:
        """Return the validated problem, the checkpoint and the source of random draws."""
        ranks, start = ranks_of(self, self._can_use_ranks), self._start
        X = check_X(self, X, reset=start is None, any_shape=self._has_own_network, streams=True)
        n_samples, is_table = X.shape[0], X.ndim == 2
        unlabeled = check_unlabeled_mask(unlabeled_mask, n_samples, clean_mask)
        classes, encoded = encode_labels(y, n_samples, type(self).__name__, unlabeled)
        warn_of_sorted_rows(X, encoded)
        warn_of_label_columns(X, encoded, unlabeled)
        weights = check_sample_weight(sample_weight, X, unlabeled)
        trusted = check_clean_mask(clean_mask, encoded, classes)
        groups = check_groups(groups, n_samples)
        device = resolve_device(self.device)
        warn_of_a_shared_gpu(device)
        precision = resolve_precision(self.precision, device, is_table=is_table)
        check_start(start, X, classes)
        given = {
            "X": X,
            "y": encoded,
            "classes": classes,
            "sample_weight": weights,
            "clean_mask": trusted,
            "groups": groups,
            "unlabeled_mask": unlabeled,
            "warm_start": None if start is None else start.modules,
        }
        checkpoint, rng = open_checkpoint(self, device, given, self._say)
        agree(ranks, rng, self, X.shape, encoded, weights, trusted, unlabeled)
        seed = int(rng.randint(np.iinfo(np.int32).max))

        self._forget()
        self.n_ranks_ = 1 if ranks is None else ranks.n
        self.classes_ = classes
        self.precision_ = precision
        self._resolve_steps(n_samples, is_table=is_table)
        problem = Problem(
            X,
            encoded,
            encoded,
            classes,
            weights,
            trusted,
            device,
            seed,
            active=None if unlabeled is None else np.flatnonzero(~unlabeled),
            groups=groups,
            unlabeled=unlabeled,
        )
        return problem, checkpoint, rng

    def _learn(self, problem: Problem, rng: np.random.RandomState) -> None:
        problem = self._prepare(problem)
        current_stop().check()  # what was prepared may be cut short
        data = self._training_data(problem)
        with seeded(problem.seed, problem.device):
            self._fit_networks(data, rng)
            self._after_fit(data)

    #: What ``warm_start`` goes on with, during a fit.
    _start: WarmStart | None = None

    def _check_settings(self) -> None:
        """Check the parameters whose constraints depend on others, before any work."""
        check_optimizer_params(self.optimizer, self.optimizer_params)
        check_callbacks(self.callbacks, self.lr_schedule, self._recorded_keys())

    @property
    def _has_own_network(self) -> bool:
        """Whether the network is the user's own, so that X may be of any shape."""
        return self.module is not None

    def _check_network(self, problem: Problem) -> None:
        """Check that the network can take X, before the work of :meth:`_prepare`."""
        if problem.is_image and not self._has_own_network:
            check_image_size(problem.X.shape)

    def _forget(self) -> None:
        """Remove what an earlier fit learned, so that a failed fit leaves no fitted estimator."""
        forget_fit(self, keep=OF_X)
        self.__dict__.pop("_members", None)

    def _resolve_steps(self, n_rows: int, *, is_table: bool) -> None:
        """Set batch size, learning rate and number of epochs, also where they are "auto"."""
        self.batch_size_, self.lr_, self.max_epochs_ = given = resolved_steps(
            self.batch_size, self.lr, self.max_epochs, n_rows=n_rows, is_table=is_table
        )
        if "auto" in (self.batch_size, self.lr, self.max_epochs):
            self._say("batch_size={}, lr={:.3g}, max_epochs={}".format(*given))

    def _n_steps(self, n_rows: int) -> int:
        """Return the number of steps in training on so many rows."""
        return self.max_epochs_ * math.ceil(n_rows / self.batch_size_)

    def _training_data(self, problem: Problem) -> TrainingData:
        """Fit the input scaling and move the problem to the device."""
        X, device = problem.X, problem.device
        self._scaling = self._fitted_scaling(X)
        augment = self.augment
        if augment == "auto":
            augment = "flip+crop" if problem.is_image else None
        weights, trusted = problem.sample_weight, problem.trusted
        given = torch.as_tensor(problem.given, device=device)
        is_given = problem.targets is problem.given
        data = TrainingData(
            make_rows(
                X, self._scaling, device, in_memory=fits_in_memory(X, device, self._scaling)
            ),
            given if is_given else torch.as_tensor(problem.targets, device=device),
            None if weights is None else torch.as_tensor(weights).float().to(device),
            None if trusted is None else torch.as_tensor(trusted, device=device),
            resolve_augmentation(augment, self._scaling, device),
            torch.Generator(device).manual_seed(problem.seed),
            given,
        )
        data.strong_augment = strong_augmentation(
            self._strong_augment,
            self._strong_views,
            data,
            self._scaling,
            is_table=problem.X.ndim == 2,
        )
        data.groups = problem.groups
        if problem.unlabeled is not None:
            rows = np.flatnonzero(problem.unlabeled)
            data.unlabeled = torch.as_tensor(rows, device=device)
        if problem.active is None:
            return data
        return data.only(torch.as_tensor(problem.active, device=device))

    def _fitted_scaling(self, X) -> InputScaling:
        scaling = scaling_for(X, self.standardize, own_network=self._has_own_network)
        return scaling.fit(X, getattr(self, "feature_names_in_", None))

    def _progress(self) -> list:
        shows = self.verbose and is_first_rank()
        return [EpochProgress(type(self).__name__)] if shows else []

    def _say(self, message: str) -> None:
        if self.verbose and is_first_rank():
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
        """Return an untrained net, which is not initialised.

        Each call makes a new module, so that two nets have different initial parameters, unless
        the parameter ``module`` is an instance. TypeError is raised if the module returns no
        tensor, ValueError if the tensor does not have the shape (n, n_classes), or holds
        probabilities.

        The first draw from `rng` seeds the order of the batches; the method's callbacks follow.

        Parameters
        ----------
        extra_callbacks : list or None, default=None
            Callbacks that follow the method's own. None: the user's and the progress bar. A
            callback belongs to one net: pass copies or an empty list to further nets.
        max_epochs : int or None, default=None
            Epochs of the learning rate schedule. None: the parameter of the estimator.
        net_class : callable, default=DeviceNet
            Makes the net from module, criterion and settings.
        weight_decay_factor : float, default=1
            Factor of the default weight decay. It is larger, up to 10, if the weights of the rows
            are so unequal that their effective number is below a quarter of the rows.
        """
        max_epochs = self.max_epochs_ if max_epochs is None else max_epochs
        if extra_callbacks is None:
            extra_callbacks = [*(self.callbacks or []), *self._progress()]
        # Drawn before the callbacks' seeds: methods that differ in callbacks share the order.
        order = torch.Generator().manual_seed(int(rng.randint(np.iinfo(np.int32).max)))
        first = data.take(torch.arange(min(2, len(data)), device=data.device))[0]
        module, weight_decay = self._new_module(first, len(data))
        # A few heavy rows are soon memorised. Where a quarter of the rows or more has the weight,
        # nothing changes.
        of_weights = min(1 / (4 * data.effective_share), 10.0)
        factor = max(weight_decay_factor, of_weights)
        defaults = optimizer_settings(self.optimizer, factor * weight_decay)
        params: dict[str, Any] = {**defaults, **(self.optimizer_params or {})}
        return net_class(
            module,
            PerSampleCrossEntropy,
            criterion__row_loss=self._loss(data),
            optimizer=optimizer_class(self.optimizer),
            lr=self.lr_,
            max_epochs=max_epochs,
            batch_size=self.batch_size_,
            device=str(data.device),
            callbacks=[
                *build_scheduler(self.lr_schedule, self.lr_, max_epochs),
                *self._callbacks_with_states(data, rng),
                *extra_callbacks,
            ],
            order=order,
            verbose=0,
            **{f"optimizer__{name}": value for name, value in params.items()},
        )

    def _build_pair(
        self, data: TrainingData, rng: np.random.RandomState, **settings: Any
    ) -> list[DeviceNet]:
        """Return two untrained nets; the second has copies of the user's callbacks.

        `settings` are further arguments of :meth:`_build_net`.
        """
        extra = [*(self.callbacks or []), *self._progress()]
        copies = copy.deepcopy(self.callbacks or [])
        return [self._build_net(data, rng, own, **settings) for own in (extra, copies)]

    def _new_module(self, first: Tensor, n_rows: int) -> tuple[nn.Module, float]:
        """Return a new module on the device, and its default weight decay.

        It is for `n_rows` rows, and is checked on the first ones.
        """
        n_classes = len(self.classes_)
        settings = mlp_settings(n_rows, first.shape[1], n_classes)
        module = placed(self._built_module(first, settings), first)
        check_logits(module, first, n_classes)
        set_precision(module, self.precision_)
        return module, 5e-4 if self._has_own_network else settings.weight_decay

    def _built_module(self, example: Tensor, settings: MLPSettings) -> nn.Module:
        """Return a new module for rows such as the two of `example`."""
        shape = tuple(example.shape[1:])
        return build_module(self.module, self.module_params, shape, len(self.classes_), settings)

    def _callbacks_with_states(self, data: TrainingData, rng: np.random.RandomState) -> list:
        """Return the method's callbacks, and those that keep the states that predict."""
        return self._callbacks(data, rng)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        return tags

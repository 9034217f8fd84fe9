"""Base classes of the estimators, and the types that their seams use.

:ref:`write_a_method` builds a classifier on them. ``Interval`` and ``StrOptions`` are the
constraints of scikit-learn for numbers in a range, and for parameters that take certain strings.
"""

from __future__ import annotations

import copy
import inspect
import math
import os
import sys
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from tqdm.auto import tqdm

from ._compat import HasMethods, Interval, StrOptions, fit_context
from ._docs import share_docs
from ._engine.augment import AUGMENTATIONS, resolve_augmentation
from ._engine.batches import Batch, TrainingData
from ._engine.checkpoint import named_input, open_checkpoint, saved_to
from ._engine.construction import (
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
from ._engine.dict_parameters import DictParameters
from ._engine.evaluation import copied_state, rows_per_pass
from ._engine.groups import check_groups
from ._engine.label_distribution import distribute_labels
from ._engine.labels import check_clean_mask, check_unlabeled_mask, encode_labels
from ._engine.members import Members
from ._engine.net import DeviceNet, train_side_by_side
from ._engine.onnx_file import ProbabilityGraph, write_onnx
from ._engine.pretrained import (
    check_pretrained,
    check_same_rows,
    encoder_of,
    load_state,
    scaling_of,
)
from ._engine.problem import Problem
from ._engine.ranks import agree, ranks_of, trained_on_ranks
from ._engine.rows import fits_in_memory, make_rows
from ._engine.scaling import InputScaling, scaling_for
from ._engine.sizes import resolved_steps
from ._engine.stopping import current_stop, interruptible
from ._engine.streams import warn_of_sorted_rows
from ._engine.user_callbacks import check_callbacks
from ._engine.validation import OF_X, check_sample_weight, check_X, forget_fit
from ._engine.views import strong_augmentation
from ._engine.warm_start import WarmStart, check_start, load_start, starting_at, warm_start_of
from .callbacks import (
    CheckpointEnsemble,
    CLIDScore,
    EpochProgress,
    PerSampleCrossEntropy,
    TeacherAverage,
)
from .meta import BatchOutputs
from .meta.collectives import is_first_rank
from .networks import MLPSettings, mlp_settings
from .networks.heads import with_new_head
from .networks.precision import set_precision

__all__ = [
    "Batch",
    "DeviceNet",
    "Interval",
    "NetworkClassifier",
    "NetworkEstimator",
    "Problem",
    "StrOptions",
    "TrainingData",
]


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
        """Validate the input of ``fit``, prepare the problem, train and return self."""
        self._check_settings()
        ranks, start = ranks_of(self, self._can_use_ranks), warm_start_of(self)
        X = check_X(self, X, reset=start is None, any_shape=self._has_own_network, streams=True)
        n_samples = X.shape[0]
        unlabeled = check_unlabeled_mask(unlabeled_mask, n_samples, clean_mask)
        classes, encoded = encode_labels(y, n_samples, type(self).__name__, unlabeled)
        warn_of_sorted_rows(X, encoded)
        weights = check_sample_weight(sample_weight, X, unlabeled)
        trusted = check_clean_mask(clean_mask, encoded, classes)
        groups = check_groups(groups, n_samples)
        device = resolve_device(self.device)
        warn_of_a_shared_gpu(device)
        precision = resolve_precision(self.precision, device, is_table=X.ndim == 2)
        check_start(start, X, classes)
        given = named_input(X, encoded, classes, weights, trusted, groups, unlabeled, start)
        checkpoint, rng = open_checkpoint(self, device, given, self._say)
        agree(ranks, rng, self, X.shape, encoded, weights, trusted, unlabeled)
        seed = int(rng.randint(np.iinfo(np.int32).max))

        self._forget()
        self.n_ranks_ = 1 if ranks is None else ranks.n
        self.classes_ = classes
        self.precision_ = precision
        self._resolve_steps(n_samples, is_table=X.ndim == 2)
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
        with saved_to(checkpoint), starting_at(self, start):
            self._learn(problem, rng)
        return self

    def _learn(self, problem: Problem, rng: np.random.RandomState) -> None:
        self._check_network(problem)
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
        module, weight_decay = self._new_module(data)
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

    def _new_module(self, data: TrainingData) -> tuple[nn.Module, float]:
        """Return a new module on the device, checked on two rows, and its default weight decay."""
        first = data.take(torch.arange(min(2, len(data)), device=data.device))[0]
        n_classes = len(self.classes_)
        settings = mlp_settings(len(data), first.shape[1], n_classes)
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


@share_docs
class NetworkClassifier(ClassifierMixin, NetworkEstimator):
    """Base of the classifiers: one or several networks trained on noisy labels.

    Used as it is, it trains one network by cross-entropy. A method overrides one or several of
    the methods below, which are called in this order:

    =============================  ==============================================================
    :meth:`_prepare`               selects rows, purifies labels or changes weights, before
                                   anything is on the device
    :meth:`_networks`              returns the untrained nets; each is made by
                                   :meth:`_build_net`, which calls the next two
    :meth:`_loss`                  returns the loss function of the rows
    :meth:`_callbacks`             returns skorch callbacks, with names
    :attr:`_joint_step`            trains several nets on a batch together
    :meth:`_member_states`         returns the states of the networks that predict
    :meth:`_label_distribution`    returns the probability of each class for each training row
    :meth:`_finish`                sets the fitted attributes of the method
    =============================  ==============================================================

    Their argument ``data`` is the :class:`TrainingData`, on the device, and ``rng`` or
    ``random_state`` is the :class:`~numpy.random.RandomState` from which seeds are drawn.

    A subclass may list its own parameters alone and pass the others on,
    ``def __init__(self, *, q=0.7, **shared)`` with ``super().__init__(**shared)``: the signature,
    and with it ``get_params``, then contains the parameters below, too.

    Parameters
    ----------
    {module, module_params, optimizer, optimizer_params}
    lr : "auto" or float, default="auto"
        Learning rate of the network. "auto": 0.05, more for larger batches.
    {lr_schedule, max_epochs, batch_size, max_time, augment, standardize, device, precision}
    {callbacks}
    verbose : int, default=0
        1 shows a progress bar and messages.
    {random_state, pretrained, weight_average, n_ensemble}
    {warm_start, checkpoint}

    Attributes
    ----------
    {classes_, label_distribution_, purified_labels_, clean_proba_, net_}
    nets_ : list of DeviceNet
        All fitted nets; ``net_`` is the first one.
    history_ : skorch.history.History
        Per epoch of ``net_``: ``train_loss``, ``event_lr``, ``dur``, and what callbacks record.
    {n_iter_, ensemble_epochs_, batch_size_, n_ranks_, n_features_in_, feature_names_in_}
    {image_shape_}

    See Also
    --------
    sknoisy.meta.MetaModel : Base of the models that weight rows or correct labels in training.
    sknoisy.callbacks.MetaUpdate : Callback that trains such a model.

    Examples
    --------
    >>> from sknoisy.base import NetworkClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.0, random_state=0)
    >>> clf = NetworkClassifier(max_epochs=20, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.9)
    True
    """

    _parameter_constraints: dict = {
        **NetworkEstimator._parameter_constraints,
        "pretrained": [None, dict, nn.Module, HasMethods(["fit", "transform"])],
        "weight_average": [None, Interval(Real, 0, 1, closed="left")],
        "n_ensemble": [Interval(Integral, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "checkpoint": [str, os.PathLike, None],
    }

    def __init__(
        self,
        *,
        pretrained: Any = None,
        weight_average: float | None = None,
        n_ensemble: int = 0,
        warm_start: bool = False,
        checkpoint: str | os.PathLike | None = None,
        **shared: Any,
    ):
        super().__init__(**shared)
        self.pretrained = pretrained
        self.weight_average = weight_average
        self.n_ensemble = n_ensemble
        self.warm_start = warm_start
        self.checkpoint = checkpoint

    # --- what a method adds -----------------------------------------------------------------

    _can_use_ranks = True

    def _networks(self, data: TrainingData, rng: np.random.RandomState) -> list[DeviceNet]:
        """Return the untrained nets, made by :meth:`_build_net`; the first one becomes ``net_``.

        One loop trains them side by side.
        """
        return [self._build_net(data, rng)]

    #: ``_joint_step(nets, batch)`` makes one step of each net on a :class:`Batch` and returns
    #: the list of what their ``train_step`` returned. A subclass defines it as a method. None:
    #: each net goes over batches of its own, one net after the other in each epoch.
    _joint_step: Callable[[Sequence[DeviceNet], Batch], list[dict[str, Any]]] | None = None

    def _member_states(self) -> list[dict[str, Tensor]]:
        """Return the states of the networks that predict; their logits are averaged.

        They are state dicts of the module, the best first: :meth:`features` reads this one.
        """
        kept = [self._kept_states(net) for net in self.nets_]
        self.ensemble_epochs_ = [epoch for epoch, _ in kept[0]]
        return [state for of_net in kept for _, state in of_net]

    def _kept_states(self, net: DeviceNet) -> list[tuple[int, dict[str, Tensor]]]:
        """Return epochs and states of a net by ``n_ensemble`` and ``weight_average``."""
        callbacks = dict(net.callbacks_)
        if self.n_ensemble and callbacks["ensemble"].members_:
            return [(epoch, state) for _, epoch, state in callbacks["ensemble"].members_]
        module = net.module_ if self._teacher is None else callbacks[self._teacher].teacher_
        return [(net.n_finished_epochs, copied_state(module))]

    @property
    def _teacher(self) -> str | None:
        """Name of the callback that averages the weights."""
        return None if self.weight_average is None else "weight_average"

    def _callbacks_with_states(self, data: TrainingData, rng: np.random.RandomState) -> list:
        callbacks, teacher = [*self._callbacks(data, rng)], self._teacher
        if self.weight_average is not None:
            callbacks.append((teacher, TeacherAverage(self.weight_average)))
        if self.n_ensemble:
            if "clid" not in dict(callbacks):  # a method may score epochs by rows of its own
                seed = int(rng.randint(np.iinfo(np.int32).max))
                callbacks.append(("clid", CLIDScore(teacher=teacher, random_state=seed)))
            # CLID requires trained features.
            n_skip = getattr(self, "n_warmup_epochs_", min(5, self.max_epochs_ // 2))
            ensemble = CheckpointEnsemble(
                n_members=self.n_ensemble,
                n_skip_epochs=min(n_skip, self.max_epochs_ - 1),
                teacher=teacher,
            )
            callbacks.append(("ensemble", ensemble))
        return callbacks

    def _recorded_keys(self) -> list[str]:
        return ["clid"] if self.n_ensemble else []

    def _label_distribution(self, data: TrainingData, proba: np.ndarray) -> np.ndarray:
        """Return the probability of each class for each training row, given the predictions.

        Both have the shape (n_samples, n_classes). ``label_distribution_``, ``purified_labels_``
        and ``clean_proba_`` follow from it.
        """
        return proba

    def _finish(self, data: TrainingData) -> None:
        """Set the method's fitted attributes; the nets are trained and in eval mode."""

    # --- the start of the network -------------------------------------------------------------

    def _check_settings(self) -> None:
        super()._check_settings()
        check_pretrained(self.pretrained, self.module, self.module_params)

    @property
    def _has_own_network(self) -> bool:
        return super()._has_own_network or encoder_of(self.pretrained) is not None

    def _check_network(self, problem: Problem) -> None:
        super()._check_network(problem)
        if self.pretrained is not None:
            check_same_rows(self.pretrained, self, problem.X)
            with seeded(problem.seed, problem.device):
                self._new_module(self._training_data(problem))

    def _fitted_scaling(self, X) -> InputScaling:
        start = self._start and self._start.scaling
        return start or scaling_of(self.pretrained) or super()._fitted_scaling(X)

    def _built_module(self, example: Tensor, settings: MLPSettings) -> nn.Module:
        encoder = encoder_of(self.pretrained)
        if encoder is not None:
            return with_new_head(encoder, example, len(self.classes_))
        module = super()._built_module(example, settings)
        if self.pretrained is not None:
            load_state(module.to(example.device), self.pretrained, example)
        return module

    # --- fit --------------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=False)  # a purifier or selector checks its own
    @share_docs
    def fit(self, X, y, *, clean_mask=None, sample_weight=None):
        """Train on noisy labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or images of shape \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Training rows of any numeric dtype: arrays, memory maps, tensors, pandas and polars
            frames, CSR and CSC matrices, and what need not fit into memory: the path of a Parquet
            file, or a map-style torch ``Dataset`` (:ref:`large_data`). NaN in tables is a missing
            value. A ``module`` of your
            own takes arrays (n_samples, ...) of any shape; integers stay integers for it.
        {y, clean_mask, sample_weight}

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            On input that cannot be used; the message names the value and the cure.
        NonFiniteLossError
            If the training loss becomes NaN or infinite.
        """
        return self._fit(X, y, clean_mask, sample_weight)

    def _fit_networks(self, data: TrainingData, rng: np.random.RandomState) -> None:
        self.nets_ = self._networks(data, rng)
        self.net_ = self.nets_[0]
        load_start(self._start, self.nets_)
        with trained_on_ranks(self, self.nets_, self._joint_step, data):
            train_side_by_side(self.nets_, data, self.max_epochs_, self._joint_step)

    def _after_fit(self, data: TrainingData) -> None:
        for net in self.nets_:
            net.module_.eval()
        self.history_ = self.net_.history
        self.n_iter_ = self.net_.n_finished_epochs
        device, states = torch.device(self.net_.device), self._member_states()
        self._members = Members(self.net_.module_, states, device, rows_per_pass(self.net_))
        proba = self._label_distribution(data, self._proba(data.rows).numpy())
        distribute_labels(self, proba, data)
        self._finish(data)

    # --- predict ----------------------------------------------------------------------------

    def predict_proba(self, X) -> np.ndarray:
        """Return the probabilities of the classes.

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
        """Return the labels of the most probable classes.

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
        NotFittedError, ValueError
            As in :meth:`predict_proba`.
        """
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(axis=1)]

    def features(self, X) -> np.ndarray:
        """Return penultimate features of the network, those of the best epoch if it keeps several.

        Parameters
        ----------
        X : array-like of the kind that was fitted
            Rows.

        Returns
        -------
        features : ndarray of float64 of shape (n_samples, d)

        Raises
        ------
        NotFittedError, ValueError
            As in :meth:`predict_proba`.
        """
        rows = self._rows(X)  # first, as it raises NotFittedError
        return self._members.features(rows).numpy()

    def export_onnx(self, path: str | os.PathLike, *, dtype: str | None = None) -> None:
        """Write the classifier as an ONNX file, which predicts without Python and torch.

        The graph holds all that :meth:`predict_proba` does: imputation, scaling, the networks,
        the mean of their logits and the softmax. Before the file is written, onnxruntime runs
        the graph on drawn rows, and has to give the probabilities of torch.

        The input ``X`` takes any number of rows; the output ``probabilities`` is float64 of shape
        (n_samples, n_classes). The metadata entry ``classes`` is ``classes_`` as JSON. The graph
        does not check its input: infinite values may give NaN where :meth:`predict_proba` raises.

        Parameters
        ----------
        path : str or path-like
            File to write, such as ``"classifier.onnx"``. It is replaced if it exists.
        dtype : {"float32", "float64", "int64", "uint8"} or None, default=None
            Type of the input. None: "uint8" for images that were fitted as such, "int64" for
            integers that a network of your own gets as they are, else "float32". Rows are
            standardised in float64 in any case, so that "float64" loses no digits of values far
            from 0, such as time stamps.

        Warns
        -----
        PrecisionWarning
            If float32 keeps few digits of a column.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ImportError
            If the packages of ``pip install "sknoisy[onnx]"`` are missing.
        ValueError
            If `dtype` is none of those above, if float32 does not hold the values of a column, or
            if a network of your own has no graph that gives its probabilities.

        Notes
        -----
        Networks that predict in bfloat16 are written in float32.

        Examples
        --------
        >>> import json
        >>> import tempfile
        >>> import numpy as np
        >>> import onnxruntime
        >>> from sklearn.datasets import load_iris
        >>> from sknoisy import CLIDMUClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = CLIDMUClassifier(max_epochs=3, n_warmup_epochs=1, random_state=0).fit(X, y)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     clf.export_onnx(f"{folder}/iris.onnx")
        ...     session = onnxruntime.InferenceSession(f"{folder}/iris.onnx")
        >>> (proba,) = session.run(None, {"X": X.astype(np.float32)})
        >>> np.allclose(proba, clf.predict_proba(X), atol=1e-5)
        True
        >>> json.loads(session.get_modelmeta().custom_metadata_map["classes"])
        [0, 1, 2]
        """
        check_is_fitted(self)
        graph = ProbabilityGraph(self._scaling, self._members.networks)
        write_onnx(path, self, graph, dtype, capture=self._has_own_network)

    def _rows(self, X):
        check_is_fitted(self)
        X = check_X(self, X, reset=False, any_shape=self._has_own_network, streams=True)
        self._scaling.check_unit(X)
        return make_rows(X, self._scaling, self._members.device, in_memory=False)

    def _proba(self, rows) -> Tensor:
        """Return the softmax of the mean logits of all members, float64 on the CPU."""
        return self._members.proba(rows)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_members")

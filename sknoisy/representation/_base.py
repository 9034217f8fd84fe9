"""Base class of the self-supervised transformers: fit, checkpoints and transform."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from .._compat import Interval, StrOptions, fit_context
from .._docs import SharedDocs
from .._docs import share_docs as network_docs
from .._engine.augment import Augmentation
from .._engine.batches import TrainingData
from .._engine.checkpoint import open_checkpoint, saved_to
from .._engine.construction import (
    build_scheduler,
    check_optimizer_params,
    optimizer_class,
    optimizer_settings,
    resolve_device,
    resolve_precision,
    seeded,
    warn_of_a_shared_gpu,
)
from .._engine.dict_parameters import DictParameters
from .._engine.evaluation import rows_per_pass
from .._engine.rows import Rows, fits_in_memory, make_rows
from .._engine.scaling import scaling_for
from .._engine.stopping import current_stop, interruptible
from .._engine.user_callbacks import check_callbacks
from .._engine.validation import OF_X, check_X, forget_fit
from .._engine.views import TwoViews
from ..callbacks import EpochProgress
from ..networks.precision import set_precision
from ._two_view_net import Criterion, RepresentationNet
from .encoder import Projected, build_encoder

__all__ = ["BaseRepresentation"]


share_docs = SharedDocs(
    """
augment : str, None or callable, default="auto"
    Augmentation that makes a view of a row.
encoder : None, nn.Module class, factory or instance, default=None
    The network; it returns features (n, d). None: an MLP of four layers of 256 units for
    tables, the small :class:`~sknoisy.networks.PreActResNet` for images. If the module has
    timm's ``get_classifier``, its last layer is removed. An instance is deep-copied.
encoder_params : dict or None, default=None
    Arguments of the class or factory, or of the default network. ``n_features`` and
    ``in_channels`` are filled in where the signature names them.
projection_dim : int, default=128
    Number of columns of the projection head's output, which the loss compares.
optimizer : {"sgd", "adam", "adamw"} or torch optimizer class, default="adam"
    Optimiser; "sgd" has momentum 0.9.
lr : float, default=1e-3
    Learning rate.
max_epochs : int, default=100
    Number of passes over the data.
checkpoint : path-like or None, default=None
    File for the state of training, written after each epoch. If it exists, ``fit`` resumes from
    it: a resumed run ends bit for bit like an unbroken one, and a finished run is not trained
    further.
callbacks : list or None, default=None
    Further skorch callbacks.
verbose : int, default=0
    1 shows a progress bar.
random_state : int, RandomState or None, default=None
    Seed of all draws. On a CPU, two fits with the same int give the same features bit for bit.
encoder_ : nn.Module
    The trained encoder, in eval mode. Its input is scaled rows.
net_ : RepresentationNet
    The skorch net that trained the encoder; ``net_.module_`` is the encoder.
history_ : skorch.history.History
    Per epoch: ``train_loss``, ``event_lr``, ``dur``.
n_iter_ : int
    Number of epochs, including those before a checkpoint.
precision_ : str
    Value of ``precision`` after "auto" is resolved, in training. ``transform`` computes in
    float32.
""",
    base=network_docs,
)


class BaseRepresentation(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, DictParameters, BaseEstimator
):
    """Base class of the self-supervised transformers.

    A subclass defines `_views` and `_loss`, and may override `_check_method`, `_module` and
    `_weight_decay`. The parameters are described in :class:`~sknoisy.representation.SimCLR`.
    """

    _parameter_constraints: dict = {
        "encoder": [None, callable, nn.Module],
        "encoder_params": [dict, None],
        "projection_dim": [Interval(Integral, 1, None, closed="left")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "optimizer": [StrOptions({"sgd", "adam", "adamw"}), callable],
        "optimizer_params": [dict, None],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "lr_schedule": [StrOptions({"cosine", "constant"}), callable],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "standardize": [StrOptions({"auto"}), "boolean"],
        "device": [str, torch.device],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "checkpoint": [str, os.PathLike, None],
        "callbacks": [list, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        encoder: type[nn.Module] | Callable[..., nn.Module] | nn.Module | None = None,
        encoder_params: dict[str, Any] | None = None,
        projection_dim: int = 128,
        temperature: float = 0.5,
        optimizer: str | Callable[..., torch.optim.Optimizer] = "adam",
        optimizer_params: dict[str, Any] | None = None,
        lr: float = 1e-3,
        lr_schedule: str | Callable[..., Any] = "cosine",
        max_epochs: int = 100,
        batch_size: int = 128,
        standardize: str | bool = "auto",
        device: str | torch.device = "auto",
        precision: str = "auto",
        checkpoint: str | os.PathLike | None = None,
        callbacks: list | None = None,
        verbose: int = 0,
        random_state: Any = None,
    ):
        self.encoder = encoder
        self.encoder_params = encoder_params
        self.projection_dim = projection_dim
        self.temperature = temperature
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.standardize = standardize
        self.device = device
        self.precision = precision
        self.checkpoint = checkpoint
        self.callbacks = callbacks
        self.verbose = verbose
        self.random_state = random_state

    # --- the seam: what a method defines ----------------------------------------------------

    # Loss of the module's output for the two views of a batch, at a temperature.
    _loss: Callable[[Tensor, float], Tensor]
    # The optimiser's default; SimCLR and MoCo set that of their papers.
    _weight_decay = 0.0

    def _check_method(self, X) -> None:
        """Raise ValueError if the method cannot use X; called before an earlier fit is dropped."""

    def _views(self, rows: Rows) -> tuple[Augmentation | None, Augmentation | None]:
        """Return the augmentations that make the two views of a row."""
        raise NotImplementedError

    def _module(self, network: Projected, n_rows: int) -> nn.Module:
        """Return the module to train; its input is both views of n rows, (2n, ...)."""
        return network

    # --- fit --------------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=True)
    @interruptible
    def fit(self, X, y=None):
        """Train the encoder.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or images of shape \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            At least two rows of any numeric dtype: arrays, memory maps, tensors, pandas and polars
            frames, CSR and CSC matrices. NaN in tables is a missing value. SCARF takes no images.
            An ``encoder`` of your own takes arrays (n_samples, ...) of any shape if ``augment`` is
            a function.
        y : None
            Ignored, present for API consistency.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        ValueError, TypeError
            If X is not valid, or ``checkpoint`` was written by another run.
        NonFiniteLossError
            If the training loss becomes NaN or infinite.
        """
        check_optimizer_params(self.optimizer, self.optimizer_params)
        check_callbacks(self.callbacks, self.lr_schedule)
        X = check_X(self, X, reset=True, any_shape=self.encoder is not None)
        if X.shape[0] < 2:
            raise ValueError(
                f"{type(self).__name__} learns by comparing rows, but X has 1 sample: pass at "
                "least 2 rows."
            )
        self._check_method(X)
        device = resolve_device(self.device)
        warn_of_a_shared_gpu(device)
        precision = resolve_precision(self.precision, device, is_table=X.ndim == 2)
        checkpoint, rng = open_checkpoint(self, device, {"X": X})
        seed = int(rng.randint(np.iinfo(np.int32).max))

        self._forget()
        self.precision_ = precision
        data = self._training_data(X, device, seed)
        with seeded(seed, device), saved_to(checkpoint):
            network = self._build_network(data)
            net = self._build_net(network, data, seed)
            net.fit(data)
        self._finish(net, network)
        return self

    def _forget(self) -> None:
        """Drop the attributes of an earlier fit, so that a failed fit leaves no fitted model."""
        forget_fit(self, keep=OF_X)
        self.__dict__.pop("_n_features_out", None)

    def _training_data(self, X, device: torch.device, seed: int) -> TrainingData:
        self._scaling = scaling_for(X, self.standardize, own_network=self.encoder is not None)
        self._scaling.fit(X, getattr(self, "feature_names_in_", None))
        rows = make_rows(
            X, self._scaling, device, in_memory=fits_in_memory(X, device, self._scaling)
        )
        return TrainingData(
            rows,
            torch.zeros(len(rows), dtype=torch.int64, device=device),  # there are no labels
            augment=TwoViews(*self._views(rows)),
            generator=torch.Generator(device).manual_seed(seed),
        )

    def _build_network(self, data: TrainingData) -> Projected:
        example = data.take(torch.arange(2, device=data.device))[0]
        encoder, n_features = build_encoder(self.encoder, self.encoder_params, example)
        network = Projected(encoder, n_features, self.projection_dim)
        set_precision(network, self.precision_)
        return network

    def _build_net(self, network: Projected, data: TrainingData, seed: int) -> RepresentationNet:
        defaults = optimizer_settings(self.optimizer, self._weight_decay)
        params: dict[str, Any] = {**defaults, **(self.optimizer_params or {})}
        return RepresentationNet(
            self._module(network, len(data)),
            Criterion(self._loss, self.temperature),
            optimizer=optimizer_class(self.optimizer),
            lr=self.lr,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            device=str(data.device),
            callbacks=[
                *build_scheduler(self.lr_schedule, self.lr, self.max_epochs),
                *(self.callbacks or []),
                *([EpochProgress(type(self).__name__)] if self.verbose else []),
            ],
            order=torch.Generator().manual_seed(seed + 1),  # another stream than the views'
            verbose=0,
            **{f"optimizer__{name}": value for name, value in params.items()},
        )

    def _finish(self, net: RepresentationNet, network: Projected) -> None:
        """Set the fitted attributes; keep the encoder and drop the projection head."""
        net.keep(network.encoder.eval())
        self.net_, self.history_ = net, net.history
        self.n_iter_ = net.n_finished_epochs
        self._n_features_out = network.n_features
        if net.interrupted_:
            current_stop().result = "the transformer is fitted with what was learned so far"

    # --- transform --------------------------------------------------------------------------

    @property
    def encoder_(self) -> nn.Module:
        """The trained encoder, a module in eval mode; its input is scaled rows."""
        return self.net_.module_

    def transform(self, X) -> np.ndarray:
        """Return the features of rows.

        Parameters
        ----------
        X : array-like of the kind that was fitted
            Rows.

        Returns
        -------
        features : ndarray of float32 of shape (n_samples, d)

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            If X is not of the kind that was fitted, or so extreme that features are not finite.
        """
        check_is_fitted(self)
        X = check_X(self, X, reset=False, any_shape=self.encoder is not None)
        self._scaling.check_unit(X)
        rows = make_rows(X, self._scaling, torch.device(self.net_.device), in_memory=False)
        return torch.cat([*self._features(rows)]).numpy()

    @torch.no_grad()
    def _features(self, rows: Rows) -> Iterator[Tensor]:
        """Yield the features of one block of rows after another, on the CPU."""
        index = torch.arange(len(rows), device=self.net_.device)
        for block in index.split(rows_per_pass(self.net_)):
            features = self.encoder_(rows.take(block)).float().cpu()
            bad = (~features.isfinite().all(dim=1)).nonzero()
            if len(bad):
                raise ValueError(
                    f"The features of row {int(block[0] + bad[0])} of X are not finite: its "
                    "values are too large for float32, or too far from those of fit."
                )
            yield features

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_n_features_out")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

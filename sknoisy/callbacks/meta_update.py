"""Callback that makes a meta update before each training step."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from skorch.utils import to_device, to_tensor
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from .._engine.batches import EndlessBatches, TrainingData
from .._engine.construction import random_state_of
from .._engine.criterion import cross_entropy
from .._engine.evaluation import draw_rows, evaluate, keep_rows, rows_of_X, rows_per_pass, take
from .._engine.held_state import held_state, hold_state
from .._engine.step_values import StepValues
from ..meta import BatchOutputs, CLIDObjective, ForwardGradient, MetaModel, MetaProblem, WNet
from ..meta.functional import RandomState, StatelessModule
from ..meta.gradients import forward_batch, guidance_of
from ..networks import WithFeatures
from ..networks.precision import full_precision
from .named import callback_named

__all__ = ["MetaUpdate"]


class MetaUpdate(Callback):
    """Train a meta model beside the network and let it guide the training loss.

    At the start of each training batch, the callback makes a virtual step of the network on the
    batch, computes the gradient of the meta objective on a meta batch with respect to the meta
    model, and makes one step of the meta optimiser. It then passes the guidance of the updated
    meta model to the criterion, and the net makes its actual step as usual. The criterion of the
    net must be :class:`PerSampleCrossEntropy`.

    Parameters
    ----------
    meta_model : MetaModel or callable, default=WNet
        An instance, which is deep-copied, or a class or factory, which is called when training
        begins. ``n_features`` (of the penultimate layer) and ``n_classes`` are filled in if the
        signature names them. The meta model holds its optimiser and step size.
    objective : callable or None, default=None
        Meta objective, a function of (features, logits, targets). None stands for
        :class:`~sknoisy.meta.CLIDObjective`.
    gradient : callable or None, default=None
        Gradient strategy. None stands for :class:`~sknoisy.meta.ForwardGradient`. A stock skorch
        net computes its own forward pass, so the strategy cannot share its pass with it.
    meta_rows : int, array-like of int or bool, callable or str, default=1000
        Rows of the X given to ``fit`` that form the meta set, as row numbers or as a mask. They
        stay in the training set. An int is the number of rows to draw from those that the net
        trains on. A callable is called with the X and y given to ``fit`` and returns one of
        these; in cross-validation, it receives the rows of the fold. A string is the name of
        another callback of the net, such as a :class:`PseudoCleanRows`, whose ``rows_`` are read
        at the beginning of each epoch. ``"peer.NAME"`` refers to a callback of the net that is
        trained side by side with this one. If the objective reads labels and the rows have sample
        weights, the meta batches are drawn by these weights.
    meta_batch_size : int, default=100
        Number of rows per meta batch.
    meta_every : int, default=1
        Update the meta model at every k-th batch. It guides the other batches without an update.
    n_warmup_epochs : int, default=0
        Number of epochs of plain training before the meta updates start.
    random_state : int, RandomState or None, default=None
        Controls the draw of the meta set and of its batches.

    Attributes
    ----------
    meta_model_ : MetaModel or None
        The meta model; None before the first epoch.
    gradient_ : callable
        The gradient strategy.
    meta_rows_ : ndarray of shape (n_meta,)
        Rows of X in the meta set, those of the last epoch if they change.
    n_steps_ : int
        Number of batches that the meta model guided.
    n_skipped_batches_ : int
        Number of batches in which no row had any weight. The network makes no step on them.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from skorch import NeuralNetClassifier
    >>> from sknoisy.callbacks import MetaUpdate, PerSampleCrossEntropy
    >>> X = np.random.default_rng(0).normal(size=(200, 5)).astype("float32")
    >>> y = (X[:, 0] > 0).astype("int64")
    >>> net = NeuralNetClassifier(
    ...     torch.nn.Linear(5, 2), criterion=PerSampleCrossEntropy, max_epochs=2, verbose=0,
    ...     train_split=None, callbacks=[MetaUpdate(meta_rows=50, random_state=0)])
    >>> net.fit(X, y).predict(X).shape
    (200,)
    """

    def __init__(
        self,
        meta_model: MetaModel | Callable[..., MetaModel] = WNet,
        objective: Callable[..., Tensor] | None = None,
        gradient: Any = None,
        *,
        meta_rows: Any = 1000,
        meta_batch_size: int = 100,
        meta_every: int = 1,
        n_warmup_epochs: int = 0,
        random_state: Any = None,
    ):
        self.meta_model = meta_model
        self.objective = objective
        self.gradient = gradient
        self.meta_rows = meta_rows
        self.meta_batch_size = meta_batch_size
        self.meta_every = meta_every
        self.n_warmup_epochs = n_warmup_epochs
        self.random_state = random_state

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Check the criterion, and that the module is not distributed by others."""
        _check_module(net)
        if not hasattr(net.criterion_, "guide"):
            raise TypeError(
                f"MetaUpdate cannot guide the criterion {type(net.criterion_).__name__}. Pass "
                "criterion=sknoisy.callbacks.PerSampleCrossEntropy to the net."
            )
        row_loss = getattr(net.criterion_, "row_loss", cross_entropy)
        if row_loss is not cross_entropy:
            raise TypeError(
                f"The net has the row loss {row_loss!r}, which MetaUpdate would replace by the "
                "training loss of its meta model. Leave out one of them, or compute the loss in "
                "row_losses of the meta model."
            )
        self._X, self._dataset = X, None  # type: Any, Any
        self._named_rows = self.meta_rows(X, y) if callable(self.meta_rows) else self.meta_rows
        self._is_meta: Tensor | None = None
        self.meta_model_: Any = None
        self.n_steps_ = self.n_skipped_batches_ = 0
        self._meta_batches: Any = None

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        """Build the meta model before the first epoch."""
        self._asks_for_rows = isinstance(self._named_rows, str)
        if self._dataset is None:
            self._dataset = dataset_train
            self._begin(net, dataset_train)
        self._meta_losses: Any = StepValues()

    def _begin(self, net, dataset) -> None:
        rng = random_state_of(self.random_state)
        rows = None
        if not self._asks_for_rows:
            rows = draw_rows(dataset, self._named_rows, rng, self._X, "meta_rows")
        seed = int(rng.randint(np.iinfo(np.int32).max))
        self._generator: Any = torch.Generator().manual_seed(seed)
        self._network: Any = StatelessModule(WithFeatures(net.module_))
        self._objective = self.objective or CLIDObjective()
        self._has_zero_weights = _has_zero_weights(dataset)
        self.gradient_: Any = copy.deepcopy(self.gradient or ForwardGradient())
        self._ranks: Any = getattr(net, "ranks", None)
        self._network.own_batch_norm = self._ranks is None
        if self._ranks is not None and not getattr(self.gradient_, "serves_ranks", False):
            raise NotImplementedError(
                f"The gradient strategy {type(self.gradient_).__name__} works in one process, but "
                f"torch.distributed runs {self._ranks.n}. Pass ForwardGradient, or fit in one "
                "process."
            )
        first = torch.arange(min(2, len(dataset)), device=net.device)
        if hasattr(self.gradient_, "prepare"):
            self.gradient_.prepare(self._network, take(net, dataset, first)[0])
        if not hasattr(net, "share_logits"):
            self.gradient_.share_forward = False
        features, logits, _ = next(evaluate(net, dataset, first, 2))
        self.meta_model_ = self._build_meta_model(features.shape[1], logits.shape[1]).to(features)
        if hasattr(net, "row_losses"):  # the batches are mixtures, which have losses of their own
            self._take_losses(net)
        if self._ranks is not None:
            self._ranks.copy_from_first(self.meta_model_)
        self.meta_model_.start_learning()
        if rows is not None:
            self._set_meta_rows(net, rows)
        if self.meta_every > 1 and self.meta_model_.lr is None:
            raise ValueError(
                f"{type(self.meta_model_).__name__} is reset at each batch, so meta_every must "
                f"be 1, got {self.meta_every}."
            )
        self._guidance: Tensor | None = None
        self._after: RandomState | None = None

    def _set_meta_rows(self, net, rows: np.ndarray | None) -> None:
        """Set the meta set, given by positions in the training set."""
        if rows is None:
            raise ValueError(
                f"There are no pseudo-clean rows for epoch {len(net.history)}. n_warmup_epochs of "
                f"{self.meta_rows!r} must not exceed that of MetaUpdate, {self.n_warmup_epochs}."
            )
        n_rows = min(self.meta_batch_size, len(rows))
        if self._ranks is not None and n_rows < 2 * self._ranks.n:
            raise ValueError(
                f"A meta batch has {n_rows} rows, too few for {self._ranks.n} processes, which "
                "need 2 rows each. Raise meta_batch_size or the number of meta rows, or start "
                "fewer processes."
            )
        self.meta_rows_ = rows_of_X(self._dataset, self._X)[0][rows]
        index = torch.as_tensor(rows, device=net.device)
        keep_rows(self._dataset, index, id(self))
        if self.meta_model_.trust_meta_rows:
            self._is_meta = self._meta_flags(net, self._dataset)
        weight = None
        if getattr(self._objective, "reads_labels", False):
            weight = getattr(self._dataset, "sample_weight", None)
        self._meta_batches = EndlessBatches(
            index,
            self.meta_batch_size,
            self._generator,
            None if weight is None else weight[index],
        )

    def _rows_of_callback(self, net) -> np.ndarray | None:
        """Return ``rows_`` of the callback that ``meta_rows`` names."""
        name = self.meta_rows
        if name.startswith("peer."):
            peers: Any = getattr(net, "peers", ())  # a stock net has none
            if len(peers) != 1:
                raise ValueError(
                    f"meta_rows={name!r} refers to a callback of the net that is trained beside "
                    f"this one, but {len(peers)} nets are trained beside it. Train two nets, or "
                    "pass the name of a callback of the net itself."
                )
            net, name = peers[0], name.removeprefix("peer.")
        return callback_named(net, name, "meta_rows", "rows_").rows_

    def _build_meta_model(self, n_features: int, n_classes: int) -> MetaModel:
        if isinstance(self.meta_model, MetaModel):
            return copy.deepcopy(self.meta_model)
        known = {"n_features": n_features, "n_classes": n_classes}
        wanted = inspect.signature(self.meta_model).parameters
        return self.meta_model(**{name: known[name] for name in wanted if name in known})

    def _take_losses(self, net) -> None:
        model = self.meta_model_
        if not hasattr(model, "loss"):
            raise TypeError(
                f"{type(model).__name__} has no attribute loss, the loss of a row, so that it "
                f"cannot guide the mixtures of {type(net).__name__}. Pass WNet or VRI, or a meta "
                "model whose row_losses call self.loss(logits, targets)."
            )
        model.loss = net.row_losses

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        """Update the meta model and pass its guidance to the criterion."""
        if not training or len(net.history) <= self.n_warmup_epochs:
            return
        if self._asks_for_rows:  # not earlier: the epoch of every net has begun now
            self._set_meta_rows(net, self._rows_of_callback(net))
            self._asks_for_rows = False
        net.module_.train()
        is_update = self.n_steps_ % self.meta_every == 0
        problem = self._problem(net, batch, is_update)
        before = self._network.random_state(problem.x)
        if is_update:
            self.meta_model_.begin_batch(len(problem.targets))
            step = self.gradient_(problem)
            self.meta_model_.learn(step.gradients)
            self._meta_losses.append(step.meta_loss)
            outputs, logits = step.outputs, step.logits
        else:
            outputs, logits = self._guide_only(problem)
        self.n_steps_ += 1
        with torch.no_grad():
            guidance = guidance_of(problem, outputs)
        net.criterion_.guide(self.meta_model_, guidance, outputs)
        self._guidance = guidance
        if logits is not None:
            net.share_logits(logits)
        else:  # the net's own forward pass draws the dropout masks of the virtual step
            self._after = self._network.random_state(problem.x)
            before.restore()

    def _guide_only(self, problem: MetaProblem) -> tuple[BatchOutputs, Tensor | None]:
        if self.gradient_.share_forward:
            return forward_batch(problem, shared=True)[:2]
        with torch.no_grad():
            outputs = forward_batch(problem, shared=False)[0]
        return outputs, None

    def on_grad_computed(self, net, named_parameters=None, batch=None, **kwargs):
        """Skip the step if no row of the batch has any weight."""
        parts = [getattr(batch, "sample_weight", None)] if self._has_zero_weights else []
        # Soft labels and matrices are never all zero.
        if self._guidance is not None and self._guidance.ndim == 1:
            parts += [self._guidance] if self.meta_model_.weights_can_vanish else []
        # On a GPU, each of these waits for the device.
        if any(part is not None and not part.any() for part in parts):
            self.n_skipped_batches_ += 1
            for parameter in net.module_.parameters():
                parameter.grad = None  # so that momentum and weight decay do not act either

    def on_batch_end(self, net, batch=None, training=False, y_pred=None, **kwargs):
        """Pass the outputs of the batch to the meta model and release the criterion."""
        if not training:
            return
        targets = to_tensor(batch[1], net.device)
        rows = getattr(batch, "rows", None)
        trained = BatchOutputs(
            full_precision(y_pred.detach()),
            None,
            targets,
            getattr(batch, "sample_weight", None),
            getattr(batch, "trusted", None),
            rows,
        )
        self.meta_model_.observe(trained, self._guidance)
        self._guidance = None
        net.criterion_.release()
        if self._after is not None:
            self._after.restore()
            self._after = None

    def weigh_rows(self, net, dataset) -> np.ndarray:
        """Return the weight of each row by the meta model, in [0, 1], shape (n_samples,)."""
        return self._evaluate(net, dataset, self.meta_model_.sample_weight)

    def guide_rows(self, net, dataset) -> np.ndarray:
        """Return the guidance of each row, shape (n_samples, ...)."""
        return self._evaluate(net, dataset, self.meta_model_)

    def _evaluate(self, net, dataset, function: Callable[[BatchOutputs], Tensor]) -> np.ndarray:
        """Return the values of a function of the outputs in eval mode, for all rows."""
        n_rows = rows_per_pass(net)
        parts = torch.arange(len(dataset), device=net.device).split(n_rows)
        trusted = getattr(dataset, "trusted", None)
        has_flags = self.meta_model_.trust_meta_rows
        is_meta = self._meta_flags(net, dataset) if has_flags else None
        values, start = np.empty(0), 0
        for part in parts:
            features, logits, y = next(evaluate(net, dataset, part, n_rows))
            flags = self._trusted(part, None if trusted is None else trusted[part], is_meta)
            outputs = BatchOutputs(logits, features, y, trusted=flags, rows=part)
            with torch.no_grad():
                found = function(outputs).cpu().double()  # numpy has no bfloat16
            if not start:  # joined parts would scatter the free memory, as in StepValues
                values = np.empty((len(dataset), *found.shape[1:]))
            values[start : start + len(part)] = found
            start += len(part)
        return values

    def on_epoch_end(self, net, **kwargs):
        """Record the mean meta loss of the epoch."""
        if len(self._meta_losses):
            net.history.record("meta_loss", self._meta_losses.tensor().mean().item())
            for name, value in getattr(self.gradient_, "epoch_report", dict)().items():
                net.history.record(name, value)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Drop the data, so that a fitted net is pickled without them."""
        net.criterion_.release()  # if training was interrupted within a batch
        self._X = self._dataset = self._named_rows = self._network = self._is_meta = None
        self._meta_batches = self._generator = self._meta_losses = None
        self._guidance = self._after = self._ranks = None
        if self.meta_model_ is not None:  # None if no epoch began
            self.meta_model_.stop_learning()

    def state_dict(self, net):
        """Return the state after an epoch, for a checkpoint."""
        state = held_state(self, "n_steps_", "n_skipped_batches_", "_generator")
        state["meta_model"] = self.meta_model_.learning_state()
        if hasattr(self.gradient_, "load_state_dict"):
            state |= held_state(self, "gradient_")
        if self._meta_batches is not None:  # rows of another callback are asked for again
            kept = () if isinstance(self._named_rows, str) else ("_meta_batches",)
            state |= held_state(self, "meta_rows_", *kept)
        return state

    def load_state_dict(self, state, net, data):
        """Restore what :meth:`state_dict` returned."""
        self._asks_for_rows = isinstance(self._named_rows, str)
        self._dataset = data
        self._begin(net, data)
        self.meta_model_.load_learning_state(state.pop("meta_model"))
        hold_state(self, state, net.device)

    def _problem(self, net, batch, is_update: bool) -> MetaProblem:
        X, y = batch
        x = meta_X = to_device(to_tensor(X, net.device), net.device)
        meta_y = None
        if is_update:  # else the meta batch is not read
            index = next(self._meta_batches)
            own = None if self._ranks is None else self._ranks.share(len(index))
            meta_X, meta_y = take(net, self._dataset, index, augment=True, own=own)
        rows = getattr(batch, "rows", None)
        return MetaProblem(
            network=self._network,
            meta_model=self.meta_model_,
            objective=self._objective,
            x=x,
            targets=to_tensor(y, net.device),
            meta_x=meta_X,
            meta_targets=meta_y,
            lr=self._step_sizes(net),
            sample_weight=getattr(batch, "sample_weight", None),
            trusted=self._trusted(rows, getattr(batch, "trusted", None), self._is_meta),
            rows=rows,
            ranks=self._ranks,
        )

    def _step_sizes(self, net) -> float | dict[str, float]:
        """Return the rate of each parameter that the optimiser steps now, or that of all."""
        rates = {
            p: float(group["lr"]) for group in net.optimizer_.param_groups for p in group["params"]
        }
        found = {name: rates.get(p, 0.0) for name, p in self._network.parameters.items()}
        return found if len(set(found.values())) != 1 else next(iter(found.values()))

    def _meta_flags(self, net, dataset) -> Tensor:
        """Return for each row of a training set whether it is in the meta set, on the device."""
        rows, _ = rows_of_X(dataset, self._X)
        return torch.as_tensor(np.isin(rows, self.meta_rows_), device=net.device)

    def _trusted(
        self, rows: Tensor | None, given: Tensor | None, is_meta: Tensor | None
    ) -> Tensor | None:
        """Return the flags of trusted rows and, if ``trust_meta_rows``, of meta rows."""
        if is_meta is None:
            return given
        if rows is None:
            raise TypeError(
                f"trust_meta_rows=True of {type(self.meta_model_).__name__} requires batches with "
                "an attribute `rows`, their row numbers. Fit a sknoisy classifier, or pass "
                "iterator_train=sknoisy.callbacks.RowLoader to the net, or trust_meta_rows=False."
            )
        flags = is_meta[rows.to(is_meta.device)]
        return flags if given is None else flags | given


def _check_module(net) -> None:
    """Raise TypeError if the gradients of the module's copies are averaged behind the callback."""
    parts = net.module_.modules()
    n_processes = getattr(getattr(net, "accelerator", None), "num_processes", 1)
    if n_processes > 1 or any(isinstance(part, DistributedDataParallel) for part in parts):
        raise TypeError(
            "MetaUpdate cannot be used under DistributedDataParallel, or accelerate with several "
            "processes: each process would train a meta model of its own, on its own rows. Fit a "
            "sknoisy classifier where torch.distributed is initialised, which trains one network "
            "and one meta model on all processes, or fit this net in one process."
        )


def _has_zero_weights(dataset) -> bool:
    """Return whether a batch may consist of rows of sample weight 0."""
    if not isinstance(dataset, TrainingData):
        return True  # weights of a stock net's batches are not known beforehand
    weights = dataset.sample_weight
    return weights is not None and not bool(weights.all())

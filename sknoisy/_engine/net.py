"""The skorch net inside every estimator, with a training loop of its own."""

from __future__ import annotations

import copyreg
import fnmatch
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, EpochTimer
from torch import Tensor

from ..exceptions import NonFiniteLossError
from ..meta.collectives import Ranks
from ..networks.precision import logits_of
from .batches import Batch, Batches, TrainingData
from .checkpoint import Training, training_of
from .evaluation import copied_state
from .step_values import StepValues
from .stopping import current_stop
from .threads import suitable_threads

__all__ = ["DeviceNet", "train_side_by_side"]


class DeviceNet(NeuralNet):
    """A ``skorch.NeuralNet`` that selects its batches by index on the device.

    It is fitted with a ``TrainingData``. It differs from a stock net in four ways: data on the
    device need no DataLoader, the loss is not transferred to the CPU at each batch, callbacks are
    called only for the events that they handle, and a callback can pass on the logits of its own
    forward pass (:meth:`share_logits`).

    Parameters
    ----------
    module, criterion, **kwargs
        As in ``skorch.NeuralNet``.
    order : torch.Generator or None, default=None
        Generator that shuffles the rows. None: the rows come in order and are not augmented.
    """

    #: Names of the attributes that a checkpoint holds beside modules, optimiser and callbacks.
    held_names: tuple[str, ...] = ()

    # Skorch moves the tensors of these attributes to the CPU when a pickle is loaded without CUDA.
    # Callbacks hold tensors, too: those of the meta model and of the scheduler's optimiser.
    cuda_dependent_attributes_ = ["callbacks", "_listeners"]

    def __init__(self, module, criterion, *, order: torch.Generator | None = None, **kwargs):
        super().__init__(module, criterion, train_split=None, **kwargs)
        self.order = order
        self.interrupted_ = False
        self.peers: tuple[DeviceNet, ...] = ()
        self.ranks: Ranks | None = None
        self._shared_logits: Tensor | None = None
        self._finite_state: dict[str, Tensor] | None = None

    @property
    def _default_callbacks(self):
        return [("epoch_timer", EpochTimer())]

    def initialize_callbacks(self):
        """Build the callbacks, and list those that handle each event."""
        super().initialize_callbacks()
        self._listeners = {
            event: [
                getattr(cb, event)
                for _, cb in self.callbacks_
                if getattr(type(cb), event) is not getattr(Callback, event)
            ]
            for event in (
                "on_train_begin",
                "on_train_end",
                "on_epoch_begin",
                "on_epoch_end",
                "on_batch_begin",
                "on_batch_end",
                "on_grad_computed",
            )
        }
        return self

    def notify(self, method_name, **cb_kwargs):
        """Call the callbacks that handle the event."""
        getattr(self, method_name)(self, **cb_kwargs)
        for handle in self._listeners[method_name]:
            handle(self, **cb_kwargs)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Drop the attributes that are needed in training only."""
        self._shared_logits = self._finite_state = self.criterion_.batch = None

    def __getstate__(self):
        state = super().__getstate__()
        if "module_" in vars(self):  # skorch would move one object under one name only
            state["module"] = type(self.module_)
        return state

    def __reduce_ex__(self, protocol):
        return copyreg.__newobj__, (type(self),), self.__getstate__()  # type: ignore[attr-defined]

    def __reduce__(self):
        """Raise TypeError: skops calls this method, pickle and copy call ``__reduce_ex__``."""
        raise TypeError(
            "skops cannot write the tensors of a fitted network. Use pickle or joblib, or save "
            "net_.module_.state_dict() by torch.save; see Serving in the user guide."
        )

    def get_dataset(self, X, y=None):
        """Return the training data unchanged."""
        if not isinstance(X, TrainingData):
            raise TypeError(
                f"{type(self).__name__} takes TrainingData only, got {type(X).__name__}. Call "
                "predict, predict_proba or features of the classifier instead."
            )
        return X

    def get_iterator(self, dataset: TrainingData, training: bool = False):
        """Return the batches, shuffled for training and shared among the ranks."""
        if training:
            return Batches(dataset, self.batch_size, self.order, self.ranks)
        return Batches(dataset, self.batch_size)

    def get_params_for_optimizer(self, prefix, named_parameters):
        """Return the arguments of the optimiser, as skorch does, after two checks.

        ValueError is raised if no parameter requires a gradient, or if a pattern of
        ``param_groups`` matches none.
        """
        named_parameters = list(named_parameters)
        if not any(p.requires_grad for p in self.module_.parameters()):
            raise ValueError(
                f"No parameter of {type(self.module_).__name__} requires a gradient, so nothing "
                "can be trained: leave at least its last layer unfrozen."
            )
        names = [name for name, _ in named_parameters]
        for pattern, _ in self.get_params_for(prefix).get("param_groups", []):
            if not fnmatch.filter(names, pattern):
                raise ValueError(
                    f"optimizer_params has the pattern {pattern!r} in param_groups, which matches "
                    f"no parameter of the network; the first and the last one are {names[0]!r} "
                    f"and {names[-1]!r}."
                )
        return super().get_params_for_optimizer(prefix, named_parameters)

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        """Train; unlike in skorch, an interruption outside the epochs is raised."""
        current_stop().check()
        if not self.initialized_:
            self.initialize()
        self.notify("on_train_begin", X=X, y=y)
        self.fit_loop(X, y, **fit_params)
        self.notify("on_train_end", X=X, y=y)
        return self

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Train by the same loop as :func:`train_side_by_side`."""
        _run_epochs([self], self.get_dataset(X), self.max_epochs if epochs is None else epochs)
        return self

    def prepare_to_train(self) -> None:
        """Reset the state that an earlier training left."""
        self._shared_logits = None
        if self.ranks is not None:
            self.ranks.copy_from_first(self.module_)
            self.ranks.copy_from_first(self.criterion_)
        self._finite_state = copied_state(self.module_)
        self.interrupted_ = False

    @property
    def n_finished_epochs(self) -> int:
        """Number of finished epochs; an interrupted epoch does not count."""
        return sum("train_loss" in epoch for epoch in self.history)

    def stopped_early(self) -> bool:
        """Return whether an interruption came from skorch's EarlyStopping, not from the user."""
        stoppers = (cb for _, cb in self.callbacks_ if isinstance(cb, EarlyStopping))
        return any(cb.misses_ >= cb.patience for cb in stoppers)

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Train for one epoch."""
        run = _Run(self)
        if self.ranks is not None:
            self.ranks.part_streams(torch.device(self.device))
        for batch in iterator:
            run.check_time()
            self.notify("on_batch_begin", batch=batch, training=training)
            run.note(batch, step_fn(batch, **fit_params), training)
        run.finish(prefix)
        if self.ranks is not None:
            self.ranks.check_copies(self.module_)

    def _check_finite(self, losses: Tensor, last: Batch) -> None:
        bad = ~losses.isfinite()
        if bad.any():
            index = int(bad.nonzero()[0])
            trouble, batch = f"The training loss became {losses[index].item()}", index + 1
        elif not self._has_finite_logits(last):
            trouble, batch = "The logits became NaN or infinite", len(losses)
        else:
            self._finite_state = copied_state(self.module_)
            return
        rate = self.optimizer_.param_groups[0]["lr"]
        state = (self._finite_state or {}).items()
        raise NonFiniteLossError(
            f"{trouble} in epoch {len(self.history)}, batch {batch}, at learning rate {rate:g}. "
            "Lower lr (or meta_lr, if there is a meta update), or check X for extreme values.",
            {name: value.cpu() if isinstance(value, Tensor) else value for name, value in state},
        )

    @torch.no_grad()
    def _has_finite_logits(self, batch: Batch) -> bool:
        """Return whether the logits are finite after the last step, which no loss reflects."""
        self._set_training(False)
        logits = self._of_all_rows(logits_of(self.module_, batch[0]), batch)
        return bool(logits.isfinite().all())

    def _of_all_rows(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the logits of the whole batch, of which the ranks have computed their shares."""
        return logits if self.ranks is None else self.ranks.whole(len(batch[1]), logits)[0]

    def share_logits(self, logits: Tensor) -> None:
        """Set the logits of the next batch, with their graph to the parameters."""
        self._shared_logits = logits

    def infer(self, x, **fit_params):
        """Return the shared logits if there are any, else those of a forward pass."""
        logits, self._shared_logits = self._shared_logits, None
        if logits is None:
            return logits_of(self.module_, x)
        if self.ranks is None and len(logits) != len(x):
            raise ValueError(
                f"A callback guides a batch of {len(logits)} rows, but the step is made on "
                f"{len(x)} of them. Make the joint step on whole batches, or leave the callback "
                "out."
            )
        return logits

    def loss_of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch and the logits of its rows."""
        X, y = batch
        is_shared = self._shared_logits is not None
        logits = self.infer(X)
        if not is_shared:
            logits = self._of_all_rows(logits, batch)
        self.criterion_.batch = batch
        return self.criterion_(logits, y), logits

    def train_step(self, batch: Batch, **fit_params):
        """Make one step of the optimiser; return the loss, the logits and the batch."""
        if not self.module_.training:
            self._set_training(True)
        loss, logits = self.loss_of(batch)
        self.optimizer_.zero_grad(set_to_none=True)
        loss.backward()
        if self.ranks is not None:
            self.ranks.sum_gradients(self.module_)
        if self._listeners["on_grad_computed"]:
            self.notify(
                "on_grad_computed",
                named_parameters=[*self.get_all_learnable_params()],
                batch=batch,
            )
        self.optimizer_.step()
        return {"loss": loss.detach(), "y_pred": logits.detach(), "batch": batch}


class _Run:
    """One epoch of a net; the losses stay on the device until its end."""

    def __init__(self, net: DeviceNet):
        self.net = net
        self.losses = StepValues()
        self.sizes: list[int] = []

    def check_time(self) -> None:
        """Raise OutOfTime after ``max_time`` seconds, unless no batch was trained yet."""
        if len(self.losses) or len(self.net.history) > 1:
            current_stop().check_time()

    def note(self, batch: Batch, step: dict[str, Any], training: bool = True) -> None:
        """Notify the callbacks of a step and record its loss.

        A joint step may train a net on a part of the batch; its result holds that part.
        """
        step = {"batch": batch, **step}
        self.net.notify("on_batch_end", training=training, **step)
        self.losses.append(step["loss"])
        self.sizes.append(len(step["batch"][1]))
        self.last = step["batch"]

    def finish(self, prefix: str = "train") -> None:
        """Record the mean loss of the epoch; raise NonFiniteLossError if it is not finite."""
        history = self.net.history
        values = self.losses.tensor()
        self.net._check_finite(values, self.last)
        weights = torch.tensor(self.sizes, dtype=torch.float64)
        loss = (values @ weights / weights.sum()).item()
        earlier = (epoch.get(prefix + "_loss", math.inf) for epoch in history[:-1])
        history.record(prefix + "_loss_best", loss < min(earlier, default=math.inf))
        history.record(prefix + "_loss", loss)
        history.record(prefix + "_batch_count", len(self.sizes))


JointStep = Callable[[Sequence[DeviceNet], Batch], list[dict[str, Any]]]


def train_side_by_side(
    nets: Sequence[DeviceNet],
    data: TrainingData,
    max_epochs: int,
    joint_step: JointStep | None = None,
) -> None:
    """Train one or several nets, not yet initialised; an interruption ends all of them.

    All nets begin an epoch before the first one trains, and end it after the last one has trained.
    At the beginning of an epoch, callbacks therefore find the other nets, ``net.peers``, as they
    were at the end of the epoch before.

    Without `joint_step`, the nets are trained one after the other in each epoch, each on its own
    batches. With it, all nets are trained together on the batches of the first one:
    ``joint_step(nets, batch)`` makes one step of each net and returns a list of results, each as
    returned by ``train_step``, in the order of the nets.
    """
    current_stop().check()
    for net in nets:
        net.initialize()
        net.notify("on_train_begin", X=data, y=None)
    _run_epochs(nets, data, max_epochs, joint_step)
    for net in nets:
        net.notify("on_train_end", X=data, y=None)


def _run_epochs(
    nets: Sequence[DeviceNet],
    data: TrainingData,
    max_epochs: int,
    joint_step: JointStep | None = None,
) -> None:
    """Train initialised nets; the epochs that a checkpoint holds are done."""
    with (
        suitable_threads(_multiplications(nets[0], data), data.device),
        training_of(nets, data) as training,
    ):
        _run_further_epochs(nets, data, max_epochs, joint_step, training)


def _multiplications(net: DeviceNet, data: TrainingData) -> float:
    """Return how often a forward pass of a batch multiplies; on images weights are used often."""
    if not data.is_table:
        return math.inf
    n_weights = sum(parameter.numel() for parameter in net.module_.parameters())
    return n_weights * min(net.batch_size, len(data))


def _run_further_epochs(
    nets: Sequence[DeviceNet],
    data: TrainingData,
    max_epochs: int,
    joint_step: JointStep | None,
    training: Training,
) -> None:
    """Train; an interruption ends the epochs, marks the nets, sets the stop."""
    for net in nets:
        net.prepare_to_train()
        net.peers = tuple(other for other in nets if other is not net)
    epoch = {"dataset_train": data, "dataset_valid": None}
    stop = current_stop()
    try:
        for n_done in training.epochs_left(max_epochs):
            for net in nets:
                net.notify("on_epoch_begin", **epoch)
            if joint_step is None:
                for net in nets:
                    batches = net.get_iterator(data, training=True)
                    net.run_single_epoch(batches, True, prefix="train", step_fn=net.train_step)
            else:
                _run_joint_epoch(nets, data, joint_step)
            for net in nets:
                net.notify("on_epoch_end", **epoch)
            training.write(n_done + 1, is_finished=n_done + 1 == max_epochs)
    except KeyboardInterrupt as error:
        if any(net.stopped_early() for net in nets):
            training.write(nets[0].n_finished_epochs, is_finished=True, is_stopped=True)
        else:
            first = nets[0]
            if first.ranks is not None:  # the others wait for this one, and cannot go on
                raise
            stop.catch(error, f"after {first.n_finished_epochs} of {first.max_epochs} epochs")
            for net in nets:
                net.interrupted_ = True
    finally:
        for net in nets:  # else a pickle of one net would contain all
            net.peers = ()


def _run_joint_epoch(nets: Sequence[DeviceNet], data: TrainingData, joint_step: JointStep) -> None:
    runs = [_Run(net) for net in nets]
    for batch in nets[0].get_iterator(data, training=True):
        runs[0].check_time()
        for net in nets:
            net.notify("on_batch_begin", batch=batch, training=True)
        for run, step in zip(runs, joint_step(nets, batch), strict=True):
            run.note(batch, step)
    for run in runs:
        run.finish()

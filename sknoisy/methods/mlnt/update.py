"""The meta step of MLNT, as a callback at the start of each batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from skorch.utils import to_device, to_tensor
from torch import Tensor, nn

from ..._engine.construction import random_state_of
from ..._engine.held_state import held_state, hold_state
from ..._engine.step_values import StepValues
from ...callbacks.named import callback_named
from ...networks.precision import logits_of
from .gradient import ToleranceGradient, ToleranceProblem, tolerance_gradient
from .mentoring import blend_targets
from .transfer import transfer_labels

__all__ = ["NoiseToleranceUpdate"]


class NoiseToleranceUpdate(Callback):
    """Move the network to where a step on wrong labels would leave its predictions unchanged.

    At the start of each training batch, the callback draws sets of synthetic labels from near
    neighbours and makes a virtual step on each set. It computes the gradient of the KL divergence
    of the networks after these steps from a teacher, the moving average of the network. The net
    steps along this gradient before its actual step on the given labels, or together with it.

    The net needs a :class:`~sknoisy.callbacks.TeacherAverage` among its callbacks, at any place in
    the list, and a criterion that takes logits. The running statistics of batch norm and the
    random draws of the actual steps are the same as without this callback.

    Parameters
    ----------
    features : ndarray or Tensor of shape (n_samples, d), callable or None, default=None
        Points whose distances define the neighbours: one for each training row, or
        ``features(X)`` of a batch. None: the rows themselves. An array needs batches with row
        numbers, as those of :class:`~sknoisy.callbacks.RowLoader`.
    n_synthetic : int, default=10
        Number M of sets of synthetic labels. 0 turns the meta step off.
    transfer_share : float, default=0.5
        Share of the rows of a batch that draw a neighbour's label.
    n_neighbors : int, default=10
        Number of neighbours to draw from, at most all other rows of the batch.
    inner_lr : float, default=0.2
        Step size on the synthetic labels.
    meta_lr : float or str, default=0.4
        Step size of the meta step, after the ramp. It follows the schedule of the net's learning
        rate. A string is the name of a callback of the net, whose attribute ``rate_`` is read at
        each batch.
    n_ramp_epochs : float, default=20
        Number of epochs over which the step size of the meta step grows from 0.
    n_warmup_epochs : int, default=0
        Epochs of plain training first.
    gradient : {"first_order", "exact"} or ToleranceGradient, default="first_order"
        The meta gradient, and whether its step is joined with the actual one: a
        :class:`~sknoisy.methods.mlnt.ToleranceGradient`, or one with its defaults, except for
        ``first_order=False`` if "exact". A separate step is plain gradient descent, and the actual
        step follows at the new parameters. A joint step is one step of the net's optimiser along
        the sum of both gradients, that of the meta loss times meta_lr / lr; lr is the net's own,
        before any schedule.
    mentor : nn.Module or None, default=None
        A frozen network, in eval mode, whose probabilities are a part of the target.
    blend : float, default=0.5
        Share of the teacher in the target at the end of training, which grows from 0 at the
        beginning; the rest is the mentor's. It has no effect without a mentor.
    teacher : str, default="TeacherAverage"
        Name of the callback that keeps the teacher, in its attribute ``teacher_``. An unnamed
        callback has the name of its class.
    sample_weight : Tensor of shape (n_samples,) or None, default=None
        Weights of the rows in the meta step. None: those of the batch, if it has any.
    random_state : int, RandomState or None, default=None
        Draws the synthetic labels.

    Attributes
    ----------
    gradient_ : ToleranceGradient
        The strategy of the meta gradient, a copy of the one that was passed.
    n_steps_ : int
        Number of meta steps that were made.

    References
    ----------
    J. Li, Y. Wong, Q. Zhao and M. Kankanhalli. Learning to Learn from Noisy Labeled Data. CVPR
    2019.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from skorch import NeuralNetClassifier
    >>> from sknoisy.methods.mlnt import NoiseToleranceUpdate
    >>> from sknoisy.callbacks import TeacherAverage
    >>> X = np.random.default_rng(0).normal(size=(200, 5)).astype("float32")
    >>> y = (X[:, 0] > 0).astype("int64")
    >>> net = NeuralNetClassifier(
    ...     torch.nn.Linear(5, 2), criterion=torch.nn.CrossEntropyLoss, max_epochs=2, verbose=0,
    ...     train_split=None, callbacks=[NoiseToleranceUpdate(random_state=0), TeacherAverage()])
    >>> net.fit(X, y).predict(X).shape
    (200,)
    """

    def __init__(
        self,
        features: np.ndarray | Tensor | Callable[[Tensor], Tensor] | None = None,
        *,
        n_synthetic: int = 10,
        transfer_share: float = 0.5,
        n_neighbors: int = 10,
        inner_lr: float = 0.2,
        meta_lr: float | str = 0.4,
        n_ramp_epochs: float = 20,
        n_warmup_epochs: int = 0,
        gradient: str | ToleranceGradient = "first_order",
        mentor: nn.Module | None = None,
        blend: float = 0.5,
        teacher: str = "TeacherAverage",
        sample_weight: Tensor | None = None,
        random_state: Any = None,
    ):
        self.features = features
        self.n_synthetic = n_synthetic
        self.transfer_share = transfer_share
        self.n_neighbors = n_neighbors
        self.inner_lr = inner_lr
        self.meta_lr = meta_lr
        self.n_ramp_epochs = n_ramp_epochs
        self.n_warmup_epochs = n_warmup_epochs
        self.gradient = gradient
        self.mentor = mentor
        self.blend = blend
        self.teacher = teacher
        self.sample_weight = sample_weight
        self.random_state = random_state

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Check the net and reset the state."""
        if not isinstance(net.criterion_, nn.CrossEntropyLoss):
            raise TypeError(
                "NoiseToleranceUpdate needs a criterion that takes logits, but the net has "
                f"{type(net.criterion_).__name__}. Pass criterion=torch.nn.CrossEntropyLoss or "
                "sknoisy.callbacks.PerSampleCrossEntropy, and a module without a last softmax."
            )
        self.gradient_ = copy.deepcopy(tolerance_gradient(self.gradient))
        self.gradient_.reset()
        if not hasattr(net, "share_logits"):
            self.gradient_.share_forward = False
        self._teacher: Any = None
        self._rate_source: Any = None
        rng = random_state_of(self.random_state)
        generator = torch.Generator(net.device or "cpu")
        self._generator: Any = generator.manual_seed(int(rng.randint(2**31 - 1)))
        self.n_steps_ = 0
        self._losses = StepValues()
        self._gradients: dict[str, Tensor] = {}
        self._place = (0, 0.0)

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        """Find the other callbacks and note the position in training."""
        self._teacher = callback_named(net, self.teacher, "teacher", "teacher_")
        if isinstance(self.meta_lr, str):
            self._rate_source = callback_named(net, self.meta_lr, "meta_lr", "rate_")
        self._n_batches = len(net.get_iterator(dataset_train, training=True))
        self._losses = StepValues()
        self._place = (len(net.history) - 1, 0.0)

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        """Make the meta step, or keep its gradient for the actual step."""
        if not training:
            return
        epoch, part = self._place
        self._place = (epoch, part + 1 / self._n_batches)
        rate = self._rate(epoch + part)
        if epoch < self.n_warmup_epochs or not self.n_synthetic or rate == 0:
            return
        net.module_.train()
        step = self.gradient_(self._problem(net, batch, (epoch + part) / net.max_epochs))
        self._losses.append(step.meta_loss)
        self.n_steps_ += 1
        if not self.gradient_.joint:
            schedule = net.optimizer_.param_groups[0]["lr"] / net.lr
            self._descend(net.module_, step.gradients, rate * schedule)
            return
        self._gradients = {n: slope * (rate / net.lr) for n, slope in step.gradients.items()}
        if step.logits is not None:
            net.share_logits(step.logits)

    def _rate(self, epochs_done: float) -> float:
        ramp = self.n_ramp_epochs
        since = epochs_done - self.n_warmup_epochs
        largest = self._rate_source.rate_ if isinstance(self.meta_lr, str) else self.meta_lr
        return largest * (min(since / ramp, 1.0) if ramp > 0 else 1.0)

    @staticmethod
    @torch.no_grad()
    def _descend(module: nn.Module, gradients: dict[str, Tensor], rate: float) -> None:
        for name, parameter in module.named_parameters():
            if name in gradients:
                parameter.sub_(gradients[name], alpha=rate)  # Eq. 8, rate is eta

    def _problem(self, net, batch, progress: float) -> ToleranceProblem:
        X, y = batch
        x = to_device(to_tensor(X, net.device), net.device)
        labels = to_tensor(y, net.device)
        weight = self._weight(batch, x.device)
        label_sets = transfer_labels(
            self._points(batch, x),
            labels,
            self.n_synthetic,
            self.transfer_share,
            self.n_neighbors,
            donors=None if weight is None else weight > 0,
            generator=self._generator,
        )
        target = self._target(x, min(progress, 1.0))
        return ToleranceProblem(net.module_, x, label_sets, target, self.inner_lr, weight)

    def _weight(self, batch, device: torch.device) -> Tensor | None:
        if self.sample_weight is None:
            return getattr(batch, "sample_weight", None)
        rows = _rows(batch, "sample_weight").to(self.sample_weight.device)
        return self.sample_weight[rows].to(device)

    def _points(self, batch, x: Tensor) -> Tensor:
        if self.features is None:
            return x.flatten(1)
        if callable(self.features):
            with torch.no_grad():
                return self.features(x)
        points = torch.as_tensor(self.features)  # on its own device: only the batch is moved
        return points[_rows(batch, "features").to(points.device)].to(x.device)

    @torch.no_grad()
    def _target(self, x: Tensor, progress: float) -> Tensor:
        """Return the blended probabilities of teacher and mentor, both in eval mode."""
        teacher = logits_of(self._teacher.teacher_, x).softmax(dim=1)
        mentor = None
        if self.mentor is not None:
            mentor = logits_of(self.mentor.eval(), x).softmax(dim=1)
        return blend_targets(teacher, mentor, self.blend * progress)

    def on_grad_computed(self, net, named_parameters=None, batch=None, **kwargs):
        """Add the gradient of a joint step to that of the given labels."""
        for name, parameter in net.module_.named_parameters() if self._gradients else ():
            slope = self._gradients.get(name)
            if slope is not None:
                parameter.grad = slope if parameter.grad is None else parameter.grad.add_(slope)
        self._gradients = {}

    def on_epoch_end(self, net, **kwargs):
        """Record the mean consistency loss of the epoch as ``"meta_loss"``."""
        if len(self._losses):
            net.history.record("meta_loss", self._losses.tensor().mean().item())

    def state_dict(self, net):
        """Return the state after an epoch, for a checkpoint."""
        return held_state(self, "_generator", "n_steps_", "gradient_")

    def load_state_dict(self, state, net, data):
        """Restore what :meth:`state_dict` returned."""
        hold_state(self, state, net.device)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Drop what only training needs, so that a pickle of the net does not hold it."""
        self._teacher = self._rate_source = self._generator = None
        self._losses, self._gradients = StepValues(), {}


def _rows(batch, what: str) -> Tensor:
    rows = getattr(batch, "rows", None)
    if rows is None:
        raise TypeError(
            f"{what} of the training rows needs batches with row numbers: pass "
            "iterator_train=sknoisy.callbacks.RowLoader to the net"
            + (", or a callable of a batch as features." if what == "features" else ".")
        )
    return rows

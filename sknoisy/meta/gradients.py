r"""Gradient strategies: the derivative of the meta objective through one virtual step.

Notation: network parameters w, meta parameters theta, guidance :math:`\phi(\theta)`, logits z.

.. math::

    \hat w(\theta) = w - \alpha \nabla_w L(z(w); \phi(\theta)), \qquad
    g = \nabla_\theta \left[ M(\hat w(\theta)) + \mathrm{penalty}(\theta) \right]
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ._primals import Primals
from .collectives import Ranks, common_draws
from .functional import StatelessModule
from .models import BatchOutputs, MetaModel

__all__ = [
    "ForwardGradient",
    "MetaProblem",
    "MetaStep",
    "ReverseGradient",
    "forward_batch",
    "guidance_of",
]


class MetaProblem(NamedTuple):
    """One bi-level step, the input of a gradient strategy.

    Attributes
    ----------
    network : StatelessModule
        The network, whose module returns ``(features, logits)``.
    meta_model : MetaModel
        Model that returns the guidance.
    objective : callable
        Meta objective, a function of ``(features, logits, targets)``.
    x, targets : Tensor
        The training batch.
    meta_x, meta_targets : Tensor
        The meta batch.
    lr : float or dict of str to float
        Step size alpha of the virtual step, plain gradient descent. A dict has one for each
        parameter by name, as an optimiser with parameter groups; the others do not move.
    sample_weight, trusted, rows : Tensor of shape (n,) or None
        See :class:`BatchOutputs`.
    ranks : Ranks or None
        The processes that make the step together. `x` and `meta_x` are then the shares of this
        rank; everything else, `meta_targets` included, is that of all rows. None: one process.
    """

    network: StatelessModule
    meta_model: MetaModel
    objective: Callable[..., Tensor]
    x: Tensor
    targets: Tensor
    meta_x: Tensor
    meta_targets: Tensor | None
    lr: float | dict[str, float]
    sample_weight: Tensor | None = None
    trusted: Tensor | None = None
    rows: Tensor | None = None
    ranks: Ranks | None = None

    @property
    def step_sizes(self) -> dict[str, float]:
        """Return the step size of each parameter that the virtual step moves, by name."""
        names = self.network.parameters
        if not isinstance(self.lr, dict):
            return dict.fromkeys(names, self.lr)
        return {name: self.lr[name] for name in names if self.lr.get(name)}


class MetaStep(NamedTuple):
    """Result of a gradient strategy.

    Attributes
    ----------
    gradients : tuple of Tensor
        Gradient of the meta loss with respect to ``meta_model.meta_parameters()``.
    meta_loss : Tensor
        Meta objective at the virtual parameters, detached scalar.
    outputs : BatchOutputs
        The training batch at w, detached.
    logits : Tensor or None
        The same logits with the graph to w, for the actual step; None if they are not shared.
    """

    gradients: tuple[Tensor, ...]
    meta_loss: Tensor
    outputs: BatchOutputs
    logits: Tensor | None


class ForwardGradient:
    r"""Exact meta gradient by one forward-mode pass; the default.

    With v the gradient of the meta objective at :math:`\hat w`,

    .. math::

        \frac{dM}{d\theta} = -\alpha \frac{d}{d\theta}
        \left\langle \frac{\partial L}{\partial z}(z; \phi(\theta)), \dot z \right\rangle,
        \qquad \dot z = J_w z \, v ,

    so the network enters only through its logits and their tangent. No second-order graph is kept.
    If each parameter has its own step size, the entries of v are scaled by them.

    Parameters
    ----------
    share_forward : bool, default=True
        Whether to keep the graph of the forward pass at w, so that the actual step can use its
        logits. This pass is then the module's own, which updates the running statistics of batch
        norm. Without sharing, less memory is needed, but the actual step needs another forward
        pass.

    Examples
    --------
    >>> from sknoisy.meta import ForwardGradient
    >>> ForwardGradient(share_forward=False).share_forward
    False
    """

    #: Whether ``MetaProblem.ranks`` is used.
    serves_ranks = True

    def __init__(self, share_forward: bool = True):
        self.share_forward = share_forward

    def __call__(self, problem: MetaProblem) -> MetaStep:
        """Return the meta gradient of `problem`."""
        random_state = problem.network.random_state(problem.x)
        outputs, logits, primals = forward_batch(problem, self.share_forward)
        guidance = guidance_of(problem, outputs)
        slopes: dict[str, Tensor] = {}
        if not problem.meta_model.identity_step:
            slopes = self._training_slopes(problem, logits, guidance.detach(), outputs)
        step_sizes = problem.step_sizes
        meta_loss, direction = meta_slopes(problem, slopes, step_sizes)
        del slopes
        # The largest step size stands before the product, which is exact if there is only one.
        largest = max(step_sizes.values(), default=0.0)
        for name, slope in direction.items():
            if step_sizes[name] != largest:
                direction[name] = slope * (step_sizes[name] / largest)
        with random_state.replay():  # the same dropout masks as in the first pass
            tangent = problem.network.logits_tangent(direction, problem.x, primals)
        if problem.ranks is not None:
            (tangent,) = problem.ranks.whole(len(problem.targets), tangent)
        meta_derivative = -largest * loss_tangent(problem, outputs, tangent, guidance)
        gradients = theta_gradients(problem, outputs, meta_derivative)
        return MetaStep(gradients, meta_loss, outputs, logits if self.share_forward else None)

    def _training_slopes(
        self, problem: MetaProblem, logits: Tensor, guidance: Tensor, outputs: BatchOutputs
    ) -> dict[str, Tensor]:
        """Return the training gradient at w, of all rows."""
        loss = problem.meta_model.training_loss(logits, guidance, outputs)
        return _summed(problem, training_slopes(problem, loss, self.share_forward))


class ReverseGradient:
    """Exact meta gradient by double backward through the virtual step, for reference.

    Parameters
    ----------
    share_forward : bool, default=True
        Whether to return the logits with their graph for the actual step.

    Examples
    --------
    >>> from sknoisy.meta import ReverseGradient
    >>> ReverseGradient().share_forward
    True
    """

    def __init__(self, share_forward: bool = True):
        self.share_forward = share_forward

    def __call__(self, problem: MetaProblem) -> MetaStep:
        """Return the meta gradient of `problem`."""
        network = problem.network
        outputs, logits, _ = forward_batch(problem, self.share_forward)
        guidance = problem.meta_model(outputs)
        loss = problem.meta_model.training_loss(logits, guidance, outputs)
        parameters = network.parameters
        step_sizes = problem.step_sizes
        slopes = torch.autograd.grad(
            loss,
            [parameters[name] for name in step_sizes],
            create_graph=True,
            allow_unused=True,
        )
        virtual = dict(parameters)
        for (name, step_size), slope in zip(step_sizes.items(), slopes, strict=True):
            if slope is not None:
                virtual[name] = parameters[name] - step_size * slope
        meta_loss = problem.objective(*network(virtual, problem.meta_x), problem.meta_targets)
        gradients = theta_gradients(problem, outputs, meta_loss, retain_graph=self.share_forward)
        return MetaStep(
            gradients, meta_loss.detach(), outputs, logits if self.share_forward else None
        )


def forward_batch(
    problem: MetaProblem, shared: bool
) -> tuple[BatchOutputs, Tensor, Primals | None]:
    """Return detached outputs of the training batch at w, logits with their graph, and primals.

    A shared pass is the module's own, which updates the running statistics of batch norm. Outputs
    and logits are those of all ranks, with the graph of the own rows.
    """
    network = problem.network
    if shared:
        features, logits, primals = network.own_pass(problem.x)
    else:
        features, logits = network(network.parameters, problem.x)
        primals = None  # they would outlive the graph
    if problem.ranks is not None:
        features, logits = problem.ranks.whole(len(problem.targets), features, logits)
    outputs = BatchOutputs(
        logits.detach(),
        features.detach(),
        problem.targets,
        problem.sample_weight,
        problem.trusted,
        problem.rows,
    )
    return outputs, logits, primals


def guidance_of(problem: MetaProblem, outputs: BatchOutputs) -> Tensor:
    """Return the guidance of the training batch; random draws are the same on all ranks."""
    with common_draws(problem.ranks):
        return problem.meta_model(outputs)


def training_slopes(
    problem: MetaProblem,
    loss: Tensor,
    retain_graph: bool,
    names: Iterable[str] | None = None,
) -> dict[str, Tensor]:
    """Return the gradient of the training loss at w with respect to the named parameters.

    `names` None stands for those that the virtual step moves. Parameters on which the loss does
    not depend are left out.
    """
    parameters = problem.network.parameters
    names = problem.step_sizes if names is None else names
    return _slopes(loss, {name: parameters[name] for name in names}, retain_graph)


def meta_slopes(
    problem: MetaProblem, slopes: dict[str, Tensor], names: Container[str]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the meta loss after the virtual step and its gradient by the named parameters.

    The virtual step is along `slopes`. No graph is kept below the lowest named parameter.
    """
    virtual, step_sizes = {}, problem.step_sizes
    for name, parameter in problem.network.parameters.items():
        value = parameter.detach()
        if name in slopes:
            value = value - step_sizes[name] * slopes[name]
        virtual[name] = value.requires_grad_(name in names)
    features, logits = problem.network(virtual, problem.meta_x)
    if problem.ranks is not None:
        assert problem.meta_targets is not None  # they tell the number of rows
        features, logits = problem.ranks.whole(len(problem.meta_targets), features, logits)
    meta_loss = problem.objective(features, logits, problem.meta_targets)
    leaves = {name: p for name, p in virtual.items() if p.requires_grad}
    slopes = _slopes(meta_loss, leaves) if meta_loss.requires_grad else {}
    return meta_loss.detach(), _summed(problem, slopes)


def _summed(problem: MetaProblem, slopes: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the sums over the ranks of slopes of the own rows."""
    if problem.ranks is None:
        return slopes
    return dict(zip(slopes, problem.ranks.sum([*slopes.values()]), strict=True))


def _slopes(
    loss: Tensor, parameters: dict[str, Tensor], retain_graph: bool = False
) -> dict[str, Tensor]:
    if not parameters:  # all are frozen
        return {}
    found = torch.autograd.grad(
        loss, list(parameters.values()), retain_graph=retain_graph, allow_unused=True
    )
    return {
        name: slope for name, slope in zip(parameters, found, strict=True) if slope is not None
    }


def loss_tangent(
    problem: MetaProblem, outputs: BatchOutputs, tangent: Tensor, guidance: Tensor
) -> Tensor:
    """Return <dL/dz, zdot> at the logits, with the graph to the guidance."""
    logits = outputs.logits.detach().requires_grad_()
    loss = problem.meta_model.training_loss(logits, guidance, outputs)
    (slope,) = torch.autograd.grad(loss, logits, create_graph=True)
    return (slope * tangent).sum()


def theta_gradients(
    problem: MetaProblem, outputs: BatchOutputs, meta_loss: Tensor, retain_graph: bool = False
) -> tuple[Tensor, ...]:
    """Return the gradient of meta loss plus penalty with respect to the meta parameters."""
    penalty = problem.meta_model.penalty(outputs)
    if penalty is not None:
        meta_loss = meta_loss + penalty
    theta = problem.meta_model.meta_parameters()
    found = torch.autograd.grad(meta_loss, theta, retain_graph=retain_graph, allow_unused=True)
    return tuple(
        torch.zeros_like(p) if g is None else g for p, g in zip(theta, found, strict=True)
    )

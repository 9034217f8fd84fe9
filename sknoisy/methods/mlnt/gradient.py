r"""The meta gradient of MLNT: the consistency with a teacher after steps on synthetic labels.

Notation: parameters :math:`\theta` of the student, synthetic labels :math:`\hat Y^m` of a batch X
of k rows, cross-entropy L, softmax output f, target s (the teacher's probabilities), inner step
size :math:`\alpha`.

.. math::

    \theta'_m = \theta - \alpha \nabla_\theta L(X, \hat Y^m, \theta), \qquad
    g = \nabla_\theta \frac{1}{M k} \sum_{m, i} \mathrm{KL}(s_i \| f(x_i, \theta'_m))
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..._compat import StrOptions, validate_parameter_constraints
from ...meta.functional import RandomState, draws_beyond_torch, without_mkldnn
from ...networks.precision import full_precision, logits_of, precision_of

__all__ = [
    "ToleranceGradient",
    "ToleranceProblem",
    "ToleranceStep",
    "consistency",
    "tolerance_gradient",
]

_BATCHED_LAYERS = (nn.Linear, nn.LayerNorm, nn.BatchNorm1d)
_MAX_BATCHED = 2**26  # numbers in all copies of the parameters: 256 MB in float32
_N_TRIALS = 4  # timed batches: two to warm up, two that count


class ToleranceProblem(NamedTuple):
    """One meta step: everything that :class:`ToleranceGradient` needs.

    Attributes
    ----------
    module : nn.Module
        The student. It returns logits, and all passes run in its current mode (train or eval).
    x : Tensor of shape (k, ...)
        Rows of the batch.
    label_sets : Tensor of shape (n_sets, k)
        Synthetic labels, int64.
    target : Tensor of shape (k, n_classes)
        Probabilities s of the teacher.
    inner_lr : float
        Step size alpha.
    sample_weight : Tensor of shape (k,) or None
        Weights of the rows, in both losses.
    """

    module: nn.Module
    x: Tensor
    label_sets: Tensor
    target: Tensor
    inner_lr: float
    sample_weight: Tensor | None = None


class ToleranceStep(NamedTuple):
    """The result of :class:`ToleranceGradient`.

    Attributes
    ----------
    gradients : dict of str to Tensor
        Gradient of the meta loss, by the names of the module's parameters. Parameters that the
        loss does not depend on are left out.
    meta_loss : Tensor
        Detached scalar.
    logits : Tensor or None
        Logits at the module's own parameters, with their graph, if the forward pass is shared.
    """

    gradients: dict[str, Tensor]
    meta_loss: Tensor
    logits: Tensor | None


class ToleranceGradient:
    r"""Gradient of the consistency loss through one step on each set of synthetic labels.

    All label sets share the forward pass at :math:`\theta`. The M inner gradients and the M
    consistency passes are computed for all sets at once (``batched=True``: one backward pass over
    a stack of cotangents, then one forward pass over a stack of parameters) or one after another.
    Both ways give the same result up to rounding. The buffers of the module are left unchanged,
    and all passes see the random draws of the first one, such as dropout masks.

    Parameters
    ----------
    first_order : bool, default=True
        Treat the inner gradients as constants, so that the gradient with respect to
        :math:`\theta` is that with respect to :math:`\theta'_m`. False: the exact gradient, with
        the factor :math:`I - \alpha \nabla^2 L`, by double backward.
    batched : "auto" or bool, default="auto"
        Compute all label sets at once. "auto", on a CPU: if all parameters belong to linear
        layers, layer norms and ``BatchNorm1d``, and all their copies have at most 2**26 numbers. A
        stack of small matrix products is faster than one after another, a stack of convolutions
        is not (``benchmarks/mlnt_step.py``). "auto", on a GPU: both ways are timed on the first
        four batches. Modules that cannot be batched are computed one set after another. The passes
        for all sets at once are in float32, also if the module runs in bfloat16.
    joint : bool, default=False
        Make one step of the optimiser along the sum of this gradient and that of the given labels,
        taken at the same parameters. False: a step along this gradient first.
    share_forward : bool, default=True
        In a joint step, let the first forward pass be the module's own, which updates the running
        statistics of batch norm and the random state, and return its logits for the actual loss.
        False: the actual loss needs a forward pass of its own.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.methods.mlnt import ToleranceGradient, ToleranceProblem
    >>> module, x = torch.nn.Linear(3, 2), torch.ones(4, 3)
    >>> target = module(x).softmax(dim=1).detach()
    >>> labels = torch.tensor([[0, 1, 0, 1]])
    >>> step = ToleranceGradient()(ToleranceProblem(module, x, labels, target, inner_lr=0.0))
    >>> round(abs(step.meta_loss.item()), 6)  # no step, no divergence
    0.0
    """

    def __init__(
        self,
        first_order: bool = True,
        batched: str | bool = "auto",
        *,
        joint: bool = False,
        share_forward: bool = True,
    ):
        self.first_order = first_order
        self.batched = batched
        self.joint = joint
        self.share_forward = share_forward
        constraints = {name: ["boolean"] for name in ("first_order", "joint", "share_forward")}
        constraints["batched"] = [StrOptions({"auto"}), "boolean"]
        validate_parameter_constraints(constraints, vars(self), type(self).__name__)
        self.reset()

    def __repr__(self) -> str:
        return (
            f"ToleranceGradient(first_order={self.first_order}, batched={self.batched!r}, "
            f"joint={self.joint}, share_forward={self.share_forward})"
        )

    def reset(self) -> None:
        """Forget which way "auto" chose for another module."""
        self._decision: bool | None = None if self.batched == "auto" else bool(self.batched)
        self._seconds: list[float] = []

    def state_dict(self) -> dict[str, Any]:
        """Return which way "auto" chose."""
        return {"decision": self._decision, "seconds": self._seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._decision, self._seconds = state["decision"], list(state["seconds"])

    def __call__(self, problem: ToleranceProblem) -> ToleranceStep:
        """Return the meta gradient of ``problem``."""
        random_state = RandomState(problem.x.device, draws_beyond_torch(problem.module))
        is_shared = self.joint and self.share_forward
        with contextlib.nullcontext() if self.first_order else _twice_differentiable(problem):
            if is_shared:
                logits = logits_of(problem.module, problem.x)
            else:
                with random_state.replay():
                    logits = _stateless_logits(problem.module, problem.x)
            compute = self._compute_batched if self._is_batched(problem) else self._compute_looped
            if compute == self._compute_batched and self.batched == "auto":
                compute = self._compute_batched_if_possible
            gradients, meta_loss = self._timed(compute, problem, logits, random_state)
        return ToleranceStep(gradients, meta_loss, logits if is_shared else None)

    # --- one after another, or all at once ------------------------------------------------------

    def _compute_looped(
        self, problem: ToleranceProblem, logits: Tensor, random_state: RandomState
    ) -> tuple[dict[str, Tensor], Tensor]:
        own = _parameters(problem.module)
        total: dict[str, Tensor] = {}
        losses = []
        for cotangent in _cotangents(problem, logits, self.first_order):
            slopes = self._slopes(logits, own, cotangent, batched=False)
            virtual = self._virtual(own, slopes, problem.inner_lr)
            with random_state.replay():
                virtual_logits = _stateless_logits(problem.module, problem.x, virtual)
            loss = consistency(problem.target, virtual_logits, problem.sample_weight)
            losses.append(loss.detach())
            for name, slope in self._meta_slopes(loss, own, virtual).items():
                total[name] = total[name].add_(slope) if name in total else slope
        n_sets = len(problem.label_sets)
        return {name: t.div_(n_sets) for name, t in total.items()}, torch.stack(losses).mean()

    def _compute_batched(
        self, problem: ToleranceProblem, logits: Tensor, random_state: RandomState
    ) -> tuple[dict[str, Tensor], Tensor]:
        own, n_sets = _parameters(problem.module), len(problem.label_sets)
        cotangents = _cotangents(problem, logits, self.first_order)
        slopes = self._slopes(logits, own, cotangents, batched=True)
        virtual = self._virtual(own, slopes, problem.inner_lr)
        virtual = {n: p if n in slopes else p.expand(n_sets, *p.shape) for n, p in virtual.items()}
        buffers = {
            n: b.expand(n_sets, *b.shape).clone() for n, b in problem.module.named_buffers()
        }

        def one_set(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
            return _stateless_logits(problem.module, problem.x, parameters, buffers)

        with random_state.replay():
            virtual_logits = vmap(one_set, randomness="same")(virtual, buffers)
        loss = consistency(problem.target, virtual_logits, problem.sample_weight)
        found = self._meta_slopes(loss, own, virtual)
        if self.first_order:
            found = {name: slope.sum(dim=0) for name, slope in found.items()}
        return found, loss.detach()

    def _slopes(
        self, logits: Tensor, own: dict[str, Tensor], cotangent: Tensor, batched: bool
    ) -> dict[str, Tensor]:
        """Return the inner gradients, for one cotangent of the logits or for a stack of them."""
        slopes = torch.autograd.grad(
            logits,
            list(own.values()),
            cotangent,
            retain_graph=True,
            create_graph=not self.first_order,
            allow_unused=True,
            is_grads_batched=batched,
        )
        return {n: s for n, s in zip(own, slopes, strict=True) if s is not None}

    def _virtual(
        self, own: dict[str, Tensor], slopes: dict[str, Tensor], inner_lr: float
    ) -> dict[str, Tensor]:
        """Return theta'_m: in first order a leaf of its own, else with the graph to theta."""
        virtual = {}
        for name, parameter in own.items():
            start = parameter.detach() if self.first_order else parameter
            slope = slopes.get(name)
            # Eq. 2: theta'_m = theta - alpha grad L(X, Y^m, theta)
            moved = start if slope is None else torch.sub(start, slope, alpha=inner_lr)
            virtual[name] = moved.requires_grad_() if self.first_order else moved
        return virtual

    def _meta_slopes(
        self, loss: Tensor, own: dict[str, Tensor], virtual: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        by = virtual if self.first_order else own
        slopes = torch.autograd.grad(
            loss, list(by.values()), retain_graph=not self.first_order, allow_unused=True
        )
        return {n: s for n, s in zip(by, slopes, strict=True) if s is not None}

    # --- the choice -----------------------------------------------------------------------------

    def _is_batched(self, problem: ToleranceProblem) -> bool:
        if self._decision is None and not _is_timed(problem.x):
            self._decision = _is_cheaper_batched(problem.module, len(problem.label_sets))
        return len(self._seconds) % 2 == 0 if self._decision is None else self._decision

    def _compute_batched_if_possible(
        self, problem: ToleranceProblem, logits: Tensor, random_state: RandomState
    ) -> tuple[dict[str, Tensor], Tensor]:
        try:
            return self._compute_batched(problem, logits, random_state)
        except RuntimeError:  # vmap has no rule for an operation, or memory ran out
            self._decision = False
            return self._compute_looped(problem, logits, random_state)

    def _timed(self, compute: Callable, problem: ToleranceProblem, *args):
        """Compute; until a way is chosen, note the time, and choose once both ways are timed."""
        if self._decision is not None:
            return compute(problem, *args)
        torch.cuda.synchronize(problem.x.device)
        start = time.perf_counter()
        result = compute(problem, *args)
        torch.cuda.synchronize(problem.x.device)
        self._seconds.append(time.perf_counter() - start)
        if self._decision is None and len(self._seconds) == _N_TRIALS:
            batched, looped = self._seconds[-2:]
            self._decision = batched < looped
        return result


def consistency(target: Tensor, logits: Tensor, sample_weight: Tensor | None = None) -> Tensor:
    """Return the KL divergence of the student from the target, KL(target || student).

    Parameters
    ----------
    target : Tensor of shape (k, n_classes)
        Probabilities, held constant.
    logits : Tensor of shape (..., k, n_classes)
        Logits of the student.
    sample_weight : Tensor of shape (k,) or None, default=None
        Weights of the rows, of mean 1 over the training set.

    Returns
    -------
    divergence : Tensor
        Mean over the rows and the leading dimensions, a scalar.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.methods.mlnt import consistency
    >>> target = torch.tensor([[1.0, 0.0]])  # for a one-hot target: minus the log probability
    >>> round(consistency(target, torch.tensor([[0.0, 1.0]])).item(), 4)
    1.3133
    """
    target = target.detach()  # J of Eq. 4, or of Eq. 11 with a blended target
    divergence = F.kl_div(logits.log_softmax(dim=-1), target, reduction="none").sum(dim=-1)
    if sample_weight is not None:
        divergence = divergence * sample_weight
    return divergence.mean()


def tolerance_gradient(gradient: str | ToleranceGradient) -> ToleranceGradient:
    """Return the strategy that the parameter ``gradient`` stands for."""
    if isinstance(gradient, ToleranceGradient):
        return gradient
    if gradient not in ("first_order", "exact"):
        raise ValueError(
            f"gradient must be 'first_order', 'exact' or a ToleranceGradient, got {gradient!r}."
        )
    return ToleranceGradient(first_order=gradient == "first_order")


def _stateless_logits(
    module: nn.Module,
    x: Tensor,
    parameters: dict[str, Tensor] | None = None,
    buffers: dict[str, Tensor] | None = None,
) -> Tensor:
    """Return the logits of a module, at other parameters if given; leave its buffers unchanged."""
    if buffers is None:
        buffers = {name: b.clone() for name, b in module.named_buffers()}
    with precision_of(module):
        return full_precision(functional_call(module, {**(parameters or {}), **buffers}, (x,)))


def _parameters(module: nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def _cotangents(problem: ToleranceProblem, logits: Tensor, detached: bool) -> Tensor:
    """Return the derivative of each set's cross-entropy with respect to the logits, (p - y) / k.

    Its shape is (n_sets, k, n_classes). It keeps the graph through p, which the second derivative
    needs, unless `detached`.
    """
    p = (logits.detach() if detached else logits).softmax(dim=1)
    given = F.one_hot(problem.label_sets, p.shape[1]).to(p)
    weight: Tensor | None = problem.sample_weight
    rows = (p - given) / len(p)
    return rows if weight is None else rows * weight[:, None]


def _is_timed(x: Tensor) -> bool:
    # On a CPU, two fits must be equal bit for bit, and a timing could differ between them.
    return x.device.type == "cuda"


def _is_cheaper_batched(module: nn.Module, n_sets: int) -> bool:
    owners = (part for part in module.modules() if list(part.parameters(recurse=False)))
    n_numbers = sum(p.numel() for p in module.parameters())
    return n_sets * n_numbers <= _MAX_BATCHED and all(
        isinstance(o, _BATCHED_LAYERS) for o in owners
    )


@contextlib.contextmanager
def _twice_differentiable(problem: ToleranceProblem) -> Iterator[None]:
    """Choose kernels that have a second derivative; name an operation that has none."""
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            if any(isinstance(part, nn.RNNBase) for part in problem.module.modules()):
                stack.enter_context(without_mkldnn())
                # Only here: this context also resets switches of the user, such as deterministic.
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            yield
    except RuntimeError as error:
        trouble = str(error).splitlines()[0].rstrip(".")
        if not any(part in trouble for part in ("derivative", "differentiate twice", "double")):
            raise
        raise NotImplementedError(
            f"The exact gradient needs second derivatives, but {type(problem.module).__name__} "
            f"contains an operation without one: {trouble}. Pass gradient='first_order' "
            "(first_order=True), or replace the operation, for example nn.EmbeddingBag by "
            "nn.Embedding and a sum."
        ) from error

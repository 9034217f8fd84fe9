r"""FaMUS: the meta gradient through the few layers whose learned gates are open.

The notation is that of :mod:`sknoisy.meta.gradients`. A layer is a parameter tensor; layers are in
module order, except that those which the forward pass uses last come last.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from .functional import StatelessModule
from .gradients import (
    MetaProblem,
    MetaStep,
    forward_batch,
    loss_tangent,
    meta_slopes,
    theta_gradients,
    training_slopes,
)
from .models import BatchOutputs

__all__ = ["LayerSampledGradient", "LayerSamplers"]

_N_HIDDEN = 128
_AUTO_SAMPLED = 13  # as in the released code: the last stage of a ResNet-18 below its classifier
_MOMENTUM = 0.9
_ROUNDING = 1e-6


class LayerSamplers(nn.Module):
    """Networks from pooled training gradients of the layers to the scores of their gates.

    Each layer has a network of its own, FC - PReLU - FC. Its input, a vector of one of the lengths
    `widths`, is standardised to mean 0 and standard deviation 1; a vector of equal entries, as one
    of length 1, becomes 0. The networks are padded to the largest width and run at once.
    """

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        n = len(widths)
        layers = [(nn.Linear(width, _N_HIDDEN), nn.Linear(_N_HIDDEN, 2)) for width in widths]
        self.hidden_weight = nn.Parameter(torch.zeros(n, max(widths, default=0), _N_HIDDEN))
        self.hidden_bias = nn.Parameter(torch.zeros(n, 1, _N_HIDDEN))
        self.slope = nn.Parameter(torch.full((n, 1, 1), 0.25))  # PReLU's default
        self.output_weight = nn.Parameter(torch.zeros(n, _N_HIDDEN, 2))
        self.output_bias = nn.Parameter(torch.zeros(n, 1, 2))
        self.widths: Tensor
        self.register_buffer("widths", torch.tensor(widths, dtype=torch.int64)[:, None])
        with torch.no_grad():
            for i, (hidden, output) in enumerate(layers):
                self.hidden_weight[i, : widths[i]] = hidden.weight.T
                self.hidden_bias[i], self.output_bias[i] = hidden.bias, output.bias
                self.output_weight[i] = output.weight.T

    def __len__(self) -> int:
        return len(self.slope)

    def forward(self, pooled: Sequence[Tensor]) -> Tensor:
        """Return the logits of on and off, shape (n_layers, 2), for a vector of each layer."""
        x = self._standardise(pad_sequence(list(pooled), batch_first=True))
        h = torch.baddbmm(self.hidden_bias, x[:, None], self.hidden_weight)
        h = torch.where(h > 0, h, self.slope * h)
        return torch.baddbmm(self.output_bias, h, self.output_weight)[:, 0]

    def _standardise(self, x: Tensor) -> Tensor:
        """Return rows of mean 0 and standard deviation 1, whose padding is 0."""
        is_entry = torch.arange(x.shape[1], device=x.device) < self.widths
        mean = x.sum(dim=1, keepdim=True) / self.widths
        centred = torch.where(is_entry, x - mean, 0.0)
        variance = centred.square().sum(dim=1, keepdim=True) / (self.widths - 1).clamp(min=1)
        # Differences between equal entries are rounding errors, which must not become 1.
        rounding = _ROUNDING * mean.abs() + torch.finfo(x.dtype).tiny
        return centred / (variance.sqrt() + rounding)


class LayerSampledGradient:
    r"""FaMUS: meta gradient through a few sampled layers, which shortens both meta passes.

    The ``n_always_on`` parameter tensors that the forward pass uses last are always on. The
    ``n_sampled`` tensors below them are the last of the others in module order. Each of these has
    a gate :math:`r_l \in \{0, 1\}`, which a small network draws given the training gradient of the
    layer. The virtual step changes all layers, whatever the gates; the meta gradient flows only
    through the layers that are on:

    .. math::

        g' = -\alpha \frac{d}{d\theta}
        \left\langle \frac{\partial L}{\partial z}(z; \phi(\theta)), \dot z' \right\rangle,
        \qquad \dot z' = J_w z \, v', \qquad v'_l = r_l v_l .

    Below the lowest active layer, the meta batch therefore keeps no graph, and the forward-mode
    pass is a plain forward pass. The gradients of theta and of the gates' networks are those of
    the total loss

    .. math::

        M(\hat w) + \lambda_1 \left(\sum_l r_l - K\right)^2
        + \lambda_2 \left\| \bar g_L^{\mathrm{train}}(\theta) - \bar g_L^{\mathrm{meta}} \right\|^2

    The third term contains the pooled gradients of the last layer's weight; the meta gradient in
    it is held constant. If all gates are open and :math:`\lambda_2 = 0`, the result is that of
    :class:`ForwardGradient`. A layer that is frozen or has step size 0 is off and does not count.

    Parameters
    ----------
    n_active : int, default=4
        K, the target number of open gates. It has no effect if no layer has a gate.
    n_sampled : "auto" or int, default="auto"
        Number of tensors with a gate, right below those that are always on; all of these if there
        are fewer. "auto": all, but at most 13, as in the released code (the last stage of a
        ResNet-18). Tensors further below are never active.
    n_always_on : int, default=2
        Number of last tensors without a gate: by default, the classifier's weight and bias.
    reg_weight : float, default=0.1
        :math:`\lambda_1`, weight of the term that keeps K gates open.
    match_weight : float, default=0.1
        :math:`\lambda_2`, weight of the term that pulls the training gradient of the last layer to
        its meta gradient.
    sampler_lr : float, default=0.1
        Step size of the gates' networks, which are trained by stochastic gradient descent with
        momentum 0.9.
    temperature : float, default=1.0
        Temperature of the Gumbel-softmax, which affects only the gradient of the gates. The paper
        does not give it; the released code uses 5.
    share_forward : bool, default=True
        See :class:`ForwardGradient`.

    Attributes
    ----------
    layer_names : tuple of str
        Names of the gated tensors in module order, then of those that are always on; empty before
        the first call.
    samplers : LayerSamplers
        The gates' networks, which the first call creates.

    Raises
    ------
    ValueError
        At construction, if a parameter is out of its range; at the first call, if ``n_active``
        is larger than the number of layers in ``layer_names``.

    Notes
    -----
    Gates have straight-through gradients. In the virtual step, the gradient of a layer is
    multiplied by r if its gate is open and by 1 - r if it is closed, so that the derivative of the
    meta objective with respect to the gate is
    :math:`\mp \alpha \langle v_l, \nabla_l L \rangle`. For a closed gate below the lowest active
    layer, :math:`v_l` is not computed, and the gate is trained by the second term alone.

    A meta model whose virtual step is the identity (``identity_step``: Learning to Reweight) has
    no training gradient. The gates' networks use the gradient under equal weights 1/n instead, as
    their input and in their own gradient; this costs a backward pass down to the lowest gated
    layer. The third term uses the true training gradient, which is zero.

    Where the paper and its released code differ, this class follows the paper. The second term
    counts all gates (released code: only the last one), gradients are averaged over all axes but
    the first (released: summed; both are then standardised, which the paper leaves out), the
    gates' networks have one hidden layer (released: two), and the third term compares these
    averages for the classifier's weight (released: row means and deviations of 15 tensors).

    References
    ----------
    Y. Xu, L. Zhu, L. Jiang, Y. Yang, Faster Meta Update Strategy for Noise-Robust Deep Learning,
    CVPR 2021, arXiv:2104.15092.

    Examples
    --------
    >>> from sknoisy.meta import LayerSampledGradient
    >>> LayerSampledGradient(n_active=6).n_active
    6
    """

    def __init__(
        self,
        *,
        n_active: int = 4,
        n_sampled: Any = "auto",
        n_always_on: int = 2,
        reg_weight: float = 0.1,
        match_weight: float = 0.1,
        sampler_lr: float = 0.1,
        temperature: float = 1.0,
        share_forward: bool = True,
    ):
        if not (n_sampled == "auto" or _is_count(n_sampled)):
            raise ValueError(f"n_sampled must be 'auto' or an int >= 0, got {n_sampled!r}.")
        for name, value in (("n_active", n_active), ("n_always_on", n_always_on)):
            if not _is_count(value):
                raise ValueError(f"{name} must be an int >= 0, got {value!r}.")
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {temperature!r}.")
        self.n_active = n_active
        self.n_sampled = n_sampled
        self.n_always_on = n_always_on
        self.reg_weight = _not_negative("reg_weight", reg_weight)
        self.match_weight = _not_negative("match_weight", match_weight)
        self.sampler_lr = _not_negative("sampler_lr", sampler_lr)
        self.temperature = temperature
        self.share_forward = share_forward
        self.layer_names: tuple[str, ...] = ()
        self.samplers = LayerSamplers(())
        self._optimizer: torch.optim.Optimizer | None = None
        self._forget_usage()

    def __call__(self, problem: MetaProblem) -> MetaStep:
        """Return the meta gradient of `problem`, and make one step of the gates' networks."""
        random_state = problem.network.random_state(problem.x)
        outputs, logits, primals = forward_batch(problem, self.share_forward)
        guidance = problem.meta_model(outputs)
        if not self.layer_names:
            self.prepare(problem.network, problem.x[:2])
        step_sizes = problem.step_sizes
        moving = [name in step_sizes for name in self.layer_names]
        slopes = self._training_slopes(problem, logits, guidance.detach(), outputs)
        step = {} if problem.meta_model.identity_step else slopes
        gates = self._draw_gates(problem.network, slopes, moving)
        is_on = self._count(gates, moving)
        meta_loss, meta = meta_slopes(problem, step, self._leaves(is_on) & step_sizes.keys())
        products = {
            n: step_sizes[n] * (slopes[n] * v).sum() for n, v in meta.items() if n in slopes
        }
        self._learn(gates, products)
        direction = self._direction(step_sizes, is_on, step, meta)
        with random_state.replay():  # the same dropout masks as in the first pass
            tangent = problem.network.logits_tangent(direction, problem.x, primals)
        gradients = theta_gradients(
            problem, outputs, -loss_tangent(problem, outputs, tangent, guidance)
        )
        return MetaStep(gradients, meta_loss, outputs, logits if self.share_forward else None)

    def epoch_report(self) -> dict[str, list[float]]:
        """Return the share of the steps since the last report in which each layer was active.

        The report is ``{"layer_usage": [...]}``, with a number in [0, 1] per name in
        ``layer_names``; all are 0 if there was no step.
        """
        usage = [n_on / max(self._n_steps, 1) for n_on in self._n_on]
        self._forget_usage()
        return {"layer_usage": usage}

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the gates' networks and of their optimiser after a report."""
        optimizer = self._optimizer
        return {
            "samplers": self.samplers.state_dict(),
            "optimizer": None if optimizer is None else optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned, after :meth:`prepare`."""
        self.samplers.load_state_dict(state["samplers"])
        if self._optimizer is not None:
            self._optimizer.load_state_dict(state["optimizer"])

    def _forget_usage(self) -> None:
        self._n_steps, self._n_on = 0, [0] * len(self.layer_names)

    def prepare(self, network: StatelessModule, x: Tensor) -> None:
        """Create a sampler for each gated layer of the network, and their optimiser.

        A forward pass on the rows `x` finds the last layer. The first call of the strategy does
        this if it has not been done before.
        """
        parameters, used = network.named_parameters, network.order_of_use(x)
        last = set(used[max(len(used) - self.n_always_on, 0) :])
        names = sorted(parameters, key=last.__contains__)
        n_gated = max(len(names) - self.n_always_on, 0)
        n_gated = min(n_gated, _AUTO_SAMPLED if self.n_sampled == "auto" else self.n_sampled)
        n_layers = min(n_gated + self.n_always_on, len(names))
        if n_gated and self.n_active > n_layers:
            raise ValueError(
                f"n_active={self.n_active} layers cannot be on: {n_gated} have a gate and "
                f"{n_layers - n_gated} are always on, {n_layers} in all. Lower n_active or raise "
                "n_sampled."
            )
        self.layer_names = tuple(names[len(names) - n_layers :])
        matrices = [name for name in used if parameters[name].ndim > 1]
        self._matched = (matrices or used)[-1]
        self._forget_usage()
        if n_gated:
            gated = [parameters[name] for name in self.layer_names[:n_gated]]
            self.samplers = LayerSamplers([_pool(p).numel() for p in gated]).to(gated[0])
            self._optimizer = torch.optim.SGD(
                self.samplers.parameters(), lr=self.sampler_lr, momentum=_MOMENTUM
            )

    def _training_slopes(
        self, problem: MetaProblem, logits: Tensor, guidance: Tensor, outputs: BatchOutputs
    ) -> dict[str, Tensor]:
        """Return the training gradient at w.

        If the virtual step is the identity, it is that of the gated layers under equal weights.
        """
        gated = None
        if problem.meta_model.identity_step:
            step_sizes = problem.step_sizes
            gated = [n for n in self.layer_names[: len(self.samplers)] if n in step_sizes]
            if not gated:
                return {}
            guidance = torch.full_like(guidance, 1 / len(guidance))
        loss = problem.meta_model.training_loss(logits, guidance, outputs)
        return training_slopes(problem, loss, self.share_forward, gated)

    def _draw_gates(
        self, network: StatelessModule, slopes: dict[str, Tensor], moving: list[bool]
    ) -> Tensor:
        """Return gates r of 0 or 1, shape (n_gated,), with the graph to the samplers only."""
        n_gated = len(self.samplers)
        if not n_gated:
            return torch.zeros(0)
        pooled = [
            _pool(slopes[n] if n in slopes else torch.zeros_like(network.named_parameters[n]))
            for n in self.layer_names[:n_gated]
        ]
        scores = self.samplers([vector.detach() for vector in pooled])
        gates = F.gumbel_softmax(scores, self.temperature, hard=True)[:, 0]
        if not all(moving[:n_gated]):
            gates = gates * torch.tensor(moving[:n_gated], device=gates.device)
        return gates

    def _count(self, gates: Tensor, moving: list[bool]) -> list[bool]:
        """Return which layers are on, and count them; this is the only transfer to the CPU."""
        is_on = [gate > 0.5 for gate in gates.tolist()]
        is_on += moving[len(is_on) :]
        self._n_steps += 1
        self._n_on = [n + on for n, on in zip(self._n_on, is_on, strict=True)]
        return is_on

    def _leaves(self, is_on: list[bool]) -> set[str]:
        """Return the layers whose meta gradient is needed: the lowest active one and above."""
        leaves = set(self.layer_names[is_on.index(True) :]) if any(is_on) else set()
        return leaves | {self._matched} if self.match_weight else leaves

    def _learn(self, gates: Tensor, meta_products: dict[str, Tensor]) -> None:
        """Make one step of the samplers, given alpha <v, grad L> of layers where it is known."""
        if self._optimizer is None:
            return
        zero = gates.new_zeros(())
        # In the virtual step, an open gate is the factor r, a closed one the factor 1 - r.
        by_r = 1 - 2 * gates.detach()
        products = [meta_products.get(name, zero) for name in self.layer_names[: len(gates)]]
        loss = (gates * by_r * torch.stack(products)).sum()
        loss = loss + self.reg_weight * (gates.sum() - self.n_active) ** 2  # L_r
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()

    def _direction(
        self,
        step_sizes: dict[str, float],
        is_on: list[bool],
        step: dict[str, Tensor],
        meta: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Return the tangents alpha v' - lambda_2 u; u is dL_g by the training gradient."""
        active = [name for name, on in zip(self.layer_names, is_on, strict=True) if on]
        direction = {name: step_sizes[name] * meta[name] for name in active if name in meta}
        name = self._matched
        if self.match_weight and name in meta:
            slope = meta[name]
            difference = _pool(step.get(name, torch.zeros_like(slope))) - _pool(slope)
            u = 2 * difference * difference.numel() / slope.numel()
            u = u.view(-1, *[1] * (slope.ndim - 1)).expand_as(slope)
            direction[name] = direction.get(name, 0) - self.match_weight * u
        return direction


def _pool(slope: Tensor) -> Tensor:
    """Return the mean over all axes but the first; tensors of one axis are not changed."""
    return slope.flatten(1).mean(dim=1) if slope.ndim > 1 else slope.reshape(-1)


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0


def _not_negative(name: str, value: Any) -> Any:
    if value < 0:
        raise ValueError(f"{name} must be 0 or more, got {value!r}.")
    return value

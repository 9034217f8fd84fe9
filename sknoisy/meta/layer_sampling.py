r"""FaMUS: the meta gradient through the few layers whose learned gates are open.

The notation is that of :mod:`sknoisy.meta.gradients`. A layer is a parameter tensor; layers are in
module order.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .functional import RandomState
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

__all__ = ["GradientSampler", "LayerSampledGradient"]

_N_HIDDEN = 128
_AUTO_SAMPLED = 13  # as in the released code: the last stage of a ResNet-18 below its classifier
_MOMENTUM = 0.9


class GradientSampler(nn.Module):
    """Network (FC - PReLU - FC) from a layer's pooled training gradient to the scores of its gate.

    `n_outputs` is the length of the layer's first axis.
    """

    def __init__(self, n_outputs: int):
        super().__init__()
        self.hidden = nn.Linear(n_outputs, _N_HIDDEN)
        self.activation = nn.PReLU()
        self.output = nn.Linear(_N_HIDDEN, 2)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return the logits (2,) of on and off for a pooled gradient (n_outputs,)."""
        return self.output(self.activation(self.hidden(pooled)))


class LayerSampledGradient:
    r"""FaMUS: meta gradient through a few sampled layers, which shortens both meta passes.

    The last ``n_always_on`` parameter tensors are always on. Each of the ``n_sampled`` tensors
    below them has a gate :math:`r_l \in \{0, 1\}`, which a small network draws given the training
    gradient of the layer. The virtual step changes all layers, whatever the gates; the meta
    gradient flows only through the layers that are on:

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
    :class:`ForwardGradient`.

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
        Names of the gated tensors and those that are always on, from the bottom to the top, as in
        ``problem.network.parameters``; empty before the first call.
    samplers : torch.nn.ModuleList of GradientSampler
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
    the first (released: summed, then standardised), the gates' networks have one hidden layer
    (released: two), and the third term compares these averages for the classifier's weight
    (released: row means and deviations of 15 tensors).

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
        self.samplers = nn.ModuleList()
        self._optimizer: torch.optim.Optimizer | None = None
        self._forget_usage()

    def __call__(self, problem: MetaProblem) -> MetaStep:
        """Return the meta gradient of `problem`, and make one step of the gates' networks."""
        random_state = RandomState(problem.x.device)
        outputs, logits, primals = forward_batch(problem, self.share_forward)
        guidance = problem.meta_model(outputs)
        if not self.layer_names:
            self.prepare(problem.network.parameters)
        slopes = self._training_slopes(problem, logits, guidance.detach(), outputs)
        step = {} if problem.meta_model.identity_step else slopes
        gates = self._draw_gates(problem.network.parameters, slopes)
        is_on = self._count(gates)
        meta_loss, meta = meta_slopes(problem, step, self._leaves(is_on))
        products = {n: (slopes[n] * v).sum() for n, v in meta.items() if n in slopes}
        self._learn(gates, products, problem.lr)
        direction = self._direction(problem, is_on, step, meta)
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

    def _forget_usage(self) -> None:
        self._n_steps, self._n_on = 0, [0] * len(self.layer_names)

    def prepare(self, parameters: dict[str, Tensor]) -> None:
        """Create a sampler for each gated layer of the network, and their optimiser.

        The first call of the strategy does this if it has not been done before.
        """
        names = list(parameters)
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
        matrices = [name for name in names if parameters[name].ndim > 1]
        self._matched = (matrices or names)[-1]
        self._forget_usage()
        if n_gated:
            for name in self.layer_names[:n_gated]:
                sampler = GradientSampler(_pool(parameters[name]).numel())
                self.samplers.append(sampler.to(parameters[name]))
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
            if not self.samplers:
                return {}
            guidance = torch.full_like(guidance, 1 / len(guidance))
            gated = self.layer_names[: len(self.samplers)]
        loss = problem.meta_model.training_loss(logits, guidance, outputs)
        return training_slopes(problem, loss, self.share_forward, gated)

    def _draw_gates(self, parameters: dict[str, Tensor], slopes: dict[str, Tensor]) -> Tensor:
        """Return gates r of 0 or 1, shape (n_gated,), with the graph to the samplers only."""
        if not self.samplers:
            return torch.zeros(0)
        logits = []
        for sampler, name in zip(self.samplers, self.layer_names, strict=False):
            slope = slopes.get(name)
            pooled = _pool(torch.zeros_like(parameters[name]) if slope is None else slope)
            logits.append(sampler(pooled.detach()))
        return F.gumbel_softmax(torch.stack(logits), self.temperature, hard=True)[:, 0]

    def _count(self, gates: Tensor) -> list[bool]:
        """Return which layers are on, and count them; this is the only transfer to the CPU."""
        is_on = [gate > 0.5 for gate in gates.tolist()]
        is_on += [True] * (len(self.layer_names) - len(is_on))
        self._n_steps += 1
        self._n_on = [n + on for n, on in zip(self._n_on, is_on, strict=True)]
        return is_on

    def _leaves(self, is_on: list[bool]) -> set[str]:
        """Return the layers whose meta gradient is needed: the lowest active one and above."""
        leaves = set(self.layer_names[is_on.index(True) :]) if any(is_on) else set()
        return leaves | {self._matched} if self.match_weight else leaves

    def _learn(self, gates: Tensor, meta_products: dict[str, Tensor], lr: float) -> None:
        """Make one step of the samplers on the total loss, given <v, grad L> where computed."""
        if self._optimizer is None:
            return
        zero = gates.new_zeros(())
        # In the virtual step, an open gate is the factor r, a closed one the factor 1 - r.
        by_r = lr * (1 - 2 * gates.detach())
        products = [meta_products.get(name, zero) for name in self.layer_names[: len(gates)]]
        loss = (gates * by_r * torch.stack(products)).sum()
        loss = loss + self.reg_weight * (gates.sum() - self.n_active) ** 2  # L_r
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()

    def _direction(
        self,
        problem: MetaProblem,
        is_on: list[bool],
        step: dict[str, Tensor],
        meta: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Return the tangents alpha v' - lambda_2 u; u is dL_g by the training gradient."""
        active = [name for name, on in zip(self.layer_names, is_on, strict=True) if on]
        direction = {name: problem.lr * meta[name] for name in active if name in meta}
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

r"""FaMUS: the meta gradient through the few layers whose learned gates are open.

Notation of :mod:`sknoisy.meta.gradients`; a layer is a parameter tensor, in module order.
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
_AUTO_SAMPLED = 13  # as released: the last stage of a ResNet-18 below its classifier
_MOMENTUM = 0.9


class GradientSampler(nn.Module):
    """Scores of a layer's gate from its pooled training gradient: FC - PReLU - FC.

    Parameters
    ----------
    n_outputs : int
        Length of the layer's first axis.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.meta.layer_sampling import GradientSampler
    >>> GradientSampler(16)(torch.zeros(16)).shape
    torch.Size([2])
    """

    def __init__(self, n_outputs: int):
        super().__init__()
        self.hidden = nn.Linear(n_outputs, _N_HIDDEN)
        self.activation = nn.PReLU()
        self.output = nn.Linear(_N_HIDDEN, 2)

    def forward(self, pooled: Tensor) -> Tensor:
        """Logits (2,) of on and off from the pooled gradient (n_outputs,)."""
        return self.output(self.activation(self.hidden(pooled)))


class LayerSampledGradient:
    r"""FaMUS: meta gradient through sampled layers only; both meta passes stop at the lowest.

    The top ``n_sampled`` parameter tensors below those that are always on have a gate
    :math:`r_l \in \{0, 1\}` each, which a small network draws from the layer's training gradient.
    The virtual step takes every layer along, whatever the gates; the meta gradient flows through
    the layers that are on:

    .. math::

        g' = -\alpha \frac{d}{d\theta}
        \left\langle \frac{\partial L}{\partial z}(z; \phi(\theta)), \dot z' \right\rangle,
        \qquad \dot z' = J_w z \, v', \qquad v'_l = r_l v_l .

    So the meta batch keeps no graph below the lowest active layer, and the forward-mode pass is
    a plain one there. The gradient on theta and on the gates' networks is that of the total loss

    .. math::

        M(\hat w) + \lambda_1 \left(\sum_l r_l - K\right)^2
        + \lambda_2 \left\| \bar g_L^{\mathrm{train}}(\theta) - \bar g_L^{\mathrm{meta}} \right\|^2

    with the pooled gradients of the last layer's weight in the third term, the meta one held
    constant. All gates open give :class:`ForwardGradient`, if :math:`\lambda_2 = 0`.

    Parameters
    ----------
    n_active : int, default=4
        K, how many gated layers shall be on. With no layer to gate, it has no effect.
    n_sampled : "auto" or int, default="auto"
        How many tensors below those always on have a gate, fewer if there are fewer. "auto": all
        of them, but no more than 13, the released code's number (the last stage of a ResNet-18).
        Tensors below are never active.
    n_always_on : int, default=2
        Last tensors without a gate, the classifier's weight and bias.
    reg_weight : float, default=0.1
        :math:`\lambda_1`, weight of the term that keeps K layers on.
    match_weight : float, default=0.1
        :math:`\lambda_2`, weight of the term that pulls the last layer's training gradient to its
        meta gradient.
    sampler_lr : float, default=0.1
        Step size of the gates' networks, stochastic gradient descent with momentum 0.9.
    temperature : float, default=1.0
        Of the Gumbel-softmax, which enters the gates' gradient alone. The paper names none; the
        released code takes 5.
    share_forward : bool, default=True
        See :class:`ForwardGradient`.

    Attributes
    ----------
    layer_names : tuple of str
        The gated tensors and those always on, from the bottom to the top, as in
        ``problem.network.parameters``; empty before the first call.
    samplers : torch.nn.ModuleList of GradientSampler
        The gates' networks, built at the first call.

    Raises
    ------
    ValueError
        At construction, if a parameter is out of its range; at the first call, if ``n_active``
        is larger than the number of layers in ``layer_names``.

    Notes
    -----
    Gates have straight-through gradients. In the virtual step, an open gate stands before its
    layer's gradient as r and a closed one as 1 - r, so that the meta objective's derivative by it
    is :math:`\mp \alpha \langle v_l, \nabla_l L \rangle`. For a closed gate below the lowest
    active layer :math:`v_l` is not known, and it learns from the second term alone.

    A meta model whose virtual step is the identity (``identity_step``: Learning to Reweight) has
    no training gradient. The gates' networks see that of equal weights 1/n instead, in their input
    and in their gradient; it costs a backward pass down to the lowest gated layer. The third term
    keeps the true one, nought.

    Where the paper and its released code differ, this is the paper's: the second term counts all
    gates (released: the last one), gradients are averaged over all axes but the first (summed,
    then standardised), the gates' networks have one hidden layer (two), and the third term
    compares these averages for the classifier's weight (row means and deviations of 15 tensors).

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
        """Meta gradient of ``problem``, and one step of the gates' networks."""
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
        """Share of the steps since the last report in which each layer was active.

        Returns
        -------
        report : dict
            ``{"layer_usage": [...]}``, one number in [0, 1] per name in ``layer_names``; all 0
            if there was no step.
        """
        usage = [n_on / max(self._n_steps, 1) for n_on in self._n_on]
        self._forget_usage()
        return {"layer_usage": usage}

    def _forget_usage(self) -> None:
        self._n_steps, self._n_on = 0, [0] * len(self.layer_names)

    def prepare(self, parameters: dict[str, Tensor]) -> None:
        """Make a sampler for each gated layer, and their optimiser; else done at the first call.

        Parameters
        ----------
        parameters : dict of str to Tensor
            Those of the network that is going to be trained.
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
        """Training gradient at w; under an identity step that of equal weights, gated layers'."""
        gated = None
        if problem.meta_model.identity_step:
            if not self.samplers:
                return {}
            guidance = torch.full_like(guidance, 1 / len(guidance))
            gated = self.layer_names[: len(self.samplers)]
        loss = problem.meta_model.training_loss(logits, guidance, outputs)
        return training_slopes(problem, loss, self.share_forward, gated)

    def _draw_gates(self, parameters: dict[str, Tensor], slopes: dict[str, Tensor]) -> Tensor:
        """Gates r of 0 or 1, shape (n_gated,), with the graph to the samplers alone."""
        if not self.samplers:
            return torch.zeros(0)
        logits = []
        for sampler, name in zip(self.samplers, self.layer_names, strict=False):
            slope = slopes.get(name)
            pooled = _pool(torch.zeros_like(parameters[name]) if slope is None else slope)
            logits.append(sampler(pooled.detach()))
        return F.gumbel_softmax(torch.stack(logits), self.temperature, hard=True)[:, 0]

    def _count(self, gates: Tensor) -> list[bool]:
        """Which of the layers are on; the one transfer from the device."""
        is_on = [gate > 0.5 for gate in gates.tolist()]
        is_on += [True] * (len(self.layer_names) - len(is_on))
        self._n_steps += 1
        self._n_on = [n + on for n, on in zip(self._n_on, is_on, strict=True)]
        return is_on

    def _leaves(self, is_on: list[bool]) -> set[str]:
        """Layers whose meta gradient is asked for: those from the lowest active one upward."""
        leaves = set(self.layer_names[is_on.index(True) :]) if any(is_on) else set()
        return leaves | {self._matched} if self.match_weight else leaves

    def _learn(self, gates: Tensor, meta_products: dict[str, Tensor], lr: float) -> None:
        """One step of the samplers along the total loss, given <v, grad L> where it is known."""
        if self._optimizer is None:
            return
        zero = gates.new_zeros(())
        # An open gate stands in the virtual step as r, a closed one as 1 - r.
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
        """Tangents alpha v' - lambda_2 u, where u is dL_g by the training gradient."""
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
    """Mean over all axes but the first; tensors of one axis as they are."""
    return slope.flatten(1).mean(dim=1) if slope.ndim > 1 else slope.reshape(-1)


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0


def _not_negative(name: str, value: Any) -> Any:
    if value < 0:
        raise ValueError(f"{name} must be 0 or more, got {value!r}.")
    return value

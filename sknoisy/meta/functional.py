"""Evaluation of a module at given parameters, in reverse or forward mode, without side effects."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..exceptions import warn_user
from ._primals import DualPass, Primals, RecordPrimals

__all__ = ["RandomState", "StatelessModule", "without_mkldnn"]

Parameters = dict[str, Tensor]


class RandomState:
    """Torch's random state at one moment, to replay the draws that followed it.

    If `device` is a CUDA device, the state of its generator is stored beside that of the CPU.
    """

    def __init__(self, device: torch.device):
        self._devices = [device] if device.type == "cuda" else []
        self._cpu = torch.get_rng_state()
        self._cuda = [torch.cuda.get_rng_state(d) for d in self._devices]

    @contextlib.contextmanager
    def replay(self) -> Iterator[None]:
        """Use this state within the context and restore the present state after it."""
        now = RandomState(self._devices[0] if self._devices else torch.device("cpu"))
        self.restore()
        try:
            yield
        finally:
            now.restore()

    def restore(self) -> None:
        """Set torch's generators to this state."""
        torch.set_rng_state(self._cpu)
        for device, state in zip(self._devices, self._cuda, strict=True):
            torch.cuda.set_rng_state(state, device)


class StatelessModule:
    """A module as a function of its parameters; its buffers are read, never written.

    Parameters
    ----------
    module : nn.Module
        Module that returns ``(features, logits)``. Every call uses its mode (train or eval).

    Attributes
    ----------
    parameters : dict of str to Tensor
        The module's own parameters that require a gradient, by name.
    """

    def __init__(self, module: nn.Module):
        self.module = module
        self.parameters: Parameters = {
            name: p for name, p in module.named_parameters() if p.requires_grad
        }
        self._has_lstm = any(isinstance(m, nn.LSTM) for m in module.modules())
        self._no_forward_mode = False

    def __call__(self, parameters: Parameters, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and logits at `parameters`, with the graph to them."""
        # Cloned so that the running statistics of batch norm do not change.
        buffers = {name: b.clone() for name, b in self.module.named_buffers()}
        return functional_call(self.module, {**parameters, **buffers}, (x,))

    def own_pass(self, x: Tensor) -> tuple[Tensor, Tensor, Primals]:
        """Call the module itself, which updates buffers; return features, logits and primals."""
        with RecordPrimals() as primals:
            features, logits = self.module(x)
        return features, logits, primals.outputs

    def logits_tangent(
        self, direction: Parameters, x: Tensor, primals: Primals | None = None
    ) -> Tensor:
        """Return the directional derivative J_w z(x) v of the logits, of shape (n, n_classes).

        The result has no graph. `direction` is v: tangents of the module's parameters by name;
        those left out count as zero. Below the lowest parameter in `direction`, the pass is a
        plain forward pass without tangents. `primals` are the values that :meth:`own_pass`
        returned for the same batch, at the same parameters and random state.
        """
        if not self._no_forward_mode:
            random_state = RandomState(x.device)
            try:
                return self._forward_mode_tangent(direction, x, primals)
            except (NotImplementedError, RuntimeError) as error:
                if "forward" not in str(error).lower():
                    raise
                self._no_forward_mode = True
                inner = self.module.module if hasattr(self.module, "module") else self.module
                random_state.restore()  # the failed pass may have drawn numbers
                warn_user(
                    f"{type(inner).__name__} contains an operation without a forward-mode "
                    f"derivative ({str(error).splitlines()[0]}): the meta gradient is computed "
                    "by central differences from now on, which are not exact. To get the exact "
                    "gradient, replace the operation, for example nn.EmbeddingBag by nn.Embedding "
                    "and a sum.",
                    UserWarning,
                )
        return self._central_difference(direction, x)

    @torch.no_grad()
    def _forward_mode_tangent(
        self, direction: Parameters, x: Tensor, primals: Primals | None
    ) -> Tensor:
        _load_decompositions()
        with contextlib.ExitStack() as stack:
            # Fused attention and mkldnn's LSTM have no forward-mode derivative.
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            if self._has_lstm and x.device.type == "cpu":
                stack.enter_context(without_mkldnn())
            stack.enter_context(forward_ad.dual_level())
            dual = dict(self.parameters)
            for name, tangent in direction.items():
                dual[name] = forward_ad.make_dual(self.parameters[name].detach(), tangent)
            stack.enter_context(DualPass(primals))
            _, logits = self(dual, x)
            primal, tangent = forward_ad.unpack_dual(logits)
            return torch.zeros_like(primal) if tangent is None else tangent

    @torch.no_grad()
    def _central_difference(self, direction: Parameters, x: Tensor) -> Tensor:
        norm = torch.stack([t.norm() for t in direction.values()]).norm()
        scale = torch.stack([self.parameters[n].norm() for n in direction]).norm()
        # The cube root of the precision balances truncation against rounding.
        precision = torch.finfo(scale.dtype).eps
        step = precision ** (1 / 3) * (1 + scale) / norm.clamp(min=1e-30)
        random_state = RandomState(scale.device)
        logits = []
        for sign in (1, -1):
            moved = dict(self.parameters)
            for name, tangent in direction.items():
                moved[name] = self.parameters[name] + sign * step * tangent
            with random_state.replay():
                logits.append(self(moved, x)[1])
        return (logits[0] - logits[1]) / (2 * step)


@functools.cache
def _load_decompositions() -> None:
    """Load torch's forward-mode rules without the DeprecationWarning of ``torch.jit.script``."""
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.simplefilter("ignore", DeprecationWarning)
        forward_ad.make_dual(torch.zeros(1), torch.zeros(1))


@contextlib.contextmanager
def without_mkldnn() -> Iterator[None]:
    """Turn mkldnn off within the context.

    ``torch.backends.mkldnn.flags(enabled=False)`` does the same, but warns on machines without an
    Intel GPU.
    """
    enabled = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = enabled

"""Evaluation of a module at given parameters, in reverse or forward mode, without side effects."""

from __future__ import annotations

import contextlib
import functools
import random
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..exceptions import warn_user
from ._primals import DualPass, Primals, RecordPrimals

__all__ = ["RandomState", "StatelessModule", "draws_beyond_torch", "without_mkldnn"]

Parameters = dict[str, Tensor]


class RandomState:
    """State of the global generators at one moment, to replay the draws that followed it.

    They are torch's, of the CPU and, if `device` is a CUDA device, of that device. If `foreign` is
    True, they are also Python's ``random`` and ``numpy.random``, which take 0.1 ms.
    """

    def __init__(self, device: torch.device, foreign: bool = True):
        self.device, self.foreign = device, foreign
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        self._python = random.getstate() if foreign else None
        # A module that draws from numpy has loaded it; torch does not need it.
        self._numpy_random: Any = sys.modules.get("numpy.random") if foreign else None
        self._numpy = self._numpy_random.get_state() if self._numpy_random else None

    @contextlib.contextmanager
    def replay(self) -> Iterator[None]:
        """Use this state within the context and restore the present state after it."""
        now = RandomState(self.device, self.foreign)
        self.restore()
        try:
            yield
        finally:
            now.restore()

    def restore(self) -> None:
        """Set the generators to this state."""
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self.device)
        if self._python is not None:
            random.setstate(self._python)
        if self._numpy_random is not None:
            self._numpy_random.set_state(self._numpy)


def draws_beyond_torch(module: nn.Module) -> bool:
    """Return whether a module may draw from Python's or numpy's generator.

    The layers of torch and the networks of this library do not.
    """
    return any(
        type(part).__module__.split(".")[0] not in ("torch", __name__.split(".")[0])
        or part._forward_hooks
        or part._forward_pre_hooks
        for part in module.modules()
    )


class StatelessModule:
    """A module as a function of its parameters; its buffers are read, never written.

    Parameters
    ----------
    module : nn.Module
        Module that returns ``(features, logits)``. Every call uses its mode (train or eval).

    Attributes
    ----------
    named_parameters : dict of str to Tensor
        The module's own parameters by name.
    parameters : dict of str to Tensor
        Those of them that require a gradient at present.
    own_batch_norm : bool
        Whether batch norm computes the statistics of the batch alone, True unless set; False in a
        :class:`~sknoisy.meta.shared_batch_norm.SharedBatchNorm`.
    """

    own_batch_norm = True

    def __init__(self, module: nn.Module):
        self.module = module
        self.named_parameters = dict(module.named_parameters())
        self._foreign = draws_beyond_torch(module)
        self._has_lstm = any(isinstance(m, nn.LSTM) for m in module.modules())
        self._no_forward_mode = False

    @property
    def parameters(self) -> Parameters:
        """Return the parameters that require a gradient now; callbacks may freeze others later."""
        return {name: p for name, p in self.named_parameters.items() if p.requires_grad}

    def random_state(self, x: Tensor) -> RandomState:
        """Return the state of the generators from which a pass on `x` may draw."""
        return RandomState(x.device, self._foreign)

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

    def order_of_use(self, x: Tensor) -> list[str]:
        """Return the names of all parameters, frozen ones too, in the order of their last use.

        The order is that of the operations in a forward pass on `x` in eval mode. Parameters on
        which the logits do not depend come first.
        """
        leaves = {
            name: p.detach().requires_grad_()
            for name, p in self.named_parameters.items()
            if p.is_floating_point()
        }
        names = {id(leaf): name for name, leaf in leaves.items()}
        last = dict.fromkeys(self.named_parameters, -1)
        with _in_eval_mode(self.module), self.random_state(x).replay(), torch.enable_grad():
            _, logits = self(leaves, x)
        nodes, seen = [logits.grad_fn], set()
        while nodes:
            node = nodes.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            for below, _ in node.next_functions:
                name = names.get(id(getattr(below, "variable", None)))
                if name is None:
                    nodes.append(below)
                else:
                    last[name] = max(last[name], node._sequence_nr())
        return sorted(last, key=last.__getitem__)

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
            random_state = self.random_state(x)
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
            stack.enter_context(DualPass(primals, self.own_batch_norm))
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
        random_state = self.random_state(x)
        logits = []
        for sign in (1, -1):
            moved = dict(self.parameters)
            for name, tangent in direction.items():
                moved[name] = self.parameters[name] + sign * step * tangent
            with random_state.replay():
                logits.append(self(moved, x)[1])
        return (logits[0] - logits[1]) / (2 * step)


@contextlib.contextmanager
def _in_eval_mode(module: nn.Module) -> Iterator[None]:
    """Set a module to eval mode within the context, and restore the mode of each part."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


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

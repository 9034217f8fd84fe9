"""Build torch objects from constructor parameters."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import os
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from skorch.callbacks import LRScheduler
from torch import nn
from torch.autograd import forward_ad
from torch.nn.parameter import is_lazy
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.optim.lr_scheduler import CosineAnnealingLR

from ..exceptions import warn_user
from ..networks import MLP, MLPSettings, PreActResNet
from .scaling import channel_axis

__all__ = [
    "build_module",
    "build_scheduler",
    "check_image_size",
    "check_logits",
    "check_optimizer_params",
    "optimizer_class",
    "optimizer_settings",
    "placed",
    "random_state_of",
    "resolve_device",
    "resolve_precision",
    "seed_undecided",
    "seeded",
    "warn_of_a_shared_gpu",
]

_OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


_OWN_STREAM = tuple(b"sknoisy")

# Random states and torch's forward mode are global to the process: fits in threads take turns.
_ONE_FIT = threading.RLock()


def _recover_from_fork() -> None:
    """Undo in a forked child what the parent's other threads, which are not there, left undone."""
    global _ONE_FIT
    _ONE_FIT = threading.RLock()
    with suppress(RuntimeError):  # no thread was in forward mode
        forward_ad.exit_dual_level()
    if torch.get_num_threads() > 1:  # the child would wait for OpenMP's threads for ever
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_recover_from_fork)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators within the context and restore them after it.

    They are torch's, Python's ``random`` and ``numpy.random``: a user's module may draw from any.
    Only one thread at a time can be inside such a context.
    """
    devices = []
    if device.type == "cuda":
        devices = [torch.cuda.current_device() if device.index is None else device.index]
    with _ONE_FIT, torch.random.fork_rng(devices=devices):
        numpy_random = check_random_state(None)  # the global one
        of_python, of_numpy = random.getstate(), numpy_random.get_state()
        torch.manual_seed(seed)
        random.seed(seed)
        numpy_random.seed(seed)
        try:
            yield
        finally:
            random.setstate(of_python)
            numpy_random.set_state(of_numpy)


def random_state_of(random_state: Any) -> np.random.RandomState:
    """Return a ``RandomState``.

    None gives a new one with fresh entropy, so that a fit does not advance numpy's global one. An
    integer gives a stream of the library's own: data that the user drew with the same integer
    must not share its numbers. numpy's global generator, passed as an instance, is read once, as
    fits seed and restore it.
    """
    if random_state is None:
        return np.random.RandomState()
    if random_state is check_random_state(None):
        return np.random.RandomState(random_state.randint(np.iinfo(np.int32).max))
    if isinstance(random_state, Integral):
        seed = np.random.SeedSequence(int(random_state), spawn_key=_OWN_STREAM)
        return np.random.RandomState(np.random.MT19937(seed))
    return check_random_state(random_state)


def seed_undecided(estimator: Any, seed: int) -> Any:
    """Set each ``random_state`` parameter that is None to the seed; return the estimator."""
    undecided = [
        name
        for name, value in estimator.get_params().items()
        if name.split("__")[-1] == "random_state" and value is None
    ]
    return estimator.set_params(**dict.fromkeys(undecided, seed))


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the torch device; "auto" is a CUDA GPU, else an Apple GPU, else the CPU.

    ValueError is raised if torch does not support the device or cannot use it on this machine.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if str(device).startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r} was requested, but torch {torch.__version__} sees no CUDA device. "
            'Pass device="auto" or "cpu", or install a CUDA build of torch.'
        )
    try:
        found = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch raises either
        reason = str(error).splitlines()[0]
        if isinstance(error, NotImplementedError):  # torch lists all backends that it has
            reason = f"torch {torch.__version__} has no such backend on this machine"
        raise ValueError(
            f'device={device!r} cannot be used: {reason}. Pass device="auto", "cpu" or "cuda".'
        ) from error
    if found.type == "meta":
        raise ValueError(
            f"device={device!r} cannot be used: its tensors hold no numbers. Pass "
            'device="auto", "cpu" or "cuda".'
        )
    return found


def resolve_precision(precision: str, device: torch.device, *, is_table: bool) -> str:
    """Return "float32" or "bfloat16"; "auto" is bfloat16 for rows other than tables on a CUDA GPU.

    The small network for tables is no faster in bfloat16. ValueError is raised if the device does
    not compute in bfloat16.
    """
    if precision == "auto":
        fits = device.type == "cuda" and not is_table and _has_bfloat16(device)
        return "bfloat16" if fits else "float32"
    if precision == "bfloat16" and not _has_bfloat16(device):
        raise ValueError(
            f"precision='bfloat16' cannot be used on the device {str(device)!r}, which does not "
            'compute in it. Pass precision="float32", or "auto", which chooses by the device.'
        )
    return precision


def _has_bfloat16(device: torch.device) -> bool:
    """Return whether the device computes in bfloat16 and torch's autocast supports it there."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if not torch.amp.is_autocast_available(device.type):
        return False
    one = torch.ones((1, 1), device=device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an old Apple GPU: autocast stays off
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return (one @ one).dtype == torch.bfloat16


def warn_of_a_shared_gpu(device: torch.device) -> None:
    """Warn if this is a worker process of ``n_jobs`` that shares the only GPU with others.

    No warning where CUDA_VISIBLE_DEVICES names one GPU, as clusters do for each worker.
    """
    is_worker = multiprocessing.parent_process() is not None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    has_its_own = len([name for name in visible if name.strip()]) == 1
    if is_worker and not has_its_own and device.type == "cuda" and torch.cuda.device_count() == 1:
        warn_user(
            "This fit runs in a worker process on the only GPU: with n_jobs > 1 the workers share "
            'its memory and slow each other down. Pass n_jobs=1, or device="cpu".',
            UserWarning,
        )


def optimizer_class(optimizer: str | Callable) -> Any:
    """Return the torch optimiser of a name; a callable is returned as it is.

    ValueError is raised if its step requires a closure, as in :class:`torch.optim.LBFGS`.
    """
    if isinstance(optimizer, str):
        return _OPTIMIZERS[optimizer]
    made = optimizer.func if isinstance(optimizer, partial) else optimizer
    if inspect.isclass(made) and issubclass(made, torch.optim.Optimizer):
        closure = inspect.signature(made.step).parameters.get("closure")
        if closure is not None and closure.default is closure.empty:
            raise ValueError(
                f"optimizer={made.__name__} requires a closure that recomputes the loss, but here "
                "the loss is computed once per batch. Pass another optimiser, such as "
                "torch.optim.SGD or Adam."
            )
    return optimizer


def optimizer_settings(optimizer: str | Callable, weight_decay: float) -> dict[str, float]:
    """Return the default arguments of an optimiser; some do not take a weight decay."""
    settings = {"weight_decay": weight_decay}
    if optimizer == "sgd":
        settings["momentum"] = 0.9
    known = inspect.signature(optimizer_class(optimizer)).parameters
    return {name: value for name, value in settings.items() if name in known}


def check_optimizer_params(optimizer: str | Callable, params: dict[str, Any] | None) -> None:
    """Check the arguments of an optimiser, before anything is trained.

    ValueError is raised if it does not take one of them, alone or in an entry of skorch's
    ``param_groups``, or if a torch optimiser refuses the values.
    """
    made, params = optimizer_class(optimizer), dict(params or {})
    groups = params.pop("param_groups", [])
    name = getattr(made, "__name__", repr(made))
    known = inspect.signature(made).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        try:
            named = {*params}.union(*(options for _, options in groups))
        except (TypeError, ValueError):
            raise ValueError(
                f"optimizer_params has param_groups={groups!r}; pass a list of pairs of a pattern "
                "of parameter names and a dict."
            ) from None
        allowed = [*known][1:]  # the first one is the parameters of the network
        unknown = sorted(map(str, named.difference(allowed)))
        if unknown:
            raise ValueError(
                f"optimizer_params has {unknown}, which {name} does not take; it takes {allowed}."
            )
    if not (inspect.isclass(made) and issubclass(made, torch.optim.Optimizer)):
        return
    for options in [params, *({**params, **options} for _, options in groups)]:
        try:
            _try_options(made, optimizer_settings(optimizer, 0.0), options)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} refuses optimizer_params={options!r}: {error}") from error


def _try_options(made: Callable, defaults: dict, options: dict[str, Any]) -> None:
    of_device = {"capturable", "foreach", "fused"}
    options = {key: value for key, value in options.items() if key not in of_device}
    if options:
        made([nn.Parameter(torch.zeros(1, 1))], **{"lr": 0.1, **defaults, **options})


def build_scheduler(lr_schedule: str | Callable, lr: float, max_epochs: int) -> list[tuple]:
    """Return the skorch callback of a learning-rate schedule in a list, empty for "constant"."""
    if lr_schedule == "constant":
        return []
    if lr_schedule == "cosine":  # down to a fiftieth, as from 0.05 to 0.001 in the papers
        policy: Any = LRScheduler(CosineAnnealingLR, T_max=max_epochs, eta_min=lr / 50)
    else:
        policy = LRScheduler(partial(_call_schedule, lr_schedule))
    return [("lr_schedule", policy)]


def _call_schedule(lr_schedule: Any, optimizer: torch.optim.Optimizer, last_epoch: int):
    """Call a user's schedule with the optimiser only; skorch also passes ``last_epoch``."""
    return lr_schedule(optimizer)


def build_module(
    module: Any,
    module_params: dict | None,
    shape: tuple[int, ...],
    n_classes: int,
    settings: MLPSettings,
) -> nn.Module:
    """Return a new module for rows of the given shape, (d,), (C, H, W) or another one.

    A class or factory is called with `module_params`; ``n_features``, ``in_channels`` and
    ``n_classes`` are filled in if they are in its signature and no ``partial`` has bound them. Of
    rows of two dimensions, (T, F), ``n_features`` is the last one; else both are the first one. An
    instance is deep-copied. None stands for an MLP with `settings` for tables, and for the small
    PreAct ResNet for images.

    ValueError is raised if `module_params` are passed with an instance, TypeError if they do not
    fit the class or factory, or if it does not return an ``nn.Module``.
    """
    params = dict(module_params or {})
    if isinstance(module, nn.Module):
        if params:
            raise ValueError(
                f"module_params={params!r} cannot be applied to an instance of "
                f"{type(module).__name__}: pass the class as module instead."
            )
        return copy.deepcopy(module)
    if module is None:
        module = MLP if len(shape) == 1 else PreActResNet
        if len(shape) == 1:
            params = {**settings._asdict(), **params}
            del params["weight_decay"]
        else:
            params = {"depth": "small", **params}
    n_features = shape[-1] if len(shape) == 2 else shape[0]
    known = {"n_features": n_features, "in_channels": shape[0], "n_classes": n_classes}
    bound = module.keywords if isinstance(module, partial) else {}
    signature = inspect.signature(module)
    named = signature.parameters.keys() - bound.keys()
    arguments = {**{k: v for k, v in known.items() if k in named}, **params}
    try:
        signature.bind(**arguments)
    except TypeError as error:
        name = getattr(module, "__name__", repr(module))
        raise TypeError(
            f"module_params={module_params!r} do not fit {name}: {error}. It takes "
            f"{list(signature.parameters)}."
        ) from error
    built = module(**arguments)
    if not isinstance(built, nn.Module):
        raise TypeError(
            f"module must give an nn.Module, got {type(built).__name__} from {module!r}."
        )
    return built


def check_image_size(shape: tuple[int, ...]) -> None:
    """Raise ValueError if images (n, H, W, C) or (n, C, H, W) are too small for PreActResNet."""
    axis = channel_axis(shape)
    height, width = shape[1:3] if axis == 3 else shape[2:4]
    least = PreActResNet.min_size
    if min(height, width) < least:
        raise ValueError(
            f"X holds images of {height} x {width} pixels, but the default network, which halves "
            f"them several times, needs {least} x {least} or more. Enlarge the images, pass them "
            "as a table, X.reshape(len(X), -1), or pass a module that takes them."
        )


@torch.no_grad()
def placed(module: nn.Module, example: torch.Tensor) -> nn.Module:
    """Return a module on the device of its rows, in float32 as they are, and in eval mode.

    The weights of 2-D convolutions become channels-last, which is faster on CPUs and GPUs. A
    convolution returns its output in the layout of its weights, so only the first one converts
    its input, and the rows can stay as they are. A module that fails on `example` in this layout
    keeps the usual one. Examples are one that calls ``view`` on a feature map, and one with group
    norm, of which torch has no tangent in this layout.
    """
    module = module.to(example.device, torch.float32).eval()
    has_convolutions = any(isinstance(part, nn.Conv2d) for part in module.modules())
    if not has_convolutions or any(is_lazy(parameter) for parameter in module.parameters()):
        return module
    convert_conv2d_weight_memory_format(module, torch.channels_last)
    try:
        with forward_ad.dual_level():
            rows = example.float()
            module(forward_ad.make_dual(rows, torch.zeros_like(rows)))
        module(example)  # a module that keeps what it has seen keeps no tangent
    except RuntimeError:
        convert_conv2d_weight_memory_format(module, torch.contiguous_format)
    return module


@torch.no_grad()
def check_logits(module: nn.Module, x: torch.Tensor, n_classes: int) -> None:
    """Check on a few rows, in eval mode, that a module returns logits of the right shape.

    TypeError is raised if it does not return a tensor. ValueError is raised if the module fails on
    the rows, if the shape differs, or if the rows look like probabilities or log-probabilities
    because they, or their exponentials, sum to 1.
    """
    module.eval()
    name = type(module).__name__
    try:
        logits = module(x)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ValueError(
            f"{name} does not take X: it got {x.dtype} of shape {tuple(x.shape)}, scaled as "
            f"standardize asks for, and failed: {str(error).splitlines()[0]}. Integers stay "
            "integers unless X is converted, X.astype(float), and each column with missing values "
            "adds one that marks them."
        ) from error
    if not isinstance(logits, torch.Tensor):
        raise TypeError(
            f"The forward of {name} must return a tensor of logits (n, {n_classes}), got "
            f"{type(logits).__name__}."
        )
    if logits.shape != (len(x), n_classes):
        raise ValueError(
            f"{name} returned shape {tuple(logits.shape)} for {len(x)} rows and {n_classes} "
            f"classes: it must return logits of shape ({len(x)}, {n_classes})."
        )
    layer = None
    if _are_probabilities(logits):
        layer = "Softmax"
    elif _are_probabilities(logits.exp()) and not torch.equal(logits[0], logits[-1]):
        layer = "LogSoftmax"  # equal rows may come from zero weights and a bias of log priors
    if layer is not None:
        raise ValueError(
            f"{name} returned {'probabilities' if layer == 'Softmax' else 'log-probabilities'}, "
            f"not logits. Take away the last {layer}: the loss and predict_proba apply it."
        )


def _are_probabilities(rows: torch.Tensor) -> bool:
    ones = torch.ones_like(rows[:, 0])
    return bool((rows >= 0).all()) and torch.allclose(rows.sum(dim=1), ones, rtol=0, atol=1e-4)

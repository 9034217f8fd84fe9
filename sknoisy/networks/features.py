"""Penultimate features and logits of any module, from one forward pass."""

from collections.abc import Iterator
from inspect import signature
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from .precision import full_precision, precision_of

__all__ = ["WithFeatures"]

_CURE = (
    "Give the module timm's methods: forward_features(x), forward_head(features, pre_logits) and "
    "get_classifier()."
)


class WithFeatures(nn.Module):
    """Wrapper of a module that returns logits; it returns penultimate features and logits.

    The penultimate features are found in one of two ways:

    - If the module has timm's methods [1]_, the features are ``forward_head(forward_features(x),
      pre_logits=True)``, and ``get_classifier()`` maps them to logits. If ``get_classifier`` is
      missing or returns no layer that takes the features, the logits are
      ``forward_head(forward_features(x))``, which calls the head twice.
    - For any other module, the features are the input of the :class:`torch.nn.Linear` that ran
      last. The first forward pass finds this layer, and later passes hook this layer only.

    Features of more than two dimensions are flattened from dimension 1. Features and logits of
    half precision, as of a module that runs in bfloat16, are returned in float32. Hooks are
    removed after each forward pass, so `module` stays as it was. Parameters are named
    ``module.<name>``, as :func:`torch.func.functional_call` expects them.

    Parameters
    ----------
    module : torch.nn.Module
        Module whose forward takes one argument and returns logits of shape
        (n_samples, n_classes). It is neither copied nor changed.

    Attributes
    ----------
    module : torch.nn.Module
        The wrapped module.

    Notes
    -----
    Timm's methods are not used if a module overrides ``forward`` but inherits these methods, or
    has forward hooks, because a call of the module may then do more than these methods. They are
    not used either if ``forward_head`` has no ``pre_logits``.

    The linear layer that ran last does not always compute the logits: in a network of
    squeeze-and-excitation blocks, which hold linear layers, the last layer may be a convolution.
    Such a module needs timm's methods.

    References
    ----------
    .. [1] Wightman. PyTorch Image Models (timm), "Feature Extraction".

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from sknoisy.networks import WithFeatures
    >>> module = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    >>> features, logits = WithFeatures(module)(torch.zeros(5, 4))
    >>> features.shape, logits.shape
    (torch.Size([5, 16]), torch.Size([5, 3]))
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module
        # The name, because the layer would be registered as a second submodule.
        self._last_linear: str | None = None
        self._stops_at_features = _takes_pre_logits(module)

    def named_modules(
        self,
        memo: set[nn.Module] | None = None,
        prefix: str = "",
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, nn.Module]]:
        """Return each submodule under one name only.

        :func:`torch.func.functional_call` replaces a parameter under each of its names. With two
        names it would replace it twice, and afterwards restore its own replacement.
        """
        return super().named_modules(memo, prefix, remove_duplicate=True)

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        """Compute penultimate features and logits.

        Parameters
        ----------
        x : what `module` takes
            Input of the module.

        Returns
        -------
        features : Tensor of shape (n_samples, n_penultimate)
            Penultimate features.
        logits : Tensor of shape (n_samples, n_classes)
            Output of the module.

        Raises
        ------
        TypeError
            If `module` does not return a tensor.
        ValueError
            If the logits are not two-dimensional, no linear layer ran, the layer of the first
            pass did not run, or features and logits differ in the number of rows.
        """
        features: Tensor | None
        with precision_of(self.module):
            if self._stops_at_features and _follows_timm(self.module):
                features, logits = self._ask(x)
            elif self._last_linear is None:
                features, logits = self._trace(x)
            else:
                features, logits = self._watch(x, self._last_linear)
        self._check_logits(logits)
        features = self._check_features(features, len(logits)).flatten(1)
        return full_precision(features), full_precision(logits)

    def last_linear(self, x: Any) -> str | None:
        """Return the name of the linear layer that runs last in a pass on `x`, None without."""
        self._trace(x)
        return self._last_linear

    def _ask(self, x: Any) -> tuple[Tensor, Tensor]:
        """Return features and logits by timm's methods."""
        module: Any = self.module
        feature_map = module.forward_features(x)
        classifier = module.get_classifier() if hasattr(module, "get_classifier") else None
        # In timm, distilled transformers return a pair, and some networks return a convolution
        # of the unpooled map.
        if isinstance(classifier, nn.Module) and not isinstance(classifier, nn.Conv2d):
            features = module.forward_head(feature_map, pre_logits=True)
            return features, classifier(features)
        # The logits come first, so that they get the random draws of the module's own forward.
        logits = module.forward_head(feature_map)
        return module.forward_head(feature_map, pre_logits=True), logits

    def _trace(self, x: Any) -> tuple[Tensor | None, Tensor]:
        """Run the module, find the linear layer that ran last and remember its name."""
        names = {layer: name for name, layer in self.module.named_modules()}
        features: Tensor | None = None
        last: str | None = None

        # Modules of other threads call it, too, even without kwargs, after it was removed.
        def record(layer: nn.Module, args: tuple, *kwargs_and_output: Any) -> None:
            nonlocal features, last
            if isinstance(layer, nn.Linear) and layer in names:
                features, last = _input(args, kwargs_and_output[0]), names[layer]

        # One global hook for one pass: hooks on the layers would switch off the fast path of
        # nn.TransformerEncoderLayer, and this pass would differ from later ones.
        with register_module_forward_hook(record, with_kwargs=True):
            logits = self.module(x)
        self._last_linear = last  # set last: a pass that raises may stop at an earlier layer
        return features, logits

    def _watch(self, x: Any, name: str) -> tuple[Tensor | None, Tensor]:
        """Run the module and keep the input of the layer called `name`."""
        features: Tensor | None = None

        def record(layer: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
            nonlocal features
            features = _input(args, kwargs)

        layer = self.module.get_submodule(name)
        with layer.register_forward_hook(record, with_kwargs=True):
            logits = self.module(x)
        return features, logits

    def _check_logits(self, logits: Any) -> None:
        """Raise unless `logits` is a tensor of two dimensions."""
        module = type(self.module).__name__
        if not isinstance(logits, Tensor):
            raise TypeError(
                f"{module} returned {type(logits).__name__}, not a tensor; its forward must "
                "return the logits alone."
            )
        if logits.ndim != 2:
            raise ValueError(
                f"{module} returned logits of shape {tuple(logits.shape)}; it must be "
                "(n_samples, n_classes)."
            )

    def _check_features(self, features: Tensor | None, n_samples: int) -> Tensor:
        """Return `features`; raise if they are missing or not one row per sample."""
        module = type(self.module).__name__
        if features is None:
            missing = "no nn.Linear ran"
            if self._last_linear is not None:
                missing = f"{self._last_linear!r} did not run in this pass"
            raise ValueError(
                f"The penultimate features of {module} were not found: {missing}. {_CURE}"
            )
        if features.ndim < 2 or len(features) != n_samples:
            raise ValueError(
                f"The penultimate features of {module} have shape {tuple(features.shape)}, but "
                f"there are {n_samples} samples, which must be dimension 0. {_CURE}"
            )
        return features


def _follows_timm(module: nn.Module) -> bool:
    """Return whether calling the module is expected to be forward_head(forward_features(x))."""
    if "forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks:
        return False

    def age(method: str) -> int | None:
        """Return the position, in the MRO, of the class that defines `method`."""
        classes = enumerate(type(module).__mro__)
        return next((position for position, cls in classes if method in vars(cls)), None)

    features, head, forward = age("forward_features"), age("forward_head"), age("forward")
    if features is None or head is None or forward is None:
        return False
    return forward >= min(features, head)


def _takes_pre_logits(module: nn.Module) -> bool:
    """Return whether ``forward_head`` has the parameter ``pre_logits``."""
    forward_head = getattr(module, "forward_head", None)
    return callable(forward_head) and "pre_logits" in signature(forward_head).parameters


def _input(args: tuple, kwargs: dict) -> Tensor:
    """Return the input of a linear layer, passed by position or by name."""
    return args[0] if args else kwargs["input"]

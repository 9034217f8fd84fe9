"""Penultimate features and logits of any module, from one forward pass."""

from collections.abc import Iterator
from inspect import signature
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

__all__ = ["WithFeatures"]

_CURE = (
    "Give the module timm's methods: forward_features(x), forward_head(features, pre_logits) and "
    "get_classifier()."
)


class WithFeatures(nn.Module):
    """Wrap a module that returns logits; return penultimate features and logits.

    The penultimate features are found in one of two ways.

    - A module with timm's methods [1]_ is asked: ``forward_head(forward_features(x),
      pre_logits=True)`` are the features, ``get_classifier()`` of them the logits. Where
      ``get_classifier`` is missing or gives no layer that takes the features, the logits are
      ``forward_head(forward_features(x))``, a second call of the head.
    - Of any other module the features are the input of the :class:`torch.nn.Linear` that ran
      last. The first forward pass finds that layer, later ones watch it alone.

    Features of more than two dimensions are flattened from dimension 1. A hook lives no longer
    than one forward pass, so nothing stays behind on `module`. Parameters are named
    ``module.<name>``, as :func:`torch.func.functional_call` needs them.

    Parameters
    ----------
    module : torch.nn.Module
        Its forward takes one argument and returns logits of shape (n_samples, n_classes). It is
        neither copied nor changed.

    Attributes
    ----------
    module : torch.nn.Module
        The wrapped module.

    Notes
    -----
    A module that overrides ``forward`` but inherits timm's methods, or that carries forward hooks
    of its own, is not asked: a call of it may do more than these methods. Nor is one whose
    ``forward_head`` takes no ``pre_logits``.

    The linear layer that ran last is not always the one that makes the logits: a convolution may,
    after linear layers in squeeze-and-excitation blocks. Such a module needs timm's methods.

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
        # A name and not the layer, which would be registered as a second submodule.
        self._last_linear: str | None = None
        self._stops_at_features = _takes_pre_logits(module)

    def named_modules(
        self,
        memo: set[nn.Module] | None = None,
        prefix: str = "",
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, nn.Module]]:
        """Name each submodule once, also one that is registered under several names.

        :func:`torch.func.functional_call` replaces a parameter under each name that it finds. In
        a module of two names it would do so twice, and then put back its own replacement.
        """
        return super().named_modules(memo, prefix, remove_duplicate=True)

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        """Compute penultimate features and logits.

        Parameters
        ----------
        x : what `module` takes

        Returns
        -------
        features : Tensor of shape (n_samples, n_penultimate)
        logits : Tensor of shape (n_samples, n_classes)

        Raises
        ------
        TypeError
            If `module` returns something else than a tensor.
        ValueError
            If the logits are not of two dimensions, if the linear layer did not run or there is
            none, or if features and logits differ in the number of rows.
        """
        features: Tensor | None
        if self._stops_at_features and _follows_timm(self.module):
            features, logits = self._ask(x)
        elif self._last_linear is None:
            features, logits = self._trace(x)
        else:
            features, logits = self._watch(x, self._last_linear)
        self._check_logits(logits)
        return self._check_features(features, len(logits)).flatten(1), logits

    def _ask(self, x: Any) -> tuple[Tensor, Tensor]:
        """Call timm's methods."""
        module: Any = self.module
        feature_map = module.forward_features(x)
        classifier = module.get_classifier() if hasattr(module, "get_classifier") else None
        # timm has a pair in distilled transformers, and convolutions that take the unpooled map.
        if isinstance(classifier, nn.Module) and not isinstance(classifier, nn.Conv2d):
            features = module.forward_head(feature_map, pre_logits=True)
            return features, classifier(features)
        # The logits come first, for them to see the random draws of the module's own forward.
        logits = module.forward_head(feature_map)
        return module.forward_head(feature_map, pre_logits=True), logits

    def _trace(self, x: Any) -> tuple[Tensor | None, Tensor]:
        """Run the module, find the linear layer that ran last and remember its name."""
        names = {layer: name for name, layer in self.module.named_modules()}
        features: Tensor | None = None
        last: str | None = None

        def record(layer: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
            nonlocal features, last
            if isinstance(layer, nn.Linear) and layer in names:
                features, last = _input(args, kwargs), names[layer]

        # One hook for all modules, for one pass: hooks on the layers themselves would switch off
        # the fast path of nn.TransformerEncoderLayer, and this pass would differ from later ones.
        with register_module_forward_hook(record, with_kwargs=True):
            logits = self.module(x)
        self._last_linear = last  # not before: a pass that raises may stop at an earlier layer
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
        """Return `features`, or raise where they are missing or not one row per sample."""
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
    """Whether a call is forward_head(forward_features(x)), as far as the module tells."""
    if "forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks:
        return False

    def age(method: str) -> int | None:
        """Position in the method resolution order of the class that defines `method`."""
        classes = enumerate(type(module).__mro__)
        return next((position for position, cls in classes if method in vars(cls)), None)

    features, head, forward = age("forward_features"), age("forward_head"), age("forward")
    if features is None or head is None or forward is None:
        return False
    return forward >= min(features, head)


def _takes_pre_logits(module: nn.Module) -> bool:
    """Whether ``forward_head`` can be asked to stop before the last layer."""
    forward_head = getattr(module, "forward_head", None)
    return callable(forward_head) and "pre_logits" in signature(forward_head).parameters


def _input(args: tuple, kwargs: dict) -> Tensor:
    """Return the input of a linear layer, however it was passed."""
    return args[0] if args else kwargs["input"]

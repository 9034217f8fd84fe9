"""Default networks, and a wrapper that returns the penultimate features of any module.

The default is :class:`MLP` for tables, of the size that :func:`mlp_settings` returns, and
:class:`PreActResNet` for images.

The networks have timm's methods: ``forward(x)`` is ``forward_head(forward_features(x))``,
``forward_head(features, pre_logits=True)`` returns the penultimate features, and
``get_classifier()`` returns the last layer, ``fc``.
"""

from .defaults import MLPSettings, mlp_settings
from .dropout import Dropout
from .features import WithFeatures
from .mlp import MLP
from .preact_resnet import PreActResNet
from .wide_resnet import WideResNet

__all__ = [
    "MLP",
    "Dropout",
    "MLPSettings",
    "PreActResNet",
    "WideResNet",
    "WithFeatures",
    "mlp_settings",
]

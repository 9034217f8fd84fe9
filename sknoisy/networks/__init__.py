"""Default networks, and a wrapper that gives the penultimate features of any module.

Networks for a table, for images on a CPU, and for images as the papers have them:

- :class:`~sknoisy.networks.MLP`, sized to a table by :func:`~sknoisy.networks.mlp_settings`
- :class:`~sknoisy.networks.PreActResNet`
- :class:`~sknoisy.networks.WideResNet`

All of them take timm's names for their two halves: ``forward(x)`` is
``forward_head(forward_features(x))``, ``forward_head(features, pre_logits=True)`` gives the
penultimate features and ``get_classifier()`` the last layer, ``fc``.

Features and logits in one forward pass, of these and of any other module:

- :class:`~sknoisy.networks.WithFeatures`

A layer whose derivative in forward mode is cheap:

- :class:`~sknoisy.networks.Dropout`
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

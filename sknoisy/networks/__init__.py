"""Default networks, and a wrapper that returns the penultimate features of any module.

- :class:`~sknoisy.networks.MLP`, for tables; :func:`~sknoisy.networks.mlp_settings` returns its
  size for a table
- :class:`~sknoisy.networks.PreActResNet`, for images
- :class:`~sknoisy.networks.WideResNet`, for images, as in the meta-learning papers
- :class:`~sknoisy.networks.WithFeatures`, returns features and logits of any module from one
  forward pass
- :class:`~sknoisy.networks.Dropout`, a layer with a cheap forward-mode derivative

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

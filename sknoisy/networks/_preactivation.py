"""The pre-activation residual network, shared by PreActResNet and WideResNet."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .dropout import Dropout


def _conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


class PreActBlock(nn.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU, added to a shortcut ([1]_, Fig. 4e).

    The first convolution and the shortcut have the stride. Where the shape changes, the shortcut
    is a 1x1 convolution of the first activation. Dropout is between the two convolutions ([2]_,
    section 2.4).

    References
    ----------
    .. [1] He, Zhang, Ren & Sun (2016). Identity Mappings in Deep Residual Networks.
    .. [2] Zagoruyko & Komodakis (2016). Wide Residual Networks.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, dropout: float = 0.0):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = _conv3x3(in_channels, out_channels, stride)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.dropout = Dropout(dropout)
        self.conv2 = _conv3x3(out_channels, out_channels)
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, in_channels, H, W) to (n, out_channels, H / stride, W / stride)."""
        activation = F.relu(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(activation)
        residual = self.conv1(activation)
        residual = self.conv2(self.dropout(F.relu(self.norm2(residual))))
        return residual + shortcut


class PreActNetwork(nn.Module):
    """Stem, stages of pre-activation blocks, batch norm, ReLU, global average pooling, linear.

    The stem is one 3x3 convolution of stride 1 to `stem_width` channels. The stages have the
    channels `widths` and `n_blocks` blocks each; every stage after the first halves height and
    width, and the first one has `first_stride`. Convolutions are initialised from He et al.'s
    normal distribution (2015, eq. 14: variance 2 / fan-out), and the last layer, ``fc``, as in
    :class:`torch.nn.Linear`; its input are the penultimate features.
    """

    #: Least height and width of the images: the largest network halves its input three times.
    min_size = 8

    def __init__(
        self,
        in_channels: int,
        n_classes: int,
        *,
        stem_width: int,
        widths: Sequence[int],
        n_blocks: int,
        first_stride: int = 1,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.in_channels = in_channels
        self.stem = _conv3x3(in_channels, stem_width)
        stages, channels, stride = [], stem_width, first_stride
        for width in widths:
            blocks = [PreActBlock(channels, width, stride, dropout)]
            blocks += [PreActBlock(width, width, 1, dropout) for _ in range(n_blocks - 1)]
            stages.append(nn.Sequential(*blocks))
            channels, stride = width, 2
        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute the last feature map, of shape (n_samples, widths[-1], h, w).

        ValueError is raised unless `x` has the shape (n_samples, in_channels, H, W) with H and W
        of 8 pixels or more, TypeError if it is not of a floating-point dtype.
        """
        name = type(self).__name__
        if x.ndim != 4 or x.shape[1] != self.in_channels or min(x.shape[2:]) < self.min_size:
            raise ValueError(
                f"{name} expects images of shape (n_samples, {self.in_channels}, H, W) with H "
                f"and W >= {self.min_size}, got {tuple(x.shape)}; move the channels to axis 1, "
                "set in_channels, or enlarge the images."
            )
        if not x.is_floating_point():
            raise TypeError(f"{name} expects floating-point images, got {x.dtype}; scale them.")
        return F.relu(self.norm(self.stages(self.stem(x))))

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool the output of `forward_features` and map it to logits (n_samples, n_classes).

        With `pre_logits`, return the penultimate features instead, of shape (n_samples,
        widths[-1]).
        """
        # On CUDA, the mean has a deterministic backward pass; adaptive pooling does not.
        pooled = features.mean(dim=(2, 3))
        return pooled if pre_logits else self.fc(pooled)

    def get_classifier(self) -> nn.Linear:
        """Return the last layer, `fc`."""
        return self.fc

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, (n_samples, n_classes), of images (n_samples, in_channels, H, W)."""
        return self.forward_head(self.forward_features(x))

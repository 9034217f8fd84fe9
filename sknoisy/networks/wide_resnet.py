"""Wide residual networks, as used in the meta-learning papers on CIFAR."""

from ._preactivation import PreActNetwork

__all__ = ["WideResNet"]


class WideResNet(PreActNetwork):
    """Wide residual network for images of about 32x32 pixels.

    Height and width may be any numbers from 8 on, as the last feature map is averaged.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    n_classes : int
        Number of logits.
    depth : int, default=28
        Number of convolutions outside the shortcuts, plus three: 6 n + 4, where each of the
        three stages has n blocks.
    width : int, default=10
        Factor on the 16, 32 and 64 channels of the stages.
    dropout : float, default=0.0
        Dropout between the two convolutions of a block.

    Attributes
    ----------
    fc : torch.nn.Linear
        The last layer; its input are the penultimate features.

    Raises
    ------
    ValueError
        If `depth` is not 6 n + 4 with n >= 1, `width` is below 1, or `dropout` lies outside
        [0, 1).

    See Also
    --------
    PreActResNet : Narrower networks of the same blocks.

    References
    ----------
    .. [1] Zagoruyko & Komodakis (2016). Wide Residual Networks, Table 1.

    Examples
    --------
    >>> import torch
    >>> from sknoisy.networks import WideResNet
    >>> network = WideResNet(1, 10, depth=10, width=1)
    >>> network(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int,
        n_classes: int,
        *,
        depth: int = 28,
        width: int = 10,
        dropout: float = 0.0,
    ):
        n_blocks, rest = divmod(depth - 4, 6)
        if n_blocks < 1 or rest:
            raise ValueError(f"depth={depth} is not 6 n + 4 with n >= 1; try 10, 16, 28 or 40.")
        if width < 1:
            raise ValueError(f"width={width} must be 1 or more.")
        super().__init__(
            in_channels,
            n_classes,
            stem_width=16,
            widths=(16 * width, 32 * width, 64 * width),
            n_blocks=n_blocks,
            dropout=dropout,
        )

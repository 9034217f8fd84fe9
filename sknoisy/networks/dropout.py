"""Dropout with a cheap forward-mode derivative."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._compat import is_under_functorch

__all__ = ["Dropout"]


class Dropout(nn.Module):
    """Dropout as one product with a random mask.

    It has the same distribution as :class:`torch.nn.Dropout`, whose forward-mode derivative uses
    Python decompositions and takes six times as long on small batches.

    Parameters
    ----------
    p : float, default=0.5
        Probability with which an entry is zeroed in training.

    Raises
    ------
    ValueError
        If `p` lies outside [0, 1).

    Examples
    --------
    >>> import torch
    >>> from sknoisy.networks import Dropout
    >>> Dropout(0.5).eval()(torch.ones(3))
    tensor([1., 1., 1.])
    """

    def __init__(self, p: float = 0.5):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p must be in [0, 1), got {p!r}.")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Zero entries of ``x`` in training and scale the others up."""
        if not self.training or self.p == 0:
            return x
        mask = torch.rand(x.shape, device=x.device, dtype=x.dtype).ge_(self.p).div_(1 - self.p)
        if is_under_functorch():  # vmap does not accept this kind of Function
            return x * mask
        return _MaskProduct.apply(x, mask)

    def extra_repr(self) -> str:
        """Return the probability as text for ``repr``."""
        return f"p={self.p}"


class _MaskProduct(torch.autograd.Function):
    """Product with a constant; torch's forward-mode product is slow on small tensors."""

    @staticmethod
    def forward(ctx, x, mask):
        ctx.save_for_backward(mask)
        ctx.save_for_forward(mask)
        return x * mask

    @staticmethod
    def backward(ctx, grad):
        (mask,) = ctx.saved_tensors
        return grad * mask, None

    @staticmethod
    def jvp(ctx, tangent, _):
        (mask,) = ctx.saved_tensors
        return tangent * mask

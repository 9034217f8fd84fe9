"""Extrinsic auxiliary correction (EAC): a linear classifier learns the labels and returns them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .intrinsic import balance_penalty, entropy

__all__ = ["AuxiliaryClassifier", "code_loss", "paper_loss", "write_back"]

_BATCH_SIZE = 500
_INITIAL_SCALE = 0.01
# Weights of the released loss.
_ENTROPY_WEIGHT, _BALANCE_WEIGHT = 0.4, 2200.0


def paper_loss(logits: Tensor, labels: Tensor, entropy_sign: float = 1) -> Tensor:
    r"""The loss of the paper, :math:`\mathrm{CE}(C(f), y') + H(C(f))`, with soft labels.

    Parameters
    ----------
    logits, labels : Tensor of shape (n, c)
        Of a batch.
    entropy_sign : {-1, 0, 1}, default=1
        1 adds the entropy of the predictions, weighted by 0.4, which makes them sharper; -1 takes
        it away.
    """
    loss = -(labels * logits.log_softmax(dim=1)).sum(dim=1).mean()
    return loss + entropy_sign * _ENTROPY_WEIGHT * entropy(logits)


def code_loss(logits: Tensor, labels: Tensor, entropy_sign: float = -1) -> Tensor:
    """The released loss: hard labels, and losses that take probabilities for logits.

    Parameters
    ----------
    logits, labels : Tensor of shape (n, c)
        Of a batch.
    entropy_sign : {-1, 0, 1}, default=-1
        -1 takes the entropy of the predictions away, weighted by 0.4, which makes them flatter.
    """
    outputs = logits.softmax(dim=1)
    loss = F.cross_entropy(outputs, labels.argmax(dim=1))
    loss = loss + _BALANCE_WEIGHT * balance_penalty(outputs.softmax(dim=1))
    return loss + entropy_sign * _ENTROPY_WEIGHT * entropy(outputs)


class AuxiliaryClassifier:
    """Softmax regression on the frozen features of one view, by Adam on mini-batches.

    Parameters
    ----------
    n_features, n_classes : int
        Its size.
    objective : {"paper", "code"}
        Loss, see :func:`paper_loss` and :func:`code_loss`.
    entropy_sign : int
        Sign of the entropy in it.
    lr : float
        Learning rate.
    like : Tensor
        Gives dtype and device.
    generator : torch.Generator
        Draws the start and the batches; on the CPU.
    """

    def __init__(
        self,
        n_features: int,
        n_classes: int,
        objective: str,
        entropy_sign: int,
        lr: float,
        like: Tensor,
        generator: torch.Generator,
    ):
        start = _INITIAL_SCALE * torch.randn(n_features, n_classes, generator=generator)
        self.weight = start.to(like).requires_grad_()
        self.bias = torch.zeros(n_classes).to(like).requires_grad_()
        self.loss = paper_loss if objective == "paper" else code_loss
        self.entropy_sign, self.generator = entropy_sign, generator
        self._optimizer = torch.optim.Adam(
            [self.weight, self.bias], lr=lr, betas=(0.5, 0.999), weight_decay=3e-4
        )

    def fit_epoch(self, features: Tensor, labels: Tensor) -> float:
        """One pass over the rows in random batches; returns the mean loss."""
        order = torch.randperm(len(features), generator=self.generator).to(features.device)
        batches = order.split(_BATCH_SIZE)
        total = 0.0
        for batch in batches:
            with torch.enable_grad():
                logits = features[batch] @ self.weight + self.bias
                loss = self.loss(logits, labels[batch], self.entropy_sign)
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            total += float(loss.detach())
        return total / len(batches)

    @torch.no_grad()
    def predict_proba(self, features: Tensor) -> Tensor:
        """C(F), of shape (n, c)."""
        return (features @ self.weight + self.bias).softmax(dim=1)


def write_back(
    labels: list[Tensor], outputs: list[Tensor], momentum: float, *, swap: bool
) -> list[Tensor]:
    r"""The auxiliary correction's write-back of all views.

    .. math:: Y_v \leftarrow (1 - \eta_E) Y_v + \eta_E C_{v'}(F_{v'})

    Parameters
    ----------
    labels, outputs : list of Tensor of shape (n, c)
        Of each view.
    momentum : float
        η_E in [0, 1].
    swap : bool
        Each view learns from the one before it; else from itself.
    """
    sources = [*outputs[-1:], *outputs[:-1]] if swap else outputs
    if momentum == 1:
        return [source.clone() for source in sources]
    return [
        (1 - momentum) * own + momentum * source
        for own, source in zip(labels, sources, strict=True)
    ]

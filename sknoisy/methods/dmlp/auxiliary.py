"""Extrinsic auxiliary correction (EAC): a linear classifier and its write-back (Eqs. 8 and 9)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .intrinsic import balance_penalty, entropy

__all__ = ["AuxiliaryClassifier", "paper_loss", "released_loss", "write_back"]

_BATCH_SIZE = 500
_INITIAL_SCALE = 0.01
# Weights in the released loss.
_ENTROPY_WEIGHT, _BALANCE_WEIGHT = 0.4, 2200.0


def paper_loss(logits: Tensor, labels: Tensor, entropy_sign: float = 1) -> Tensor:
    r"""Return the mean loss of the paper (Eq. 8), for logits and soft labels of shape (n, c).

    .. math:: L_c = \mathrm{CE}(C(f), y') + H(C(f))

    The entropy has the weight 0.4. An `entropy_sign` of 1 adds it, which makes the predictions
    sharper; -1 subtracts it.
    """
    loss = -(labels * logits.log_softmax(dim=1)).sum(dim=1).mean()
    return loss + entropy_sign * _ENTROPY_WEIGHT * entropy(logits)


def released_loss(logits: Tensor, labels: Tensor, entropy_sign: float = -1) -> Tensor:
    """Return the mean loss of the released code, for logits and soft labels of shape (n, c).

    It learns the most probable class of each label, and it applies the softmax to outputs that are
    probabilities already. An `entropy_sign` of -1 subtracts the entropy of the predictions,
    weighted by 0.4, which makes them flatter; 1 adds it.
    """
    outputs = logits.softmax(dim=1)
    loss = F.cross_entropy(outputs, labels.argmax(dim=1))
    loss = loss + _BALANCE_WEIGHT * balance_penalty(outputs.softmax(dim=1))
    return loss + entropy_sign * _ENTROPY_WEIGHT * entropy(outputs)


class AuxiliaryClassifier:
    """Softmax regression on the frozen features of one view, trained by Adam on mini-batches.

    The `objective` "paper" stands for :func:`paper_loss`, "released" for :func:`released_loss`.
    The tensor `like` determines dtype and device. The generator, on the CPU, draws the initial
    weights and the batches.
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
        self.loss = paper_loss if objective == "paper" else released_loss
        self.entropy_sign, self.generator = entropy_sign, generator
        self._optimizer = torch.optim.Adam(
            [self.weight, self.bias], lr=lr, betas=(0.5, 0.999), weight_decay=3e-4
        )

    def fit_epoch(self, features: Tensor, labels: Tensor) -> float:
        """Train for one epoch in random batches and return the mean loss."""
        order = torch.randperm(len(features), generator=self.generator).to(features.device)
        batches = order.split(_BATCH_SIZE)
        total = torch.zeros_like(self.bias[0])
        for batch in batches:
            with torch.enable_grad():
                logits = features[batch] @ self.weight + self.bias
                loss = self.loss(logits, labels[batch], self.entropy_sign)
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            total += loss.detach()
        return float(total) / len(batches)

    @torch.no_grad()
    def predict_proba(self, features: Tensor) -> Tensor:
        """Return C(F), of shape (n, c)."""
        return (features @ self.weight + self.bias).softmax(dim=1)


def write_back(
    labels: list[Tensor], outputs: list[Tensor], momentum: float, *, swap: bool
) -> list[Tensor]:
    r"""Return the labels of all views, each (n, c), after a write-back of the outputs (Eq. 9).

    .. math:: Y_v \leftarrow (1 - \eta_E) Y_v + \eta_E C_{v'}(F_{v'})

    `momentum` is η_E in [0, 1]. With `swap`, v' is the view before v, else v itself.
    """
    sources = [*outputs[-1:], *outputs[:-1]] if swap else outputs
    if momentum == 1:
        return [source.clone() for source in sources]
    return [
        (1 - momentum) * own + momentum * source
        for own, source in zip(labels, sources, strict=True)
    ]

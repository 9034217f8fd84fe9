"""Intrinsic primary correction (IPC): steps of the labels on the meta objective (Eqs. 6, 7)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .ridge import RidgeSystem, meta_factor
from .soft_labels import LabelState

__all__ = [
    "IntrinsicCorrection",
    "MetaChunk",
    "balance_penalty",
    "entropy",
    "label_gradient",
    "largest_singular_value",
    "paper_objective",
    "released_objective",
]

_POWER_STEPS = 30
_LEAST_RIDGE = 1e-3  # smaller ones need the directions of the eigendecomposition


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy of the softmax of each row, averaged over the rows."""
    log_proba = logits.log_softmax(dim=1)
    return -(log_proba.exp() * log_proba).sum(dim=1).mean()


def paper_objective(validation: Tensor, targets: Tensor, training: Tensor | None = None) -> Tensor:
    r"""Return the meta objective of the paper (Eq. 6).

    .. math:: L = \frac{1}{N_v} \sum_i \|\hat y_i - y_i\|^2 + H(\mathrm{softmax}(\hat y))

    Predictions and labels of the validation rows have the shape (N_v, c). `training` is ignored;
    it is there for the signature of :func:`released_objective`.
    """
    return (validation - targets).square().sum(dim=1).mean() + entropy(validation)


def released_objective(
    validation: Tensor, targets: Tensor, training: Tensor, prior_weight: float = 1.0
) -> Tensor:
    r"""Return the meta objective of the released code.

    .. math:: L = \mathrm{CE}(\hat Y_v, y_v) + \|\hat Y_v - Y_v\|_F^2
        + \mathrm{KL}(u \,\|\, m), \quad m = \mathrm{mean}(\mathrm{softmax}(F W))

    The last term balances the predictions (b, c) of the training rows; `prior_weight` is its
    weight.
    """
    cross_entropy = -(targets * validation.log_softmax(dim=1)).sum(dim=1).mean()
    squares = (validation - targets).square().sum()
    return cross_entropy + squares + prior_weight * balance_penalty(training)


def balance_penalty(logits: Tensor) -> Tensor:
    """Return KL(u || m) of the uniform distribution u and the mean softmax m; 0 iff m = u."""
    log_mean = logits.softmax(dim=1).mean(dim=0).log()
    uniform = torch.full_like(log_mean, 1 / len(log_mean))
    return F.kl_div(log_mean, uniform, reduction="sum")


class MetaChunk(NamedTuple):
    """Constants of the meta steps on one chunk of b training rows.

    M of shape (N_v, b) maps the chunk's labels to predictions of the validation rows (Eq. 5). If
    `features` (n, d) is None, it is `left`. Else it is the product of `left` (N_v, d) and the
    transposed features of the `rows` (b,), which takes less memory. `ridge` is λ. Only the
    objective "released" needs the `system`.
    """

    left: Tensor
    ridge: float
    features: Tensor | None = None
    rows: Tensor | None = None
    system: RidgeSystem | None = None

    @property
    def matrix(self) -> Tensor:
        """M, of shape (N_v, b)."""
        return self.left if self.features is None else self.left @ self.features[self.rows].T

    def predict(self, labels: Tensor) -> Tensor:
        """Return M Y, of shape (N_v, c)."""
        if self.features is None:
            return self.left @ labels
        return self.left @ (self.features[self.rows].T @ labels)

    def pull_back(self, slope: Tensor) -> Tensor:
        """Return the product of M transposed and a slope (N_v, c), of shape (b, c)."""
        products = slope.T @ self.left  # much faster than the product with M transposed
        if self.features is not None:
            products = products @ self.features[self.rows].T
        return products.T


def label_gradient(objective: str, chunk: MetaChunk, labels: Tensor, targets: Tensor) -> Tensor:
    r"""Return the gradient of the meta objective with respect to a chunk's labels φ(Y), (b, c).

    Predictions are linear in the labels, :math:`\hat Y_v = M \varphi` and :math:`F W = H \varphi`
    with a symmetric H, so the chain rule needs one product with each:

    .. math:: \frac{\partial L}{\partial \varphi} =
        M^\top \frac{\partial L}{\partial \hat Y_v} + H \frac{\partial L}{\partial (F W)}
    """
    validation = chunk.predict(labels).requires_grad_()
    if objective == "paper":
        with torch.enable_grad():
            loss = paper_objective(validation, targets)
        (slope,) = torch.autograd.grad(loss, validation)
        return chunk.pull_back(slope)
    assert chunk.system is not None
    training = chunk.system.fitted(labels, chunk.ridge).requires_grad_()
    with torch.enable_grad():
        loss = released_objective(validation, targets, training)
    slope, training_slope = torch.autograd.grad(loss, (validation, training))
    return chunk.pull_back(slope) + chunk.system.fitted(training_slope, chunk.ridge)


def largest_singular_value(matrix: Tensor) -> Tensor:
    """Return ||M||_2, a scalar, by power iteration, which approaches it from below."""
    # A random start, because a vector of ones is mapped to 0 if all rows have mean 0.
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(matrix.shape[1], generator=generator).to(matrix)
    value = torch.zeros(()).to(matrix)
    for _ in range(_POWER_STEPS):
        image = matrix @ vector
        value = image.norm() / vector.norm().clamp(min=1e-30)
        vector = matrix.T @ image
        vector = vector / vector.norm().clamp(min=1e-30)
    return value


class IntrinsicCorrection:
    """Steps on the labels of one view, chunk by chunk (Eq. 7).

    `features` (n, d) are frozen. `rows` holds the indices of each chunk, none of which contains a
    validation row; `targets` (N_v, c) are the labels of the validation rows, and `ridge` is λ.
    """

    def __init__(
        self,
        features: Tensor,
        rows: list[Tensor],
        validation: Tensor,
        targets: Tensor,
        objective: str,
        ridge: float,
    ):
        self.objective, self.targets, self.rows = objective, targets, rows
        self.chunks = [self._chunk(features, own, features[validation], ridge) for own in rows]

    def _chunk(
        self, features: Tensor, rows: Tensor, validation: Tensor, ridge: float
    ) -> MetaChunk:
        own = features[rows]
        if self.objective != "paper" or ridge < _LEAST_RIDGE:
            system = RidgeSystem(own)
            return MetaChunk(system.meta_matrix(validation, ridge), ridge, system=system)
        factor, is_factor = meta_factor(own, validation, ridge)
        if not is_factor:
            return MetaChunk(factor, ridge)
        n_rows, n_validation = len(own), len(validation)
        if n_rows * n_validation < (n_rows + n_validation) * own.shape[1]:
            return MetaChunk(factor @ own.T, ridge)
        return MetaChunk(factor, ridge, features, rows)

    def rates(self, label_lr: float | str, optimizer: str) -> list[float]:
        """Return the learning rate of each chunk.

        "auto" is 0.01 for Adam, as in the released code. For gradient descent it is nine tenths
        of the bound below which the squared error decreases monotonically, N_v / ||M||² for the
        mean over the validation rows and 1 / ||M||² for the sum.
        """
        if label_lr != "auto":
            return [float(label_lr)] * len(self.chunks)
        if optimizer == "adam":
            return [0.01] * len(self.chunks)
        n_terms = len(self.targets) if self.objective == "paper" else 1
        if not self.chunks:
            return []
        norms = torch.stack([largest_singular_value(chunk.matrix) for chunk in self.chunks])
        return [0.9 * n_terms / max(norm, 1e-12) ** 2 for norm in norms.tolist()]

    def step(self, labels: LabelState, k: int) -> None:
        """Make one step on the labels of chunk k."""
        gradient = label_gradient(self.objective, self.chunks[k], labels.of_chunk(k), self.targets)
        labels.step(k, gradient)

    @torch.no_grad()
    def validation_outputs(self, labels: LabelState) -> Tensor:
        """Return the predictions of the validation rows, averaged over the chunks."""
        outputs = [chunk.predict(labels.of_chunk(k)) for k, chunk in enumerate(self.chunks)]
        return torch.stack(outputs).mean(dim=0)

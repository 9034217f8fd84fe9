"""Intrinsic primary correction (IPC): labels under which a ridge regression is right on others."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .ridge import RidgeSystem
from .soft_labels import LabelState

__all__ = [
    "IntrinsicCorrection",
    "MetaChunk",
    "balance_penalty",
    "code_objective",
    "entropy",
    "label_gradient",
    "largest_singular_value",
    "paper_objective",
]

_POWER_STEPS = 30


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the softmax of each row."""
    log_proba = logits.log_softmax(dim=1)
    return -(log_proba.exp() * log_proba).sum(dim=1).mean()


def paper_objective(validation: Tensor, targets: Tensor, training: Tensor | None = None) -> Tensor:
    r"""The meta objective of the paper.

    .. math:: L = \frac{1}{N_v} \sum_i \|\hat y_i - y_i\|^2 + H(\mathrm{softmax}(\hat y))

    Parameters
    ----------
    validation, targets : Tensor of shape (N_v, c)
        Predictions of validation rows, and their labels.
    training : Tensor, optional
        Has no part in it.
    """
    return (validation - targets).square().sum(dim=1).mean() + entropy(validation)


def code_objective(
    validation: Tensor, targets: Tensor, training: Tensor, prior_weight: float = 1.0
) -> Tensor:
    r"""The meta objective of the released code.

    .. math:: L = \mathrm{CE}(\hat Y_v, y_v) + \|\hat Y_v - Y_v\|_F^2
        + \mathrm{KL}(u \,\|\, m), \quad m = \mathrm{mean}(\mathrm{softmax}(F W))

    Parameters
    ----------
    validation, targets : Tensor of shape (N_v, c)
        Predictions of validation rows, and their labels.
    training : Tensor of shape (b, c)
        Predictions of the training rows, for the balance of the classes.
    prior_weight : float, default=1.0
        Of the last term.
    """
    cross_entropy = -(targets * validation.log_softmax(dim=1)).sum(dim=1).mean()
    squares = (validation - targets).square().sum()
    return cross_entropy + squares + prior_weight * balance_penalty(training)


def balance_penalty(logits: Tensor) -> Tensor:
    """KL(u || m) of the uniform distribution and the mean softmax; 0 iff that is uniform."""
    log_mean = logits.softmax(dim=1).mean(dim=0).log()
    uniform = torch.full_like(log_mean, 1 / len(log_mean))
    return F.kl_div(log_mean, uniform, reduction="sum")


class MetaChunk(NamedTuple):
    """What one chunk of training rows needs for its meta steps.

    Attributes
    ----------
    matrix : Tensor of shape (N_v, b)
        M, which takes the chunk's labels to predictions of the validation rows.
    system : RidgeSystem or None
        Of the chunk's features; the objective of the released code needs it.
    ridge : float
        λ.
    """

    matrix: Tensor
    system: RidgeSystem | None
    ridge: float


def label_gradient(objective: str, chunk: MetaChunk, labels: Tensor, targets: Tensor) -> Tensor:
    r"""Gradient of the meta objective by the labels φ(Y) of a chunk.

    Predictions are linear in the labels, :math:`\hat Y_v = M \varphi` and
    :math:`F W = H \varphi` with symmetric H, so that the chain rule is one product with each:

    .. math:: \frac{\partial L}{\partial \varphi} =
        M^\top \frac{\partial L}{\partial \hat Y_v} + H \frac{\partial L}{\partial (F W)}

    Parameters
    ----------
    objective : {"paper", "code"}
        See :func:`paper_objective` and :func:`code_objective`.
    chunk : MetaChunk
        Matrices of the chunk.
    labels : Tensor of shape (b, c)
        φ(Y).
    targets : Tensor of shape (N_v, c)
        Labels of the validation rows.
    """
    validation = (chunk.matrix @ labels).requires_grad_()
    if objective == "paper":
        with torch.enable_grad():
            loss = paper_objective(validation, targets)
        (slope,) = torch.autograd.grad(loss, validation)
        return (slope.T @ chunk.matrix).T  # so much faster than with M transposed
    assert chunk.system is not None
    training = chunk.system.fitted(labels, chunk.ridge).requires_grad_()
    with torch.enable_grad():
        loss = code_objective(validation, targets, training)
    slope, training_slope = torch.autograd.grad(loss, (validation, training))
    return (slope.T @ chunk.matrix).T + chunk.system.fitted(training_slope, chunk.ridge)


def largest_singular_value(matrix: Tensor) -> float:
    """||M||_2 by power iteration, from below."""
    # A random start: that of ones is lost where the rows of the matrix have mean 0.
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(matrix.shape[1], generator=generator).to(matrix)
    value = 0.0
    for _ in range(_POWER_STEPS):
        image = matrix @ vector
        value = float(image.norm()) / max(float(vector.norm()), 1e-30)
        vector = matrix.T @ image
        vector = vector / vector.norm().clamp(min=1e-30)
    return value


class IntrinsicCorrection:
    """Steps on the labels of a view, chunk by chunk.

    Parameters
    ----------
    features : Tensor of shape (n, d)
        Frozen features.
    rows : list of Tensor
        Training rows of each chunk.
    validation : Tensor of shape (N_v,)
        Validation rows; no chunk has any of them.
    targets : Tensor of shape (N_v, c)
        Their labels.
    objective : {"paper", "code"}
        Meta objective.
    ridge : float
        λ.
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
        self.chunks = []
        for chunk_rows in rows:
            system = RidgeSystem(features[chunk_rows])
            matrix = system.meta_matrix(features[validation], ridge)
            # The paper's objective needs no predictions of training rows.
            self.chunks.append(MetaChunk(matrix, system if objective == "code" else None, ridge))

    def rates(self, label_lr: float | str, optimizer: str) -> list[float]:
        """Learning rate of each chunk.

        "auto": for Adam the published 0.01; for gradient descent nine tenths of the step below
        which the squared error falls monotonically, N_v / ||M||² for its mean over the rows.
        """
        if label_lr != "auto":
            return [float(label_lr)] * len(self.chunks)
        if optimizer == "adam":
            return [0.01] * len(self.chunks)
        n_terms = len(self.targets) if self.objective == "paper" else 1
        norms = (largest_singular_value(chunk.matrix) for chunk in self.chunks)
        return [0.9 * n_terms / max(norm, 1e-12) ** 2 for norm in norms]

    def step(self, labels: LabelState, k: int) -> None:
        """One step on the labels of chunk k."""
        gradient = label_gradient(self.objective, self.chunks[k], labels.of_chunk(k), self.targets)
        labels.step(k, gradient)

    @torch.no_grad()
    def validation_outputs(self, labels: LabelState) -> Tensor:
        """Predictions of the validation rows, the mean over the chunks."""
        outputs = [chunk.matrix @ labels.of_chunk(k) for k, chunk in enumerate(self.chunks)]
        return torch.stack(outputs).mean(dim=0)

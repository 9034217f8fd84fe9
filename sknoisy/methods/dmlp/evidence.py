"""Given labels as evidence for the true ones: transition matrix, powers, posterior."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "anchor_transition",
    "calibrate_exponent",
    "diagonally_dominant",
    "keep_shares",
    "label_evidence",
    "label_posterior",
    "learned_transition",
    "log_likelihood",
    "nearly_identity",
    "raise_to_power",
]

EXPONENTS = (1.0, 1.5, 2.0, 3.0, 4.0)
_SHARE_STEPS = 20
_PRIOR_ROWS = 2.0  # pseudo-counts of each class, which may have few anchors
_LEAST_COUNT = 0.1
_SLIPS = 0.02


def anchor_transition(anchors: list[Tensor], strictest: Tensor, given: Tensor) -> Tensor:
    """Estimate the transition matrix (c, c) from rows whose class is taken as known.

    Entry (k, j) is the share of the given label j among the anchors of class k. The mean agreement
    with the given labels is raised to that of the strictest anchors, the (row, class) pairs of
    `strictest`: where classes overlap, the other anchors disagree with labels that are right.
    `given` holds one-hot labels (n, c).
    """
    n_classes = given.shape[1]
    level = float(given[strictest[:, 0], strictest[:, 1]].mean()) if len(strictest) else 1.0
    unit = torch.eye(n_classes, dtype=given.dtype, device=given.device)
    typical = level * unit + (1 - level) / (n_classes - 1) * (1 - unit)
    counts = torch.stack([given[rows].sum(dim=0) for rows in anchors])
    weights = counts.sum(dim=1) / counts.sum().clamp(min=1)
    transition = _normalised(counts + _PRIOR_ROWS * typical)
    agreement = float((transition.diagonal() * weights).sum())
    if level <= agreement:
        return transition
    wrong = (transition * (1 - unit)) * ((1 - level) / (1 - agreement))
    return wrong + torch.diag(1 - wrong.sum(dim=1))


def learned_transition(labels: Tensor, given: Tensor) -> Tensor:
    r"""Estimate the transition matrix from purified labels, the M step of EM.

    .. math:: T_{kj} = \sum_i q_{ik} 1[\tilde y_i = j] \Big/ \sum_i q_{ik}
    """
    return _normalised(labels.T @ given + _LEAST_COUNT)


def diagonally_dominant(transition: Tensor) -> Tensor:
    """Return a matrix whose diagonal is raised to the largest entry of each row, normalised.

    Without trusted rows, only the given labels tell one class from another. A row of the matrix
    with a larger entry beside the diagonal would let two classes change places.
    """
    raised = transition.clone()
    raised.diagonal().copy_(transition.amax(dim=1))
    return _normalised(raised)


def nearly_identity(given: Tensor) -> Tensor:
    """Return the transition matrix of labels that are kept: 2 % uniform noise."""
    n_classes = given.shape[1]
    unit = torch.eye(n_classes, dtype=given.dtype, device=given.device)
    return (1 - _SLIPS) * unit + _SLIPS / n_classes


def raise_to_power(proba: Tensor, exponent: float) -> Tensor:
    """Raise probabilities to a power and normalise each row.

    The outputs of a ridge regression are shrunk towards their mean; powers above 1 undo that.
    """
    return _normalised(proba.pow(exponent))


def keep_shares(sharpened: Tensor, shares: Tensor) -> Tensor:
    """Return factors (c,) of the classes that give the sharpened probabilities these mean shares.

    The probabilities (n, c) are multiplied by the factors, then normalised. Powers favour the
    larger classes, and would empty the others if they were applied repeatedly.
    """
    factors = torch.ones_like(shares)
    for _ in range(_SHARE_STEPS):
        factors = factors * shares / _normalised(sharpened * factors).mean(dim=0)
    return factors


def label_evidence(transition: Tensor, given: Tensor, trusted: Tensor) -> Tensor:
    r"""Return the likelihood (n, c) of each row's given label, one-hot, under each class.

    .. math:: e_{ik} = T_{k \tilde y_i}, \quad e_{ik} = 1[y_i = k] \text{ for trusted rows}
    """
    return torch.where(trusted[:, None], given, given @ transition.T)


def label_posterior(proba: Tensor, evidence: Tensor) -> Tensor:
    r"""Return the probability of each class given the label, by Bayes' rule.

    .. math:: q_{ik} \propto p_{ik} e_{ik}

    Trusted rows have their given label with probability 1.
    """
    return _normalised(proba.clamp(min=1e-12) * evidence)


def log_likelihood(proba: Tensor, evidence: Tensor) -> Tensor:
    r"""Return the log-likelihood of each row's label, :math:`\log \sum_k p_{ik} e_{ik}`."""
    return (proba * evidence).sum(dim=1).clamp(min=1e-12).log()


def calibrate_exponent(proba: Tensor, evidence: Tensor) -> float:
    """Return the power that maximises the likelihood of the labels; the lowest one on ties."""
    means = [
        log_likelihood(raise_to_power(proba, exponent), evidence).mean() for exponent in EXPONENTS
    ]
    likelihoods = torch.stack(means).tolist()  # one read from the device
    return EXPONENTS[likelihoods.index(max(likelihoods))]


def _normalised(rows: Tensor) -> Tensor:
    return rows / rows.sum(dim=1, keepdim=True)

"""What a given label says of the true one: transition matrix, sharpening, posterior."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "anchor_transition",
    "calibrate_exponent",
    "keep_shares",
    "label_evidence",
    "label_posterior",
    "learned_transition",
    "log_likelihood",
    "nearly_identity",
    "sharpen",
]

EXPONENTS = (1.0, 1.5, 2.0, 3.0, 4.0)
_SHARE_STEPS = 20
_PRIOR_ROWS = 2.0  # rows that each class is lent, for it may have few anchors
_LEAST_COUNT = 0.1
_SLIPS = 0.02


def anchor_transition(anchors: list[Tensor], strictest: Tensor, given: Tensor) -> Tensor:
    r"""Transition matrix from rows whose class is taken for known.

    Entry (k, j) is the share of the given label j among the anchors of class k. The agreement of
    the strictest anchors sets the level: where classes overlap, the others disagree with their
    labels although these are right.

    Parameters
    ----------
    anchors : list of Tensor
        Rows of each class.
    strictest : Tensor of shape (n_strictest, 2)
        Rows and their classes.
    given : Tensor of shape (n, c)
        One-hot given labels.

    Returns
    -------
    transition : Tensor of shape (c, c)
        Rows sum to 1.
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
    r"""Transition matrix under purified labels, the M step of EM.

    .. math:: T_{kj} = \sum_i q_{ik} 1[\tilde y_i = j] \Big/ \sum_i q_{ik}
    """
    return _normalised(labels.T @ given + _LEAST_COUNT)


def nearly_identity(given: Tensor) -> Tensor:
    """Transition matrix of labels that are taken as they are: 2 % of slips of any kind."""
    n_classes = given.shape[1]
    unit = torch.eye(n_classes, dtype=given.dtype, device=given.device)
    return (1 - _SLIPS) * unit + _SLIPS / n_classes


def sharpen(proba: Tensor, exponent: float) -> Tensor:
    """Probabilities to a power, rescaled: a regression's outputs are shrunk to the mean."""
    return _normalised(proba.pow(exponent))


def keep_shares(sharpened: Tensor, shares: Tensor) -> Tensor:
    """Factors of the classes under which the mean of the sharpened probabilities is the given one.

    Sharpening favours the larger classes: repeated, it would empty the others.
    """
    factors = torch.ones_like(shares)
    for _ in range(_SHARE_STEPS):
        factors = factors * shares / _normalised(sharpened * factors).mean(dim=0)
    return factors


def label_evidence(transition: Tensor, given: Tensor, trusted: Tensor) -> Tensor:
    r"""How likely each class makes what is known of a row's label.

    .. math:: e_{ik} = T_{k \tilde y_i}, \quad e_{ik} = 1[y_i = k] \text{ of trusted rows}

    Parameters
    ----------
    transition : Tensor of shape (c, c)
        T.
    given : Tensor of shape (n, c)
        One-hot given labels.
    trusted : Tensor of bool of shape (n,)
        Rows whose given label is the true one.
    """
    return torch.where(trusted[:, None], given, given @ transition.T)


def label_posterior(proba: Tensor, evidence: Tensor) -> Tensor:
    r"""Probability of each class once the given label is seen.

    .. math:: q_{ik} \propto p_{ik} e_{ik}

    Trusted rows have their label for certain.
    """
    return _normalised(proba.clamp(min=1e-12) * evidence)


def log_likelihood(proba: Tensor, evidence: Tensor) -> Tensor:
    r"""How likely predictions make what is known, :math:`\log \sum_k p_{ik} e_{ik}`."""
    return (proba * evidence).sum(dim=1).clamp(min=1e-12).log()


def calibrate_exponent(proba: Tensor, evidence: Tensor) -> float:
    """The power under which the known labels are likeliest; the lowest on ties."""
    likelihoods = [
        float(log_likelihood(sharpen(proba, exponent), evidence).mean()) for exponent in EXPONENTS
    ]
    return EXPONENTS[likelihoods.index(max(likelihoods))]


def _normalised(rows: Tensor) -> Tensor:
    return rows / rows.sum(dim=1, keepdim=True)

"""Whether labels have anything to do with the rows."""

from __future__ import annotations

import math

import numpy as np
import torch

from .._engine.batches import TrainingData
from .._engine.evaluation import evaluate, rows_per_pass
from .._engine.net import DeviceNet

__all__ = ["beats_chance", "class_ranks", "predict_rows", "stratified_half"]

_Z = 2.0  # standard errors: one sample of pure noise in 44 passes


def stratified_half(codes: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Half of the rows of each class, drawn at random; of an odd number the larger half.

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        Encoded labels.
    rng : RandomState
        Source of the draw.

    Returns
    -------
    half : ndarray of shape (n,), bool
    """
    return class_ranks(codes, rng) % 2 == 0


def class_ranks(codes: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Numbers 0, 1, ... of the rows of each class, in random order.

    Parameters
    ----------
    codes : ndarray of shape (n,), int
        Encoded labels.
    rng : RandomState
        Source of the draw.

    Returns
    -------
    ranks : ndarray of shape (n,), int64
    """
    order = rng.permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    first = np.r_[0, np.bincount(codes).cumsum()[:-1]]
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(codes)) - first[codes[order]]
    return ranks


def beats_chance(given: np.ndarray, predicted: np.ndarray) -> bool:
    """Whether predictions of rows that were held out agree with their labels beyond chance.

    Cohen's kappa is compared with two of the standard errors that it has where the two are
    independent (J. Fleiss, J. Cohen and B. Everitt, Psychological Bulletin 72, 1969).

    Parameters
    ----------
    given, predicted : ndarray of shape (n,), int
        Labels.

    Returns
    -------
    beats : bool
        False, too, where all labels or all predictions are the same.
    """
    n_classes = 1 + max(given.max(), predicted.max())
    counts = [np.bincount(labels, minlength=n_classes) for labels in (given, predicted)]
    shares = np.array(counts) / len(given)
    if shares.max() == 1:
        return False
    by_class = np.prod(shares, axis=0)
    by_chance = by_class.sum()
    variance = by_chance + by_chance**2 - by_class @ shares.sum(axis=0)
    # Kappa and its error have the same denominator, 1 - by_chance.
    excess = np.mean(given == predicted) - by_chance
    return bool(excess > _Z * math.sqrt(variance / len(given)))


def predict_rows(net: DeviceNet, data: TrainingData, rows: torch.Tensor) -> np.ndarray:
    """Classes that a net predicts for some rows of its data.

    Parameters
    ----------
    net : DeviceNet
        Fitted.
    data : TrainingData
        Its rows.
    rows : Tensor of shape (m,), int64
        Which.

    Returns
    -------
    predicted : ndarray of shape (m,), int64
    """
    batches = evaluate(net, data, rows, rows_per_pass(net))
    return torch.cat([logits.argmax(dim=1) for _, logits, _ in batches]).cpu().numpy()

"""Whether a network does better once rows or labels are cleaned, by rows that were left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from .._engine.batches import TrainingData
from .._engine.construction import seeded
from .._engine.evaluation import evaluate, rows_per_pass
from .._engine.net import DeviceNet

__all__ = [
    "MAX_ROWS",
    "Verdict",
    "beats_chance",
    "class_ranks",
    "learn_and_predict",
    "predict_rows",
    "rehearse",
    "stratified_half",
]

MAX_ROWS = 2000  # of more rows the cost, a few times that of cleaning, buys little

_Z = 2.0  # standard errors: one sample of pure noise in 44 passes


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


def learn_and_predict(
    build: Callable[[np.random.RandomState, list], DeviceNet],
    data: TrainingData,
    rows: np.ndarray,
    held: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Train a net on some rows of its data and predict others.

    Parameters
    ----------
    build : callable
        ``build(random_state, callbacks)`` makes the net.
    data : TrainingData
        All rows.
    rows, held : ndarray of int
        Rows to learn, and rows to predict.
    seed : int
        Two nets of the same seed begin with the same weights.

    Returns
    -------
    predicted : ndarray of shape (n_held,), int64

    Raises
    ------
    KeyboardInterrupt
        If the training was interrupted.
    """
    part = data.only(torch.as_tensor(rows, device=data.device))
    part.generator = torch.Generator(data.device).manual_seed(seed)  # data go on as they were
    with seeded(seed, data.device):
        net = build(np.random.RandomState(seed), []).fit(part)
    if net.interrupted_:
        raise KeyboardInterrupt
    return predict_rows(net, data, torch.as_tensor(held, device=data.device))


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


class Verdict(NamedTuple):
    """What cleaning does to the predictions of rows that were left out.

    Attributes
    ----------
    gain : float
        Share of the given labels that are predicted after cleaning, less that without.
    error : float
        Its standard error, over the rows.
    """

    gain: float
    error: float

    @property
    def is_worse(self) -> bool:
        """Whether more than a standard error is lost."""
        return self.gain < -self.error


def rehearse(
    given: np.ndarray,
    n_folds: int,
    rng: np.random.RandomState,
    clean: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]],
    predict: Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray],
) -> Verdict | None:
    """Clean all folds but one, learn them with and without that, and predict the one left out.

    Given labels, wrong as some of them are, judge both networks alike, if cleaning has not seen
    them. Cleaned rows that were seen with all others predict these better than they should.

    Parameters
    ----------
    given : ndarray of shape (n,), int
        Encoded given labels.
    n_folds : int
        Parts of the rows of each class. A class of fewer rows is never left out.
    rng : RandomState
        Draws the folds and the seeds.
    clean : callable
        ``clean(rows, seed)`` gives the rows that are left of these, and their labels.
    predict : callable
        ``predict(rows, labels, held, seed)``: classes of the held rows, by a network that learned
        the others.

    Returns
    -------
    verdict : Verdict or None
        None if no row can be left out.
    """
    fold = class_ranks(given, rng) % n_folds
    fold[np.bincount(given)[given] < n_folds] = -1
    gains = []
    for k in range(n_folds):
        train, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        seed = int(rng.randint(np.iinfo(np.int32).max))
        if not len(held):
            continue
        rows, labels = clean(train, seed)
        gain = np.zeros(len(held))
        if not (np.array_equal(rows, train) and np.array_equal(labels, given[train])):
            gain += predict(rows, labels, held, seed) == given[held]
            gain -= predict(train, given[train], held, seed) == given[held]
        gains.append(gain)
    if not gains:
        return None
    gain = np.concatenate(gains)
    return Verdict(float(gain.mean()), float(gain.std()) / math.sqrt(len(gain)))


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

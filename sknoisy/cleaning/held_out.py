"""Whether a network does better once rows or labels are cleaned, by rows that were left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from .._engine.batches import TrainingData
from .._engine.construction import seeded
from .._engine.net import DeviceNet
from .chance import class_ranks, predict_rows

__all__ = ["MAX_ROWS", "Verdict", "learn_and_predict", "rehearse"]

MAX_ROWS = 2000  # of more rows the cost, a few times that of cleaning, buys little

Labels = np.ndarray
Rows = np.ndarray


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
    given: Labels,
    n_folds: int,
    rng: np.random.RandomState,
    clean: Callable[[Rows, int], tuple[Rows, Labels]],
    predict: Callable[[Rows, Labels, Rows, int], Labels],
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


def learn_and_predict(
    build: Callable[[np.random.RandomState, list], DeviceNet],
    data: TrainingData,
    rows: Rows,
    held: Rows,
    seed: int,
) -> Labels:
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

"""The held-out judgement: the effect of cleaning on the predictions of held-out labels.

:func:`rehearse` compares the predictions with and without cleaning; :func:`beats_chance` tests
whether labels can be predicted from X at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from .._engine.batches import TrainingData
from .._engine.construction import seeded
from .._engine.evaluation import evaluate, rows_per_pass
from .._engine.folds import draw_folds, standard_error
from .._engine.net import DeviceNet
from .._engine.stopping import Stopped, part_of_fit

__all__ = [
    "MAX_ROWS",
    "Verdict",
    "beats_chance",
    "learn_and_predict",
    "predict_rows",
    "rehearse",
]

MAX_ROWS = 2000  # for more rows the judgement costs a few times the cleaning, and gains little

_Z = 2.0  # standard errors: one in 44 samples of pure noise passes the test


def learn_and_predict(
    build: Callable[[np.random.RandomState, list], DeviceNet],
    data: TrainingData,
    rows: np.ndarray,
    held: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Train a net on some rows and return the encoded labels that it predicts for others.

    `rows` and `held` are indices of the data; ``build(random_state, callbacks)`` returns an
    untrained net. The seed determines the initial weights, the batches and the augmentation.
    Raises Stopped, a KeyboardInterrupt, if the training was interrupted.
    """
    part = data.only(torch.as_tensor(rows, device=data.device))
    # A generator of its own, so that the one of data is not advanced.
    part.generator = torch.Generator(data.device).manual_seed(seed)
    with seeded(seed, data.device):
        net = build(np.random.RandomState(seed), []).fit(part)
    if net.interrupted_:
        raise Stopped
    return predict_rows(net, data, torch.as_tensor(held, device=data.device))


def predict_rows(net: DeviceNet, data: TrainingData, rows: torch.Tensor) -> np.ndarray:
    """Return the encoded labels (m,) that a net predicts for the rows of these indices (m,)."""
    labels, n_done = torch.empty(len(rows), dtype=torch.int64, device=rows.device), 0
    for _, logits, _ in evaluate(net, data, rows, rows_per_pass(net)):
        # Parts to be joined would scatter the free memory, as in StepValues.
        labels[n_done : n_done + len(logits)] = logits.argmax(dim=1)
        n_done += len(logits)
    return labels.cpu().numpy()


class Verdict(NamedTuple):
    """Effect of cleaning on the predictions of held-out rows.

    The gain is the share of the held-out given labels that are predicted after cleaning, minus the
    share without cleaning; the error is its standard error over the rows.
    """

    gain: float
    error: float

    @property
    def is_worse(self) -> bool:
        """Whether the gain is negative by more than a standard error."""
        return self.gain < -self.error


def rehearse(
    given: np.ndarray,
    n_folds: int,
    rng: np.random.RandomState,
    clean: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]],
    predict: Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray],
    groups: np.ndarray | None = None,
) -> Verdict | None:
    """Clean all folds but one, train with and without cleaning, and predict the held-out fold.

    Wrong given labels affect both networks alike, as long as the cleaner has not seen the held-out
    rows. A cleaner that has seen them leaks their labels into the other rows.

    ``clean(rows, seed)`` returns the indices of the rows that are kept, and their labels.
    ``predict(rows, labels, held, seed)`` returns the classes of the held-out rows, predicted by a
    network that has learned these rows and labels. The folds are stratified by class; a class with
    fewer rows than folds is never held out. With the codes of `groups`, the folds are those of
    :func:`draw_folds`. The result is None if no row can be held out.
    """
    fold = draw_folds(given, min(n_folds, len(given)), rng, groups)
    if groups is None:
        fold[np.bincount(given)[given] < n_folds] = -1
    gains, judged = [], []
    for k in range(fold.max() + 1):
        train, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        seed = int(rng.randint(np.iinfo(np.int32).max))
        if not len(held):
            continue
        gain = np.zeros(len(held))
        with part_of_fit(f"fold {k + 1} of {fold.max() + 1}"):
            rows, labels = clean(train, seed)
            if not (np.array_equal(rows, train) and np.array_equal(labels, given[train])):
                gain += predict(rows, labels, held, seed) == given[held]
                gain -= predict(train, given[train], held, seed) == given[held]
        gains.append(gain)
        judged.append(held)
    if not gains:
        return None
    gain = np.concatenate(gains)
    of_judged = None if groups is None else groups[np.concatenate(judged)]
    return Verdict(float(gain.mean()), standard_error(gain, of_judged))


def beats_chance(given: np.ndarray, predicted: np.ndarray) -> bool:
    """Return whether predictions of held-out labels are better than chance.

    Cohen's kappa is compared with twice its standard error under independence (J. Fleiss, J. Cohen
    and B. Everitt, Psychological Bulletin 72, 1969). The result is also False if all labels or all
    predictions are equal.
    """
    n_classes = 1 + max(given.max(), predicted.max())
    counts = [np.bincount(labels, minlength=n_classes) for labels in (given, predicted)]
    shares = np.array(counts) / len(given)
    if shares.max() == 1:
        return False
    by_class = np.prod(shares, axis=0)
    by_chance = by_class.sum()
    variance = by_chance + by_chance**2 - by_class @ shares.sum(axis=0)
    # The common denominator of kappa and its standard error, 1 - by_chance, cancels.
    excess = np.mean(given == predicted) - by_chance
    return bool(excess > _Z * math.sqrt(variance / len(given)))

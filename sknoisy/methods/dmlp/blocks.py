"""Purification of many rows, one block after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from torch import Tensor

from ..._engine.heap import return_freed_memory
from ..._engine.indexing import take_rows
from ..._engine.stopping import cut_short, part_of_fit
from ..._engine.streams import Stream
from .evidence import label_posterior
from .frozen_features import check_features, split_views
from .judged_rounds import PurificationResult, carry_out
from .kernel_features import KernelFeatures
from .soft_labels import one_hot
from .state import LabelledViews, PurificationSettings

__all__ = ["FrozenRows", "PurifiedBlocks", "purify_blocks", "split_blocks"]

_BLOCK_ROWS = 8192  # by default, features and decomposition of a row take 8 kilobytes


class FrozenRows:
    """Rows whose frozen features are computed when they are asked for.

    Parameters
    ----------
    transformer : transformer
        The fitted representation.
    X : Stream or any other X
        Rows.
    n_views : int
        Number of views.
    device : torch.device
        Device of features and labels.
    given : ndarray of int64 of shape (n,)
        Encoded labels.
    trusted : ndarray of bool of shape (n,)
        Trust mask.
    groups : ndarray of int64 of shape (n,) or None
        Codes of groups of rows.
    """

    def __init__(
        self,
        transformer: Any,
        X: Any,
        n_views: int,
        device: torch.device,
        given: np.ndarray,
        trusted: np.ndarray,
        groups: np.ndarray | None,
    ):
        self.transformer, self.X, self.n_views, self.device = transformer, X, n_views, device
        self.given, self.trusted, self.groups = given, trusted, groups
        self._n_classes = int(given.max()) + 1

    def take(self, rows: np.ndarray) -> LabelledViews:
        """Return features and labels, for ascending row numbers.

        Raises a ValueError if the features have a wrong shape or are not finite.
        """
        part = self.X[rows] if isinstance(self.X, Stream) else take_rows(self.X, rows)
        name = type(self.transformer).__name__
        features = check_features(self.transformer.transform(part), len(rows), name, rows)
        last = self.transformer
        if isinstance(last, Pipeline):
            last = last[-1]
        on_device = partial(torch.as_tensor, device=self.device)
        views = split_views(
            on_device(features), self.n_views, kernel=isinstance(last, KernelFeatures)
        )
        return LabelledViews(
            views,
            one_hot(on_device(self.given[rows]), self._n_classes, torch.float32),
            on_device(self.trusted[rows]),
            None if self.groups is None else on_device(self.groups[rows]),
        )


def split_blocks(
    X: Any,
    given: np.ndarray,
    trusted: np.ndarray,
    chunk_size: int,
    rng: np.random.RandomState,
) -> list[np.ndarray]:
    """Return the ascending row numbers of blocks of at most 8,192 rows, or of one chunk.

    Up to twice as many rows are one block. Every block has a random part of the rows of each
    class, and all trusted rows; if these are more than half a block, it has a random part of them.
    A Parquet file of several windows is divided in the order of its windows instead, whatever
    their classes are.

    Parameters
    ----------
    X : Stream or any other X
        Rows.
    given : ndarray of int64 of shape (n,)
        Encoded labels.
    trusted : ndarray of bool of shape (n,)
        Trust mask.
    chunk_size : int
        Maximum number of rows in one regression.
    rng : RandomState
        Draws the blocks.
    """
    size = max(_BLOCK_ROWS, chunk_size)
    if len(given) <= 2 * size:
        return [np.arange(len(given))]
    certain, others = np.flatnonzero(trusted), np.flatnonzero(~trusted)
    n_certain = min(len(certain), size // 2)
    n_blocks = max(-(-len(others) // (size - n_certain)), 1)
    windows = X.windows if isinstance(X, Stream) else None
    if windows is not None and len(windows) > 1:
        generator = torch.Generator().manual_seed(int(rng.randint(2**31)))
        blocks = np.array_split(windows.order(others, generator).numpy(), n_blocks)
    else:
        order = rng.permutation(others)
        order = order[np.argsort(given[order], kind="stable")]
        blocks = [order[k::n_blocks] for k in range(n_blocks)]  # all of one size
    return [np.sort(np.r_[block, rng.permutation(certain)[:n_certain]]) for block in blocks]


class PurifiedBlocks(NamedTuple):
    """Purified labels of all rows.

    `distribution` (n, c) is float64, or float32 if there are several blocks. `transition` (c, c)
    is the mean over the blocks, and `validation` are the row numbers of the validation rows of
    all blocks. `is_interrupted` tells whether Ctrl-C ended the purification.
    """

    distribution: np.ndarray
    transition: np.ndarray
    validation: np.ndarray
    is_interrupted: bool


def purify_blocks(
    first: PurificationResult,
    blocks: list[np.ndarray],
    rows: FrozenRows,
    settings: PurificationSettings,
    generator: torch.Generator,
    after_block: Callable[[], Any],
) -> PurifiedBlocks:
    """Carry out the rounds of the first block on the others, and return the labels of all rows.

    `after_block` is called after each further block. An interruption ends the blocks: every row
    that was not reached keeps its given label, whose probability comes from the transition matrix
    alone.
    """
    given, n_classes = rows.given, first.state.distribution.shape[1]
    distribution = np.empty(
        (len(given), n_classes), dtype=np.float64 if len(blocks) == 1 else np.float32
    )
    reached = np.zeros(len(given), dtype=bool)
    transitions, validation = [], []

    def keep(block: np.ndarray, found: PurificationResult) -> None:
        assert found.state.transition is not None  # every write-back sets it
        distribution[block] = found.state.distribution.cpu().numpy()
        reached[block] = True
        transitions.append(found.state.transition.cpu().double().numpy())
        validation.append(block[found.validation.cpu().numpy()])

    keep(blocks[0], first)
    with cut_short() as stop:
        for k, block in enumerate(blocks[1:], start=2):
            with part_of_fit(f"block {k} of {len(blocks)}"):
                return_freed_memory()
                keep(block, carry_out(rows.take(block), settings, first.plans, generator))
                after_block()
    transition = np.mean(transitions, axis=0)
    rest = np.flatnonzero(~reached)
    if len(rest):
        shares = torch.from_numpy(np.bincount(given, minlength=n_classes) / len(given))
        by_label = _rated(torch.from_numpy(transition), shares).numpy()
        distribution[rest] = by_label[given[rest]]
    return PurifiedBlocks(
        distribution, transition, np.unique(np.concatenate(validation)), stop.is_set
    )


def _rated(transition: Tensor, shares: Tensor) -> Tensor:
    """Return a matrix (c, c) whose row j is for given label j.

    It is the mean of the one-hot label and of its posterior under the class shares.
    """
    unit = torch.eye(len(shares), dtype=transition.dtype)
    return (unit + label_posterior(shares.expand_as(unit), transition.T)) / 2

"""Pseudo-clean rows: prediction, neighbourhood and given label agree."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Anchors", "find_anchors", "neighbourhood_votes", "pseudo_clean_rows"]

_N_NEIGHBOURS = 10
_BLOCK = 256
_ANCHOR_SHARE, _STRICT_SHARE = 0.3, 0.1
_LEAST_ANCHORS, _LEAST_STRICT = 5, 3


class Anchors(NamedTuple):
    """The rows of each class that are predicted with the highest confidence.

    `by_class` holds three tenths of the candidates of each class, by descending confidence;
    `strictest`, of shape (n_strictest, 2), the indices and classes of the most confident tenth.
    """

    by_class: list[Tensor]
    strictest: Tensor


def neighbourhood_votes(features: Tensor, given: Tensor, groups: Tensor | None = None) -> Tensor:
    """Count the given labels, one-hot (n, c), of the 10 nearest other rows, by Euclidean distance.

    With the codes of `groups` (n,), the rows of the same group are left out.
    """
    n, codes = len(features), given.argmax(dim=1)
    largest = 1 if groups is None else int(groups.bincount().max())
    k = min(_N_NEIGHBOURS, n - largest)
    ones = given.new_ones(1, 1).expand(_BLOCK, k)
    squares = features.square().sum(dim=1)
    votes = torch.zeros_like(given)
    distances = features.new_empty(min(n, _BLOCK), n)  # once: freed ones would be kept for long
    for rows in torch.arange(n, device=features.device).split(_BLOCK):
        distance = distances[: len(rows)]
        torch.addmm(squares, features[rows], features.T, alpha=-2, out=distance)
        if groups is None:
            distance[torch.arange(len(rows), device=rows.device), rows] = torch.inf
        else:
            distance[groups[rows][:, None] == groups] = torch.inf
        nearest = distance.topk(k, dim=1, largest=False).indices
        votes[rows] = votes[rows].scatter_add_(1, codes[nearest], ones[: len(rows)])
    return votes


def find_anchors(proba: Tensor, votes: Tensor | None, candidates: Tensor) -> Anchors:
    """Find the most confident rows of each class whose neighbourhood confirms the prediction.

    `proba` (n, c) are out-of-fold predictions, `votes` (n, c) the labels of the neighbours.
    Without votes, predictions need no confirmation. `candidates` is True where a row may be
    chosen. A class that no neighbourhood confirms has the rows for which it is predicted, if any.
    """
    confidence, predicted = proba.max(dim=1)
    confirmed = candidates
    if votes is not None:
        own = votes.gather(1, predicted[:, None])[:, 0]
        confirmed = candidates & (own >= votes.amax(dim=1))
    by_class, strictest = [], []
    for k in range(proba.shape[1]):
        rows = ((predicted == k) & confirmed).nonzero()[:, 0]
        if len(rows) == 0:
            rows = ((predicted == k) & candidates).nonzero()[:, 0]
        rows = rows[confidence[rows].argsort(descending=True, stable=True)]
        by_class.append(rows[: _count(_ANCHOR_SHARE, len(rows), _LEAST_ANCHORS)])
        strict = rows[: _count(_STRICT_SHARE, len(rows), _LEAST_STRICT)]
        strictest.append(torch.stack([strict, torch.full_like(strict, k)], dim=1))
    return Anchors(by_class, torch.cat(strictest))


def pseudo_clean_rows(anchors: Anchors, proba: Tensor, given: Tensor, max_rows: int) -> Tensor:
    """Return the sorted indices of the anchors whose given label is their class.

    `proba` (n, c) are out-of-fold predictions. `max_rows` is divided equally among the classes. A
    class without such an anchor is represented by the row with this given label that has the
    highest predicted probability of the class, so no given class is missing.
    """
    n_classes = proba.shape[1]
    chosen = []
    for k, rows in enumerate(anchors.by_class):
        rows = rows[given[rows] == k][: max(max_rows // n_classes, 1)]
        own = (given == k).nonzero()[:, 0]
        if len(rows) == 0 and len(own):
            rows = own[proba[own, k].argmax()][None]
        chosen.append(rows)
    return torch.cat(chosen).sort().values


def _count(share: float, n_rows: int, least: int) -> int:
    return max(min(least, n_rows), math.ceil(share * n_rows))

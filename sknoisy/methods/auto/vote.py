"""Purified labels by the vote of a forest and two networks, trained on the noisy labels."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from sklearn import config_context
from sklearn.base import ClassifierMixin, clone
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier, VotingClassifier

from ..._engine.stopping import part_of_fit
from ...cleaning.bookkeeping import keep_classes
from ...cleaning.class_sizes import separations, shrunken_classes
from ...cleaning.held_out import draw_folds, standard_error, stratified_half
from ...exceptions import ShrunkenClassWarning
from ..clid_mu import CLIDMUClassifier
from ..mild.classifier import MILDClassifier

__all__ = [
    "VOTERS",
    "Vote",
    "count_votes",
    "forests",
    "lead_of_networks",
    "networks",
    "share_of_networks",
    "vote",
]

# The networks, by the name of their method.
VOTERS = {"clid_mu": CLIDMUClassifier, "mild": MILDClassifier}

# Out of bag, a forest has not seen the row; the networks have. So the forest counts twice.
_OUT_OF_BAG = 2.0
# Weight of the given label, relative to all members: it breaks near-ties. It counts three times
# where the probabilities of its class are raised.
_GIVEN, _IF_RAISED = 0.3, 3.0
_N_FOLDS = 5  # of groups
_CLEARLY = 2.0  # standard errors
# Separation out of bag. It is 0.5 where wrong labels do not depend on X.
_SEPARATED = 0.6
# A class is rare below this part of the mean size, and is to keep this part of its rows.
_RARE, _KEPT_IF_RARE = 0.5, 0.9


class Vote(NamedTuple):
    """Result of a vote.

    Attributes
    ----------
    proba : ndarray of shape (n, n_classes)
        Probabilities of the true class; each class is the most probable one of some row.
    out_of_bag : ndarray of shape (n, n_classes)
        Probabilities by the trees of the forest that have not seen the row or, with groups, by
        forests that have not seen its group; zeros if there are none.
    """

    proba: np.ndarray
    out_of_bag: np.ndarray


def networks(seed: int, **params: Any) -> dict[str, ClassifierMixin]:
    """Return the unfitted networks that vote, with the given parameters."""
    return {name: cls(**{"random_state": seed, **params}) for name, cls in VOTERS.items()}


def forests(seed: int, n_jobs: int | None) -> VotingClassifier:
    """Return the default learner of purified labels: a random forest and randomised trees."""
    members = [
        ("forest", RandomForestClassifier(random_state=seed, n_jobs=n_jobs)),
        ("extra_trees", ExtraTreesClassifier(random_state=seed, n_jobs=n_jobs)),
    ]
    return VotingClassifier(members, voting="soft")


def vote(
    X,
    codes: np.ndarray,
    trusted: np.ndarray | None,
    weights: np.ndarray | None,
    members: dict[str, ClassifierMixin],
    seed: int,
    n_jobs: int | None,
    *,
    of_forest: Any = None,
    groups: np.ndarray | None = None,
) -> Vote:
    """Fit all members of the vote, and average their probabilities.

    With groups, the networks are fitted but do not vote: they have seen the group of each row.

    Parameters
    ----------
    X : array or sparse matrix of shape (n, d)
        Rows.
    codes : ndarray of int64 of shape (n,)
        Encoded given labels 0, ..., n_classes - 1.
    trusted : ndarray of bool of shape (n,) or None
        Rows whose given label is certain.
    weights : ndarray of shape (n,) or None
        Weights of the rows.
    members : dict of classifier
        The networks; they are fitted here.
    seed : int
        Seed of the forest that votes out of bag.
    n_jobs : int or None
        Number of processes of this forest.
    of_forest : array or sparse matrix of shape (n, d_forest) or None, default=None
        Rows as the forest takes them. None: X.
    groups : ndarray of int64 of shape (n,) or None, default=None
        Codes of groups of rows whose labels may be wrong together. A row is then judged by
        forests that have not seen its group.

    Returns
    -------
    vote : Vote
        Named tuple of ``proba`` and ``out_of_bag``.
    """
    of_forest = X if of_forest is None else of_forest
    with part_of_fit("the forest"):
        if groups is None:
            out_of_bag = _out_of_bag(of_forest, codes, weights, seed, n_jobs)
            total, of_given = _OUT_OF_BAG * out_of_bag, _GIVEN * (_OUT_OF_BAG + len(members))
        else:
            out_of_bag = _out_of_fold(of_forest, codes, weights, seed, n_jobs, groups)
            total, of_given = out_of_bag.copy(), _GIVEN
    for name, member in members.items():
        with part_of_fit(f"network {name!r}"), warnings.catch_warnings():
            # Only the classes of the vote are reported.
            warnings.simplefilter("ignore", ShrunkenClassWarning)
            member.fit(X, codes, clean_mask=trusted, sample_weight=weights)
        if groups is None:  # networks have seen the other rows of the group
            total += member.predict_proba(X)
    nobody = ~total.any(axis=1)  # no forest has left out the group
    total[nobody] = np.eye(total.shape[1])[codes[nobody]]
    sums = total.sum(axis=1)
    share = of_given / sums
    counted = np.ones(len(codes), bool) if weights is None else weights > 0
    if trusted is not None:
        counted &= ~trusted
    proba = count_votes(total / sums[:, None], out_of_bag, codes, share, counted)
    if trusted is not None:
        proba[trusted] = np.eye(proba.shape[1])[codes[trusted]]
    return Vote(keep_classes(proba, codes), out_of_bag)


def _out_of_bag(X, codes: np.ndarray, weights, seed: int, n_jobs: int | None) -> np.ndarray:
    forest = RandomForestClassifier(oob_score=True, random_state=seed, n_jobs=n_jobs)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Some inputs do not have OOB scores")
        forest.fit(X, codes, weights)
    # A row that was in every bag has no vote out of bag. Neither has a row that is alone in its
    # class: the trees that have not seen the row have not seen the class.
    out_of_bag = np.nan_to_num(forest.oob_decision_function_)
    out_of_bag[np.bincount(codes)[codes] == 1] = 0
    return out_of_bag


def _out_of_fold(
    X, codes: np.ndarray, weights, seed: int, n_jobs: int | None, groups: np.ndarray
) -> np.ndarray:
    """Return probabilities by forests that have not seen the group; zeros if there are none."""
    counted = np.arange(len(codes)) if weights is None else weights.nonzero()[0]
    of_group = np.full(groups.max() + 1, -1)
    of_group[groups[counted]] = draw_folds(
        codes[counted], _N_FOLDS, np.random.RandomState(seed), groups[counted]
    )
    fold = of_group[groups]  # rows of weight 0 follow their group
    proba = np.zeros((len(codes), codes.max() + 1))
    for k in range(fold.max() + 1):
        rows, held_out = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        given = {} if weights is None else {"sample_weight": weights[rows]}
        with config_context(enable_metadata_routing=False):  # users need not request these weights
            fitted = forests(seed, n_jobs).fit(X[rows], codes[rows], **given)
        proba[np.ix_(held_out, fitted.classes_)] = fitted.predict_proba(X[held_out])
    return proba


def count_votes(
    proba: np.ndarray,
    out_of_bag: np.ndarray,
    codes: np.ndarray,
    share: np.ndarray,
    counted: np.ndarray,
) -> np.ndarray:
    """Combine the probabilities by all members with the given labels.

    All members predict a rare class too seldom. Where a class would lose more than half of its
    rows, or a rare class more than a tenth, although these differ from the rows of other classes
    out of bag, its probabilities are raised until it keeps its size.

    Parameters
    ----------
    proba, out_of_bag : ndarray of shape (n, n_classes)
        Mean probabilities of the members, and those of the forest out of bag.
    codes : ndarray of int64 of shape (n,)
        Encoded given labels.
    share : ndarray of shape (n,)
        Weight of the given label, relative to all members.
    counted : ndarray of bool of shape (n,)
        True for the rows that make up the size of a class.

    Returns
    -------
    proba : ndarray of shape (n, n_classes)
        Probabilities of the true class.
    """
    n_classes = proba.shape[1]
    given = np.eye(n_classes)[codes]
    labels = (proba + share[:, None] * given).argmax(axis=1)
    before, after = codes[counted], labels[counted]
    is_rare = np.bincount(before, minlength=n_classes) < _RARE * len(before) / n_classes
    small = shrunken_classes(before, after, n_classes, _KEPT_IF_RARE)
    shrunken = np.union1d(shrunken_classes(before, after, n_classes), small[is_rare[small]])
    is_lost = counted & (labels != codes)
    raised = shrunken[separations(out_of_bag, codes, is_lost, shrunken) > _SEPARATED]
    share = np.where(np.isin(codes, raised), _IF_RAISED * share, share)
    for k in raised:
        proba = _raised(proba, k, codes, share, counted)
    total = proba + share[:, None] * given
    return total / total.sum(axis=1, keepdims=True)


def _raised(
    proba: np.ndarray, k: int, codes: np.ndarray, share: np.ndarray, counted: np.ndarray
) -> np.ndarray:
    """Multiply the probabilities of class k by the factor that gives it as many rows as before.

    A row with the probabilities p, the given label g and the share s becomes one of class k if

    f p_k / (1 + (f - 1) p_k) + s [g = k] >= p_j / (1 + (f - 1) p_k) + s [g = j]  for all j,

    which is solved for the factor f.
    """
    own, others = proba[:, k].clip(min=1e-12), proba.copy()
    others[:, k] = -np.inf
    best, of_given = others.max(axis=1), proba[np.arange(len(codes)), codes]
    needed = (best - share * (1 - own)) / (1 + share)
    with np.errstate(divide="ignore"):
        against = np.where(share < 1, (of_given + share * (1 - own)) / (1 - share), np.inf)
    needed = np.where(codes == k, needed, np.maximum(best, against)) / own
    order = np.sort(needed[counted]).clip(min=1)
    last = np.sum(codes[counted] == k) - 1
    # Between the last row that is to belong to the class and the next one, so that no row ties.
    following = min(order[last + 1], 2 * order[last]) if last + 1 < len(order) else order[last]
    raised = proba.copy()
    raised[:, k] *= math.sqrt(order[last] * following)
    return raised / raised.sum(axis=1, keepdims=True)


def lead_of_networks(
    X,
    codes: np.ndarray,
    weights: np.ndarray | None,
    out_of_bag: np.ndarray,
    network: ClassifierMixin,
    seed: int,
    groups: np.ndarray | None = None,
) -> float:
    """Compare network and forest on given labels that they have not seen.

    Parameters
    ----------
    X : array or sparse matrix of shape (n, d)
        Rows.
    codes : ndarray of int64 of shape (n,)
        Encoded given labels.
    weights : ndarray of shape (n,) or None
        Weights of the rows; rows of weight 0 are left out.
    out_of_bag : ndarray of shape (n, n_classes)
        Out-of-bag probabilities of the forest.
    network : classifier
        A clone is fitted to each half of the rows, and predicts the other half.
    seed : int
        Seed of the split into halves.
    groups : ndarray of int64 of shape (n,) or None, default=None
        Codes of groups that the halves do not divide.

    Returns
    -------
    lead : float
        Accuracy of the network on given labels minus that of the forest, in standard errors of
        the difference; minus infinity if a half has fewer than two classes.
    """
    rows = np.arange(len(codes)) if weights is None else weights.nonzero()[0]
    of_rows = None if groups is None else groups[rows]
    half = stratified_half(codes[rows], np.random.RandomState(seed), of_rows)
    if min(len(np.unique(codes[rows[part]])) for part in (half, ~half)) < 2:
        return -math.inf
    lead = -(out_of_bag[rows].argmax(axis=1) == codes[rows]).astype(float)
    for part in (half, ~half):
        learned, held_out = rows[part], rows[~part]
        given = {} if weights is None else {"sample_weight": weights[learned]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # this network is only a probe
            fitted = clone(network).fit(X[learned], codes[learned], **given)
        lead[~part] += fitted.predict(X[held_out]) == codes[held_out]
    error = standard_error(lead, of_rows)
    return float(lead.mean() / error) if error else math.copysign(math.inf, lead.sum() or -1)


def share_of_networks(lead: float) -> float:
    """Return the weight of the networks in predictions: 0.5 if they lead clearly, else 0.2."""
    return 0.5 if lead > _CLEARLY else 0.2

"""Labels by the vote of a forest and two networks, each of which has learned the noisy ones."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import ClassifierMixin, clone
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier, VotingClassifier

from ...cleaning.bookkeeping import keep_classes
from ...cleaning.held_out import stratified_half
from ..clid_mu import CLIDMUClassifier
from ..mild.classifier import MILDClassifier

__all__ = ["Vote", "forests", "lead_of_networks", "networks", "share_of_networks", "vote"]

# A forest has not seen the row of which it speaks out of bag; networks have.
_OUT_OF_BAG = 2.0
# Of a probability of 1: the given label decides where the others hardly do.
_GIVEN = 0.3
_CLEARLY = 2.0  # standard errors


class Vote(NamedTuple):
    """What the vote says of every row.

    Attributes
    ----------
    proba : ndarray of shape (n, n_classes)
        Probabilities of the true class; each class is the most probable one of some row.
    out_of_bag : ndarray of shape (n, n_classes)
        Those of the forest alone, of trees that have not seen the row; zeros where there are none.
    """

    proba: np.ndarray
    out_of_bag: np.ndarray


def networks(seed: int, **params: Any) -> dict[str, ClassifierMixin]:
    """The networks that vote, unfitted, with these parameters."""
    return {
        "clid_mu": CLIDMUClassifier(**{"random_state": seed, **params}),
        "mild": MILDClassifier(**{"random_state": seed, **params}),
    }


def forests(seed: int, n_jobs: int | None) -> VotingClassifier:
    """What learns the purified labels: the mean of a random forest and extremely random trees."""
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
) -> Vote:
    """Fit all that vote, and count.

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
        The networks; they are fitted.
    seed : int
        Of the forest that votes out of bag.
    n_jobs : int or None
        Its processes.

    Returns
    -------
    vote : Vote
    """
    forest = RandomForestClassifier(oob_score=True, random_state=seed, n_jobs=n_jobs)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Some inputs do not have OOB scores")
        forest.fit(X, codes, weights)
    given = np.eye(codes.max() + 1)[codes]
    # A row that was in every bag has no vote out of bag, nor has one that is alone in its class:
    # no tree that speaks of it has seen the class.
    out_of_bag = np.nan_to_num(forest.oob_decision_function_)
    out_of_bag[np.bincount(codes)[codes] == 1] = 0
    total = _OUT_OF_BAG * out_of_bag + (_OUT_OF_BAG + len(members)) * _GIVEN * given
    for member in members.values():
        member.fit(X, codes, clean_mask=trusted, sample_weight=weights)
        total += member.predict_proba(X)
    proba = total / total.sum(axis=1, keepdims=True)
    if trusted is not None:
        proba[trusted] = given[trusted]
    return Vote(keep_classes(proba, codes), out_of_bag)


def lead_of_networks(
    X,
    codes: np.ndarray,
    weights: np.ndarray | None,
    out_of_bag: np.ndarray,
    network: ClassifierMixin,
    seed: int,
) -> float:
    """How much better a network predicts given labels that it has not seen than the forest does.

    Parameters
    ----------
    X : array or sparse matrix of shape (n, d)
        Rows.
    codes : ndarray of int64 of shape (n,)
        Encoded given labels.
    weights : ndarray of shape (n,) or None
        Weights of the rows; those of weight 0 have no say.
    out_of_bag : ndarray of shape (n, n_classes)
        What the forest says of them.
    network : classifier
        Clones of it are fitted to either half of the rows, and asked about the other.
    seed : int
        Draws the halves.

    Returns
    -------
    lead : float
        Difference of the shares that are predicted, in its standard errors; minus infinity where a
        half has less than two classes.
    """
    rows = np.arange(len(codes)) if weights is None else weights.nonzero()[0]
    half = stratified_half(codes[rows], np.random.RandomState(seed))
    if min(len(np.unique(codes[rows[part]])) for part in (half, ~half)) < 2:
        return -math.inf
    lead = -(out_of_bag[rows].argmax(axis=1) == codes[rows]).astype(float)
    for part in (half, ~half):
        learned, asked = rows[part], rows[~part]
        given = {} if weights is None else {"sample_weight": weights[learned]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a network that is only a probe
            fitted = clone(network).fit(X[learned], codes[learned], **given)
        lead[~part] += fitted.predict(X[asked]) == codes[asked]
    error = lead.std() / math.sqrt(len(lead))
    return float(lead.mean() / error) if error else math.copysign(math.inf, lead.sum() or -1)


def share_of_networks(lead: float) -> float:
    """Share of the networks in predictions: half where they lead clearly, else a fifth."""
    return 0.5 if lead > _CLEARLY else 0.2

"""A classifier for noisy labels that picks a method for the data."""

from __future__ import annotations

import math
import sys
from inspect import signature
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import torch
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from ..._compat import HasMethods, StrOptions, fit_context
from ..._docs import share_docs
from ..._engine.construction import random_state_of, seed_undecided
from ..._engine.dict_parameters import DictParameters
from ..._engine.groups import check_groups
from ..._engine.imputation import Imputation, takes_nan
from ..._engine.labels import check_clean_mask, encode_labels
from ..._engine.scaling import is_image
from ..._engine.stopping import cut_short, interruptible, part_of_fit
from ..._engine.validation import check_sample_weight, check_X
from ...cleaning.bookkeeping import takes_sample_weight
from ...cleaning.class_sizes import warn_of_shrunken_classes
from ...cleaning.inner_estimator import fit_inner
from ..registry import METHODS, estimator_class
from .vote import VOTERS, forests, lead_of_networks, networks, share_of_networks, vote

__all__ = ["MethodChoice", "NoisyLabelClassifier"]

_FOR_IMAGES = "famus"
_MAX_VOTE_ROWS = 20_000


class MethodChoice(NamedTuple):
    """The method that :class:`NoisyLabelClassifier` picked, and what it estimated.

    Attributes
    ----------
    method : str
        Name of the method.
    reason : str
        Reason for the choice.
    noise_rate : float
        Estimated share of wrong labels.
    network_share : float
        Weight of the networks in the predictions. In a vote, it is 0.5 if networks do clearly
        better on the data, else 0.2, and 0 if an ``estimator`` was given. It is 1 for all other
        methods.
    """

    method: str
    reason: str
    noise_rate: float
    network_share: float


@share_docs
class NoisyLabelClassifier(ClassifierMixin, DictParameters, BaseEstimator):
    """Classifier for noisy labels that picks a method for the data.

    For tables the method is a **vote**. A random forest (out of bag) and the networks of
    :class:`CLIDMUClassifier` and :class:`MILDClassifier` predict class probabilities for every
    row. The mean of these probabilities and the given label decides the row's purified label, and
    forests learn the purified labels. The members err in different ways: a forest is stable on
    few rows and mixed columns, while networks resist noise that depends on the class. A rare class
    keeps its size, unless its rows look like those of other classes out of bag.

    The networks also enter the predictions, with a weight of 0.2. The weight is 0.5 if networks
    predict given labels that they have not seen clearly better than the forest does out of bag
    (by two standard errors). For images, and for tables of more than 20,000 rows, one network is
    trained.

    Parameters
    ----------
    method : {"auto", "vote", "clid_mu", "dmlp", "famus", "l2r", "meta_weight_net", "mild", \
            "mlc", "mlnt", "mslc", "transition_mlc"}, default="auto"
        "auto": "vote" for tables of up to 20,000 rows, "mild" for longer ones, "famus" for
        images. The other names stand for the library's classifiers, with default parameters.
    estimator : None or classifier, default=None
        Classifier that learns the purified labels of the vote; it is cloned, and then it alone
        predicts. Labels are passed to it as they are, so the keys of a ``class_weight`` are your
        labels; one that takes only 0, ..., k - 1 gets such codes. If it does not take NaN, it gets
        imputed columns. None: the mean of a random forest and of extremely randomised trees.
        Other methods than the vote accept None only.
    network_params : dict or None, default=None
        Parameters of the networks, such as ``{"max_epochs": 100}``. In a vote, both networks get
        them, and both must have them. A search takes whole dicts.
    n_jobs : int or None, default=None
        Number of processes of the forests.
    device : "auto", str or torch.device, default="auto"
        Device of the networks. "auto": a CUDA GPU, else an Apple GPU, else the CPU.
    verbose : int, default=0
        1 shows the progress of the networks and prints the choice.
    random_state : int, RandomState or None, default=None
        Seed of all draws. On a CPU, two fits with the same int give the same model.

    Attributes
    ----------
    choice_ : MethodChoice
        Named tuple of ``method``; ``reason``; ``noise_rate``, the estimated share of wrong
        labels, which is the share of given labels that differ from the purified ones; and
        ``network_share``, the weight of the networks in predictions.
    {classes_}
    purified_labels_ : ndarray of shape (n_samples,)
        Purified labels: the result of the vote, or the network's predictions. Trusted rows keep
        their given labels.
    clean_proba_ : ndarray of shape (n_samples,)
        Probability that the given label is right, by the vote or by the network; 1 for trusted
        rows.
    estimator_ : classifier
        The classifier that predicts, alone or together with the networks; its classes are those
        of ``classes_``, or 0, 1, ... if it takes no other labels.
    members_ : dict of classifier
        The networks that voted, by name; empty for other methods.
    {n_features_in_, feature_names_in_, image_shape_}

    See Also
    --------
    CLIDMUClassifier, MILDClassifier, FaMUSClassifier : Methods that it picks from.
    PurifiedClassifier : Combines a cleaner and a classifier of your choice.

    Examples
    --------
    >>> from sknoisy import NoisyLabelClassifier
    >>> from sknoisy.datasets import make_noisy_classification
    >>> X, y, truth = make_noisy_classification(600, 4, class_sep=2, rate=0.3, random_state=0)
    >>> clf = NoisyLabelClassifier(network_params={"max_epochs": 20}, random_state=0)
    >>> clf = clf.fit(X[:200], y[:200])
    >>> bool(clf.score(X[200:], truth[200:]) > 0.9)
    True
    >>> clf.choice_.method, bool(0.2 < clf.choice_.noise_rate < 0.4)
    ('vote', True)
    """

    _parameter_constraints: dict = {
        "method": [StrOptions({"auto", "vote", *METHODS})],
        "estimator": [None, HasMethods(["fit", "predict_proba"])],
        "network_params": [dict, None],
        "n_jobs": [Integral, None],
        "device": [str, torch.device],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        method: str = "auto",
        estimator: Any = None,
        network_params: dict[str, Any] | None = None,
        n_jobs: int | None = None,
        device: str | torch.device = "auto",
        verbose: int = 0,
        random_state: Any = None,
    ):
        self.method = method
        self.estimator = estimator
        self.network_params = network_params
        self.n_jobs = n_jobs
        self.device = device
        self.verbose = verbose
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)  # the networks check network_params
    @interruptible
    def fit(self, X, y, *, clean_mask=None, sample_weight=None, groups=None):
        """Pick a method and train on noisy labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or images of shape \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Training rows of any numeric dtype. NaN in tables is a missing value. A ``module`` in
            ``network_params`` takes arrays (n_samples, ...) of any shape.
        y : array-like of shape (n_samples,)
            Noisy labels; :ref:`labels` lists the containers and types.
        clean_mask : array-like of bool of shape (n_samples,) or None, default=None
            True where the label is trusted.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Non-negative weights of the rows; only their ratios count.
        groups : array-like of shape (n_samples,) or None, default=None
            Group of each row, such as a patient, if the labels of a group may be wrong together.
            Forests that have not seen the group of a row then judge it, and the networks of the
            vote, which have seen it, do not: the rows of a group would confirm their wrong labels.
            The methods "dmlp" and "mild" take groups, too.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If the input or a parameter is not valid.
        TypeError
            If ``sample_weight`` is passed and ``estimator`` does not take it, if ``groups`` are
            passed and the method does not take them, or if a network lacks one of
            ``network_params``.
        """
        X = check_X(self, X, reset=True, any_shape=self._has_own_network())
        classes, codes = encode_labels(y, X.shape[0], type(self).__name__)
        weights = check_sample_weight(sample_weight, X)
        trusted = check_clean_mask(clean_mask, codes, classes)
        group_codes = check_groups(groups, X.shape[0])
        method, reason = self._pick(X)
        self._check_estimator(method, reason, weights)
        seed = int(random_state_of(self.random_state).randint(np.iinfo(np.int32).max))
        params = {"device": self.device, "verbose": self.verbose, **(self.network_params or {})}

        self._forget()
        self._imputation: Imputation | None = None
        self._check_networks(method, reason, group_codes is not None)
        if method == "vote":
            members = networks(seed, **params)
            for member in members.values():  # before the forest is grown
                member._validate_params()
                member._check_settings()
            self._imputation = Imputation().fit(X, getattr(self, "feature_names_in_", None))
            of_trees = self._for_trees(X)
            with part_of_fit("the vote"):
                inputs = {"of_forest": of_trees, "groups": group_codes}
                proba, out_of_bag = vote(
                    X, codes, trusted, weights, members, seed, self.n_jobs, **inputs
                )
            with part_of_fit("the classifier of the purified labels"):
                purified = proba.argmax(axis=1)
                estimator = self._fit_on_purified(X, classes, purified, weights, seed)
            share = 0.0
            if self.estimator is None:
                probe = members["clid_mu"]
                share = self._share_of_networks(
                    X, codes, weights, out_of_bag, probe, seed, group_codes
                )
        else:
            share, members = 1.0, {}
            estimator = estimator_class(METHODS[method].estimator)(
                **{"random_state": seed, **params}
            )
            of_rows = {"clean_mask": trusted, "sample_weight": weights}
            if group_codes is not None:
                of_rows["groups"] = group_codes
            estimator.fit(X, classes[codes], **of_rows)
            proba = estimator.predict_proba(X)
            if trusted is not None:
                proba[trusted] = np.eye(len(classes))[codes[trusted]]
        self._note(classes, codes, proba, method, reason, share)
        if method == "vote":
            warn_of_shrunken_classes(type(self).__name__, codes, proba.argmax(axis=1), classes)
        self.members_, self.estimator_ = members, estimator
        return self

    def _has_own_network(self) -> bool:
        return (self.network_params or {}).get("module") is not None

    def _for_trees(self, X):
        """Return X as the trees take it: they take NaN, but not in sparse matrices."""
        assert self._imputation is not None
        needs_repair = scipy.sparse.issparse(X) or self._imputation.unit_ is not None
        return self._imputation.apply(X) if needs_repair else X

    def _for_estimator(self, X):
        """Return X as the estimator takes it that predicts."""
        if self._imputation is None:  # a network, which imputes itself
            return X
        if self.estimator is None:
            return self._for_trees(X)
        return X if takes_nan(self.estimator) else self._imputation.apply(X)

    def _pick(self, X) -> tuple[str, str]:
        """Return the method for X, and the reason."""
        kind = "images" if is_image(X) else "rows"
        if self.method == "vote" and X.ndim != 2:
            raise ValueError(
                f'method="vote" needs a table, since forests vote; X holds {kind} of shape '
                f'{X.shape[1:]}. Pass method="auto", or features of the {kind}.'
            )
        if self.method != "auto":
            return self.method, "it was asked for"
        if X.ndim != 2:
            return _FOR_IMAGES, "X holds images" if is_image(X) else "X is no table"
        if X.shape[0] > _MAX_VOTE_ROWS:
            return "mild", f"X is a table of more than {_MAX_VOTE_ROWS} rows"
        return "vote", f"X is a table of {X.shape[0]} rows"

    def _check_estimator(self, method: str, reason: str, weights: np.ndarray | None) -> None:
        """Raise, before anything is trained, if `estimator` cannot be used."""
        if self.estimator is None:
            return
        if method != "vote":
            raise ValueError(
                f"estimator={self.estimator!r} learns the labels of the vote, but the method here "
                f'is {method!r}, because {reason}. Pass estimator=None, or method="vote" and a '
                "table."
            )
        if weights is not None and not takes_sample_weight(self.estimator):
            raise TypeError(
                f"sample_weight was passed, but {type(self.estimator).__name__}.fit does not take "
                "it. Leave it out, or pass another estimator."
            )

    def _check_networks(self, method: str, reason: str, has_groups: bool) -> None:
        """Raise if a network of the method does not take `network_params` or the groups."""
        names = tuple(VOTERS) if method == "vote" else (method,)
        for cls in (estimator_class(METHODS[name].estimator) for name in names):
            known = cls().get_params(deep=False).keys()
            unknown = [name for name in self.network_params or {} if name not in known]
            if unknown:
                of_vote = ", a network of the vote," if method == "vote" else ""
                raise TypeError(
                    f"network_params has {unknown}, but {cls.__name__}{of_vote} has no such "
                    f"parameter. Leave it out, or set the method, which is {method!r} because "
                    f"{reason}, to one that has it."
                )
            if has_groups and method != "vote" and "groups" not in signature(cls.fit).parameters:
                raise TypeError(
                    f"groups were passed, but {cls.__name__} leaves no rows out and takes none; "
                    f"the method is {method!r} because {reason}. Leave groups out, or pass "
                    'method="mild" or "dmlp" or, for a table, "vote".'
                )

    def _fit_on_purified(self, X, classes, codes: np.ndarray, weights, seed: int) -> Any:
        X = self._for_estimator(X)
        y, given = classes[codes], {} if weights is None else {"sample_weight": weights}
        if self.estimator is None:
            # Users need not request these weights.
            with config_context(enable_metadata_routing=False):
                return forests(seed, self.n_jobs).fit(X, y, **given)
        estimator = seed_undecided(clone(self.estimator), seed)
        return fit_inner(estimator, X, y, classes, **given)[0]

    def _share_of_networks(self, X, codes, weights, out_of_bag, probe, seed: int, groups) -> float:
        """Return the weight of the networks; the smaller one if the comparison is cut short."""
        lead = -math.inf
        with cut_short() as stop, part_of_fit("the comparison of networks and forests"):
            found = lead_of_networks(X, codes, weights, out_of_bag, probe, seed, groups)
            lead = lead if stop.is_set else found
        return share_of_networks(lead)

    def _forget(self) -> None:
        """Drop the attributes of an earlier fit, so that a failed fit leaves no fitted model."""
        for name in ("estimator_", "members_"):
            self.__dict__.pop(name, None)

    def _note(self, classes, codes, proba, method: str, reason: str, share: float) -> None:
        purified = proba.argmax(axis=1)
        self.classes_ = classes
        self.purified_labels_ = classes[purified]
        self.clean_proba_ = proba[np.arange(len(codes)), codes]
        self.choice_ = MethodChoice(method, reason, float(np.mean(purified != codes)), share)
        if self.verbose:
            message = f"method={method!r}, because {reason}; about "
            message += f"{self.choice_.noise_rate:.0%} of the labels are wrong."
            tqdm.write(f"{type(self).__name__}: {message}", file=sys.stderr)

    def predict_proba(self, X) -> np.ndarray:
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like of the kind that was fitted
            Rows.

        Returns
        -------
        proba : ndarray of float64 of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            If X is not of the kind that was fitted.
        """
        check_is_fitted(self)
        X = check_X(self, X, reset=False, any_shape=self._has_own_network())
        proba = self.estimator_.predict_proba(self._for_estimator(X))
        share = self.choice_.network_share
        if not self.members_ or not share:
            return proba
        of_networks = np.mean([net.predict_proba(X) for net in self.members_.values()], axis=0)
        return (1 - share) * proba + share * of_networks

    def predict(self, X) -> np.ndarray:
        """Predict the most probable labels.

        Parameters
        ----------
        X : array-like of the kind that was fitted
            Rows.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Labels of the type that was fitted.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            If X is not of the kind that was fitted.
        """
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(axis=1)]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        return tags

"""A classifier for noisy labels that picks a method for the data."""

from __future__ import annotations

import os
import sys
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from ..._compat import HasMethods, StrOptions, fit_context
from ..._docs import share_docs
from ..._engine.construction import random_state_of, seed_undecided
from ..._engine.dict_parameters import DictParameters
from ..._engine.groups import check_groups
from ..._engine.imputation import takes_nan
from ..._engine.label_distribution import set_label_distribution
from ..._engine.labels import check_clean_mask, encode_labels
from ..._engine.stopping import interruptible, part_of_fit
from ..._engine.validation import check_sample_weight, check_X
from ...cleaning.bookkeeping import align_columns, keep_classes
from ...cleaning.class_sizes import spare_rare_classes, warn_of_shrunken_classes
from ...cleaning.inner_estimator import fit_inner
from ...exceptions import SelectionWarning, warn_user
from ...learners.probabilities import normalized, one_hot
from ..registry import METHODS, estimator_class
from .choice import (
    ENSEMBLE,
    MethodChoice,
    check_estimator,
    check_networks,
    has_own_network,
    pick_method,
)
from .ensemble import TableColumns, build_ensemble, table_rows
from .features import Features

__all__ = ["MethodChoice", "NoisyLabelClassifier"]


@share_docs
class NoisyLabelClassifier(ClassifierMixin, DictParameters, BaseEstimator):
    """Classifier for noisy labels that picks a method for the data.

    For tables the method is an **ensemble** of learners that judge rows which they have not seen:
    a random forest, kernel ridge regressions, and, where they make the given labels clearly more
    likely, a network and gradient boosting. For wide sparse tables, such as texts, it is a linear
    ridge regression. Their out-of-fold probabilities and a transition matrix determine the
    probability of each true class, given the row and its label. The learners then learn these
    soft labels; the mixture of their probabilities predicts. For more than 25,000 rows, networks
    that weight the given labels compete with them. Pixels of small images are columns of a table.
    For larger images, a network is trained, by :class:`CLIDMUClassifier`.

    Parameters
    ----------
    method : {"auto", "ensemble", "cdr", "clid_mu", "co_teaching", "divide_mix", "dmlp", "elr", \
            "famus", "fixmatch", "flexmatch", "l2r", "meta_weight_net", "mild", "mlc", "mlnt", \
            "mslc", "pro_mix", "sop", "transition_mlc"}, default="auto"
        "auto": "ensemble" for tables, for images of up to 1,024 values, whose pixels are columns,
        and if there is a `representation`; "clid_mu" for larger images, and for all images if
        `network_params` has a ``module``; "famus" for other arrays. The other names stand for the
        library's classifiers, with default parameters.
    representation : None, {"simclr", "moco", "scarf"} or transformer, default=None
        Features that the ensemble learns from, in place of X. None: X itself. A name: that encoder
        of :mod:`sknoisy.representation` with its defaults. A transformer is cloned and fitted on
        X; wrap a fitted one in ``sklearn.frozen.FrozenEstimator`` to use it as it is.
    estimator : None or classifier, default=None
        Classifier that learns the purified labels of the ensemble; it is cloned, and then it alone
        predicts. Labels are passed to it as they are, so the keys of a ``class_weight`` are your
        labels; one that takes only 0, ..., k - 1 gets such codes. If it does not take NaN, it gets
        imputed columns. None: the learners of the ensemble. Other methods accept None only.
    network_params : dict or None, default=None
        Parameters of the network, such as ``{"max_epochs": 100}``. In the ensemble it is a
        :class:`CLIDMUClassifier` without weights, and for more than 25,000 rows there are others
        with weights. A search takes whole dicts.
    n_jobs : int or None, default=None
        Number of threads of the forests.
    device : "auto", str or torch.device, default="auto"
        Device of the networks. "auto": a CUDA GPU, else an Apple GPU, else the CPU.
    verbose : int, default=0
        1 shows the progress and prints the choice.
    random_state : int, RandomState or None, default=None
        Seed of all draws. On a CPU, two fits with the same int give the same model.

    Attributes
    ----------
    choice_ : MethodChoice
        Named tuple of ``method``; ``reason``; ``noise_rate``, the share of given labels that
        differ from the purified ones; and ``candidates``, the learners that were tried.
    {classes_}
    label_distribution_ : ndarray of shape (n_samples, n_classes)
        Probability of each class to be the true one; that of the given label is 1 for trusted
        rows. It is float32 if the ensemble learns more than 25,000 rows.
    purified_labels_ : ndarray of shape (n_samples,)
        The most probable labels. Trusted rows keep their given labels.
    clean_proba_ : ndarray of shape (n_samples,)
        Probability that the given label is right.
    transition_ : ndarray of shape (n_classes, n_classes)
        Estimated transition matrix: entry (i, j) is the probability that a row of true class i is
        given the label j. For other methods than the ensemble, it is the method's own or, if there
        is none, counted from the label distribution.
    representation_ : transformer or None
        The fitted representation of the ensemble, None if it learns from X itself.
    estimator_ : object
        What predicts: the fitted ``estimator``, the classifier of the method, or the ensemble.
    {n_features_in_, feature_names_in_, image_shape_}

    See Also
    --------
    CLIDMUClassifier, FaMUSClassifier : Methods that it picks from.
    PurifiedClassifier : Combines a cleaner and a classifier of your choice.

    Examples
    --------
    >>> from sknoisy import NoisyLabelClassifier
    >>> from sknoisy.datasets import make_noisy_classification
    >>> X, y, truth = make_noisy_classification(600, 4, class_sep=2, rate=0.3, random_state=0)
    >>> clf = NoisyLabelClassifier(random_state=0).fit(X[:200], y[:200])
    >>> bool(clf.score(X[200:], truth[200:]) > 0.9)
    True
    >>> clf.choice_.method, bool(0.2 < clf.choice_.noise_rate < 0.4)
    ('ensemble', True)
    """

    _parameter_constraints: dict = {
        "method": [StrOptions({"auto", ENSEMBLE, *METHODS})],
        "representation": [
            None,
            StrOptions({"simclr", "moco", "scarf"}),
            HasMethods(["fit", "transform"]),
        ],
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
        representation: Any = None,
        estimator: Any = None,
        network_params: dict[str, Any] | None = None,
        n_jobs: int | None = None,
        device: str | torch.device = "auto",
        verbose: int = 0,
        random_state: Any = None,
    ):
        self.method = method
        self.representation = representation
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
            Learners that have not seen the group of a row then judge it: the rows of a group would
            confirm their wrong labels. The methods "dmlp" and "mild" take groups, too.

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
        self._forget()
        X = check_X(self, X, reset=True, any_shape=self._takes_any_shape())
        classes, codes = encode_labels(y, X.shape[0], type(self).__name__)
        weights = check_sample_weight(sample_weight, X)
        trusted = check_clean_mask(clean_mask, codes, classes)
        group_codes = check_groups(groups, X.shape[0])
        method, reason = pick_method(X, self.method, self.representation, self.network_params)
        check_estimator(self.estimator, self.representation, method, reason, weights)
        seed = int(random_state_of(self.random_state).randint(np.iinfo(np.int32).max))
        has_groups = group_codes is not None
        check_networks(self._network_params(), method, reason, has_groups=has_groups)
        self.classes_ = classes
        of_rows = {"clean_mask": trusted, "sample_weight": weights, "groups": group_codes}
        if method == ENSEMBLE:
            proba, candidates = self._fit_ensemble(X, codes, seed, **of_rows)
        else:
            proba, candidates = self._fit_network(method, X, codes, seed, **of_rows)
        set_label_distribution(self, proba, codes, trusted)
        noise_rate = float(np.mean(self.purified_labels_ != classes[codes]))
        self.choice_ = MethodChoice(method, reason, noise_rate, candidates)
        if self.verbose:
            message = f"method={method!r}, because {reason}; about "
            message += f"{noise_rate:.0%} of the labels are wrong."
            tqdm.write(f"{type(self).__name__}: {message}", file=sys.stderr)
        return self

    def _fit_ensemble(self, X, codes, seed: int, *, clean_mask, sample_weight, groups):
        """Fit the learners and, if there is one, the user's estimator of the purified labels."""
        name, n_classes = type(self).__name__, len(self.classes_)
        features = Features(self.representation, seed, self.device, self.verbose)
        X = features.fit_transform(X)
        names = None if features.transformer_ else getattr(self, "feature_names_in_", None)
        columns = TableColumns().fit(X, names)
        ensemble = build_ensemble(
            X, n_classes, seed, self.n_jobs, self.verbose, self._network_params()
        )
        rows = table_rows(X, columns)
        with part_of_fit("the ensemble"):
            ensemble.fit(rows, codes, n_classes, sample_weight, clean_mask, groups)
        if not ensemble.is_informed_:
            warn_user(
                f"{name} keeps all labels: held-out rows do not tell their labels better than the "
                "sizes of the classes do. Either X says nothing about the labels, or most of them "
                "are wrong.",
                SelectionWarning,
            )
        counted = np.ones(len(codes), bool) if sample_weight is None else sample_weight > 0
        proba = spare_rare_classes(ensemble.distribution_, codes, counted)
        del ensemble.distribution_  # it would be kept twice
        if sample_weight is None:
            keep_classes(proba, codes)
        else:
            proba[counted] = keep_classes(proba[counted], codes[counted])
        purified = proba.argmax(axis=1)
        warn_of_shrunken_classes(name, codes[counted], purified[counted], self.classes_)
        self.estimator_, self.transition_ = ensemble, ensemble.transition_
        if self.estimator is not None:
            self.estimator_ = self._fit_estimator(columns, X, purified, sample_weight, seed)
        self._features, self._columns = features, columns
        self.representation_ = features.transformer_
        return proba, ensemble.candidates_

    def _fit_estimator(self, columns: TableColumns, X, purified, sample_weight, seed: int):
        """Fit the user's estimator to encoded purified labels."""
        rows = np.arange(len(purified))
        if sample_weight is not None:  # rows without weight may have other classes
            rows = sample_weight.nonzero()[0]
        given = {} if sample_weight is None else {"sample_weight": sample_weight[rows]}
        rows_of_X = (X if takes_nan(self.estimator) else columns.impute(X))[rows]
        labels = self.classes_[purified[rows]]
        estimator = seed_undecided(clone(self.estimator), seed)
        with part_of_fit("the classifier of the purified labels"):
            fitted, _ = fit_inner(estimator, rows_of_X, labels, self.classes_, **given)
        self._learned = np.unique(labels)
        return fitted

    def _fit_network(self, method: str, X, codes, seed: int, *, groups, **of_rows):
        """Fit the library's classifier of this name."""
        cls = estimator_class(METHODS[method].estimator)
        params = {"random_state": seed, "verbose": self.verbose, **self._network_params()}
        if groups is not None:
            of_rows["groups"] = groups
        estimator = cls(**params).fit(X, self.classes_[codes], **of_rows)
        proba = estimator.label_distribution_
        self.estimator_ = estimator
        if hasattr(estimator, "transition_"):
            self.transition_ = estimator.transition_
        else:
            weight, trusted = of_rows["sample_weight"], of_rows["clean_mask"]
            counts = np.ones(len(codes)) if weight is None else weight
            counts = counts if trusted is None else np.where(trusted, 0, counts)
            given = one_hot(codes, len(self.classes_)) * counts[:, None]
            self.transition_ = normalized(proba.T @ given)
        return proba, ()

    def _network_params(self) -> dict[str, Any]:
        return {"device": self.device, **(self.network_params or {})}

    def _takes_any_shape(self) -> bool:
        return has_own_network(self.network_params) or not (
            self.representation is None or isinstance(self.representation, str)
        )

    def _forget(self) -> None:
        """Drop the attributes of an earlier fit, so that a failed fit leaves no fitted model."""
        for name in ("estimator_", "_columns", "_features", "_learned"):
            self.__dict__.pop(name, None)

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
        X = check_X(self, X, reset=False, any_shape=self._takes_any_shape())
        if not hasattr(self, "_columns"):  # a network, which prepares rows itself
            return self.estimator_.predict_proba(X)
        X = self._features.transform(X)
        if self.estimator is None:
            return self.estimator_.predict_proba(table_rows(X, self._columns))
        rows = X if takes_nan(self.estimator) else self._columns.impute(X)
        proba, name = self.estimator_.predict_proba(rows), type(self.estimator_).__name__
        return align_columns(proba, self._learned, self.classes_, 0.0, name)

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

    def export_onnx(self, path: str | os.PathLike, *, dtype: str | None = None) -> None:
        """Write the classifier as an ONNX file, if one of the library's networks predicts.

        Parameters
        ----------
        path, dtype
            As in :meth:`CLIDMUClassifier.export_onnx`, which describes the file.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ImportError
            If the packages of ``pip install "sknoisy[onnx]"`` are missing.
        ValueError
            If the method is the ensemble of learners, or as in
            :meth:`CLIDMUClassifier.export_onnx`.
        """
        check_is_fitted(self)
        if self.choice_.method == ENSEMBLE:
            raise ValueError(
                'export_onnx writes one network, but the method here is "ensemble", because '
                f"{self.choice_.reason}: several learners predict together. Fit with "
                'method="famus" or another network, or save the classifier by pickle.'
            )
        network: Any = self.estimator_
        network.export_onnx(path, dtype=dtype)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        return tags

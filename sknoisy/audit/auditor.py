"""The audit of labels, as a function and as an estimator."""

from __future__ import annotations

from numbers import Integral, Real
from time import perf_counter
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator

from .._compat import HasMethods, Interval, StrOptions, fit_context, num_samples
from .._docs import share_docs
from .._engine.construction import random_state_of, resolve_device
from .._engine.groups import check_groups
from .._engine.imputation import takes_nan
from .._engine.labels import mask_of_rows
from .._engine.scaling import is_image
from .._engine.stopping import interruptible
from .._engine.validation import check_X, forget_fit
from ..exceptions import warn_user
from ..noise.probabilities import check_probabilities
from .findings import Inputs, find
from .held_rows import held
from .labels import names_of, read_labels
from .result import LabelAudit
from .sources import Judgement, columns_of, of_classifier, of_cleaner, of_fitted, of_forest

__all__ = ["LabelAuditor", "audit_labels"]

_CHECKS = ("label", "outlier", "duplicate")
_IN_SAMPLE = 0.995  # share of predicted given labels, from which proba has seen them


def audit_labels(
    X: Any,
    y: Any,
    *,
    estimator: Any = None,
    proba: Any = None,
    method: str = "auto",
    clean_mask: Any = None,
    groups: Any = None,
    threshold: str | float = "margin",
    cv: int = 5,
    checks: tuple[str, ...] = _CHECKS,
    class_names: Any = None,
    n_jobs: int | None = None,
    device: str | torch.device = "auto",
    random_state: Any = None,
) -> LabelAudit:
    """Find the labels that look wrong, and say how many there are and why.

    The labels are judged by class probabilities from one source: the default `method`, an
    `estimator`, or `proba`. A label is a suspect if another class is more probable.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, n_features), images of shape \
            (n_samples, H, W, C) or (n_samples, C, H, W), or None
        Rows. NaN in tables is a missing value. A memory map, the path of a Parquet file of
        numbers, or a map-style torch ``Dataset`` is read by pieces. With `estimator`, anything
        that it takes, such as a frame with texts or a list of documents; None is allowed with
        `proba`.
    y : array-like of shape (n_samples,) or (n_samples, n_annotators)
        Labels; :ref:`labels` lists the containers and types. None and NaN are missing labels. Of
        several annotators, the majority vote is audited.
    estimator : None, classifier or cleaner, default=None
        An estimator of this library that was fitted on these rows: its ``label_distribution_`` is
        taken. Any other classifier with ``predict_proba``: clones of it are cross-validated. A
        cleaner that predicts nothing, such as :class:`LabelPurifier`: a clone is fitted.
    proba : array-like or csr_array of shape (n_samples, n_classes) or None, default=None
        Probabilities of the sorted classes, by models that have not seen the row. A sparse array
        may hold the largest few of each row.
    method : {"auto", "fast"}, default="auto"
        The source if there is neither `estimator` nor `proba`. "auto": the mean of a random
        forest, asked about the rows that its trees have not drawn, and of
        :class:`CLIDMUClassifier`. "fast": the forest alone. Of more than 500,000 rows, both learn
        500,000 random ones. Images of up to 1,024 values are tables of pixels to both. Larger ones
        are described by :class:`~sknoisy.representation.SimCLR`, which is slow without a GPU, or
        for "fast" averaged to 16 x 16 pixels, which ranks roughly: pass `proba` from a network
        where you have one.
    clean_mask : array-like of bool of shape (n_samples,) or None, default=None
        True where the label is trusted: it has the score 1 and is never flagged.
    groups : array-like of shape (n_samples,) or None, default=None
        Group of each row, such as a patient, if the labels of a group may be wrong together. The
        forest and cross-validation judge a row by rows of other groups. Identical rows are always
        kept together.
    threshold : {"margin", "per_class"}, float or int, default="margin"
        Which rows are flagged. "margin": score below 0.5. "per_class": in each class as many rows
        of lowest score as confident learning counts. A float: score below it. An int: this many
        rows of lowest score.
    cv : int, default=5
        Number of folds for an `estimator`.
    checks : tuple of {"label", "outlier", "duplicate"}, default=("label", "outlier", "duplicate")
        What is looked for, beside labels: rows far from all others, and rows that are nearly
        identical. Identical rows of different labels are always found. "label" must be there.
    class_names : dict, sequence of str or None, default=None
        Names of the classes in reasons and reports: by label, or in the order of the sorted
        labels.
    n_jobs : int or None, default=None
        Number of threads of the forest and of cross-validation.
    device : "auto", str or torch.device, default="auto"
        Device of the networks. "auto": a CUDA GPU, else an Apple GPU, else the CPU.
    random_state : int, RandomState or None, default=None
        Seed of all draws. On a CPU, the same int gives the same audit.

    Returns
    -------
    audit : LabelAudit
        One entry per row, the estimated share of wrong labels, and more.

    Raises
    ------
    ValueError
        If the input or a parameter is not valid, or if more than one source is given.
    TypeError
        If `estimator` neither predicts probabilities nor cleans labels.

    Warns
    -----
    UserWarning
        If `proba` predicts more than 99.5 % of the given labels, as it does after training on
        them, or fewer than chance would, as it does with columns in another order.

    See Also
    --------
    LabelAuditor : The same as an estimator.

    References
    ----------
    C. Northcutt, L. Jiang and I. Chuang, "Confident learning: estimating uncertainty in dataset
    labels", JAIR 70, 2021. J. Kuan and J. Mueller, "Model-agnostic label quality scoring to detect
    real-world label errors", ICML DataPerf workshop 2022.

    Examples
    --------
    >>> from sknoisy import audit_labels
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.2, random_state=0)
    >>> audit = audit_labels(digits.data, digits.target, method="fast", random_state=0)
    >>> worst = audit.suspects(100)
    >>> bool(digits.noise_mask[worst].mean() > 0.95)
    True
    >>> audit.is_clear
    True
    """
    auditor = LabelAuditor(
        estimator=estimator,
        method=method,
        threshold=threshold,
        cv=cv,
        checks=checks,
        class_names=class_names,
        n_jobs=n_jobs,
        device=device,
        random_state=random_state,
    )
    return auditor.fit(X, y, proba=proba, clean_mask=clean_mask, groups=groups).audit_


@share_docs
class LabelAuditor(BaseEstimator):
    """Audit of labels as an estimator: which labels look wrong, how many, and why.

    :func:`audit_labels` describes the audit. What belongs to the rows, ``proba``, ``clean_mask``
    and ``groups``, is passed to ``fit``, so that it is sliced with them.

    Parameters
    ----------
    estimator : None, classifier or cleaner, default=None
        Source of the probabilities in place of the `method`.
    method : {"auto", "fast"}, default="auto"
        The source if there is neither `estimator` nor ``proba``.
    threshold : {"margin", "per_class"}, float or int, default="margin"
        Which rows are flagged.
    cv : int, default=5
        Number of folds for an `estimator`.
    checks : tuple of {"label", "outlier", "duplicate"}, default=("label", "outlier", "duplicate")
        What is looked for.
    class_names : dict, sequence of str or None, default=None
        Names of the classes in reasons and reports.
    n_jobs : int or None, default=None
        Number of threads of the forest and of cross-validation.
    device : "auto", str or torch.device, default="auto"
        Device of the networks.
    random_state : int, RandomState or None, default=None
        Seed of all draws.

    Attributes
    ----------
    audit_ : LabelAudit
        The audit.
    {classes_, n_features_in_, feature_names_in_, image_shape_}

    See Also
    --------
    audit_labels : The same as a function.

    Examples
    --------
    >>> from sknoisy import LabelAuditor
    >>> from sknoisy.datasets import make_noisy_classification
    >>> X, y, truth = make_noisy_classification(300, 4, class_sep=2, rate=0.2, random_state=0)
    >>> auditor = LabelAuditor(method="fast", random_state=0).fit(X, y)
    >>> bool((y != truth)[auditor.audit_.flagged].mean() > 0.8)
    True
    """

    _parameter_constraints: dict = {
        "estimator": [None, HasMethods(["fit"])],
        "method": [StrOptions({"auto", "fast"})],
        "threshold": [
            StrOptions({"margin", "per_class"}),
            Interval(Integral, 0, None, closed="left"),
            Interval(Real, 0, 1, closed="both"),
        ],
        "cv": [Interval(Integral, 2, None, closed="left")],
        "checks": [tuple, list, set],
        "class_names": ["array-like", dict, None],
        "n_jobs": [Integral, None],
        "device": [str, torch.device],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        estimator: Any = None,
        method: str = "auto",
        threshold: str | float = "margin",
        cv: int = 5,
        checks: tuple[str, ...] = _CHECKS,
        class_names: Any = None,
        n_jobs: int | None = None,
        device: str | torch.device = "auto",
        random_state: Any = None,
    ):
        self.estimator = estimator
        self.method = method
        self.threshold = threshold
        self.cv = cv
        self.checks = checks
        self.class_names = class_names
        self.n_jobs = n_jobs
        self.device = device
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    @interruptible
    def fit(self, X, y, *, proba=None, clean_mask=None, groups=None):
        """Audit labels.

        Parameters
        ----------
        X : array-like, sparse matrix, images, or None
            Rows, as in :func:`audit_labels`.
        y : array-like of shape (n_samples,) or (n_samples, n_annotators)
            Labels; None and NaN are missing.
        proba : array-like or csr_array of shape (n_samples, n_classes) or None, default=None
            Probabilities of the sorted classes, by models that have not seen the row.
        clean_mask : array-like of bool of shape (n_samples,) or None, default=None
            True where the label is trusted.
        groups : array-like of shape (n_samples,) or None, default=None
            Group of each row.

        Returns
        -------
        self : object
            The estimator with its audit.

        Raises
        ------
        ValueError, TypeError
            As :func:`audit_labels`.
        """
        start = perf_counter()
        self._forget()
        self._check_parameters(proba)
        device = str(resolve_device(self.device))
        X, rows, n_rows = self._read_rows(X, y, proba)
        given = read_labels(y, n_rows, type(self).__name__)
        trusted = mask_of_rows(clean_mask, n_rows, "clean_mask", "the label is trusted")
        group_codes = check_groups(groups, n_rows)
        names = names_of(given.classes, self.class_names)
        seed = int(random_state_of(self.random_state).randint(np.iinfo(np.int32).max))
        inputs = Inputs(rows, X, given, trusted, group_codes, y)
        judgement = self._judge(inputs, proba, seed, device)
        self.classes_ = given.classes
        self.audit_ = find(
            inputs,
            judgement,
            threshold=self.threshold,
            checks=self.checks,
            names=names,
            seed=seed,
            random_state=self.random_state,
            start=start,
        )
        if proba is not None:
            _check_agreement(self.audit_)
        return self

    def _check_parameters(self, proba: Any) -> None:
        """Raise if there is more than one source, or a check that is not known."""
        sources = {"estimator": self.estimator is not None, "proba": proba is not None}
        sources['method="fast"'] = self.method == "fast"
        named = [name for name, is_given in sources.items() if is_given]
        if len(named) > 1:
            raise ValueError(
                f"{' and '.join(named)} are sources of probabilities. Pass one of them."
            )
        unknown = [check for check in self.checks if check not in _CHECKS]
        if unknown or "label" not in self.checks:
            raise ValueError(
                f'checks={self.checks!r}: pass "label", and "outlier" and "duplicate" if wanted.'
            )
        estimator = self.estimator
        judges = ("predict_proba", "fit_resample", "label_distribution_")
        if estimator is not None and not any(hasattr(estimator, name) for name in judges):
            raise TypeError(
                f"estimator={estimator!r} has no predict_proba. Wrap it in "
                "sklearn.calibration.CalibratedClassifierCV, or pass another classifier."
            )

    def _read_rows(self, X: Any, y: Any, proba: Any) -> tuple[Any, Any, int]:
        """Return X, its rows of numbers, None if it holds none, and the number of rows.

        The rows of a file or a data set replace it.
        """
        if self.estimator is None and proba is None:
            checked = check_X(self, X, reset=True, streams=True)
            rows = held(checked)
            return (X if rows is checked else rows), rows, rows.shape[0]
        if X is None:
            if proba is None:
                raise ValueError("X is None, which is allowed with proba only. Pass the rows.")
            return X, None, num_samples(y)
        try:
            checked = check_X(self, X, reset=True, any_shape=True, streams=True)
        except (TypeError, ValueError):  # texts, which the user's estimator may take
            forget_fit(self)
            shape: Any = getattr(X, "shape", ())
            if len(shape) == 2:
                self.n_features_in_ = int(shape[1])
            return X, None, num_samples(X)
        rows = held(checked)
        is_table = rows.ndim == 2 or is_image(rows)
        return (X if rows is checked else rows), (rows if is_table else None), rows.shape[0]

    def _judge(self, inputs: Inputs, proba: Any, seed: int, device: str) -> Judgement:
        """Return the probabilities of the source."""
        classes, codes = inputs.given.classes, inputs.codes
        n_rows, n_classes = len(codes), len(classes)
        if proba is not None:
            proba = check_probabilities(proba, n_rows, n_classes)
            return Judgement(proba, proba, np.ones(n_rows, dtype=bool), "the given probabilities")
        if self.estimator is None:
            columns = columns_of(
                inputs.rows,
                getattr(self, "feature_names_in_", None),
                seed=seed,
                device=device if self.method == "auto" else None,
            )
            if inputs.rows.ndim > 2:  # images; the columns of a table are not needed again
                inputs.columns = columns = columns[:]
            return of_forest(
                inputs.rows,
                columns,
                codes,
                n_classes,
                inputs.units,
                network=self.method == "auto",
                seed=seed,
                n_jobs=self.n_jobs,
                device=device,
            )
        if hasattr(self.estimator, "label_distribution_"):
            return of_fitted(self.estimator, n_rows, classes)
        X = inputs.X
        if not hasattr(self.estimator, "predict_proba"):
            return of_cleaner(self.estimator, X, codes, classes, seed)
        return of_classifier(
            self.estimator,
            X,
            codes,
            classes,
            inputs.units,
            cv=self.cv,
            grouped=inputs.groups is not None,
            seed=seed,
            n_jobs=self.n_jobs,
        )

    def _forget(self) -> None:
        """Drop the attributes of an earlier fit, so that a failed fit leaves no audit."""
        forget_fit(self)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "audit_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self.estimator is None or takes_nan(self.estimator)
        return tags


def _check_agreement(audit: LabelAudit) -> None:
    """Warn if given probabilities predict nearly all or hardly any of the labels."""
    rows = (audit.given_codes >= 0) & (audit.score < 1)  # without trusted rows
    agreement = (audit.given_codes == audit.suggested_codes)[rows]
    share = float(agreement.mean()) if len(agreement) else np.nan
    if share > _IN_SAMPLE:
        warn_user(
            f"proba predicts {share:.1%} of the given labels: the model was probably trained on "
            "them, and hardly any label will look wrong. Pass out-of-sample probabilities, as by "
            'sklearn.model_selection.cross_val_predict(clf, X, y, method="predict_proba").'
        )
    elif share < 1 / len(audit.labels):
        warn_user(
            f"proba predicts only {share:.1%} of the given labels, less than chance would. Its "
            f"columns must have the order of the sorted labels, {audit.labels.tolist()[:10]}."
        )

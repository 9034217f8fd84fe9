"""PurifiedClassifier: cleans its training rows, then fits any classifier on them."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import (
    UNUSED,
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .._compat import (
    HasMethods,
    estimator_has,
    fit_context,
    num_samples,
    raise_for_params,
    routing_enabled,
)
from .._docs import share_docs
from .._engine.indexing import is_all, take_columns, take_rows
from .._engine.label_distribution import set_label_distribution
from .._engine.labels import encode_labels, to_numpy
from .._engine.stopping import interruptible, part_of_fit
from .._engine.stream_sources import rows_of
from .._engine.streams import Stream
from .._engine.validation import forget_fit
from .bookkeeping import (
    align_columns,
    check_classes_left,
    count_rows,
    distribution_of,
    follow_rows,
    route_by_name,
    rows_that_are_left,
    rows_that_count,
)
from .inner_estimator import encode, fit_inner

__all__ = ["PurifiedClassifier"]

_FORWARDED = ("predict", "predict_proba", "predict_log_proba", "decision_function", "score")


@share_docs
class PurifiedClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Classifier that cleans its training rows, then fits an estimator on the cleaned rows.

    Any object with ``fit_resample`` can be the cleaner, whether it changes labels, drops rows, or
    both. It is fitted in ``fit`` only. Cross-validation, grid search and ensembles therefore
    clean each training fold separately, and never change the rows that they score.

    Parameters
    ----------
    cleaner : object with ``fit_resample``
        Returns the cleaned ``(X, y)``. If it drops or repeats rows, its ``sample_indices_`` hold
        the index of each returned row. A clone is fitted.
    estimator : classifier
        Classifier for the rows that the cleaner returns. A clone is fitted on the labels as they
        are or, if it takes only the labels 0, ..., k - 1, on such codes; outputs of this
        classifier are decoded. The keys of its ``class_weight`` are your labels in both cases.

    Attributes
    ----------
    cleaner_ : object
        The fitted cleaner.
    estimator_ : classifier
        The fitted classifier; it returns codes if it takes only these.
    classes_ : ndarray of shape (n_classes,)
        Labels that ``fit`` received. The columns of all outputs follow them, also if cleaning has
        removed a class.
    sample_indices_ : ndarray of int of shape (n_cleaned,) or None
        Index in X of each row that ``estimator_`` was trained on. None if the cleaner generates
        rows.
    {label_distribution_, purified_labels_, clean_proba_}
    n_features_in_ : int
        Number of columns of X; defined if ``estimator_`` defines it.
    feature_names_in_ : ndarray of shape (n_features,)
        Column names; defined if ``estimator_`` defines them.

    See Also
    --------
    sknoisy.pipeline.make_pipeline : Pipelines that accept cleaners as steps.

    Notes
    -----
    **Metadata of rows.** Every argument of ``fit`` with one entry per row is sliced with the rows:
    entries of dropped rows are dropped. If the cleaner returns as many rows as it was given and
    has no ``sample_indices_``, the rows are assumed to be in the same order.

    **Weights of zero.** Rows whose ``sample_weight`` for the estimator is zero are ignored; they
    are not passed to the cleaner either. Bagging leaves out rows in this way, so out-of-bag scores
    remain unbiased. Attributes of ``cleaner_`` refer to the remaining rows.

    **Lost classes.** If cleaning removes all rows of a class, the estimator does not learn it, and
    a warning names the class. ``predict_proba`` then has a column of zeros for it,
    ``predict_log_proba`` one of minus infinity, and ``decision_function`` one of the smallest
    finite number. If only one class is left, ``fit`` raises an error.

    **Metadata routing.** This estimator requests no metadata itself. With
    ``sklearn.set_config(enable_metadata_routing=True)`` the cleaner receives what it requests by
    ``set_fit_resample_request``, and the estimator what it requests by ``set_fit_request``.
    Without routing, ``clean_mask`` and ``groups`` are passed to the cleaner only and
    ``sample_weight`` to the estimator only.

    Examples
    --------
    >>> from imblearn.under_sampling import EditedNearestNeighbours
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sknoisy import PurifiedClassifier
    >>> from sknoisy.datasets import make_noisy_classification
    >>> X, y, y_clean = make_noisy_classification(400, 8, rate=0.3, class_sep=2, random_state=1)
    >>> cleaner = EditedNearestNeighbours(kind_sel="mode")
    >>> clf = PurifiedClassifier(cleaner, LogisticRegression())
    >>> model = make_pipeline(StandardScaler(), clf).fit(X, y)
    >>> bool(model.score(X, y_clean) > 0.9)
    True
    >>> right = y == y_clean
    >>> bool(right[clf.sample_indices_].mean() > right.mean() + 0.1)
    True
    """

    _parameter_constraints: dict = {
        "cleaner": [HasMethods(["fit_resample"])],
        "estimator": [HasMethods(["fit", "predict"])],
    }

    # A router without requests of its own: these are made on the cleaner and the estimator.
    __metadata_request__fit = {"clean_mask": UNUSED, "sample_weight": UNUSED, "groups": UNUSED}
    __metadata_request__score = {"sample_weight": UNUSED}

    def __init__(self, cleaner, estimator):
        self.cleaner = cleaner
        self.estimator = estimator

    # --- fit --------------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=False)  # cleaner and estimator validate their own
    @interruptible
    def fit(self, X, y, *, clean_mask=None, sample_weight=None, groups=None, **params):
        """Clean the rows, then fit the estimator on the cleaned rows.

        Parameters
        ----------
        X : array-like, sparse matrix, frame or images of n_samples rows
            Training rows, of any kind that the cleaner accepts. If the cleaner is a
            CleanSampleSelector or a LabelPurifier, and the estimator a network classifier, also
            the path of a Parquet file or a torch ``Dataset`` (:ref:`large_data`).
        y : array-like of shape (n_samples,)
            Noisy labels; :ref:`labels` lists the containers and types.
        clean_mask : array-like of bool of shape (n_samples,) or None, default=None
            True where the label is trusted. Passed to the cleaner; with metadata routing, to
            those that request it.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows. Passed to the estimator; with metadata routing, to those that
            request them.
        groups : array-like of shape (n_samples,) or None, default=None
            Group of each row, such as a patient. Passed to the cleaner, which then judges a row
            by rows of other groups only; with metadata routing, to those that request it.
        **params : dict
            Further metadata, with metadata routing only.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        TypeError
            If ``clean_mask`` or ``groups`` is passed and the cleaner does not accept it, or
            ``sample_weight`` is passed and the estimator does not accept it; if X is a Parquet
            file or a ``Dataset``, and the cleaner or the estimator reads X as a whole.
        ValueError
            If y or the weights are invalid, if cleaning leaves fewer than two classes, or if
            metadata cannot be sliced because the cleaner has no ``sample_indices_``.
        """
        raise_for_params(params, self, "fit")
        routed = self._route_fit(
            clean_mask=clean_mask, sample_weight=sample_weight, groups=groups, **params
        )
        X = rows_of(X)
        self._check_reader(X)
        n_samples = count_rows(X)
        classes, encoded = encode_labels(y, n_samples, type(self).__name__)
        y = classes[encoded]  # an array, whatever the container

        counted = rows_that_count(routed["estimator"]["fit"].get("sample_weight"), encoded)
        self._forget()
        cleaner, name = clone(self.cleaner), type(self.cleaner).__name__
        with part_of_fit("the cleaner"):
            X_cleaned, y = cleaner.fit_resample(
                self._square(take_rows(X, counted), counted, n_samples),
                y[counted],
                **follow_rows(routed["cleaner"]["fit_resample"], n_samples, counted, name),
            )
        check_classes_left(y, classes, classes[np.unique(encoded[counted])], name)
        left = rows_that_are_left(cleaner, len(counted), num_samples(y))
        rows = None if left is None else counted[left]
        metadata = follow_rows(routed["estimator"]["fit"], n_samples, rows, name)
        with part_of_fit("the classifier"):
            X_cleaned = self._square(X_cleaned, left, len(counted))
            estimator, coded = fit_inner(self.estimator, X_cleaned, y, classes, **metadata)

        self.cleaner_, self.estimator_, self._coded = cleaner, estimator, coded
        self.classes_, self.sample_indices_ = classes, rows
        self._remember_features(n_samples)
        trusted = None if clean_mask is None else to_numpy(clean_mask, "clean_mask").astype(bool)
        set_label_distribution(self, self._label_distribution(X, y, counted), encoded, trusted)
        return self

    def _check_reader(self, X) -> None:
        """Raise TypeError if X is a stream, and the cleaner or the estimator does not read it."""
        for part in (self.cleaner, self.estimator):
            if isinstance(X, Stream) and not getattr(part, "_reads_streams", False):
                raise TypeError(
                    f"{type(part).__name__} reads X as a whole, so PurifiedClassifier takes "
                    "neither Parquet files nor data sets with it. Pass an array or a memory map, "
                    "numpy.load(path, mmap_mode='r'), or use CleanSampleSelector or LabelPurifier "
                    "and a network classifier, which read them in parts."
                )

    def _forget(self) -> None:
        """Drop the attributes of an earlier fit, so that a failed fit leaves no fitted model."""
        forget_fit(self)

    def _route_fit(self, **metadata):
        """Return the metadata for the cleaner and the estimator."""
        metadata = {name: value for name, value in metadata.items() if value is not None}
        if routing_enabled():
            return process_routing(self, "fit", **metadata)
        return route_by_name(self.cleaner, self.estimator, metadata)

    def _remember_features(self, n_samples: int) -> None:
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)  # set by an earlier fit
            if hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))
        if self._pairwise():
            self.n_features_in_ = n_samples  # the columns of X, not of the cleaned matrix

    def _label_distribution(self, X, y, counted: np.ndarray) -> np.ndarray:
        """Return the probability of each class for each row, shape (n_samples, n_classes).

        It is that of the cleaner, which needs no predictions, or the mean of the labels `y` that
        the cleaner returned and the predictions. Rows that the cleaner dropped or was not given
        have no label, so that the prediction stands alone.
        """
        n_samples = count_rows(X)
        distribution = np.zeros((n_samples, len(self.classes_)))
        of_cleaner = distribution_of(self.cleaner_, len(counted), self.classes_)
        if of_cleaner is not None:
            distribution[counted] = of_cleaner
            rest = np.setdiff1d(np.arange(n_samples), counted)
            if len(rest):
                distribution[rest] = self._predictions(take_rows(X, rest))
            return distribution
        if self.sample_indices_ is not None:
            codes = np.searchsorted(self.classes_, to_numpy(y, "y"))
            np.add.at(distribution, (self.sample_indices_, codes), 1)  # a row may be repeated
            distribution /= distribution.sum(axis=1, keepdims=True).clip(min=1)
        distribution += self._predictions(X)
        return distribution / distribution.sum(axis=1, keepdims=True)

    def _predictions(self, X) -> np.ndarray:
        """Return probabilities, one-hot if the estimator only predicts labels."""
        if not hasattr(self, "predict_proba"):
            return np.eye(len(self.classes_))[np.searchsorted(self.classes_, self.predict(X))]
        proba = np.asarray(self.predict_proba(X), dtype=np.float64)
        return proba / proba.sum(axis=1, keepdims=True)

    # --- pairwise X: the columns of a kernel or distance matrix are the rows of fit ---------

    def _pairwise(self) -> bool:
        return get_tags(self.estimator).input_tags.pairwise

    def _square(self, X, rows: np.ndarray | None, n_columns: int):
        """Return the columns of these rows if X is pairwise, else X."""
        if rows is None or not self._pairwise() or is_all(rows, n_columns):
            return X
        return take_columns(X, rows, n_columns, type(self).__name__)

    # --- predict ----------------------------------------------------------------------------

    def _forward(self, method: str, X, *args, **params):
        check_is_fitted(self)
        raise_for_params(params, self, method, allow=["sample_weight"] * (method == "score"))
        params = {name: value for name, value in params.items() if value is not None}
        if routing_enabled():
            params = process_routing(self, method, **params)["estimator"][method]
        X = self._square(rows_of(X), self.sample_indices_, getattr(self, "n_features_in_", 0))
        if self._coded is not None:
            args = tuple(encode(labels, self._coded) for labels in args)
        returned = getattr(self.estimator_, method)(X, *args, **params)
        if self._coded is not None and method == "predict":
            return self._coded[np.asarray(returned, dtype=np.intp)]
        return returned

    @available_if(estimator_has("predict"))
    def predict(self, X, **params):
        """Predict labels with the fitted estimator.

        Parameters
        ----------
        X : array-like, sparse matrix, frame or images of n_samples rows
            Rows, of any kind that the estimator accepts. They are not cleaned.
        **params : dict
            Metadata for ``predict`` of the estimator, with metadata routing only.

        Returns
        -------
        labels : ndarray of shape (n_samples,)

        Raises
        ------
        NotFittedError
            Before ``fit``.
        """
        return self._forward("predict", X, **params)

    @available_if(estimator_has("predict_proba"))
    def predict_proba(self, X, **params):
        """Return class probabilities; available if the estimator has them.

        Parameters
        ----------
        X, **params
            As in :meth:`predict`.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``; 0 for a class that cleaning has removed.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        """
        return self._align(self._forward("predict_proba", X, **params), 0)

    @available_if(estimator_has("predict_log_proba"))
    def predict_log_proba(self, X, **params):
        """Return logarithms of class probabilities; available if the estimator has them.

        Parameters
        ----------
        X, **params
            As in :meth:`predict`.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``; minus infinity for a class that cleaning has removed.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        """
        return self._align(self._forward("predict_log_proba", X, **params), -np.inf)

    @available_if(estimator_has("decision_function"))
    def decision_function(self, X, **params):
        """Return the decision function; available if the estimator has it.

        Parameters
        ----------
        X, **params
            As in :meth:`predict`.

        Returns
        -------
        scores : ndarray of shape (n_samples,) for two classes, (n_samples, n_classes) for more
            In the order of ``classes_``; the smallest finite number for a class that cleaning has
            removed.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            If cleaning has removed a class and the estimator does not return one column per class.
        """
        scores = self._forward("decision_function", X, **params)
        if scores.ndim == 1 and len(self.classes_) > 2:  # two classes are left
            scores = np.column_stack([-scores, scores])
        return self._align(scores, np.finfo(scores.dtype).min)

    @available_if(estimator_has("score"))
    def score(self, X, y, sample_weight=None, **params):
        """Return the score of the fitted estimator, by default the accuracy.

        Parameters
        ----------
        X : array-like, sparse matrix, frame or images of n_samples rows
            Rows, of any kind that the estimator accepts. They are not cleaned.
        y : array-like of shape (n_samples,)
            True labels. They are not cleaned.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows.
        **params : dict
            Further metadata for ``score`` of the estimator, with metadata routing only.

        Returns
        -------
        score : float

        Raises
        ------
        NotFittedError
            Before ``fit``.
        """
        return self._forward("score", X, y, sample_weight=sample_weight, **params)

    def _align(self, columns: np.ndarray, absent: float) -> np.ndarray:
        known = getattr(self.estimator_, "classes_", self.classes_)
        known = known if self._coded is None else self._coded
        name = type(self.estimator_).__name__
        return align_columns(columns, known, self.classes_, absent, name)

    # --- scikit-learn protocols -------------------------------------------------------------

    def get_metadata_routing(self):
        """Return the metadata routing of ``fit``, ``predict`` and ``score``.

        Returns
        -------
        routing : MetadataRouter
            Routes to the cleaner's ``fit_resample`` and the estimator's ``fit``, ``predict``,
            ``predict_proba``, ``predict_log_proba``, ``decision_function`` and ``score``.
        """
        to_estimator = MethodMapping().add(caller="fit", callee="fit")
        for method in _FORWARDED:
            to_estimator.add(caller=method, callee=method)
        return (
            MetadataRouter(owner=self)
            .add(
                cleaner=self.cleaner,
                method_mapping=MethodMapping().add(caller="fit", callee="fit_resample"),
            )
            .add(estimator=self.estimator, method_mapping=to_estimator)
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        of_cleaner, of_estimator = get_tags(self.cleaner), get_tags(self.estimator)
        for kind in ("sparse", "allow_nan"):
            taken = getattr(of_cleaner.input_tags, kind) and getattr(of_estimator.input_tags, kind)
            setattr(tags.input_tags, kind, taken)
        tags.input_tags.pairwise = of_estimator.input_tags.pairwise
        if of_estimator.classifier_tags is not None:
            tags.classifier_tags.multi_class = of_estimator.classifier_tags.multi_class
            tags.classifier_tags.poor_score = of_estimator.classifier_tags.poor_score
        return tags

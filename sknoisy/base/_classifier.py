"""The base class of the classifiers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from .._compat import HasMethods, Interval, fit_context
from .._docs import share_docs
from .._engine.batches import Batch, TrainingData
from .._engine.construction import seeded
from .._engine.evaluation import copied_state, rows_per_pass
from .._engine.label_distribution import distribute_labels
from .._engine.members import Members
from .._engine.net import DeviceNet, train_side_by_side
from .._engine.onnx_file import ProbabilityGraph, write_onnx
from .._engine.pretrained import (
    check_pretrained,
    check_same_rows,
    encoder_of,
    load_state,
    scaling_of,
)
from .._engine.problem import Problem
from .._engine.ranks import trained_on_ranks
from .._engine.rows import make_rows
from .._engine.scaling import InputScaling
from .._engine.validation import check_X
from .._engine.warm_start import check_module, load_start
from ..callbacks import CheckpointEnsemble, CLIDScore, TeacherAverage
from ..networks import MLPSettings
from ..networks.heads import with_new_head
from ._estimator import NetworkEstimator

__all__ = ["NetworkClassifier"]


@share_docs
class NetworkClassifier(ClassifierMixin, NetworkEstimator):
    """Base of the classifiers: one or several networks trained on noisy labels.

    Used as it is, it trains one network by cross-entropy. A method overrides one or several of
    the methods below, which are called in this order:

    =============================  ==============================================================
    :meth:`_prepare`               selects rows, purifies labels or changes weights, before
                                   anything is on the device
    :meth:`_networks`              returns the untrained nets; each is made by
                                   :meth:`_build_net`, which calls the next two
    :meth:`_loss`                  returns the loss function of the rows
    :meth:`_callbacks`             returns skorch callbacks, with names
    :attr:`_joint_step`            trains several nets on a batch together
    :meth:`_member_states`         returns the states of the networks that predict
    :meth:`_label_distribution`    returns the probability of each class for each training row
    :meth:`_finish`                sets the fitted attributes of the method
    =============================  ==============================================================

    Their argument ``data`` is the :class:`TrainingData`, on the device, and ``rng`` or
    ``random_state`` is the :class:`~numpy.random.RandomState` from which seeds are drawn.

    A subclass may list its own parameters alone and pass the others on,
    ``def __init__(self, *, q=0.7, **shared)`` with ``super().__init__(**shared)``: the signature,
    and with it ``get_params``, then contains the parameters below, too.

    Parameters
    ----------
    {module, module_params, optimizer, optimizer_params}
    lr : "auto" or float, default="auto"
        Learning rate of the network. "auto": 0.05, more for larger batches.
    {lr_schedule, max_epochs, batch_size, max_time, augment, standardize, device, precision}
    {callbacks}
    verbose : int, default=0
        1 shows a progress bar and messages.
    {random_state, pretrained, weight_average, n_ensemble}
    {warm_start, checkpoint}

    Attributes
    ----------
    {classes_, label_distribution_, purified_labels_, clean_proba_, net_}
    nets_ : list of DeviceNet
        All fitted nets; ``net_`` is the first one.
    history_ : skorch.history.History
        Per epoch of ``net_``: ``train_loss``, ``event_lr``, ``dur``, and what callbacks record.
    {n_iter_, ensemble_epochs_, batch_size_, n_ranks_, n_features_in_, feature_names_in_}
    {image_shape_}

    See Also
    --------
    sknoisy.meta.MetaModel : Base of the models that weight rows or correct labels in training.
    sknoisy.callbacks.MetaUpdate : Callback that trains such a model.

    Examples
    --------
    >>> from sknoisy.base import NetworkClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.0, random_state=0)
    >>> clf = NetworkClassifier(max_epochs=20, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.9)
    True
    """

    _parameter_constraints: dict = {
        **NetworkEstimator._parameter_constraints,
        "pretrained": [None, dict, nn.Module, HasMethods(["fit", "transform"])],
        "weight_average": [None, Interval(Real, 0, 1, closed="left")],
        "n_ensemble": [Interval(Integral, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "checkpoint": [str, os.PathLike, None],
    }

    def __init__(
        self,
        *,
        pretrained: Any = None,
        weight_average: float | None = None,
        n_ensemble: int = 0,
        warm_start: bool = False,
        checkpoint: str | os.PathLike | None = None,
        **shared: Any,
    ):
        super().__init__(**shared)
        self.pretrained = pretrained
        self.weight_average = weight_average
        self.n_ensemble = n_ensemble
        self.warm_start = warm_start
        self.checkpoint = checkpoint

    # --- what a method adds -----------------------------------------------------------------

    _can_use_ranks = True

    def _networks(self, data: TrainingData, rng: np.random.RandomState) -> list[DeviceNet]:
        """Return the untrained nets, made by :meth:`_build_net`; the first one becomes ``net_``.

        One loop trains them side by side.
        """
        return [self._build_net(data, rng)]

    #: ``_joint_step(nets, batch)`` makes one step of each net on a :class:`Batch` and returns
    #: the list of what their ``train_step`` returned. A subclass defines it as a method. None:
    #: each net goes over batches of its own, one net after the other in each epoch.
    _joint_step: Callable[[Sequence[DeviceNet], Batch], list[dict[str, Any]]] | None = None

    def _member_states(self) -> list[dict[str, Tensor]]:
        """Return the states of the networks that predict; their logits are averaged.

        They are state dicts of the module, the best first: :meth:`features` reads this one.
        """
        kept = [self._kept_states(net) for net in self.nets_]
        self.ensemble_epochs_ = [epoch for epoch, _ in kept[0]]
        return [state for of_net in kept for _, state in of_net]

    def _kept_states(self, net: DeviceNet) -> list[tuple[int, dict[str, Tensor]]]:
        """Return epochs and states of a net by ``n_ensemble`` and ``weight_average``."""
        callbacks = dict(net.callbacks_)
        if self.n_ensemble and callbacks["ensemble"].members_:
            return [(epoch, state) for _, epoch, state in callbacks["ensemble"].members_]
        module = net.module_ if self._teacher is None else callbacks[self._teacher].teacher_
        return [(net.n_finished_epochs, copied_state(module))]

    @property
    def _teacher(self) -> str | None:
        """Name of the callback that averages the weights."""
        return None if self.weight_average is None else "weight_average"

    def _callbacks_with_states(self, data: TrainingData, rng: np.random.RandomState) -> list:
        callbacks, teacher = [*self._callbacks(data, rng)], self._teacher
        if self.weight_average is not None:
            callbacks.append((teacher, TeacherAverage(self.weight_average)))
        if self.n_ensemble:
            if "clid" not in dict(callbacks):  # a method may score epochs by rows of its own
                seed = int(rng.randint(np.iinfo(np.int32).max))
                callbacks.append(("clid", CLIDScore(teacher=teacher, random_state=seed)))
            # CLID requires trained features.
            n_skip = getattr(self, "n_warmup_epochs_", min(5, self.max_epochs_ // 2))
            ensemble = CheckpointEnsemble(
                n_members=self.n_ensemble,
                n_skip_epochs=min(n_skip, self.max_epochs_ - 1),
                teacher=teacher,
            )
            callbacks.append(("ensemble", ensemble))
        return callbacks

    def _recorded_keys(self) -> list[str]:
        return ["clid"] if self.n_ensemble else []

    def _label_distribution(self, data: TrainingData, proba: np.ndarray) -> np.ndarray:
        """Return the probability of each class for each training row, given the predictions.

        Both have the shape (n_samples, n_classes). ``label_distribution_``, ``purified_labels_``
        and ``clean_proba_`` follow from it.
        """
        return proba

    def _finish(self, data: TrainingData) -> None:
        """Set the method's fitted attributes; the nets are trained and in eval mode."""

    # --- the start of the network -------------------------------------------------------------

    def _check_settings(self) -> None:
        super()._check_settings()
        check_pretrained(self.pretrained, self.module, self.module_params)

    @property
    def _has_own_network(self) -> bool:
        return super()._has_own_network or encoder_of(self.pretrained) is not None

    def _check_network(self, problem: Problem) -> None:
        super()._check_network(problem)
        if self.pretrained is not None:
            check_same_rows(self.pretrained, self, problem.X)
        elif self._start is None:
            return
        scaling = self._fitted_scaling(problem.X)
        rows = make_rows(problem.X[:2], scaling, problem.device, in_memory=True)
        first = rows.take(torch.arange(len(rows), device=rows.index_device))
        with seeded(problem.seed, problem.device):
            module, _ = self._new_module(first, len(problem))
        check_module(self._start, module)

    def _fitted_scaling(self, X) -> InputScaling:
        start = self._start and self._start.scaling
        return start or scaling_of(self.pretrained) or super()._fitted_scaling(X)

    def _built_module(self, example: Tensor, settings: MLPSettings) -> nn.Module:
        encoder = encoder_of(self.pretrained)
        if encoder is not None:
            return with_new_head(encoder, example, len(self.classes_))
        module = super()._built_module(example, settings)
        if self.pretrained is not None:
            load_state(module.to(example.device), self.pretrained, example)
        return module

    # --- fit --------------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=False)  # a purifier or selector checks its own
    @share_docs
    def fit(self, X, y, *, clean_mask=None, sample_weight=None):
        """Train on noisy labels.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or images of shape \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Training rows of any numeric dtype: arrays, memory maps, tensors, pandas and polars
            frames, CSR and CSC matrices, and what need not fit into memory: the path of a Parquet
            file, or a map-style torch ``Dataset`` (:ref:`large_data`). NaN in tables is a missing
            value. A ``module`` of your own takes arrays (n_samples, ...) of any shape; integers
            stay integers for it.
        {y, clean_mask, sample_weight}

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            On input that cannot be used; the message names the value and the cure.
        NonFiniteLossError
            If the training loss becomes NaN or infinite.
        """
        return self._fit(X, y, clean_mask, sample_weight)

    def _fit_networks(self, data: TrainingData, rng: np.random.RandomState) -> None:
        self.nets_ = self._networks(data, rng)
        self.net_ = self.nets_[0]
        load_start(self._start, self.nets_)
        with trained_on_ranks(self, self.nets_, self._joint_step, data):
            train_side_by_side(self.nets_, data, self.max_epochs_, self._joint_step)

    def _after_fit(self, data: TrainingData) -> None:
        for net in self.nets_:
            net.module_.eval()
        self.history_ = self.net_.history
        self.n_iter_ = self.net_.n_finished_epochs
        device, states = torch.device(self.net_.device), self._member_states()
        self._members = Members(self.net_.module_, states, device, rows_per_pass(self.net_))
        proba = self._label_distribution(data, self._proba(data.rows).numpy())
        distribute_labels(self, proba, data)
        self._finish(data)

    # --- predict ----------------------------------------------------------------------------

    def predict_proba(self, X) -> np.ndarray:
        """Return the probabilities of the classes.

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
            If X is not of the kind that was fitted, or so extreme that the network gives NaN.
        """
        return self._proba(self._rows(X)).numpy()

    def predict(self, X) -> np.ndarray:
        """Return the labels of the most probable classes.

        Parameters
        ----------
        X : array-like of the kind that was fitted
            Rows.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            In the type of the labels that were fitted.

        Raises
        ------
        NotFittedError, ValueError
            As in :meth:`predict_proba`.
        """
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(axis=1)]

    def features(self, X) -> np.ndarray:
        """Return penultimate features of the network, those of the best epoch if it keeps several.

        Parameters
        ----------
        X : array-like of the kind that was fitted
            Rows.

        Returns
        -------
        features : ndarray of float64 of shape (n_samples, d)

        Raises
        ------
        NotFittedError, ValueError
            As in :meth:`predict_proba`.
        """
        rows = self._rows(X)  # first, as it raises NotFittedError
        return self._members.features(rows).numpy()

    def export_onnx(self, path: str | os.PathLike, *, dtype: str | None = None) -> None:
        """Write the classifier as an ONNX file, which predicts without Python and torch.

        The graph holds all that :meth:`predict_proba` does: imputation, scaling, the networks,
        the mean of their logits and the softmax. Before the file is written, onnxruntime runs
        the graph on drawn rows, and has to give the probabilities of torch.

        The input ``X`` takes any number of rows; the output ``probabilities`` is float64 of shape
        (n_samples, n_classes). The metadata entry ``classes`` is ``classes_`` as JSON. The graph
        does not check its input: infinite values may give NaN where :meth:`predict_proba` raises.

        Parameters
        ----------
        path : str or path-like
            File to write, such as ``"classifier.onnx"``. It is replaced if it exists.
        dtype : {"float32", "float64", "int64", "uint8"} or None, default=None
            Type of the input. None: "uint8" for images that were fitted as such, "int64" for
            integers that a network of your own gets as they are, else "float32". Rows are
            standardised in float64 in any case, so that "float64" loses no digits of values far
            from 0, such as time stamps.

        Warns
        -----
        PrecisionWarning
            If float32 keeps few digits of a column.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ImportError
            If the packages of ``pip install "sknoisy[onnx]"`` are missing.
        OSError
            If the file cannot be written, as there is no folder for it.
        ValueError
            If `dtype` is none of those above, if float32 does not hold the values of a column, or
            if a network of your own has no graph that gives its probabilities.

        Notes
        -----
        Networks that predict in bfloat16 are written in float32.

        Examples
        --------
        >>> import json
        >>> import tempfile
        >>> import numpy as np
        >>> import onnxruntime
        >>> from sklearn.datasets import load_iris
        >>> from sknoisy import CLIDMUClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> clf = CLIDMUClassifier(max_epochs=3, n_warmup_epochs=1, random_state=0).fit(X, y)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     clf.export_onnx(f"{folder}/iris.onnx")
        ...     session = onnxruntime.InferenceSession(f"{folder}/iris.onnx")
        >>> (proba,) = session.run(None, {"X": X.astype(np.float32)})
        >>> np.allclose(proba, clf.predict_proba(X), atol=1e-5)
        True
        >>> json.loads(session.get_modelmeta().custom_metadata_map["classes"])
        [0, 1, 2]
        """
        check_is_fitted(self)
        graph = ProbabilityGraph(self._scaling, self._members.networks)
        write_onnx(path, self, graph, dtype, capture=self._has_own_network)

    def _rows(self, X):
        check_is_fitted(self)
        X = check_X(self, X, reset=False, any_shape=self._has_own_network, streams=True)
        self._scaling.check_unit(X)
        return make_rows(X, self._scaling, self._members.device, in_memory=False)

    def _proba(self, rows) -> Tensor:
        """Return the softmax of the mean logits of all members, float64 on the CPU."""
        return self._members.proba(rows)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_members")

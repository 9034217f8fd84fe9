"""Rows of right labels, selected by how they are learned (MILD)."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from ..._compat import Interval, Options, StrOptions, fit_context
from ..._docs import share_docs
from ..._engine.batches import TrainingData
from ..._engine.folds import stratified_half
from ..._engine.indexing import is_all, take_rows
from ..._engine.label_distribution import set_label_distribution
from ..._engine.labels import take_labels
from ..._engine.parquet_rows import ParquetRows
from ..._engine.stopping import Stopped, current_stop, cut_short, part_of_fit
from ..._engine.stream_sources import as_stream
from ...base import NetworkEstimator
from ...callbacks import RecordDynamics
from ...cleaning.class_sizes import warn_of_shrunken_classes
from ...cleaning.held_out import (
    MAX_ROWS,
    Verdict,
    beats_chance,
    learn_and_predict,
    predict_rows,
    rehearse,
)
from ...exceptions import NonFiniteLossError, SelectionWarning, warn_user
from .dynamics import LearningDynamics, count_dynamics, segment_dynamics
from .selection import SelectionState
from .threshold import Criteria

__all__ = ["CleanSampleSelector"]

_METRICS: dict[str, Callable[[Any, int], LearningDynamics]] = {
    "count": count_dynamics,
    "segments": segment_dynamics,
}
# Values of stop_reason_.
_INTERRUPTED = "fit was interrupted"
_UNJUDGED = "fit was interrupted while the selection was judged"
_WORSE = "held-out labels are predicted worse by the selected rows, so that all rows stay"
_NOT_FINITE = "the training loss became NaN or infinite"


@share_docs
class CleanSampleSelector(NetworkEstimator):
    r"""Select the rows whose labels are right, by their learning dynamics (MILD).

    Wrong labels are hard to memorise and easy to forget. Each round trains a network on the rows
    that are left, and records for each row and epoch whether the training forward pass predicts
    the given label. The record gives the row's memorisation difficulty M and forgetting
    difficulty G. A mixture of two Weibull distributions is fitted to the scores
    :math:`m_i = M_i - G_i`, shifted to begin at 0:

    .. math:: f(x) = \pi\, w(x; \alpha_1, \beta_1) + (1 - \pi)\, w(x; \alpha_2, \beta_2),
        \quad \alpha_1 < \alpha_2,

    and the rows with :math:`x_i \le \alpha_2` are kept for the next round. This drops only the
    hardest third of the noisy component, so that right labels survive many rounds.

    The paper has no stopping rule, and drops right labels once no wrong one is left. Here the
    rounds end when the rows at the threshold are memorised in more than half of the epochs; the
    rows that the last round has hardly memorised are dropped, too. No class is emptied, a rare
    class that a round has not learned keeps its rows, and trusted rows (``clean_mask``) are always
    kept.

    Right labels that are hard to learn are dropped like wrong ones, which costs most where there
    are few rows. Therefore a selection from up to 2,000 rows is judged: the rounds are repeated on
    parts of the rows that leave out one fold each; one network learns the whole part, another one
    the rows selected from it. If the second network predicts fewer of the given labels of the
    fold, by more than a standard error, all rows are kept.

    The selector is a step of the pipelines of :mod:`sknoisy.pipeline`. In scikit-learn's own
    pipelines, use it inside :class:`PurifiedClassifier`. ``fit_resample`` preserves the type of X.

    Parameters
    ----------
    metric : {"count", "segments"} or callable, default="count"
        Difficulties M and G. "count": numbers of epochs without and with the right prediction (the
        released code). "segments": mean lengths of the runs of such epochs (the paper). A callable
        has the signature of :func:`~sknoisy.methods.mild.count_dynamics`,
        ``metric(bits, n_rows)``, and returns a :class:`~sknoisy.methods.mild.LearningDynamics`, in
        epochs.
    threshold : {"consistent", "released"}, default="consistent"
        "consistent": the shifted scores are compared with :math:`\alpha_2`. "released": the
        scores are compared without the shift, as in the released code; hardly a row is dropped
        then.
    stopping : bool, default=True
        End the rounds when the threshold is negative; with "count", this means that rows at the
        threshold are memorised in more than half of the epochs. False: the rounds end after
        `n_rounds`, or when a round drops no row.
    min_memorized : float, default=0.4
        In the round that `stopping` makes the last one, rows whose given label was predicted in a
        smaller share of the epochs are dropped; 0 drops none. It does not apply to the first
        round.
    n_rounds : int, default=20
        Maximum number of rounds.
    min_per_class : int, default=10
        Number of rows of each given class, those of lowest score, that every round keeps.
    n_folds : int, default=3
        Number of folds used to evaluate the selection, if there are at most 2,000 rows.
        `callbacks` are not used there. The evaluation takes most of the time of ``fit``; 0 turns
        it off.
    reset : bool, default=True
        Begin each round with a new network, which has not memorised any label. False: continue
        with the weights of the round before, as in the paper; the optimiser and its schedule begin
        anew.
    n_warmup_epochs : int, default=0
        Additional epochs of the first round (50 in the paper).
    {module, module_params, optimizer, optimizer_params}
    lr : "auto" or float, default="auto"
        Learning rate of the network. "auto": 0.05, more for larger batches.
    lr_schedule : {"cosine", "constant"} or callable, default="cosine"
        Schedule by epochs of a round; "cosine" ends at a fiftieth of ``lr``. A callable takes the
        optimiser and returns a torch scheduler.
    max_epochs : int, default=40
        Epochs of each round (20 in the paper, for 50,000 images).
    {batch_size, max_time, augment, standardize, device, precision}
    callbacks : list or None, default=None
        Further skorch callbacks; they are copied for each round.
    verbose : int, default=0
        1 shows a progress bar over the rounds and prints why they ended.
    random_state : int, RandomState or None, default=None
        Controls all random draws. On a CPU, two fits with the same int select the same rows.

    Attributes
    ----------
    {sample_indices_, clean_mask_}
    memorization_, forgetting_ : ndarray of shape (n_samples,), float64
        M and G of each row in its last round, in epochs.
    rounds_ : list of dict
        For each round: ``n_rows`` and ``n_kept``; ``threshold``, on the scale of the scores;
        ``mixture``, the :class:`~sknoisy.mixture.WeibullMixture` of the shifted scores, or None;
        ``scores`` and ``counts``, the distinct scores and how often each occurs; ``n_spared``, the
        number of rows that are kept only for `min_per_class`; ``history``, that of skorch. The
        judgement does not change these entries.
    n_iter_ : int
        Number of rounds.
    held_out_gain_ : Verdict or None
        Named tuple of the judgement: ``gain``, the share of held-out labels that are predicted
        after the selection, minus the share without it, and ``error``, its standard error. None if
        there was no judgement.
    stop_reason_ : str
        Why the rounds ended, or why all rows are kept.
    net_ : DeviceNet
        The net of the last round.
    {classes_, label_distribution_, purified_labels_, clean_proba_, n_features_in_}
    {feature_names_in_, batch_size_}
    image_shape_ : tuple or None
        Shape of an image.

    See Also
    --------
    MILDClassifier : The selection and a network that learns from it.
    LabelPurifier : Changes wrong labels; drops no row.
    sknoisy.callbacks.RecordDynamics : Records the bits on any skorch net.

    References
    ----------
    C. Hu et al., MILD: Modeling the Instance Learning Dynamics for Learning with Noisy Labels,
    IJCAI 2023.

    Examples
    --------
    >>> from sknoisy import CleanSampleSelector
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.4, random_state=0)
    >>> X, y = digits.data[:900], digits.target[:900]
    >>> is_right = y == digits.target_clean[:900]
    >>> float(is_right.mean().round(2))
    0.6
    >>> selector = CleanSampleSelector(max_epochs=15, n_folds=0, random_state=0)
    >>> X_selected, y_selected = selector.fit_resample(X, y)
    >>> bool(is_right[selector.sample_indices_].mean() > 0.9)
    True
    >>> bool(is_right[~selector.clean_mask_].mean() < 0.1)
    True
    """

    _parameter_constraints: dict = {
        **NetworkEstimator._parameter_constraints,
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "metric": [StrOptions({"count", "segments"}), callable],
        "threshold": [StrOptions({"consistent", "released"})],
        "stopping": ["boolean"],
        "min_memorized": [Interval(Real, 0, 1, closed="both")],
        "n_rounds": [Interval(Integral, 1, None, closed="left")],
        "min_per_class": [Interval(Integral, 1, None, closed="left")],
        "n_folds": [Options(Integral, {0}), Interval(Integral, 2, None, closed="left")],
        "reset": ["boolean"],
        "n_warmup_epochs": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        metric: str | Callable[..., LearningDynamics] = "count",
        threshold: str = "consistent",
        stopping: bool = True,
        min_memorized: float = 0.4,
        n_rounds: int = 20,
        min_per_class: int = 10,
        n_folds: int = 3,
        reset: bool = True,
        n_warmup_epochs: int = 0,
        max_epochs: int = 40,
        **shared: Any,
    ):
        super().__init__(max_epochs=max_epochs, **shared)
        self.metric = metric
        self.threshold = threshold
        self.stopping = stopping
        self.min_memorized = min_memorized
        self.n_rounds = n_rounds
        self.min_per_class = min_per_class
        self.n_folds = n_folds
        self.reset = reset
        self.n_warmup_epochs = n_warmup_epochs

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, *, clean_mask=None, groups=None):
        """Select rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or images of shape \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Training rows, also the path of a Parquet file or a map-style torch ``Dataset``
            (:ref:`large_data`). NaN in tables is a missing value. A ``module`` of your own takes
            arrays (n_samples, ...) of any shape.
        y : array-like of shape (n_samples,)
            Noisy labels; :ref:`labels` lists the containers and types.
        clean_mask : array-like of bool of shape (n_samples,) or None, default=None
            True where the label is trusted: these rows are selected. Each class needs at least one
            such row.
        groups : array-like of shape (n_samples,) or None, default=None
            Group of each row, such as a patient, if the labels of a group may be wrong together.
            Folds of held-out rows then never divide a group.

        Returns
        -------
        self : object
            The fitted selector.

        Raises
        ------
        ValueError
            If the input cannot be used; the message names the value and the cure.
        NonFiniteLossError
            If the training loss of the first round becomes NaN or infinite. If that of a later
            round does, ``fit`` warns and returns the selection of the round before.
        """
        return self._fit(X, y, clean_mask, None, groups)

    @fit_context(prefer_skip_nested_validation=True)
    def fit_resample(self, X, y, *, clean_mask=None, groups=None):
        """Select rows and return them.

        Parameters
        ----------
        X, y, clean_mask, groups
            As in :meth:`fit`.

        Returns
        -------
        X : object
            The selected rows, in the type of X (CSR for a CSC matrix). Those of a torch
            ``Dataset`` are a ``Subset``. Those of a Parquet file are an object that every network
            classifier takes as X and reads in row groups, and that ``numpy.asarray`` loads. X and
            y themselves are returned if all rows are selected.
        y : object
            Their given labels, in the container and dtype of y; pandas keeps its index and name.
        """
        self.fit(X, y, clean_mask=clean_mask, groups=groups)
        rows = self.sample_indices_
        if is_all(rows, len(self.clean_mask_)):
            return X, y
        stream = as_stream(X)
        source = stream if isinstance(stream, ParquetRows) else X
        return take_rows(source, rows), take_labels(y, rows)

    def select(self, X, y, *, clean_mask=None, groups=None) -> np.ndarray:
        """Select rows and return their indices, without a copy of X.

        Parameters
        ----------
        X, y, clean_mask, groups
            As in :meth:`fit`.

        Returns
        -------
        sample_indices : ndarray of int of shape (n_selected,)
            ``sample_indices_``, ascending.
        """
        return self.fit(X, y, clean_mask=clean_mask, groups=groups).sample_indices_

    # --- the rounds -------------------------------------------------------------------------

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        return [("dynamics", RecordDynamics())]

    def _fit_networks(self, data: TrainingData, rng: np.random.RandomState) -> None:
        """Run the rounds, judge the selection, and set the fitted attributes."""
        state = SelectionState(data)
        self.stop_reason_ = self._run_rounds(data, state, rng)
        self.held_out_gain_: Verdict | None = None
        sample_indices = state.rows
        is_done = self.stop_reason_ not in (_INTERRUPTED, _NOT_FINITE)
        if self.n_folds and is_done and len(sample_indices) < len(data) <= MAX_ROWS:
            self._judge(data, state.given, rng)
            if self.held_out_gain_ is not None and self.held_out_gain_.is_worse:
                sample_indices, self.stop_reason_ = np.arange(len(data)), _WORSE
        self.net_ = state.net
        self.rounds_, self.n_iter_ = state.rounds, len(state.rounds)
        self.sample_indices_ = sample_indices
        self.clean_mask_ = np.isin(np.arange(len(data)), sample_indices)
        self.memorization_, self.forgetting_ = state.memorization, state.forgetting
        distribution = state.label_distribution(len(self.classes_))
        set_label_distribution(self, distribution, state.given, state.trusted)

    def _run_rounds(
        self,
        data: TrainingData,
        state: SelectionState,
        rng: np.random.RandomState,
        *,
        is_trial: bool = False,
    ) -> str:
        """Drop rows of the state round by round, and return why the rounds ended.

        The rounds of a trial belong to the judgement: they have no progress bar and none of the
        user's callbacks, and do not test whether the labels can be learned.
        """
        seeds = rng.randint(np.iinfo(np.int32).max, size=self.n_rounds)
        is_silent = is_trial or not self.verbose
        with tqdm(seeds, type(self).__name__, unit="round", disable=is_silent) as bar:
            for k, seed in enumerate(bar, 1):
                with part_of_fit(f"round {k} of {self.n_rounds}"):
                    reason = self._run_round(data, state, int(seed), is_trial)
                bar.set_postfix(kept=len(state.rows), refresh=False)
                if reason is not None:
                    return reason
        return f"n_rounds={self.n_rounds} were done"

    def _run_round(
        self, data: TrainingData, state: SelectionState, seed: int, is_trial: bool
    ) -> str | None:
        """Train on the rows that are left and drop some; return why to stop, None to go on."""
        rng, is_first = np.random.RandomState(seed), state.is_first_round
        callbacks = [] if is_trial else copy.deepcopy(self.callbacks or [])
        trouble = self._train(data, state, rng, callbacks)
        if trouble is not None:
            return trouble
        reason = state.drop_rows(
            Criteria(*(getattr(self, name) for name in Criteria._fields)), seed
        )
        if reason is None and is_first and not is_trial:
            return self._check_that_labels_can_be_learned(data, state.given, rng)
        return reason

    def _train(
        self,
        data: TrainingData,
        state: SelectionState,
        rng: np.random.RandomState,
        callbacks: list,
    ) -> str | None:
        """Train the net of a round and take its dynamics; return why to stop, None to go on."""
        is_first = state.is_first_round
        max_epochs = self.max_epochs_ + (self.n_warmup_epochs if is_first else 0)
        net = self._build_net(data, rng, callbacks, max_epochs=max_epochs)
        if not is_first and not self.reset:
            net.module.load_state_dict(state.net.module_.state_dict())
        try:
            net.fit(data.only(torch.as_tensor(state.rows, device=data.device)))
        except NonFiniteLossError as error:
            if is_first:
                raise
            n_done = len(state.rounds)
            warn_user(
                f"Round {n_done + 1} failed: {error} The selection of round {n_done} stands.",
                SelectionWarning,
            )
            return _NOT_FINITE
        if is_first or not net.interrupted_:  # else the results of the round before stand
            metric = _METRICS[self.metric] if isinstance(self.metric, str) else self.metric
            state.observe(net, metric)
        return _INTERRUPTED if net.interrupted_ else None

    def _check_that_labels_can_be_learned(
        self, data: TrainingData, given: np.ndarray, rng: np.random.RandomState
    ) -> str | None:
        """Warn if held-out labels are predicted no better than chance; return why to stop."""
        half = stratified_half(given, rng, data.groups)
        learned, rest = (
            torch.as_tensor(m, device=data.device).nonzero()[:, 0] for m in (half, ~half)
        )
        try:
            with part_of_fit("the check of the labels"):
                net = self._build_net(data, rng, []).fit(data.only(learned))
        except NonFiniteLossError:  # the rounds stand without this check
            return None
        if not (net.interrupted_ or beats_chance(given[~half], predict_rows(net, data, rest))):
            warn_user(
                f"A network that learned half of the {len(given)} rows predicts the labels of the "
                "others no better than chance: the labels may be pure noise, which makes the "
                "selection meaningless. Pass another module, more rows, or check y.",
                SelectionWarning,
            )
        return _INTERRUPTED if net.interrupted_ else None

    # --- the judgement ----------------------------------------------------------------------

    def _judge(self, data: TrainingData, given: np.ndarray, rng: np.random.RandomState) -> None:
        """Compare networks that learned parts of the rows with and without a selection."""
        self._say(f"the selection is judged by {self.n_folds} parts of the rows")

        def select(rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
            state = SelectionState(data, rows)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SelectionWarning)  # the user's rows are others
                reason = self._run_rounds(data, state, np.random.RandomState(seed), is_trial=True)
            if reason == _INTERRUPTED:
                raise Stopped
            return state.rows, given[state.rows]

        def predict(rows: np.ndarray, _, held: np.ndarray, seed: int) -> np.ndarray:
            return learn_and_predict(partial(self._build_net, data), data, rows, held, seed)

        with cut_short() as stop, suppress(NonFiniteLossError), part_of_fit("the judgement"):
            self.held_out_gain_ = rehearse(given, self.n_folds, rng, select, predict, data.groups)
        if stop.is_set:
            self.stop_reason_ = _UNJUDGED

    def _after_fit(self, data: TrainingData) -> None:
        """Report the selection."""
        self.net_.module_.eval()
        given = data.given.cpu().numpy()
        warn_of_shrunken_classes(
            type(self).__name__, given, given[self.sample_indices_], self.classes_
        )
        result = f"{len(self.sample_indices_)} of {len(data)} rows"
        self._say(f"{result} selected in {self.n_iter_} rounds: {self.stop_reason_}.")
        if self.stop_reason_ in (_INTERRUPTED, _UNJUDGED):
            current_stop().result = f"the selection is that of round {self.n_iter_}, {result}"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "clean_mask_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

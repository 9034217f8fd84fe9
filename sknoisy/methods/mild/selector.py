"""Rows of right labels, selected by how they are learned (MILD)."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from ..._compat import Interval, Options, StrOptions, fit_context
from ..._docs import share_docs
from ..._engine.batches import TrainingData
from ..._engine.indexing import take_rows
from ..._engine.net import DeviceNet
from ...base import NetworkEstimator
from ...callbacks import RecordDynamics
from ...cleaning.chance import beats_chance, predict_rows, stratified_half
from ...cleaning.held_out import MAX_ROWS, Verdict, learn_and_predict, rehearse
from ...exceptions import InterruptedFitWarning, NonFiniteLossError, SelectionWarning, warn_user
from .dynamics import LearningDynamics, count_dynamics, segment_dynamics
from .selection import SelectionState
from .threshold import Criteria

__all__ = ["CleanSampleSelector"]

_METRICS: dict[str, Callable[[Any, int], LearningDynamics]] = {
    "count": count_dynamics,
    "segments": segment_dynamics,
}
_INTERRUPTED = "fit was interrupted"
_UNJUDGED = "fit was interrupted while the selection was judged"
_WORSE = "held-out labels are predicted worse by selected rows, so that all rows stay"
_NOT_FINITE = "the training loss became NaN or infinite"


@share_docs
class CleanSampleSelector(NetworkEstimator):
    r"""Select the rows whose labels are right, by their learning dynamics (MILD).

    Wrong labels are hard to memorise and easy to forget. Round by round a network is trained on
    the rows that are left, and each epoch's training forward pass says of each row whether its
    given label is predicted. From these bits come the row's memorisation difficulty M and
    forgetting difficulty G; a mixture of two Weibull distributions is fitted to the scores
    :math:`m_i = M_i - G_i`, shifted to begin at 0:

    .. math:: f(x) = \pi\, w(x; \alpha_1, \beta_1) + (1 - \pi)\, w(x; \alpha_2, \beta_2),
        \quad \alpha_1 < \alpha_2,

    and rows with :math:`x_i \le \alpha_2` are left for the next round. That drops only the hardest
    third of the noisy component, so that right labels survive many rounds.

    The paper has no rule for when to stop, and goes on dropping right labels when no wrong one is
    left. Here the rounds end when the rows at the threshold are memorised in more than half of the
    epochs, and what the last round has hardly memorised is dropped, too. No class is emptied, and
    trusted rows (``clean_mask``) always stay.

    Right labels that are hard to learn are dropped like wrong ones, and where rows are few the
    others do not make up for them. So up to 2,000 rows are judged: the rounds are run on parts of
    them, which leave out a fold each, and a network learns each part as it is and as it was
    selected. If the latter predicts fewer of the given labels left out, by more than a standard
    error, all rows stay.

    It is a step of :mod:`sknoisy.pipeline`; in scikit-learn's own pipelines
    :class:`PurifiedClassifier` runs it. X keeps its type in ``fit_resample``.

    Parameters
    ----------
    metric : {"count", "segments"} or callable, default="count"
        Difficulties M and G: "count", epochs without and with the right prediction (the released
        code); "segments", mean lengths of such runs of epochs (the paper). A callable is called as
        :func:`~sknoisy.methods.mild.count_dynamics` is, ``metric(bits, n_rows)``, and returns a
        :class:`~sknoisy.methods.mild.LearningDynamics`, in epochs.
    threshold : {"consistent", "released"}, default="consistent"
        "released": as the released code does, scores are compared with :math:`\alpha_2` without
        the shift. Hardly a row is dropped then.
    stopping : bool, default=True
        End the rounds when the threshold is negative: with "count", when rows at it are memorised
        in more than half of the epochs. False: only `n_rounds` and a round that drops nothing do.
    min_memorized : float, default=0.4
        In the round in which `stopping` takes effect, unless it is the first, rows whose given
        label was predicted in less than this share of the epochs are dropped; 0: none.
    n_rounds : int, default=20
        Rounds at most.
    min_per_class : int, default=10
        Rows of lowest score of each given class that every round keeps.
    n_folds : int, default=3
        Folds of the rows that judge the selection, if there are no more than 2,000 rows; networks
        of the judgement have none of `callbacks`. 0: no judgement, which takes most of the time.
    reset : bool, default=True
        Begin each round with a new network, which has not memorised what is dropped. False: go on
        with its weights, as the paper does; the optimiser and its schedule begin anew.
    n_warmup_epochs : int, default=0
        Epochs by which the first round is longer (50 in the paper).
    {module, module_params, optimizer, optimizer_params}
    lr : float, default=0.05
        Learning rate of the network.
    lr_schedule : {"cosine", "constant"} or callable, default="cosine"
        Schedule by epochs of a round; "cosine" ends at a fiftieth of ``lr``. A callable takes the
        optimiser and returns a torch scheduler.
    max_epochs : int, default=40
        Epochs of each round (20 in the paper, for 50,000 images).
    {batch_size, augment, standardize, device}
    callbacks : list or None, default=None
        Further skorch callbacks; each round has copies of its own.
    verbose : int, default=0
        1 shows a progress bar over the rounds and says why they ended.
    random_state : int, RandomState or None, default=None
        Decides all draws; on a CPU, two fits with the same int select the same rows.

    Attributes
    ----------
    {sample_indices_, clean_mask_}
    clean_proba_ : ndarray of shape (n_samples,), float64
        How far the label is believed: the share of the epochs of the row's last round in which its
        given label was predicted; 1 for trusted rows.
    memorization_, forgetting_ : ndarray of shape (n_samples,), float64
        M and G of each row in its last round, in epochs.
    rounds_ : list of dict
        For each round: ``n_rows`` and ``n_kept``; ``threshold``, on the scale of the scores;
        ``mixture``, the :class:`~sknoisy.mixture.WeibullMixture` of the shifted scores, or None;
        ``scores`` and ``counts``, the distinct scores and how often each occurs; ``n_spared``,
        rows that are kept for the sake of their class alone; ``history``, that of skorch. They
        tell of the rounds, also where all rows stay in the end.
    n_iter_ : int
        Rounds.
    held_out_gain_ : Verdict or None
        Named tuple of the judgement: ``gain``, by how much the share of left-out labels that are
        predicted is larger after the selection, and ``error``, its standard error; None if nothing
        was judged.
    stop_reason_ : str
        Why there were no more rounds, or that all rows stay.
    net_ : DeviceNet
        The net of the last round.
    {classes_, n_features_in_, feature_names_in_}
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
    >>> is_right = digits.target == digits.target_clean
    >>> float(is_right.mean().round(2))
    0.58
    >>> selector = CleanSampleSelector(random_state=0)
    >>> X, y = selector.fit_resample(digits.data, digits.target)
    >>> bool(is_right[selector.sample_indices_].mean() > 0.9)
    True
    >>> bool(is_right[~selector.clean_mask_].mean() < 0.1)
    True
    """

    _parameter_constraints: dict = {
        **NetworkEstimator._parameter_constraints,
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
        module=None,
        module_params: dict[str, Any] | None = None,
        optimizer="sgd",
        optimizer_params: dict[str, Any] | None = None,
        lr: float = 0.05,
        lr_schedule="cosine",
        max_epochs: int = 40,
        batch_size: int = 100,
        augment="auto",
        standardize: str | bool = "auto",
        device="auto",
        callbacks: list | None = None,
        verbose: int = 0,
        random_state=None,
    ):
        super().__init__(
            module=module,
            module_params=module_params,
            optimizer=optimizer,
            optimizer_params=optimizer_params,
            lr=lr,
            lr_schedule=lr_schedule,
            max_epochs=max_epochs,
            batch_size=batch_size,
            augment=augment,
            standardize=standardize,
            device=device,
            callbacks=callbacks,
            verbose=verbose,
            random_state=random_state,
        )
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
    def fit(self, X, y, clean_mask=None):
        """Select rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or images of shape \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Training rows.
        y : array-like of shape (n_samples,)
            Noisy labels of any type.
        clean_mask : array-like of bool of shape (n_samples,) or None, default=None
            True where the label is trusted: these rows are selected. Each class needs one.

        Returns
        -------
        self : object
            The fitted selector.

        Raises
        ------
        ValueError
            On input that cannot be used; the message names the value and the cure.
        NonFiniteLossError
            If the training loss of the first round becomes NaN or infinite. In a later round, a
            warning is given and the selection of the round before it stands.
        """
        return self._fit(X, y, clean_mask, None)

    @fit_context(prefer_skip_nested_validation=True)
    def fit_resample(self, X, y, clean_mask=None):
        """Select rows and return them.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or images of shape \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Training rows.
        y : array-like of shape (n_samples,)
            Noisy labels of any type.
        clean_mask : array-like of bool of shape (n_samples,) or None, default=None
            True where the label is trusted.

        Returns
        -------
        X : object
            The selected rows, of the type of X (of a CSC matrix, CSR); the very X if all are.
        y : object
            Their given labels, of the type of y.
        """
        self.fit(X, y, clean_mask)
        return take_rows(X, self.sample_indices_), take_rows(y, self.sample_indices_)

    def select(self, X, y, clean_mask=None) -> np.ndarray:
        """Select rows and return their indices; rows of X are not copied.

        Parameters
        ----------
        X, y, clean_mask
            As in :meth:`fit`.

        Returns
        -------
        sample_indices : ndarray of int of shape (n_selected,)
            ``sample_indices_``, ascending.
        """
        return self.fit(X, y, clean_mask).sample_indices_

    # --- the rounds --------------------------------------------------------------------------

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        return [("dynamics", RecordDynamics())]

    def _fit_networks(self, data: TrainingData, rng: np.random.RandomState) -> None:
        seeds = rng.randint(np.iinfo(np.int32).max, size=self.n_rounds)
        self._state = SelectionState(data)
        with tqdm(seeds, "CleanSampleSelector", unit="round", disable=not self.verbose) as bar:
            self.stop_reason_ = self._rounds(data, bar, ask=True)
        self.held_out_gain_: Verdict | None = None
        is_done = self.stop_reason_ not in (_INTERRUPTED, _NOT_FINITE)
        if self.n_folds and is_done and len(self._state.rows) < len(data) <= MAX_ROWS:
            self._judge(data, rng)

    def _rounds(self, data: TrainingData, seeds: tqdm, *, ask: bool) -> str:
        """Go through the rounds; why there were no more."""
        for seed in seeds:
            reason = self._round(data, int(seed), ask)
            seeds.set_postfix(kept=len(self._state.rows), refresh=False)
            if reason is not None:
                return reason
        return f"n_rounds={self.n_rounds} were done"

    def _round(self, data: TrainingData, seed: int, ask: bool) -> str | None:
        """Train on the rows that are left and select among them; why to stop, if so."""
        state, rng = self._state, np.random.RandomState(seed)
        is_first = not state.rounds
        if (trouble := self._train(data, rng, is_first)) is not None:
            return trouble
        criteria = Criteria(*(getattr(self, name) for name in Criteria._fields))
        choice = state.choose(criteria, seed)
        state.apply(choice, history=self.net_.history)
        if ask and is_first and choice.reason is None:
            return self._check_that_labels_can_be_learned(data, state.given, rng)
        return choice.reason

    def _train(self, data: TrainingData, rng: np.random.RandomState, is_first: bool) -> str | None:
        """Train the net of a round and take its dynamics; what went wrong, if it did."""
        max_epochs = self.max_epochs + (self.n_warmup_epochs if is_first else 0)
        own = copy.deepcopy(self.callbacks or [])
        net = self._build_net(data, rng, own, max_epochs=max_epochs)
        if not is_first and not self.reset:
            net.module.load_state_dict(self.net_.module_.state_dict())
        try:
            net.fit(data.only(torch.as_tensor(self._state.rows, device=data.device)))
        except NonFiniteLossError as error:
            if is_first:
                raise
            n_done = len(self._state.rounds)
            warn_user(
                f"Round {n_done + 1} failed: {error} The selection of round {n_done} stands.",
                SelectionWarning,
            )
            return _NOT_FINITE
        if is_first or not net.interrupted_:  # else what the round before found stands
            self.net_: DeviceNet = net
            metric = _METRICS[self.metric] if isinstance(self.metric, str) else self.metric
            self._state.observe(dict(net.callbacks_)["dynamics"], metric)
        return _INTERRUPTED if net.interrupted_ else None

    def _check_that_labels_can_be_learned(
        self, data: TrainingData, given: np.ndarray, rng: np.random.RandomState
    ) -> str | None:
        half = stratified_half(given, rng)
        learned, rest = (
            torch.as_tensor(m, device=data.device).nonzero()[:, 0] for m in (half, ~half)
        )
        try:
            net = self._build_net(data, rng, []).fit(data.only(learned))
        except NonFiniteLossError:  # the rounds stand without this check
            return None
        if not (net.interrupted_ or beats_chance(given[~half], predict_rows(net, data, rest))):
            warn_user(
                f"A network that learned half of the {len(given)} rows predicts the labels of the "
                "others no better than chance: the labels may be pure noise, and what is selected "
                "then means nothing. Pass another module, more rows, or check y.",
                SelectionWarning,
            )
        return _INTERRUPTED if net.interrupted_ else None

    # --- the judgement ----------------------------------------------------------------------

    def _judge(self, data: TrainingData, rng: np.random.RandomState) -> None:
        """Select in parts of the rows, too; if others are predicted worse then, keep all rows."""
        state = self._state
        self._say(f"the selection is judged by {self.n_folds} parts of the rows")
        trial = copy.copy(self).set_params(callbacks=None)

        def select(rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
            trial._state = SelectionState(data, rows)
            draws = np.random.RandomState(seed).randint(np.iinfo(np.int32).max, size=self.n_rounds)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SelectionWarning)  # of rounds that nobody sees
                reason = trial._rounds(data, tqdm(draws, disable=True), ask=False)
            if reason == _INTERRUPTED:
                raise KeyboardInterrupt
            return trial._state.rows, state.given[trial._state.rows]

        def predict(rows: np.ndarray, _, held: np.ndarray, seed: int) -> np.ndarray:
            return learn_and_predict(partial(self._build_net, data), data, rows, held, seed)

        try:
            self.held_out_gain_ = rehearse(state.given, self.n_folds, rng, select, predict)
        except KeyboardInterrupt:
            self.stop_reason_ = _UNJUDGED
        except NonFiniteLossError:  # the rounds stand without this check
            pass
        if self.held_out_gain_ is not None and self.held_out_gain_.is_worse:
            state.rows = np.arange(len(data))
            self.stop_reason_ = _WORSE

    def _after_fit(self, data: TrainingData) -> None:
        self.net_.module_.eval()
        state = self._state
        del self._state
        self.rounds_, self.n_iter_ = state.rounds, len(state.rounds)
        self.sample_indices_ = state.rows
        self.clean_mask_ = np.isin(np.arange(len(data)), state.rows)
        self.memorization_, self.forgetting_ = state.memorization, state.forgetting
        self.clean_proba_ = np.where(state.trusted, 1.0, state.memorized)
        self._say(
            f"{len(state.rows)} of {len(data)} rows selected in {self.n_iter_} rounds: "
            f"{self.stop_reason_}."
        )
        if self.stop_reason_ in (_INTERRUPTED, _UNJUDGED):
            of_round = f" in round {self.n_iter_ + 1} of {self.n_rounds}"
            warn_user(
                f"{self.stop_reason_}{of_round if self.stop_reason_ == _INTERRUPTED else ''}; the "
                f"selection is that of round {self.n_iter_}, {len(state.rows)} of {len(data)} "
                "rows.",
                InterruptedFitWarning,
            )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "clean_mask_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

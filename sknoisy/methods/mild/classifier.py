"""Classifier for noisy labels by modelling the learning dynamics of rows (MILD)."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import nn

from ..._compat import (
    HasMethods,
    Interval,
    StrOptions,
    fit_context,
    validate_parameter_constraints,
)
from ..._docs import share_docs
from ..._engine.batches import TrainingData
from ..._engine.indexing import take_rows
from ..._engine.net import DeviceNet
from ..._engine.problem import Problem
from ..._engine.scaling import scaling_for
from ..._engine.stopping import part_of_fit
from ...base import NetworkClassifier
from ...cleaning.bookkeeping import check_classes_left, rows_that_are_left
from ...cleaning.run import run_cleaner
from ..semi_supervised import ContrastiveMixUpNet, MixMatchNet
from ..semi_supervised.unlabeled import SemiSupervisedNet, count_penultimate
from .selector import CleanSampleSelector

__all__ = ["MILDClassifier"]

_NETS: dict[str, type[SemiSupervisedNet]] = {
    "mixmatch": MixMatchNet,
    "mixup+contrastive": ContrastiveMixUpNet,
}

# Parameters that the default selector takes over from the classifier.
_SHARED_WITH_SELECTOR = (
    "module",
    "module_params",
    "optimizer",
    "optimizer_params",
    "lr",
    "lr_schedule",
    "batch_size",
    "augment",
    "standardize",
    "device",
    "precision",
    "verbose",
)

_NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
_SEMI_CONSTRAINTS: dict[str, list] = {
    "alpha": [_NOT_NEGATIVE],
    "temperature": [Interval(Real, 0, None, closed="neither")],
    "unlabeled_weight": [_NOT_NEGATIVE],
    "n_ramp_epochs": [_NOT_NEGATIVE],
    "prior_weight": [_NOT_NEGATIVE],
    "contrastive_weight": [_NOT_NEGATIVE],
    "projection_dim": [Interval(Integral, 1, None, closed="left")],
    "corruption_rate": [None, Interval(Real, 0, 1, closed="both")],
}

# On sixteen tables MixMatch gains a point where 40 % of the labels are wrong, and costs one and a
# half where 20 % are.
_MANY_REJECTED = 0.3


@share_docs
class MILDClassifier(NetworkClassifier):
    """Classifier for noisy labels by modelling the learning dynamics of rows (MILD).

    :class:`~sknoisy.CleanSampleSelector` selects rows whose labels are right; then a fresh network
    learns them. With `semi`, the network also learns from the other rows, without their labels. If
    there are at most 2,000 rows, the selector tests on held-out rows whether the selection costs
    more than it gains; all rows are selected then.

    Trusted rows are passed as ``clean_mask``; they are always selected. Rows whose
    ``sample_weight`` is 0 are used in neither step.

    Parameters
    ----------
    selector : None, CleanSampleSelector or other estimator with ``fit_resample``, default=None
        It is cloned and fitted with validated arrays; its ``sample_indices_`` are the selected
        rows. None: ``CleanSampleSelector()`` with the network, the optimiser, the augmentation and
        the device of this classifier. If its ``random_state`` is None, it is seeded by that of
        this classifier. Ctrl-C during the selection ends only the selection.
    semi : {"auto", "none", "mixmatch", "mixup+contrastive"}, default="auto"
        Use of the rows that were not selected. "none": they are left out. "mixmatch": their labels
        are guessed and they are mixed with the selected rows (``MixMatchNet``).
        "mixup+contrastive": the selected rows are mixed, and two views of each row are brought
        together (``ContrastiveMixUpNet``). "auto": "mixmatch" if at least 30 % of the rows were
        not selected or some rows have no label, else "none". Rows without a label,
        ``unlabeled_mask`` in ``fit``, are used like those that were not selected.
    semi_params : dict or None, default=None
        Parameters of that net, such as ``{"unlabeled_weight": 25}``. With "auto", parameters of
        MixMatchNet; they have no effect if "auto" chooses "none".
    {module, module_params, optimizer, optimizer_params}
    lr : "auto" or float, default="auto"
        Learning rate of the network. "auto": 0.05, more for larger batches.
    {lr_schedule, max_epochs, batch_size, max_time, augment, standardize, device, precision}
    {callbacks}
    verbose : int, default=0
        1 shows the progress of the selection and of the training.
    {random_state, pretrained, weight_average, n_ensemble}
    {warm_start, checkpoint}

    Attributes
    ----------
    {classes_, label_distribution_, purified_labels_, clean_proba_}
    selector_ : estimator
        The fitted selector; a CleanSampleSelector has a record of its rounds, ``rounds_``.
    {sample_indices_, clean_mask_}
    semi_ : {"none", "mixmatch", "mixup+contrastive"}
        How the other rows were used.
    {net_}
    history_ : skorch.history.History
        Per epoch: ``train_loss``, ``event_lr``, ``dur``.
    {n_iter_, batch_size_, n_features_in_, feature_names_in_, image_shape_}

    See Also
    --------
    PurifiedClassifier : A selection with any classifier in place of the network.

    References
    ----------
    C. Hu et al., MILD: Modeling the Instance Learning Dynamics for Learning with Noisy Labels,
    IJCAI 2023.

    Examples
    --------
    >>> from sknoisy import CleanSampleSelector, MILDClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.4, random_state=0)
    >>> selector = CleanSampleSelector(max_epochs=10, n_folds=0)
    >>> clf = MILDClassifier(selector=selector, max_epochs=20, random_state=0)
    >>> clf = clf.fit(digits.data[:1200], digits.target[:1200])
    >>> bool(digits.noise_mask[:1200][clf.sample_indices_].mean() < 0.1)
    True
    >>> bool(clf.score(digits.data[1200:], digits.target_clean[1200:]) > 0.88)
    True
    """

    _can_use_ranks = False  # several trainings
    _parameter_constraints: dict = {
        **NetworkClassifier._parameter_constraints,
        "selector": [HasMethods(["fit_resample"]), None],
        "semi": [StrOptions({"auto", "none", *_NETS})],
        "semi_params": [dict, None],
    }

    def __init__(
        self,
        *,
        selector: Any = None,
        semi: str = "auto",
        semi_params: dict[str, Any] | None = None,
        **shared: Any,
    ):
        super().__init__(**shared)
        self.selector = selector
        self.semi = semi
        self.semi_params = semi_params

    @fit_context(prefer_skip_nested_validation=False)  # the selector checks its own
    @share_docs
    def fit(self, X, y, *, clean_mask=None, sample_weight=None, groups=None, unlabeled_mask=None):
        """Select rows, then train on them.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or images of shape \
                (n_samples, H, W, C) or (n_samples, C, H, W)
            Training rows of any numeric dtype, as for every network. NaN in tables is a missing
            value. A ``module`` of your own takes arrays (n_samples, ...) of any shape.
        {y, clean_mask, sample_weight}
        groups : array-like of shape (n_samples,) or None, default=None
            Group of each row, such as a patient, if the labels of a group may be wrong together.
            The selector receives them if it takes them, and folds of held-out rows never divide a
            group.
        {unlabeled_mask}

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
        return self._fit(X, y, clean_mask, sample_weight, groups, unlabeled_mask)

    # --- the selection ----------------------------------------------------------------------

    def _prepare(self, problem: Problem) -> Problem:
        """Select rows; the others are trained on without their labels, if at all."""
        self._check_semi_params()
        keeps_integers = self._check_integers(problem)
        candidates = problem.weighted_rows
        is_labeled = np.ones(len(problem), bool)
        if problem.unlabeled is not None:
            is_labeled = ~problem.unlabeled
            candidates = candidates[is_labeled[candidates]]
        self._check_use_of_unlabeled(np.sum(~is_labeled), keeps_integers)
        selected = candidates[self._select(problem, candidates)]
        self.sample_indices_ = selected
        self.clean_mask_ = np.isin(np.arange(len(problem)), selected)
        self.semi_ = self.semi
        if self.semi == "auto":
            many_rejected = len(candidates) - len(selected) >= _MANY_REJECTED * len(candidates)
            mixes = (many_rejected or not is_labeled.all()) and not keeps_integers
            self.semi_ = "mixmatch" if mixes else "none"
        return replace(problem, active=selected)

    def _select(self, problem: Problem, candidates: np.ndarray) -> np.ndarray:
        """Run the selector on some rows, and return the positions of those that are selected."""
        given, trusted = problem.given[candidates], np.zeros(len(candidates), bool)
        if problem.trusted is not None:
            trusted = problem.trusted[candidates]
            if len(np.setdiff1d(given, given[trusted])):
                raise ValueError(
                    "All trusted rows of some class have a sample_weight of 0: give one of each "
                    "class a positive weight, or pass clean_mask=None."
                )
        y = problem.classes[given]
        selector = self._default_selector() if self.selector is None else self.selector
        with part_of_fit("the selection"):
            self.selector_, labels = run_cleaner(
                selector,
                take_rows(problem.X, candidates),
                y,
                None if problem.trusted is None else trusted,
                problem.seed,
                None if problem.groups is None else problem.groups[candidates],
            )
        kept = self._check_selection(y, labels)
        kept = np.union1d(kept, trusted.nonzero()[0])
        classes = np.unique(y)
        if len(np.unique(y[kept])) < len(classes):
            check_classes_left(y[kept], self.classes_, classes, type(self.selector_).__name__)
        return kept

    def _check_selection(self, y: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the rows that the selector kept; refuse one that changes labels."""
        kept = rows_that_are_left(self.selector_, len(y), len(labels))
        name = type(self.selector_).__name__
        if kept is None:
            raise ValueError(
                f"{name} returned {len(labels)} rows for {len(y)} and has no sample_indices_, the "
                "indices of the rows that it kept. Pass a selector that sets them, such as "
                "CleanSampleSelector."
            )
        if not np.array_equal(labels, y[kept]):
            raise ValueError(
                f"{name} changed {np.sum(labels != y[kept])} labels: MILDClassifier takes a "
                "selector, which drops rows. Pass one that changes labels to DMLPClassifier or "
                "PurifiedClassifier."
            )
        return kept

    def _default_selector(self) -> CleanSampleSelector:
        return CleanSampleSelector(**{name: getattr(self, name) for name in _SHARED_WITH_SELECTOR})

    def _check_integers(self, problem: Problem) -> bool:
        """Return whether the module gets integers, which cannot be mixed; refuse to mix them."""
        own = self._has_own_network
        keeps = scaling_for(problem.X, self.standardize, own_network=own).keeps_integers
        if keeps and self.semi not in {"auto", "none"}:
            raise ValueError(
                f"semi={self.semi!r} mixes rows, but X holds integers, which the module gets as "
                'they are. Pass semi="none", or X as floats if they are no codes.'
            )
        return keeps

    def _check_use_of_unlabeled(self, n_unlabeled: int, keeps_integers: bool) -> None:
        if n_unlabeled and (self.semi == "none" or keeps_integers):
            why = "X holds integers, which cannot be mixed" if keeps_integers else "semi='none'"
            raise ValueError(
                f"unlabeled_mask is True for {n_unlabeled} rows, which cannot be used: {why}. "
                'Leave out these rows, or pass semi="mixmatch" and X as floats.'
            )

    def _check_semi_params(self) -> None:
        """Refuse parameters that the net does not have, before the selection."""
        values = self.semi_params or {}
        net = _NETS.get("mixmatch" if self.semi == "auto" else self.semi)
        known = set() if net is None else _settings_of(net)
        unknown = sorted(values.keys() - known)
        if unknown:
            raise ValueError(
                f"semi_params has {unknown}, which semi={self.semi!r} does not take; it takes "
                f"{sorted(known)}."
            )
        validate_parameter_constraints(
            _SEMI_CONSTRAINTS, values, "the semi_params of MILDClassifier"
        )

    # --- the network ------------------------------------------------------------------------

    def _networks(self, data: TrainingData, rng: np.random.RandomState) -> list[DeviceNet]:
        if self.semi_ == "none":
            return super()._networks(data, rng)
        net_class = partial(self._semi_supervised_net, data)
        return [self._build_net(data, rng, net_class=net_class)]

    def _semi_supervised_net(
        self, data: TrainingData, module: nn.Module, criterion: Any, **settings: Any
    ) -> DeviceNet:
        """Return a net that also learns from the rejected rows, without their labels."""
        rejected = ~self.clean_mask_
        if data.sample_weight is not None:
            rejected &= data.sample_weight.cpu().numpy() > 0
        settings |= {
            "unlabeled": torch.as_tensor(rejected.nonzero()[0], device=data.device),
            "generator": torch.Generator().manual_seed(int(torch.randint(2**31, ()))),
            **(self.semi_params or {}),
        }
        if self.semi_ == "mixup+contrastive":
            settings["n_features"] = count_penultimate(module, data)
        return _NETS[self.semi_](module, criterion, **settings)


def _settings_of(net: type[SemiSupervisedNet]) -> set[str]:
    """Return the names of the parameters of a net that users may set."""
    parameters = inspect.signature(net).parameters.values()
    own = {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    return own - {"unlabeled", "generator", "n_features"}

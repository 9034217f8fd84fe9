"""Classifier for noisy labels by modelling the learning dynamics of rows (MILD)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import nn

from ..._compat import HasMethods, Interval, StrOptions, validate_parameter_constraints
from ..._docs import share_docs
from ..._engine.batches import TrainingData
from ..._engine.indexing import take_rows
from ..._engine.net import DeviceNet
from ..._engine.problem import Problem
from ...base import NetworkClassifier
from ...cleaning.bookkeeping import check_classes_left, rows_that_are_left
from ...cleaning.run import run_cleaner
from ...networks import WithFeatures
from ..semi_supervised import ContrastiveMixUpNet, MixMatchNet
from .selector import CleanSampleSelector

__all__ = ["MILDClassifier"]

_NETS: dict[str, Any] = {
    "mixmatch": MixMatchNet,
    "mixup+contrastive": ContrastiveMixUpNet,
}


# What the default selector has of the classifier.
_OF_NETWORK = (
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
    "verbose",
)

_NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
_OF_SEMI: dict[str, list] = {
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

    Rows of right labels are selected first, by :class:`~sknoisy.CleanSampleSelector`; then a fresh
    network learns them. With `semi`, it learns from the other rows, too, without their labels. Of
    up to 2,000 rows all are selected if rows that were left out say that a selection costs more
    than it brings.

    Trusted rows are passed as ``clean_mask``; they are always selected. Rows whose
    ``sample_weight`` is 0 have no part in either step.

    Parameters
    ----------
    selector : None, CleanSampleSelector or other estimator with ``fit_resample``, default=None
        It is cloned, sees validated arrays and says by ``sample_indices_`` which rows it kept.
        None: ``CleanSampleSelector()`` with the network, the optimiser, the augmentation and the
        device of this classifier. Where its ``random_state`` is None, this classifier's decides.
        Ctrl-C while it runs ends the selection alone.
    semi : {"auto", "none", "mixmatch", "mixup+contrastive"}, default="auto"
        What to do with the rows that were not selected: "none", leave them out; "mixmatch", guess
        their labels and mix them with the others (``MixMatchNet``);
        "mixup+contrastive", mix the selected rows and bring views of the same row together
        (``ContrastiveMixUpNet``). "auto": "mixmatch" where at least
        30 % of the rows were not selected, else "none".
    semi_params : dict or None, default=None
        Parameters of that net, such as ``{"unlabeled_weight": 25}``; with "auto", of MixMatchNet
        where it is taken.
    {module, module_params, optimizer, optimizer_params}
    lr : float, default=0.05
        Learning rate of the network.
    {lr_schedule, max_epochs, batch_size, augment, standardize, device, callbacks}
    verbose : int, default=0
        1 shows progress of the selection and of the training.
    {random_state}

    Attributes
    ----------
    {classes_}
    selector_ : estimator
        The fitted selector; of a CleanSampleSelector, ``selector_.rounds_`` tells of its rounds.
    {sample_indices_, clean_mask_}
    semi_ : {"none", "mixmatch", "mixup+contrastive"}
        What was done with the others.
    clean_proba_ : ndarray of shape (n_samples,)
        Probability that the given label is right: the network's probability of it, 1 for trusted
        rows.
    {net_}
    history_ : skorch.history.History
        Per epoch: ``train_loss``, ``event_lr``, ``dur``.
    {n_iter_, n_features_in_, feature_names_in_, image_shape_}

    See Also
    --------
    PurifiedClassifier : A selection with any classifier in place of the network.

    References
    ----------
    C. Hu et al., MILD: Modeling the Instance Learning Dynamics for Learning with Noisy Labels,
    IJCAI 2023.

    Examples
    --------
    >>> from sknoisy import MILDClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.4, random_state=0)
    >>> clf = MILDClassifier(random_state=0).fit(digits.data[:900], digits.target[:900])
    >>> bool(digits.noise_mask[:900][clf.sample_indices_].mean() < 0.1)
    True
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.9)
    True
    """

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
        module=None,
        module_params: dict[str, Any] | None = None,
        optimizer="sgd",
        optimizer_params: dict[str, Any] | None = None,
        lr: float = 0.05,
        lr_schedule="cosine",
        max_epochs: int = 60,
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
        self.selector = selector
        self.semi = semi
        self.semi_params = semi_params

    def _prepare(self, problem: Problem) -> Problem:
        self._check_semi_params()
        counted, given = problem.weighted_rows, problem.given
        vouched = None if problem.trusted is None else problem.trusted[counted]
        if vouched is not None and len(np.setdiff1d(given[counted], given[counted][vouched])):
            raise ValueError(
                "All trusted rows of some class have a sample_weight of 0: give one of each class "
                "a positive weight, or pass clean_mask=None."
            )
        labels = problem.classes[given[counted]]
        kept = self._select(take_rows(problem.X, counted), labels, vouched, problem.seed)
        self.sample_indices_ = counted[kept]
        self.semi_ = self.semi
        if self.semi == "auto":
            many_rejected = len(counted) - len(kept) >= _MANY_REJECTED * len(counted)
            self.semi_ = "mixmatch" if many_rejected else "none"
        self.clean_mask_ = np.isin(np.arange(len(problem)), self.sample_indices_)
        return replace(problem, active=self.sample_indices_)

    def _select(self, X, y: np.ndarray, trusted: np.ndarray | None, seed: int) -> np.ndarray:
        selector = self._default_selector() if self.selector is None else self.selector
        self.selector_, labels = run_cleaner(selector, X, y, trusted, seed)
        kept = rows_that_are_left(self.selector_, len(y), len(labels))
        name = type(self.selector_).__name__
        if kept is None:
            raise ValueError(
                f"{name} returned {len(labels)} rows for {len(y)} and has no sample_indices_ that "
                "say which it kept. Pass a selector that sets them, such as CleanSampleSelector."
            )
        if not np.array_equal(labels, y[kept]):
            raise ValueError(
                f"{name} changed {np.sum(labels != y[kept])} labels: MILDClassifier takes a "
                "selector, which drops rows. Pass one that changes labels to DMLPClassifier or "
                "PurifiedClassifier."
            )
        vouched = np.arange(0) if trusted is None else trusted.nonzero()[0]
        kept, classes = np.union1d(kept, vouched), np.unique(y)
        if len(np.unique(y[kept])) < len(classes):
            check_classes_left(y[kept], self.classes_, classes, name)
        return kept

    def _default_selector(self) -> CleanSampleSelector:
        own = {name: getattr(self, name) for name in _OF_NETWORK}
        return CleanSampleSelector(**own)

    def _check_semi_params(self) -> None:
        """Refuse parameters that the net does not have, before the selection."""
        net = _NETS.get("mixmatch" if self.semi == "auto" else self.semi)
        known = set() if net is None else _parameters_of(net)
        unknown = sorted((self.semi_params or {}).keys() - known)
        if unknown:
            raise ValueError(
                f"semi_params has {unknown}, which semi={self.semi!r} does not know; it knows "
                f"{sorted(known)}."
            )
        values = self.semi_params or {}
        validate_parameter_constraints(_OF_SEMI, values, "the semi_params of MILDClassifier")

    def _networks(self, data: TrainingData, rng: np.random.RandomState) -> list[DeviceNet]:
        if self.semi_ == "none":
            return super()._networks(data, rng)
        return [self._build_net(data, rng, net_class=partial(self._semi_supervised_net, data))]

    def _semi_supervised_net(
        self, data: TrainingData, module: nn.Module, criterion: Any, **kwargs: Any
    ) -> DeviceNet:
        counted = ~self.clean_mask_
        if data.sample_weight is not None:
            counted &= data.sample_weight.cpu().numpy() > 0
        settings = {
            "unlabeled": torch.as_tensor(counted.nonzero()[0], device=data.device),
            "generator": torch.Generator().manual_seed(int(torch.randint(2**31, ()))),
            **(self.semi_params or {}),
        }
        if self.semi_ == "mixmatch":
            return MixMatchNet(module, criterion, **settings, **kwargs)

        with torch.no_grad():
            first = torch.arange(2, device=data.device)
            features, _ = WithFeatures(module).eval()(data.take(first)[0])
        width = features.shape[1]
        return ContrastiveMixUpNet(module, criterion, n_features=width, **settings, **kwargs)


def _parameters_of(net: Callable[..., DeviceNet]) -> set[str]:
    """Those that users may set."""
    parameters = inspect.signature(net).parameters.values()
    own = {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    return own - {"unlabeled", "generator", "n_features"}

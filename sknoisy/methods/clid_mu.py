"""Classifier for noisy labels by CLID-MU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from scipy.stats import entropy
from torch import Tensor

from .._compat import Interval, StrOptions
from .._docs import share_docs
from .._engine.batches import TrainingData
from .._engine.net import DeviceNet
from .._engine.problem import Problem
from .._engine.sizes import bounded_meta_lr
from ..callbacks import CLIDScore, CollapseGuard, MetaUpdate, PseudoCleanRows
from ..meta import VRI, CLIDObjective, CrossEntropyObjective, MAEObjective, MetaModel, WNet
from .divide_mix import DIVISION, division, label_distribution_of, net_of
from .meta_learning import (
    GRADIENT,
    META_LR,
    adam,
    gradient_strategy,
    resolve_auto,
    resolve_warmup,
    trusted_rows,
)
from .semi_supervised import FixMatchNet, FlexMatchNet
from .semi_supervised.classifier import SemiSupervisedClassifier
from .semi_supervised.fixmatch import ConfidenceByNoise

__all__ = ["CLIDMUClassifier", "class_balance", "class_exponents"]

_OBJECTIVES: dict[str, Callable[[], Callable[..., Tensor]]] = {
    "clid": CLIDObjective,
    "cross_entropy": CrossEntropyObjective,
    "mae": MAEObjective,
}

_MATCHERS: dict[str, type[FixMatchNet]] = {"fixmatch": FixMatchNet, "flexmatch": FlexMatchNet}


@share_docs
class CLIDMUClassifier(SemiSupervisedClassifier):
    """Classifier for noisy labels by CLID-MU, a meta update that needs no clean labels.

    A weighting network is trained beside the classifier and weights the given labels. Its meta
    objective is the cross-layer information divergence (CLID) after a virtual step. Clean
    training keeps the neighbourhood structure of the penultimate features consistent with that of
    the predictions, and CLID measures this consistency without labels. It also selects the epochs
    whose logits are averaged for prediction.

    Parameters
    ----------
    weighting : {"wnet", "vri"}, MetaModel, its class or factory, or None, default="wnet"
        "wnet" computes a weight per row from its loss (:class:`~sknoisy.meta.WNet`). "vri" draws
        a random scale per row and class from features and label (:class:`~sknoisy.meta.VRI`). An
        instance, class or factory holds its own optimiser, step size and options. For example,
        ``functools.partial(VRI, kl_weight=0.01)`` is the released VRI with the KL term in the
        meta loss. None stands for plain cross-entropy without a meta update.
    normalize : {"auto", "class", "batch"} or float in [0, 1], default="auto"
        Exponent of the normalisation, which controls how far each given class keeps its share of
        a batch's weight. 0 or "batch" is the published normalisation over the batch. 1 or "class"
        keeps the share of each class. "auto" is 0.75 if the given classes are equally frequent.
        It is smaller for unequal classes, and smaller for rarer classes. Used by "wnet" only.
    meta_objective : {"clid", "cross_entropy", "mae"} or callable, default="clid"
        Loss after a virtual step, by which the weighting network is trained. To change the
        temperature of the feature graph from 0.5, pass ``CLIDObjective(temperature=0.2)``. It
        then also applies to the selection of epochs. "cross_entropy" and "mae" use the labels of
        the trusted rows or, without ``clean_mask``, of rows of small loss, chosen anew after each
        epoch (:class:`~sknoisy.callbacks.PseudoCleanRows`). So does a callable whose attribute
        ``reads_labels`` is True.
    semi : {None, "fixmatch", "flexmatch", "dividemix"}, default=None
        Semi-supervised framework around the weighted loss; only with one of them does ``fit`` take
        ``unlabeled_mask``. "fixmatch", "flexmatch": the unsupervised loss of
        :class:`~sknoisy.FixMatchClassifier` or :class:`~sknoisy.FlexMatchClassifier`, with their
        defaults, is added, and the weighting network weights only the given labels. "dividemix":
        two networks are trained as by :class:`~sknoisy.DivideMixClassifier`, and each weighting
        network guides the losses of the mixtures. "wnet" weights each mixture by its loss,
        cross-entropy or squared error;
        "vri" scales the logits in both of them. The class of a mixture is the most probable one.
    {gradient}
    n_meta : "auto" or int, default="auto"
        Number of rows in the unlabelled meta set. They stay in the training set. "auto" stands
        for 1,000, or for all rows if there are fewer.
    meta_lr : "auto" or float, default="auto"
        Step size of the weighting network, by SGD for "wnet" and by Adam for "vri". If 0, the
        network stays at its start. For "wnet", "auto" stands for 0.2, or 0.05 for fewer than 800
        rows, or 0.002 for images, times the balance of the given classes in [0, 1]. For tables of
        more than 2,000 rows, or more than 1,200 steps, it is smaller: :ref:`defaults`. For "vri",
        it stands for 1e-5.
    {meta_batch_size}
    meta_every : int, default=1
        Update the weighting network at every k-th batch.
    n_warmup_epochs : "auto" or int, default="auto"
        Number of epochs of plain cross-entropy before the meta updates start, because CLID
        requires trained features. "auto" stands for 5, at most half of ``max_epochs``.
    n_ensemble : int, default=5
        Number of epochs, those of lowest CLID, whose logits are averaged for prediction. If 0,
        the last epoch is used.
    {module, module_params, optimizer, optimizer_params, lr}
    lr_schedule : {"cosine", "constant"} or callable, default="cosine"
        Schedule of the learning rate over the epochs. "cosine" ends at a fiftieth of ``lr``. A
        callable receives the optimiser and returns a torch scheduler. The released schedule is
        ``partial(CosineAnnealingLR, T_max=5, eta_min=1e-3)``.
    {max_epochs, batch_size, max_time, augment, standardize, device, precision}
    {callbacks, verbose}
    {random_state, pretrained, weight_average, warm_start, checkpoint}

    Attributes
    ----------
    {classes_, label_distribution_, purified_labels_, clean_proba_}
    sample_weight_ : ndarray of shape (n_samples,)
        Weight of each given label by the weighting network, in [0, 1], before normalisation; the
        mean of both networks with ``semi="dividemix"``, and 0 for rows without a label. With
        "vri", it is the rectified probability of the given label. Absent if ``weighting=None``,
        or if training ended in the warm-up.
    net_ : DeviceNet
        The fitted skorch net, at its last epoch.
    history_ : skorch.history.History
        Training history. Each epoch has ``train_loss``, ``meta_loss``, ``clid``, ``event_lr`` and
        ``dur``.
    {n_iter_, batch_size_, n_ranks_, ensemble_epochs_}
    n_warmup_epochs_, meta_lr_, exponent_ : int, float, ndarray of shape (n_classes,)
        Values of ``n_warmup_epochs``, ``meta_lr`` and ``normalize`` after "auto" is resolved.
    nets_ : list of DeviceNet
        The fitted nets: two with ``semi="dividemix"``, else ``net_`` alone.
    n_recoveries_ : int
        Number of times that a collapsing network was set back to an earlier epoch. Absent if
        ``weighting=None``.
    {n_features_in_, feature_names_in_, image_shape_}

    See Also
    --------
    sknoisy.metrics.clid : CLID as a metric.
    sknoisy.callbacks.MetaUpdate : The meta update for a stock skorch net.

    References
    ----------
    .. [1] CLID-MU: Cross-Layer Information Divergence Based Meta Update Strategy for Learning
       with Noisy Labels. KDD 2025, arXiv:2507.11807.
    .. [2] J. Shu et al. Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting.
       NeurIPS 2019.

    Examples
    --------
    >>> from sknoisy import CLIDMUClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.3, random_state=0)
    >>> clf = CLIDMUClassifier(max_epochs=15, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.85)
    True
    >>> suspicious = clf.clean_proba_ < 0.5
    >>> bool(digits.noise_mask[:900][suspicious].mean() > 0.8)
    True
    """

    _parameter_constraints: dict = {
        **SemiSupervisedClassifier._parameter_constraints,
        "weighting": [StrOptions({"wnet", "vri"}), MetaModel, callable, None],
        "normalize": [
            StrOptions({"auto", "class", "batch"}),
            Interval(Real, 0, 1, closed="both"),
        ],
        "meta_objective": [StrOptions({"clid", "cross_entropy", "mae"}), callable],
        "semi": [StrOptions({*_MATCHERS, "dividemix"}), None],
        "gradient": GRADIENT,
        "n_meta": [StrOptions({"auto"}), Interval(Integral, 2, None, closed="left")],
        "meta_lr": META_LR,
        "meta_batch_size": [Interval(Integral, 2, None, closed="left")],
        "meta_every": [Interval(Integral, 1, None, closed="left")],
        "n_warmup_epochs": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        weighting: Any = "wnet",
        normalize: str | float = "auto",
        meta_objective: str | Callable[..., Tensor] = "clid",
        semi: str | None = None,
        gradient: Any = "forward",
        n_meta: str | int = "auto",
        meta_lr: str | float = "auto",
        meta_batch_size: int = 100,
        meta_every: int = 1,
        n_warmup_epochs: str | int = "auto",
        n_ensemble: int = 5,
        **shared: Any,
    ):
        super().__init__(n_ensemble=n_ensemble, **shared)
        self.weighting = weighting
        self.normalize = normalize
        self.meta_objective = meta_objective
        self.semi = semi
        self.gradient = gradient
        self.n_meta = n_meta
        self.meta_lr = meta_lr
        self.meta_batch_size = meta_batch_size
        self.meta_every = meta_every
        self.n_warmup_epochs = n_warmup_epochs

    def _prepare(self, problem: Problem) -> Problem:
        if self.semi is None and problem.unlabeled is not None and problem.unlabeled.any():
            raise ValueError(
                f"unlabeled_mask is True for {problem.unlabeled.sum()} rows, which semi=None "
                f"cannot use. Pass semi as one of {[*_MATCHERS, 'dividemix']}, or leave out these "
                "rows."
            )
        if not isinstance(self.weighting, str) and self.meta_lr != "auto":
            raise ValueError(
                f"meta_lr={self.meta_lr!r} is the step size of 'wnet' and 'vri', but "
                f"weighting={self.weighting!r} does not use it. Pass meta_lr='auto'. A meta model "
                "takes its step size as optimizer=partial(torch.optim.SGD, lr=0.1)."
            )
        return problem

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        n_meta = min(1000 if self.n_meta == "auto" else int(self.n_meta), len(data))
        unlabelled = random_state.choice(len(data), n_meta, replace=False)
        seeds = [int(seed) for seed in random_state.randint(np.iinfo(np.int32).max, size=2)]
        warmup = self.n_warmup_epochs
        if self.weighting is None and warmup != "auto":
            # Without a meta update, the warm-up only excludes epochs from selection.
            warmup = min(int(warmup), self.max_epochs_ - 1)
        self.n_warmup_epochs_ = resolve_warmup(warmup, self.max_epochs_)
        objective = self._objective()
        callbacks: list[Any] = []
        if self.weighting is not None:
            n_reference = max(self.n_warmup_epochs_, 1)
            guard = CollapseGuard(n_reference, rows=unlabelled, meta_update="meta")
            callbacks = [("guard", guard)]
        if self.semi == "dividemix":
            callbacks.append((DIVISION, division(self.n_warmup_epochs_, seeds[0])))
        elif self.semi is not None:
            callbacks.append(("threshold", ConfidenceByNoise()))
        if self.weighting is not None:
            callbacks += self._update_callbacks(data, objective, unlabelled, seeds[0])
        if self.n_ensemble:
            # After the guard, because a collapsed network has a low CLID.
            by_clid = objective if isinstance(objective, CLIDObjective) else CLIDObjective()
            score = CLIDScore(
                unlabelled,
                temperature=by_clid.temperature,
                batch_size=self.meta_batch_size,
                random_state=seeds[1],
                teacher=self._teacher,
            )
            callbacks.append(("clid", score))
        return callbacks

    def _recorded_keys(self) -> list[str]:
        keys = super()._recorded_keys()
        if self.weighting is not None:
            keys += ["set_back", *(["meta_loss"] if self.n_warmup_epochs == 0 else [])]
        return keys

    def _objective(self) -> Callable[..., Tensor]:
        if isinstance(self.meta_objective, str):
            return _OBJECTIVES[self.meta_objective]()
        objective: Any = self.meta_objective
        return objective() if isinstance(objective, type) else objective

    def _update_callbacks(
        self, data: TrainingData, objective: Callable[..., Tensor], unlabelled: Any, seed: int
    ) -> list[tuple[str, Any]]:
        """Return the callbacks of the meta update."""
        rows, choosers = unlabelled, []
        if getattr(objective, "reads_labels", False):
            rows = trusted_rows(data)
            if rows is None:
                rows = DIVISION
                if self.semi != "dividemix":
                    choosers = [(rows, PseudoCleanRows(self.n_warmup_epochs_, random_state=seed))]
        meta_set = "rows of small loss" if isinstance(rows, str) else f"{len(rows)} rows"
        self._say(f"n_warmup_epochs={self.n_warmup_epochs_}, meta set: {meta_set}")
        update = MetaUpdate(
            self._meta_model(data),
            objective,
            gradient_strategy(self.gradient),
            meta_rows=rows,
            meta_batch_size=self.meta_batch_size,
            meta_every=self.meta_every,
            n_warmup_epochs=self.n_warmup_epochs_,
            random_state=seed,
        )
        return [*choosers, ("meta", update)]

    def _meta_model(self, data: TrainingData) -> Any:
        if not isinstance(self.weighting, str):
            return self.weighting
        counts = self._counts(data)
        is_vri = self.weighting == "vri"
        default = 1e-5 if is_vri else self._default_meta_lr(len(data), counts)
        self.meta_lr_ = resolve_auto(self.meta_lr, default)
        self._say(f"meta_lr={self.meta_lr_:.3g} by {'adam' if is_vri else 'sgd'}")
        if is_vri:
            return partial(VRI, optimizer=adam(self.meta_lr_))
        self.exponent_ = class_exponents(self.normalize, counts)
        model = WNet(
            exponent=torch.as_tensor(self.exponent_),
            optimizer=partial(torch.optim.SGD, lr=self.meta_lr_),
        )
        # Rows of rare classes have large losses: at the start they weigh as much as the others.
        model.flatten_start(class_balance(counts))
        return model

    def _default_meta_lr(self, n_rows: int, counts: np.ndarray) -> float:
        if self.image_shape_ is not None:
            # Pooled features are positive and nearly parallel, so CLID hardly varies.
            rate = 0.002
        else:
            rate = 0.2 if n_rows >= 800 else 0.05
            n_steps = self._n_steps(n_rows) / self.meta_every
            rate = bounded_meta_lr(rate, n_rows, n_steps)
        return rate * class_balance(counts)

    def _counts(self, data: TrainingData) -> np.ndarray:
        """Return the number of rows of each given class, by sample weight."""
        targets, weights, rows = data.targets, data.sample_weight, data.counts
        if weights is not None:
            weights = weights[rows]
        counts = torch.bincount(targets[rows], weights, minlength=len(self.classes_))
        return counts.cpu().double().numpy()

    # --- the framework ----------------------------------------------------------------------

    _strong_augment = "auto"  # of FixMatch and FlexMatch

    def _networks(self, data: TrainingData, rng: np.random.RandomState) -> list[DeviceNet]:
        if self.semi is None:
            return super()._networks(data, rng)
        if self.semi == "dividemix":
            return self._build_pair(data, rng, net_class=partial(net_of, self))
        seed = int(rng.randint(np.iinfo(np.int32).max))
        net_class = partial(
            _MATCHERS[self.semi],
            unlabeled=data.weighted_rows,
            generator=torch.Generator().manual_seed(seed),
        )
        return [self._build_net(data, rng, net_class=net_class)]

    def _label_distribution(self, data: TrainingData, proba: np.ndarray) -> np.ndarray:
        if self.semi != "dividemix":
            return proba
        return label_distribution_of(self.nets_, data, proba)

    # --- the end of a fit -------------------------------------------------------------------

    def _finish(self, data: TrainingData) -> None:
        if self.weighting is None:
            return
        callbacks = [dict(net.callbacks_) for net in self.nets_]
        self.n_recoveries_ = sum(named["guard"].n_recoveries_ for named in callbacks)
        weights = [
            named["meta"].weigh_rows(net, data)
            for named, net in zip(callbacks, self.nets_, strict=True)
            if named["meta"].n_steps_
        ]
        if weights:
            self.sample_weight_ = np.mean(weights, axis=0)
            if data.unlabeled is not None:
                self.sample_weight_[data.unlabeled.cpu().numpy()] = 0


def class_balance(counts: np.ndarray) -> float:
    """Return the balance of the given classes.

    The balance is the fourth power of the entropy of the class shares, divided by that of equal
    shares. It is 1 for equal classes, and near 0 if one class has nearly all rows. If classes are
    unequal, most rows with the label of a rare class belong to a frequent class. Keeping the share
    of the rare class would keep these wrong labels.

    Parameters
    ----------
    counts : ndarray of shape (n_classes,)
        Number of rows of each given class, all positive.

    Returns
    -------
    balance : float
        Balance in [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.methods.clid_mu import class_balance
    >>> round(class_balance(np.array([50, 50])), 2), round(class_balance(np.array([90, 10])), 2)
    (1.0, 0.05)
    """
    return float((entropy(counts) / np.log(len(counts))) ** 4)


def class_exponents(normalize: str | float, counts: np.ndarray) -> np.ndarray:
    """Return the exponent of each class in the normalisation of the weights.

    Parameters
    ----------
    normalize : {"auto", "class", "batch"} or float
        The parameter of :class:`~sknoisy.CLIDMUClassifier`.
    counts : ndarray of shape (n_classes,)
        Number of rows of each given class.

    Returns
    -------
    exponents : ndarray of shape (n_classes,)
        Exponents in [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy.methods.clid_mu import class_exponents
    >>> class_exponents("auto", np.array([100, 100, 100])).round(2).tolist()
    [0.75, 0.75, 0.75]
    >>> class_exponents("auto", np.array([200, 80, 20])).round(2).tolist()
    [0.21, 0.17, 0.04]
    """
    if normalize == "auto":
        return 0.75 * class_balance(counts) * np.minimum(counts / counts.mean(), 1.0)
    named = {"batch": 0.0, "class": 1.0}
    return np.full(len(counts), named.get(normalize, normalize), dtype=float)  # type: ignore[arg-type]

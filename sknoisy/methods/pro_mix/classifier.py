"""Classifier for noisy labels by ProMix."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import nn

from ..._compat import Interval, StrOptions
from ..._docs import share_docs
from ..._engine.augment import Augmentation
from ..._engine.batches import Batch, TrainingData
from ..._engine.net import DeviceNet
from ..._engine.strong_augment import STRONG_AUGMENT
from ..semi_supervised.classifier import SemiSupervisedClassifier
from ..semi_supervised.unlabeled import count_penultimate
from .net import ProMixNet, joint_step
from .schedule import Schedule

__all__ = ["ProMixClassifier"]

_AUTO = StrOptions({"auto"})


@share_docs
class ProMixClassifier(SemiSupervisedClassifier):
    """Classifier for noisy labels by ProMix.

    Two networks select the rows whose labels they learn, each for itself. The others lose their
    label. The selection grows in two ways:

    - **Class-wise small loss.** Before each epoch, every given class contributes the same number
      of rows, those of smallest loss.
    - **Matched high confidence.** In each batch, rows whose label has a probability above
      `confidence` are added.

    Towards the end of training, rows without a label get one if both networks are sure of the same
    class (**label guessing**). Weak and strong views, MixUp and, for images, FMix of the selected
    rows make up the loss. Rows without a label train a second linear layer, the **pseudo head**,
    by the debiased predictions of the first one. Predictions are the mean logits of both networks;
    the pseudo heads take no part.

    Parameters
    ----------
    small_loss_share : "auto" or float, default="auto"
        Share of the rows that are selected by small losses, in (0, 1], the rho of the
        paper. Pass about the share of right labels, or less: 0.7 for a fifth of wrong labels and
        0.5 for more in the paper. "auto" stands for the share of the rows whose label is the
        network's prediction, anew before each epoch.
    confidence : float, default=0.99
        Threshold of the confidence, in [0, 1]. The paper has 0.95 for 100 classes. 1: rows are
        selected by small losses alone, and no label is guessed.
    debias : float, default=0.8
        Strength of the adjustment of logits by the running class distributions. The paper has 0.5
        for 100 classes. 0: no adjustment.
    alpha : "auto" or float, default="auto"
        Parameter of MixUp's beta distribution. "auto" stands for 0.2 for tables and, as
        published, for 4 for other rows. 0: rows are not combined, by FMix neither.
    unlabeled_weight : float, default=0.1
        Weight of the rows without a label. 0: they are not used.
    n_warmup_epochs : "auto" or int, default="auto"
        Epochs of plain cross-entropy on all rows. "auto" stands for a twelfth of ``max_epochs``,
        at least 1 and at most 10.
    n_unlabeled_epochs : "auto" or int, default="auto"
        Number of first epochs in which rows without a label are used. "auto" stands for a sixth of
        ``max_epochs``, as in the released code, or for all epochs if there is an
        ``unlabeled_mask``.
    n_guessing_epochs : "auto" or int, default="auto"
        Number of last epochs in which labels are guessed. "auto" stands for 5/12 of
        ``max_epochs``, as published. 0: none are guessed.
    {strong_augment, module, module_params, optimizer, optimizer_params, lr, lr_schedule}
    {max_epochs, batch_size, max_time, augment, standardize, device, precision}
    callbacks : list or None, default=None
        Additional skorch callbacks. The second network receives copies of them.
    verbose : int, default=0
        1 shows a progress bar and messages.
    {random_state, pretrained, weight_average, n_ensemble}
    {warm_start, checkpoint}

    Attributes
    ----------
    {classes_, label_distribution_, purified_labels_, clean_proba_}
    small_loss_share_ : float or None
        Share of the last epoch, the mean of both networks; None if it is "auto" and training ended
        in the warm-up.
    alpha_, n_warmup_epochs_ : float, int
        Values of ``alpha`` and ``n_warmup_epochs`` after "auto" is resolved.
    net_ : ProMixNet
        The fitted skorch net of the first network. Its module expects scaled rows.
    nets_ : list of ProMixNet
        Both fitted skorch nets.
    {history_, n_iter_, batch_size_, n_features_in_, feature_names_in_, image_shape_}

    See Also
    --------
    MILDClassifier : Selects rows once, before training.
    FaMUSClassifier : Two networks that choose rows for each other.

    Notes
    -----
    The paper trains for 600 epochs, and its lengths are scaled to ``max_epochs``: the weight of
    strong views and mixtures grows for 50 of 600 epochs, that of the rows without a label for 100,
    and labels are guessed in the last 250. The momentum of the running distributions is 0.9999 for
    the published 115,245 steps, and such that they forget as much in a shorter training.

    Trusted rows always keep their label. Rows of an ``unlabeled_mask`` never get one: they train
    the pseudo heads. MixUp and FMix leave out rows of integers.

    Pass ``small_loss_share`` if sample weights differ by orders of magnitude: "auto" counts the
    predictions that contradict a label, and classes of small weight are contradicted often.

    References
    ----------
    R. Xiao, Y. Dong, H. Wang, L. Feng, R. Wu, G. Chen and J. Zhao. ProMix: Combating Label Noise
    via Maximizing Clean Sample Utility. IJCAI 2023.

    Examples
    --------
    >>> from sknoisy import ProMixClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.4, random_state=0)
    >>> clf = ProMixClassifier(max_epochs=10, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.85)
    True
    """

    _parameter_constraints: dict = {
        **SemiSupervisedClassifier._parameter_constraints,
        "small_loss_share": [_AUTO, Interval(Real, 0, 1, closed="right")],
        "confidence": [Interval(Real, 0, 1, closed="both")],
        "debias": [Interval(Real, 0, None, closed="left")],
        "alpha": [_AUTO, Interval(Real, 0, None, closed="left")],
        "unlabeled_weight": [Interval(Real, 0, None, closed="left")],
        "strong_augment": STRONG_AUGMENT,
        "n_warmup_epochs": [_AUTO, Interval(Integral, 0, None, closed="left")],
        "n_unlabeled_epochs": [_AUTO, Interval(Integral, 0, None, closed="left")],
        "n_guessing_epochs": [_AUTO, Interval(Integral, 0, None, closed="left")],
    }

    _strong_views = "promix"

    def __init__(
        self,
        *,
        small_loss_share: str | float = "auto",
        confidence: float = 0.99,
        debias: float = 0.8,
        alpha: str | float = "auto",
        unlabeled_weight: float = 0.1,
        n_warmup_epochs: str | int = "auto",
        n_unlabeled_epochs: str | int = "auto",
        n_guessing_epochs: str | int = "auto",
        strong_augment: str | Augmentation | None = "auto",
        **shared: Any,
    ):
        super().__init__(**shared)
        self.small_loss_share = small_loss_share
        self.confidence = confidence
        self.debias = debias
        self.alpha = alpha
        self.unlabeled_weight = unlabeled_weight
        self.n_warmup_epochs = n_warmup_epochs
        self.n_unlabeled_epochs = n_unlabeled_epochs
        self.n_guessing_epochs = n_guessing_epochs
        self.strong_augment = strong_augment

    def _schedule(self, data: TrainingData) -> Schedule:
        n_warmup, n_unlabeled = self.n_warmup_epochs, _none_if_auto(self.n_unlabeled_epochs)
        if n_warmup == "auto":
            n_warmup = Schedule.default_warmup(self.max_epochs_)
        if n_unlabeled is None and data.unlabeled is not None and len(data.unlabeled):
            n_unlabeled = self.max_epochs_
        return Schedule(
            self.max_epochs_,
            int(n_warmup),
            self.unlabeled_weight,
            n_unlabeled,
            _none_if_auto(self.n_guessing_epochs),
        )

    def _networks(self, data: TrainingData, rng: np.random.RandomState) -> list[DeviceNet]:
        default = 0.2 if data.is_table else 4.0
        self.alpha_ = default if self.alpha == "auto" else float(self.alpha)
        schedule = self._schedule(data)
        self.n_warmup_epochs_ = schedule.n_warmup_epochs
        net_class = partial(self._pro_mix_net, data, schedule)
        return self._build_pair(data, rng, net_class=net_class)

    def _pro_mix_net(
        self,
        data: TrainingData,
        schedule: Schedule,
        module: nn.Module,
        criterion: Any,
        **settings: Any,
    ) -> ProMixNet:
        return ProMixNet(
            module,
            criterion,
            n_features=count_penultimate(module, data),
            n_classes=len(self.classes_),
            schedule=schedule,
            small_loss_share=_none_if_auto(self.small_loss_share),
            confidence=self.confidence,
            debias=self.debias,
            alpha=self.alpha_,
            unlabeled=data.unlabeled,
            generator=torch.Generator().manual_seed(int(torch.randint(2**31, ()))),
            **settings,
        )

    def _joint_step(self, nets: Any, batch: Batch) -> list[dict[str, Any]]:
        return joint_step(nets, batch)

    def _finish(self, data: TrainingData) -> None:
        shares = [net.small_loss_share_ for net in self.nets_]
        self.small_loss_share_ = None if None in shares else float(np.mean(shares))


def _none_if_auto(value: Any) -> Any:
    return None if value == "auto" else value

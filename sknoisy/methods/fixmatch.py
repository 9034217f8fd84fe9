"""Classifier that learns from few labels by confident pseudo-labels (FixMatch)."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from .._compat import Interval, StrOptions
from .._docs import share_docs
from .._engine.augment import Augmentation
from .._engine.batches import TrainingData
from .._engine.net import DeviceNet
from .._engine.strong_augment import STRONG_AUGMENT
from .semi_supervised import FixMatchNet
from .semi_supervised.classifier import SemiSupervisedClassifier
from .semi_supervised.fixmatch import ConfidenceByNoise

__all__ = ["FixMatchClassifier"]


@share_docs
class FixMatchClassifier(SemiSupervisedClassifier):
    """Classifier that learns from few labels by confident pseudo-labels (FixMatch).

    The network learns the labels of weakly augmented rows. Beside that, it predicts a weak view of
    each row and, if the prediction is confident, learns it as the label of a strong view of the
    row.

    Rows without a label are marked by ``unlabeled_mask``. All rows, with a label and without, get
    pseudo-labels, so that wrong given labels are opposed by what the network predicts for the
    row. Trusted rows, passed as ``clean_mask``, keep their given labels in both terms.

    Parameters
    ----------
    threshold : "auto" or float, default="auto"
        Least probability of a pseudo-label, in [0, 1]. "auto" stands for 0.95 times the share of
        right labels, which is estimated after three epochs of cross-entropy: the more labels are
        wrong, the lower is the probability of the right class.
    unlabeled_weight : float, default=1.0
        Weight of the loss of the strong views.
    unlabeled_ratio : int, default=1
        Number of strong views per row with a label in a batch. The papers use 7 for images. An
        epoch is a pass over all rows, in which few labels are repeated.
    {strong_augment}
    {module, module_params, optimizer, optimizer_params, lr}
    {lr_schedule, max_epochs, batch_size, max_time, augment, standardize, device, precision}
    {callbacks, verbose}
    {random_state, pretrained, weight_average, n_ensemble}
    {warm_start, checkpoint}

    Attributes
    ----------
    {classes_, label_distribution_, purified_labels_, clean_proba_}
    threshold_ : float
        Value of ``threshold`` after "auto" is resolved. Absent if training ended before.
    {net_, history_, n_iter_, batch_size_, n_features_in_}
    {feature_names_in_, image_shape_}

    See Also
    --------
    FlexMatchClassifier : The same with a threshold for each class.

    References
    ----------
    K. Sohn, D. Berthelot, C.-L. Li, Z. Zhang, N. Carlini, E. D. Cubuk, A. Kurakin, H. Zhang and
    C. Raffel. FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence.
    NeurIPS 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from sknoisy import FixMatchClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.0, random_state=0)
    >>> X, y = digits.data[:900], digits.target[:900]
    >>> clf = FixMatchClassifier(max_epochs=20, random_state=0)
    >>> clf = clf.fit(X, y, unlabeled_mask=np.arange(900) >= 100)
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.8)
    True
    """

    _parameter_constraints: dict = {
        **SemiSupervisedClassifier._parameter_constraints,
        "threshold": [StrOptions({"auto"}), Interval(Real, 0, 1, closed="both")],
        "unlabeled_weight": [Interval(Real, 0, None, closed="left")],
        "unlabeled_ratio": [Interval(Integral, 1, None, closed="left")],
        "strong_augment": STRONG_AUGMENT,
    }

    _net_class = FixMatchNet

    def __init__(
        self,
        *,
        threshold: str | float = "auto",
        unlabeled_weight: float = 1.0,
        unlabeled_ratio: int = 1,
        strong_augment: str | Augmentation | None = "auto",
        **shared: Any,
    ):
        super().__init__(**shared)
        self.threshold = threshold
        self.unlabeled_weight = unlabeled_weight
        self.unlabeled_ratio = unlabeled_ratio
        self.strong_augment = strong_augment

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        return [("threshold", ConfidenceByNoise())] if self.threshold == "auto" else []

    def _networks(self, data: TrainingData, rng: np.random.RandomState) -> list[DeviceNet]:
        seed = int(rng.randint(np.iinfo(np.int32).max))
        net_class = partial(
            self._net_class,
            unlabeled=data.weighted_rows,
            **({} if self.threshold == "auto" else {"threshold": float(self.threshold)}),
            unlabeled_weight=self.unlabeled_weight,
            unlabeled_ratio=self.unlabeled_ratio,
            generator=torch.Generator().manual_seed(seed),
        )
        return [self._build_net(data, rng, net_class=net_class)]

    def _finish(self, data: TrainingData) -> None:
        if self.net_.threshold is not None:
            self.threshold_ = self.net_.threshold

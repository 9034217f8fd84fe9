"""Classifier for noisy labels by DivideMix."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..._compat import Interval, StrOptions
from ..._docs import share_docs
from ..._engine.batches import TrainingData
from ..._engine.net import DeviceNet
from ..._engine.sizes import auto_warmup
from ..meta_learning import resolve_warmup
from ..noise_rate import NOISE_RATE
from ..semi_supervised.classifier import SemiSupervisedClassifier
from .net import DIVISION
from .pair import division, label_distribution_of, new_net

__all__ = ["DivideMixClassifier"]


@share_docs
class DivideMixClassifier(SemiSupervisedClassifier):
    """Classifier for noisy labels by DivideMix, which uses doubtful rows without their labels.

    Two networks are trained side by side. After a warm-up, a mixture of two Gaussians divides the
    rows in each epoch by the losses of each network: into rows whose label is probably right and
    rows whose label is probably wrong. Each network is trained on the division of the other one,
    with refined labels for the former and guessed labels for the latter, by MixMatch. The mean of
    their logits is used for prediction.

    Trusted rows are passed as ``clean_mask`` and keep their label in every epoch. Rows in
    ``unlabeled_mask`` never have one.

    Parameters
    ----------
    n_warmup_epochs : "auto" or int, default="auto"
        Number of epochs of plain cross-entropy before the first division. "auto" stands for 5 or,
        for images, for 10 or as many as make 1,200 steps, at most half of ``max_epochs``. More are
        needed for many classes (30 for the 100 of CIFAR-100 in the paper).
    threshold : float, default=0.5
        Probability above which a label counts as right, in [0, 1]. The paper takes 0.6 if nine
        tenths of the labels are wrong.
    noise_rate : "auto" or float, default="auto"
        Share of wrong labels, in [0, 1), which sets ``lambda_u="auto"`` and the size of a
        division of rows that the mixture cannot separate. "auto": it is estimated by the mixtures
        of both networks after the warm-up; rows that they cannot separate are halved.
    lambda_u : "auto" or float, default="auto"
        Weight of the squared error of the guessed labels. "auto": 25 or, if fewer than 20 % of
        the labels are wrong, 0.
    n_ramp_epochs : float, default=16
        Number of epochs after the warm-up in which the weight grows linearly to ``lambda_u``.
    alpha : "auto" or float, default="auto"
        Rows are mixed in shares drawn from Beta(alpha, alpha). 0: they are not mixed. "auto": 4
        for images, as published, and 0.2 for other rows.
    temperature : float, default=0.5
        Temperature by which refined and guessed labels are sharpened. 1: they are not.
    confidence_penalty : float, default=0.0
        Weight of the negative entropy of the predictions in the loss of the warm-up. The paper
        uses 1 if wrong labels depend on the class, so that the network does not become certain of
        them.
    {module, module_params, optimizer, optimizer_params}
    lr : "auto" or float, default="auto"
        Learning rate of the networks. "auto": 0.05, more for larger batches.
    {lr_schedule}
    max_epochs : "auto" or int, default="auto"
        Number of passes of each network over the rows whose label it learns. "auto" stands for
        60, or fewer for tables of more than 200,000 rows.
    {batch_size, max_time, augment, standardize, device, precision}
    callbacks : list or None, default=None
        Additional skorch callbacks. The second network receives copies of them.
    verbose : int, default=0
        1 shows a progress bar and messages.
    {random_state, pretrained, weight_average, n_ensemble}
    {warm_start, checkpoint}

    Attributes
    ----------
    {classes_, label_distribution_, purified_labels_, clean_proba_}
    noise_rate_, lambda_u_ : float
        Values of ``noise_rate`` and ``lambda_u`` after "auto" is resolved. Absent if training
        ended in the warm-up.
    net_ : DeviceNet
        The fitted skorch net of the first network. Its module expects scaled rows.
    nets_ : list of DeviceNet
        Both fitted skorch nets.
    history_ : skorch.history.History
        Per epoch of the first network: ``train_loss``, ``event_lr``, ``dur`` and, from the last
        epoch of the warm-up, ``n_pseudo_clean``, the number of rows whose label it takes for
        right.
    {n_iter_, batch_size_, n_features_in_, feature_names_in_, image_shape_}
    n_warmup_epochs_ : int
        Value of ``n_warmup_epochs`` after "auto" is resolved.

    See Also
    --------
    MILDClassifier : MixMatch after one selection, by one network.
    sknoisy.mixture.split_by_loss : The division of the rows.

    References
    ----------
    J. Li, R. Socher and S. Hoi. DivideMix: Learning with Noisy Labels as Semi-supervised Learning.
    ICLR 2020.

    Examples
    --------
    >>> from sknoisy import DivideMixClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.4, random_state=0)
    >>> clf = DivideMixClassifier(max_epochs=15, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.85)
    True
    >>> bool(abs(clf.noise_rate_ - 0.4) < 0.15)
    True
    """

    _parameter_constraints: dict = {
        **SemiSupervisedClassifier._parameter_constraints,
        "n_warmup_epochs": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "threshold": [Interval(Real, 0, 1, closed="both")],
        "noise_rate": NOISE_RATE,
        "lambda_u": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "n_ramp_epochs": [Interval(Real, 0, None, closed="left")],
        "alpha": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "confidence_penalty": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        n_warmup_epochs: str | int = "auto",
        threshold: float = 0.5,
        noise_rate: str | float = "auto",
        lambda_u: str | float = "auto",
        n_ramp_epochs: float = 16,
        alpha: str | float = "auto",
        temperature: float = 0.5,
        confidence_penalty: float = 0.0,
        **shared: Any,
    ):
        super().__init__(**shared)
        self.n_warmup_epochs = n_warmup_epochs
        self.threshold = threshold
        self.noise_rate = noise_rate
        self.lambda_u = lambda_u
        self.n_ramp_epochs = n_ramp_epochs
        self.alpha = alpha
        self.temperature = temperature
        self.confidence_penalty = confidence_penalty

    def _warmup(self, data: TrainingData) -> int:
        if self.n_warmup_epochs == "auto" and self.image_shape_ is not None:
            return auto_warmup(self.max_epochs_, self._n_steps(len(data)))
        return resolve_warmup(self.n_warmup_epochs, self.max_epochs_)

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        divide = division(
            self.n_warmup_epochs_,
            int(random_state.randint(np.iinfo(np.int32).max)),
            threshold=self.threshold,
            noise_rate=self.noise_rate,
        )
        return [(DIVISION, divide)]

    def _networks(self, data: TrainingData, rng: np.random.RandomState) -> list[DeviceNet]:
        self.n_warmup_epochs_ = self._warmup(data)
        net_class = partial(
            new_net,
            is_image=self.image_shape_ is not None,
            n_warmup_epochs=self.n_warmup_epochs_,
            noise_rate=self.noise_rate,
            lambda_u=self.lambda_u,
            n_ramp_epochs=self.n_ramp_epochs,
            alpha=self.alpha,
            temperature=self.temperature,
            confidence_penalty=self.confidence_penalty,
        )
        return self._build_pair(data, rng, net_class=net_class)

    def _label_distribution(self, data: TrainingData, proba: np.ndarray) -> np.ndarray:
        return label_distribution_of(self.nets_, data, proba)

    def _finish(self, data: TrainingData) -> None:
        if self.n_iter_ > self.n_warmup_epochs_:
            self.noise_rate_ = self.net_.noise_rate_
            self.lambda_u_ = self.net_.unlabeled_weight
            self._say(f"noise_rate={self.noise_rate_:.3g}, lambda_u={self.lambda_u_:g}")

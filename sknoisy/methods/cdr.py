"""Classifier for noisy labels that trains the critical weights alone (CDR)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor, nn

from .._compat import Interval
from .._docs import share_docs
from .._engine.batches import TrainingData
from .._engine.evaluation import outputs_of, rows_per_pass
from .._engine.problem import Problem
from ..base import NetworkClassifier
from ..callbacks import CheckpointEnsemble
from ..meta import weighted_mean
from ..meta.models import per_sample_loss
from .noise_rate import NOISE_RATE, NoiseRate

__all__ = ["CDRClassifier", "CriticalGradients", "mask_gradients"]


@torch.no_grad()
def mask_gradients(parameters: Iterable[nn.Parameter], noise_rate: float) -> None:
    r"""Scale down the gradients of critical weights, and set those of the others to 0, in place.

    Weights are the entries of parameters of more than one dimension; biases and the parameters of
    normalisation layers are left as they are. The critical weights are the share
    :math:`1 - \tau` of them, of all layers together, with the largest product :math:`|g w|` of
    gradient and weight. Their gradients are multiplied by :math:`1 - \tau`.

    Parameters
    ----------
    parameters : iterable of nn.Parameter
        Parameters with their gradients.
    noise_rate : float
        Tau, in [0, 1]. 0: nothing is changed.
    """
    pairs = [(p, p.grad) for p in parameters if p.ndim > 1 and p.grad is not None]
    if not noise_rate or not pairs:
        return
    scores = torch.cat([(g * w).abs().flatten() for w, g in pairs])  # CDR, eq. (3)
    n_others = len(scores) - math.floor((1 - noise_rate) * len(scores))
    least: float | Tensor = -1.0
    if n_others:
        least = scores.topk(n_others, largest=False, sorted=False).values.max()
    sizes = [w.numel() for w, _ in pairs]
    for (_, gradient), score in zip(pairs, scores.split(sizes), strict=True):
        critical = (score > least).view_as(gradient)
        gradient.mul_(critical).mul_(1 - noise_rate)  # CDR, eqs. (4) and (5)


class CriticalGradients(Callback):
    """Mask the gradients before each step by :func:`mask_gradients`.

    The noise rate is that of the callback ``"noise_rate"``, a
    :class:`~sknoisy.methods.noise_rate.NoiseRate`; until it is known, training is plain.
    """

    def on_grad_computed(self, net, named_parameters, **kwargs):
        """Change the gradients in place."""
        rate = dict(net.callbacks_)["noise_rate"].rate_
        mask_gradients((p for _, p in named_parameters), rate)


class ValidationLoss(Callback):
    """Record the mean cross-entropy of some rows after each epoch, as ``"validation_loss"``.

    Parameters
    ----------
    rows : Tensor of shape (m,)
        Rows of the training data, int64.
    """

    def __init__(self, rows: Tensor):
        self.rows = rows

    @torch.no_grad()
    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        """Evaluate the network on the rows, in eval mode and without augmentation."""
        rows, weights = self.rows.to(dataset_train.device), dataset_train.sample_weight
        logits = outputs_of(net.module_, dataset_train, rows, rows_per_pass(net))[1]
        losses = per_sample_loss(logits, dataset_train.targets[rows])
        loss = weighted_mean(losses, None if weights is None else weights[rows])
        net.history.record("validation_loss", loss.item())


def draw_validation_rows(
    codes: np.ndarray, counted: np.ndarray, fraction: float, random_state: np.random.RandomState
) -> np.ndarray:
    """Draw a share of the counted rows of each class, rounded, as a mask of shape (n,).

    At least one row of each class is left.
    """
    is_drawn = np.zeros(len(codes), dtype=bool)
    for code in np.unique(codes[counted]):
        members = np.flatnonzero(counted & (codes == code))
        n_drawn = min(round(fraction * len(members)), len(members) - 1)
        is_drawn[random_state.permutation(members)[:n_drawn]] = True
    return is_drawn


@share_docs
class CDRClassifier(NetworkClassifier):
    """Classifier for noisy labels that trains the critical weights alone (CDR).

    Few weights of a network matter for what it learns first, which are right labels. In each step,
    the weights whose product with their gradient is largest are trained. The others are only
    shrunk by weight decay, so that they cannot memorise wrong labels.

    No trusted rows are needed.

    Parameters
    ----------
    noise_rate : "auto" or float, default="auto"
        Share of wrong labels, in [0, 1), which is the share of the weights that are not trained.
        "auto": it is estimated after three epochs, from the labels of the rows of whose class the
        network is surest. 0: plain training.
    validation_fraction : float, default=0.0
        Share of the rows of each class that is kept out of training, in [0, 1). The epoch with the
        smallest loss on these rows, whose labels are noisy, too, predicts. 0: the last epoch.
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
    {classes_, label_distribution_, purified_labels_, clean_proba_}
    noise_rate_ : float
        The value that "auto" stood for.
    validation_rows_ : ndarray of shape (n_validation,)
        Indices of the rows that were kept out of training.
    {net_}
    history_ : skorch.history.History
        Per epoch: ``train_loss``, ``event_lr``, ``dur``, and ``validation_loss`` if rows are held
        out.
    {n_iter_, batch_size_, n_ranks_, n_features_in_, feature_names_in_, image_shape_}

    References
    ----------
    X. Xia, T. Liu, B. Han, C. Gong, N. Wang, Z. Ge and Y. Chang. Robust Early-Learning: Hindering
    the Memorization of Noisy Labels. ICLR 2021.

    Examples
    --------
    >>> from sknoisy import CDRClassifier
    >>> from sknoisy.datasets import load_noisy_digits
    >>> digits = load_noisy_digits(rate=0.4, random_state=0)
    >>> clf = CDRClassifier(max_epochs=30, random_state=0)
    >>> clf = clf.fit(digits.data[:900], digits.target[:900])
    >>> bool(clf.score(digits.data[900:], digits.target_clean[900:]) > 0.85)
    True
    """

    _parameter_constraints: dict = {
        **NetworkClassifier._parameter_constraints,
        "noise_rate": NOISE_RATE,
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        *,
        noise_rate: str | float = "auto",
        validation_fraction: float = 0.0,
        **shared: Any,
    ):
        super().__init__(**shared)
        self.noise_rate = noise_rate
        self.validation_fraction = validation_fraction

    def _prepare(self, problem: Problem) -> Problem:
        counted = np.isin(np.arange(len(problem)), problem.weighted_rows)
        is_drawn = draw_validation_rows(
            problem.given, counted, self.validation_fraction, np.random.RandomState(problem.seed)
        )
        self.validation_rows_ = np.flatnonzero(is_drawn)
        if not is_drawn.any():
            return problem
        return replace(problem, active=np.flatnonzero(~is_drawn))

    def _callbacks(self, data: TrainingData, random_state: np.random.RandomState) -> list:
        callbacks: list = [
            ("noise_rate", NoiseRate(self.noise_rate)),
            ("gradients", CriticalGradients()),
        ]
        if len(self.validation_rows_):
            callbacks += [
                ("validation", ValidationLoss(torch.as_tensor(self.validation_rows_))),
                ("best_epoch", CheckpointEnsemble("validation_loss", n_members=1)),
            ]
        return callbacks

    def _recorded_keys(self) -> list[str]:
        keys = super()._recorded_keys()
        return [*keys, "validation_loss"] if self.validation_fraction else keys

    def _check_settings(self) -> None:
        super()._check_settings()
        if self.validation_fraction and (self.n_ensemble or self.weight_average is not None):
            raise ValueError(
                f"validation_fraction={self.validation_fraction!r} chooses the epoch, and so do "
                f"n_ensemble={self.n_ensemble!r} and weight_average={self.weight_average!r}: "
                "pass validation_fraction=0, or leave out the others."
            )

    def _member_states(self) -> list[dict[str, Tensor]]:
        chosen = dict(self.net_.callbacks_).get("best_epoch")
        if chosen is None or not chosen.members_:
            return super()._member_states()
        return [state for _, _, state in chosen.members_]

    def _finish(self, data: TrainingData) -> None:
        self.noise_rate_ = dict(self.net_.callbacks_)["noise_rate"].rate_

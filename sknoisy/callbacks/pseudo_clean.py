"""Callback that chooses pseudo-clean rows after each epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch.callbacks import Callback
from torch import Tensor

from .._engine.batches import TrainingData
from .._engine.evaluation import evaluate, rows_per_pass
from .._engine.held_state import held_state, hold_state
from ..exceptions import MixtureWarning, warn_user
from ..meta.models import per_sample_loss
from ..mixture.loss_split import split_or_fall_back
from .named import RecordedInTime

__all__ = ["PseudoCleanRows"]


class PseudoCleanRows(Callback):
    """Choose the pseudo-clean rows by a mixture of the losses, anew after each epoch.

    After the last warm-up epoch and each later epoch, the cross-entropy of the network on every
    training row is computed in eval mode, without augmentation, and
    :func:`~sknoisy.mixture.split_by_loss` splits the rows. The chosen rows can serve as the meta
    set of a :class:`MetaUpdate`, which refers to this callback by its name. Each given class keeps
    its share of the rows. Trusted rows of a ``TrainingData`` are always chosen. Rows of sample
    weight 0 and rows without a label are never chosen, and the mixture is fitted without them.

    The data set of a stock skorch net is read by its ``__getitem__``. If that augments at random,
    the losses are those of augmented rows.

    Parameters
    ----------
    n_warmup_epochs : int, default=5
        Number of epochs before the first split. If 0, the first split is made before training,
        by the losses of the untrained network.
    threshold : float, default=0.5
        Rows whose posterior is larger are chosen or, if ``stratify`` is True, as many rows.
    stratify : bool, default=True
        Whether the same share of each given class is chosen, its rows of lowest loss. If False,
        the share of a class depends on its losses. Classes that are rare or hard to learn have few
        meta rows then, the meta objective does not miss them, and the meta update makes them
        rarer still.
    min_per_class : int or float, default=10
        Number of rows of lowest loss that are chosen from each given class in any case, up to
        ``fallback_share`` of its rows. A float in (0, 1) is a share of the rows of the class.
    fallback_share : float, default=0.5
        Share of the rows of each given class, those of lowest loss, that is chosen if the mixture
        does not separate the rows. A :class:`~sknoisy.exceptions.MixtureWarning` is then issued,
        once per training.
    random_state : int, RandomState or None, default=None
        Controls the initialisation of the mixtures.

    Attributes
    ----------
    rows_ : ndarray of shape (n_pseudo_clean,), int64, or None
        Indices of the chosen rows in ascending order; None before the first split. The history
        records their number after each epoch as ``"n_pseudo_clean"``.
    clean_proba_ : ndarray of shape (n_samples,), float64, or None
        Probability that the label of each row is right, by the mixture; 1 for trusted rows.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from skorch import NeuralNetClassifier
    >>> from sknoisy.callbacks import PseudoCleanRows
    >>> X = np.random.default_rng(0).normal(size=(200, 5)).astype("float32")
    >>> y = (X[:, 0] > 0).astype("int64")
    >>> y[:20] = 1 - y[:20]  # wrong labels
    >>> pseudo_clean = PseudoCleanRows(n_warmup_epochs=10, random_state=0)
    >>> net = NeuralNetClassifier(
    ...     torch.nn.Linear(5, 2), criterion=torch.nn.CrossEntropyLoss, max_epochs=20, lr=0.5,
    ...     train_split=None, verbose=0, callbacks=[pseudo_clean]).fit(X, y)
    >>> len(pseudo_clean.rows_) == net.history[-1, "n_pseudo_clean"]
    True
    """

    def __init__(
        self,
        n_warmup_epochs: int = 5,
        *,
        threshold: float = 0.5,
        stratify: bool = True,
        min_per_class: int | float = 10,
        fallback_share: float = 0.5,
        random_state: Any = None,
    ):
        self.n_warmup_epochs = n_warmup_epochs
        self.threshold = threshold
        self.stratify = stratify
        self.min_per_class = min_per_class
        self.fallback_share = fallback_share
        self.random_state = random_state

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Drop the rows of an earlier training."""
        self.rows_: NDArray[np.int64] | None = None
        self.clean_proba_: NDArray[np.float64] | None = None
        self._has_warned = False
        self._set_back = RecordedInTime("set_back", "PseudoCleanRows")

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        """Split the rows if there is no warm-up, or if training continues after it."""
        self._set_back.check(net)
        if self.rows_ is None and len(net.history) > self.n_warmup_epochs:
            self._split(net, dataset_train)

    def on_epoch_end(self, net, dataset_train=None, **kwargs):
        """Split the rows by the losses of the epoch."""
        self._set_back.read(net)
        if len(net.history) < self.n_warmup_epochs:
            return
        rows = self._split(net, dataset_train)
        net.history.record("n_pseudo_clean", len(rows))

    def state_dict(self, net):
        """Return the state after an epoch, for a checkpoint."""
        return held_state(self, "rows_", "clean_proba_", "_has_warned")

    def load_state_dict(self, state, net, data):
        """Restore what :meth:`state_dict` returned."""
        hold_state(self, state, net.device)

    def _split(self, net, dataset) -> NDArray[np.int64]:
        losses, targets = _losses_of_all_rows(net, dataset)
        trusted = getattr(dataset, "trusted", None)
        counts = _counts(dataset)
        (self.clean_proba_, is_clean), trouble = split_or_fall_back(
            losses,
            targets,
            threshold=self.threshold,
            stratify=self.stratify,
            min_per_class=self.min_per_class,
            fallback_share=self.fallback_share,
            candidates=counts,
            random_state=self.random_state,
        )
        if trusted is not None:
            is_clean |= counts & _mask(trusted)
            self.clean_proba_[_mask(trusted)] = 1
        if trouble is not None and not self._has_warned:
            self._has_warned = True
            warn_user(f"Epoch {len(net.history)}: {trouble}", MixtureWarning)
        self.rows_ = is_clean.nonzero()[0].astype(np.int64)
        return self.rows_


def _losses_of_all_rows(net, dataset) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    n_rows, n_done = len(dataset), 0
    index = torch.arange(n_rows, device=net.device)
    losses, targets = torch.empty(0), torch.empty_like(index)
    for _, logits, y in evaluate(net, dataset, index, rows_per_pass(net)):
        found = per_sample_loss(logits, y)
        if not n_done:  # joined parts would scatter the free memory, as in StepValues
            losses = found.new_empty(n_rows)
        rows = slice(n_done, n_done + len(y))
        losses[rows], targets[rows] = found, y
        n_done = rows.stop
    # To the CPU first: not every device has float64.
    return losses.cpu().double().numpy(), targets.cpu().numpy()


def _mask(flags: Tensor) -> NDArray[np.bool_]:
    return flags.cpu().numpy()


def _counts(dataset) -> NDArray[np.bool_]:
    """Return which rows can be chosen; of a stock net all."""
    is_own = isinstance(dataset, TrainingData)
    return _mask(dataset.counts) if is_own else np.ones(len(dataset), bool)

"""Records for each row and epoch whether the given label is predicted, in one bit each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from skorch.utils import to_tensor
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler, default_collate

from .._engine.batches import Batch, TrainingData
from .._engine.held_state import held_state, hold_state
from ..meta.models import per_sample_loss

__all__ = ["RecordDynamics", "RowLoader"]

Floats = NDArray[np.float64]


class RecordDynamics(Callback):
    """Record the learning dynamics of every training row: memorised or not, epoch by epoch.

    A row's bit is 1 if the training forward pass of the epoch predicts its given label: on the
    augmented row, in train mode, before the step. The bits of an epoch are packed; in addition,
    the record holds a few numbers per row. On a GPU, the callback does not synchronise at each
    batch: results are copied at the end of the epoch.

    The rows are those of the training set, in its order; on a stock skorch net, the rows that
    ``train_split`` leaves for training. If the label to learn differs from the given label
    (``given`` of a ``TrainingData``), the prediction is compared with the given one. A row that an
    epoch leaves out keeps its bit of the epoch before, or 0 before the first; if a row occurs
    twice in an epoch, one of its forward passes counts. Every training begins a new record.

    Batches of a stock skorch net have no row numbers. They are not needed as long as the data
    loader reads the rows in their order, which is the default. With ``shuffle`` or a sampler, pass
    ``iterator_train=RowLoader``.

    Attributes
    ----------
    bits_ : ndarray of shape (n_epochs, ceil(n_rows / 8)), uint8
        The record; ``np.unpackbits(bits_, axis=1, count=n_rows_)`` has one line per epoch.
        :func:`~sknoisy.methods.mild.count_dynamics` and
        :func:`~sknoisy.methods.mild.segment_dynamics` compute scores from it.
    n_rows_ : int
        Number of rows of the training set.
    n_seen_ : ndarray of shape (n_rows,), int64
        Number of epochs in which the row was seen with a loss other than NaN.
    mean_loss_ : ndarray of shape (n_rows,), float64
        Cross-entropy with the given label, mean over those epochs; NaN if there are none.
    mean_margin_ : ndarray of shape (n_rows,), float64
        Logit of the given label minus the largest other logit, mean over those epochs (the area
        under the margin); NaN if there are none.

    References
    ----------
    C. Hu et al., MILD: Modeling the Instance Learning Dynamics for Learning with Noisy Labels,
    IJCAI 2023. G. Pleiss et al., Identifying Mislabeled Data using the Area Under the Margin
    Ranking, NeurIPS 2020 (the margin).

    Examples
    --------
    >>> import numpy as np, torch
    >>> from skorch import NeuralNetClassifier
    >>> from sknoisy.callbacks import RecordDynamics, RowLoader
    >>> from sknoisy.methods.mild import count_dynamics
    >>> X = np.random.default_rng(0).normal(size=(200, 5)).astype("float32")
    >>> y = (X[:, 0] > 0).astype("int64")
    >>> y[:20] = 1 - y[:20]  # wrong labels
    >>> record = RecordDynamics()
    >>> net = NeuralNetClassifier(
    ...     torch.nn.Linear(5, 2), criterion=torch.nn.CrossEntropyLoss, max_epochs=16, lr=0.5,
    ...     iterator_train=RowLoader, iterator_train__shuffle=True, train_split=None, verbose=0,
    ...     callbacks=[record]).fit(X, y)
    >>> record.bits_.shape
    (16, 25)
    >>> score = count_dynamics(record.bits_, record.n_rows_).score
    >>> bool(score[:20].mean() > 0 > score[20:].mean())
    True
    """

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Begin a new record."""
        self.n_rows_: int = 0
        self._n_epochs = 0
        self._bits = np.empty((0, 0), np.uint8)

    @property
    def bits_(self) -> NDArray[np.uint8]:
        """The bits of the epochs so far."""
        return self._bits[: self._n_epochs]

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        """Begin a new epoch."""
        if not self.n_rows_:
            self._begin(net, dataset_train)
        self._n_in_order = 0
        self._loss: Any = None

    def _begin(self, net, dataset) -> None:
        self.n_rows_ = n = len(dataset)
        self._given: Any = dataset.given if isinstance(dataset, TrainingData) else None
        self._in_order = self._given is None and _is_in_order(net, dataset)
        self._bits = np.empty((max(net.max_epochs, 1), math.ceil(n / 8)), np.uint8)
        self._last: Any = np.zeros(n, bool)
        self.n_seen_ = np.zeros(n, np.int64)
        self.mean_loss_, self.mean_margin_ = np.full(n, np.nan), np.full(n, np.nan)

    @torch.no_grad()
    def on_batch_end(self, net, batch=None, training=False, y_pred=None, **kwargs):
        """Compare the predictions with the given labels."""
        if not training:
            return
        if not isinstance(y_pred, Tensor) or y_pred.ndim != 2 or y_pred.shape[1] < 2:
            raise TypeError(
                "RecordDynamics needs a network that returns one tensor (n, n_classes) with a "
                f"column per class, got {_describe(y_pred)}."
            )
        rows = self._rows(batch, len(y_pred)).to(y_pred.device)
        given = self._labels(batch, y_pred) if self._given is None else self._given[rows]
        logits = _logits(net, y_pred)
        if self._loss is None:
            self._loss = torch.full((self.n_rows_,), torch.nan).to(logits)
            self._margin: Any = torch.zeros_like(self._loss)
            self._is_right: Any = torch.zeros(self.n_rows_, dtype=torch.bool, device=logits.device)
        of_given = logits.gather(1, given[:, None])
        others = logits.scatter(1, given[:, None], -torch.inf)
        self._loss[rows] = per_sample_loss(logits, given)
        self._margin[rows] = of_given[:, 0] - others.amax(dim=1)
        self._is_right[rows] = y_pred.argmax(dim=1) == given

    def _rows(self, batch, n: int) -> Tensor:
        rows = getattr(batch, "rows", None)
        if rows is not None:
            return rows
        if not self._in_order:
            raise TypeError(
                "RecordDynamics needs the row numbers of each batch: the batches have none, and "
                "the data loader does not read the rows in their order. Pass "
                "iterator_train=sknoisy.callbacks.RowLoader to the net, or "
                "iterator_train__shuffle=False."
            )
        first, self._n_in_order = self._n_in_order, self._n_in_order + n
        return torch.arange(first, first + n)

    def _labels(self, batch, y_pred: Tensor) -> Tensor:
        labels = to_tensor(batch[1], y_pred.device)
        if labels.ndim != 1 or labels.is_floating_point():
            raise TypeError(
                "RecordDynamics compares predictions with class labels, integers of shape (n,); "
                f"y in the net's batches is {_describe(labels)}. Encode y with "
                "sklearn.preprocessing.LabelEncoder."
            )
        return labels.long()

    def on_epoch_end(self, net, **kwargs):
        """Pack the bits of the epoch and update the means."""
        if self._loss is None:
            return
        loss = self._loss.cpu().double().numpy()
        margin = self._margin.cpu().double().numpy()
        seen = ~np.isnan(loss)
        self._last[seen] = self._is_right.cpu().numpy()[seen]
        self._loss = self._margin = self._is_right = None
        if self._n_epochs == len(self._bits):  # training goes on beyond max_epochs
            self._bits = np.concatenate([self._bits, np.empty_like(self._bits)])
        self._bits[self._n_epochs] = np.packbits(self._last)
        self._n_epochs += 1
        self.n_seen_ += seen
        for mean, value in ((self.mean_loss_, loss), (self.mean_margin_, margin)):
            before = np.where(self.n_seen_ == 1, 0, mean)
            np.copyto(mean, before + (value - before) / np.maximum(self.n_seen_, 1), where=seen)

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Drop everything except the record."""
        self._bits = self.bits_.copy() if self._n_epochs < len(self._bits) else self._bits
        self._given = self._last = self._loss = self._margin = self._is_right = None

    def state_dict(self, net):
        """Return the state after an epoch, for a checkpoint."""
        return held_state(self, "bits_", "_last", "n_seen_", "mean_loss_", "mean_margin_")

    def load_state_dict(self, state, net, data):
        """Restore what :meth:`state_dict` returned."""
        self._begin(net, data)
        bits = state.pop("bits_")
        hold_state(self, {"_bits": bits, **state})
        self._n_epochs = len(self._bits)


class RowLoader(DataLoader):
    """A torch ``DataLoader`` whose batches carry the row numbers of the data set.

    Pass it to a stock skorch net as ``iterator_train``. Its batches are pairs (X, y) with an
    attribute ``rows``, an int64 tensor of shape (batch_size,).

    Parameters
    ----------
    dataset : Dataset
        Data set whose items are pairs (X, y).
    collate_fn : callable, default=None
        Joins a list of such pairs to a pair of batches; None: torch's default.
    **kwargs
        Arguments of ``torch.utils.data.DataLoader``, such as ``batch_size``, ``shuffle`` and
        ``sampler``.

    Examples
    --------
    >>> import torch
    >>> from torch.utils.data import TensorDataset
    >>> from sknoisy.callbacks import RowLoader
    >>> dataset = TensorDataset(torch.arange(6.0)[:, None], torch.arange(6) % 2)
    >>> for batch in RowLoader(dataset, batch_size=3, shuffle=True):
    ...     X, y = batch
    ...     print(torch.equal(batch.rows, X[:, 0].long()))
    True
    True
    """

    def __init__(self, dataset: Dataset, *, collate_fn: Any = None, **kwargs: Any):
        collate = _CollateWithRows(default_collate if collate_fn is None else collate_fn)
        super().__init__(_WithRows(dataset), collate_fn=collate, **kwargs)

    def __iter__(self) -> Any:
        for rows, (X, y) in super().__iter__():
            yield Batch(X, y, rows)


class _WithRows(Dataset):
    def __init__(self, dataset: Any):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> tuple[int, Any]:
        return row, self.dataset[row]


class _CollateWithRows:
    def __init__(self, collate: Any):
        self.collate = collate

    def __call__(self, items: list[tuple[int, Any]]) -> tuple[Tensor, Any]:
        rows, pairs = zip(*items, strict=True)
        return torch.tensor(rows), self.collate(list(pairs))


def _is_in_order(net, dataset) -> bool:
    loader = net.get_iterator(dataset, training=True)
    batches = getattr(loader, "batch_sampler", None)
    return type(batches) is BatchSampler and isinstance(batches.sampler, SequentialSampler)


def _logits(net, y_pred: Tensor) -> Tensor:
    """Return logits; of a module that returns probabilities, their logarithms."""
    # By skorch's convention, a classifier's module returns probabilities for this criterion.
    is_proba = isinstance(net, NeuralNetClassifier) and isinstance(net.criterion_, nn.NLLLoss)
    return y_pred.float().log() if is_proba else y_pred.float()


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return type(value).__name__

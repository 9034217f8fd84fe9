"""Rules by which "auto" settings of the training follow the number of rows and steps."""

from __future__ import annotations

import math

__all__ = [
    "auto_batch_size",
    "auto_epochs",
    "auto_lr",
    "auto_teacher_decay",
    "auto_warmup",
    "bounded_meta_lr",
    "resolved_steps",
]

_BATCH_SIZE, _LARGEST_BATCH_SIZE = 100, 2000
_LR = 0.05
_LARGEST_LR = 0.2  # with momentum 0.9, a gradient acts over about ten steps
_LARGEST_EPOCH = 200  # batches, up to the largest batch size
_EPOCHS, _LEAST_EPOCHS = 60, 10
_TRAINED_ROWS = 12_000_000  # of a table, in all epochs together
_META_ROWS, _MANY_ROWS = 2000, 10_000  # between them the way of the meta steps falls fast
_META_STEPS = 1200
_WARMUP_STEPS, _WARMUP_EPOCHS = 1200, 10


def auto_batch_size(n_rows: int, is_table: bool) -> int:
    """Return the batch size: 100 or, for large tables, the 200th part of the rows, up to 2,000.

    A step of a small network costs little more for many rows than for few, so the cost of a row
    falls with the size of a table. Beyond 2,000 rows it hardly falls any further. The time for an
    image does not depend on the batch.

    Examples
    --------
    >>> from sknoisy._engine.sizes import auto_batch_size
    >>> auto_batch_size(2000, is_table=True), auto_batch_size(100_000, is_table=True)
    (100, 500)
    """
    if not is_table:
        return _BATCH_SIZE
    return min(max(_BATCH_SIZE, n_rows // _LARGEST_EPOCH), _LARGEST_BATCH_SIZE)


def auto_epochs(n_rows: int, is_table: bool) -> int:
    """Return the number of epochs: 60 or, for large tables, as many as train on 12 million rows.

    They are ten at least. At the batch size of :func:`auto_batch_size`, training makes up to
    12,000 steps where it has 60 epochs, and 6,000 for a million rows.

    Examples
    --------
    >>> from sknoisy._engine.sizes import auto_epochs
    >>> auto_epochs(100_000, is_table=True), auto_epochs(1_000_000, is_table=True)
    (60, 12)
    """
    if not is_table:
        return _EPOCHS
    return min(max(_TRAINED_ROWS // n_rows, _LEAST_EPOCHS), _EPOCHS)


def auto_lr(batch_size: int) -> float:
    """Return the learning rate: 0.05 or, above 100 rows in a batch, more by the square root.

    The root keeps the variance of a step, the squared rate over the batch size, as it is for 100
    rows. Smaller batches have the rate of 100 rows.

    Examples
    --------
    >>> from sknoisy._engine.sizes import auto_lr
    >>> auto_lr(100), auto_lr(400), auto_lr(10_000)
    (0.05, 0.1, 0.2)
    """
    return min(_LR * max(batch_size / _BATCH_SIZE, 1.0) ** 0.5, _LARGEST_LR)


def resolved_steps(
    batch_size: str | int, lr: str | float, max_epochs: str | int, *, n_rows: int, is_table: bool
) -> tuple[int, float, int]:
    """Return batch size, learning rate and number of epochs, each by its rule where it is "auto".

    Examples
    --------
    >>> from sknoisy._engine.sizes import resolved_steps
    >>> resolved_steps("auto", "auto", 30, n_rows=80_000, is_table=True)
    (400, 0.1, 30)
    """
    if batch_size == "auto":
        batch_size = auto_batch_size(n_rows, is_table)
    if lr == "auto":
        lr = auto_lr(int(batch_size))
    if max_epochs == "auto":
        max_epochs = auto_epochs(n_rows, is_table)
    return int(batch_size), float(lr), int(max_epochs)


def auto_teacher_decay(n_steps: float) -> float:
    """Return the decay of a moving average over a hundredth of the steps, from 2 to 1,000 steps.

    Examples
    --------
    >>> from sknoisy._engine.sizes import auto_teacher_decay
    >>> auto_teacher_decay(50), auto_teacher_decay(1000)
    (0.5, 0.9)
    """
    return 1 - 1 / min(max(n_steps / 100, 2), 1000)


def auto_warmup(max_epochs: int, n_steps: int) -> int:
    """Return the epochs after which the losses of a network for images divide the rows.

    It is 10, or as many as make 1,200 steps, but at most half of all epochs. Few images make few
    steps in an epoch, and a network that has learned little divides the rows at random.

    Parameters
    ----------
    max_epochs : int
        Number of epochs in all.
    n_steps : int
        Number of steps in all.

    Examples
    --------
    >>> from sknoisy._engine.sizes import auto_warmup
    >>> auto_warmup(100, 100 * 400), auto_warmup(100, 100 * 40), auto_warmup(20, 20 * 40)
    (10, 30, 10)
    """
    by_steps = math.ceil(_WARMUP_STEPS * max_epochs / n_steps)
    return min(max(_WARMUP_EPOCHS, by_steps), max_epochs // 2)


def bounded_meta_lr(lr: float, n_rows: int, n_steps: float) -> float:
    """Return the step size of a weighting network, lowered for many rows and many steps.

    The total way, step size times number of steps, is at most that of 2,000 rows and 1,200 steps.
    From 2,000 to 10,000 rows, it falls with the cube of the rows, and beyond with the square root,
    a fit to few measurements: with longer ways, many right labels of large loss had weights near
    0, and accuracy fell.

    Parameters
    ----------
    lr : float
        Step size for at most 2,000 rows and 1,200 steps.
    n_rows, n_steps : int, float
        Number of training rows, and of meta steps in training.

    Examples
    --------
    >>> from sknoisy._engine.sizes import bounded_meta_lr
    >>> bounded_meta_lr(0.2, n_rows=900, n_steps=540)
    0.2
    >>> round(bounded_meta_lr(0.2, n_rows=10_000, n_steps=6000), 5)
    0.00032
    """
    by_cube = (_META_ROWS / min(max(n_rows, _META_ROWS), _MANY_ROWS)) ** 3
    by_root = (_MANY_ROWS / max(n_rows, _MANY_ROWS)) ** 0.5
    return lr * min(_META_STEPS / n_steps, 1.0) * (by_cube * by_root)

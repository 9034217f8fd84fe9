"""Checks of the skorch callbacks that a user passes, before anything is trained."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

from skorch.callbacks import BatchScoring, Callback, EpochScoring, PassthroughScoring

__all__ = ["check_callbacks"]

# Keys of the history in every epoch of every net.
_ALWAYS_RECORDED = ("train_loss", "train_loss_best", "train_batch_count", "epoch", "dur")


def check_callbacks(
    callbacks: Iterable[Any] | None, lr_schedule: Any, recorded: Sequence[str] = ()
) -> None:
    """Check that callbacks can work in a training without validation rows.

    `recorded` are the keys that the method adds to the history in every epoch.

    TypeError is raised for an object that is no skorch callback. ValueError is raised for one that
    scores validation rows, or that monitors a key which is not recorded. Callbacks of other
    packages than skorch may record further keys: with one of them, any key may be monitored.
    """
    found = [_callback(item) for item in callbacks or [] if item is not None]
    known = {*_ALWAYS_RECORDED, *recorded}
    if lr_schedule != "constant":
        known.add("event_lr")
    for callback in found:
        _check_scoring(callback)
        if isinstance(callback, EpochScoring):
            name = copy.copy(callback).initialize().name_
            known |= {name, f"{name}_best"}
    if all(type(callback).__module__.startswith("skorch.") for callback in found):
        for callback in found:
            _check_monitor(callback, known)


def _callback(item: Any) -> Callback:
    """Return the callback of an item of the list: itself, of its class, or of its pair."""
    is_pair = isinstance(item, (tuple, list)) and len(item) == 2 and isinstance(item[0], str)
    callback = item[1] if is_pair else item
    if isinstance(callback, type) and issubclass(callback, Callback):
        return callback()
    if not isinstance(callback, Callback):
        raise TypeError(
            f"callbacks holds {item!r}, which is no skorch callback. Pass instances of "
            "skorch.callbacks.Callback, or pairs of a name and an instance."
        )
    return callback


def _check_scoring(callback: Callback) -> None:
    name = type(callback).__name__
    if isinstance(callback, (BatchScoring, PassthroughScoring)):
        raise ValueError(
            f"callbacks holds {name}, which needs scores of single batches; they are not recorded "
            "here. Pass EpochScoring with on_train=True and a callable, or monitor 'train_loss'."
        )
    if isinstance(callback, EpochScoring) and not callback.on_train:
        raise ValueError(
            f"callbacks holds {name}({callback.scoring!r}), which scores validation rows; there "
            "are none, as the network is trained on all rows. Monitor 'train_loss', or score the "
            "fitted estimator on rows of your own."
        )
    if isinstance(callback, EpochScoring) and isinstance(callback.scoring, str):
        raise ValueError(
            f"callbacks holds {name}({callback.scoring!r}), but the net alone does not predict "
            "labels, which this score compares. Pass a callable scoring(net, X, y)."
        )


def _check_monitor(callback: Callback, known: set[str]) -> None:
    key = getattr(callback, "monitor", None)
    if isinstance(key, str) and key not in known:
        raise ValueError(
            f"callbacks holds {type(callback).__name__}(monitor={key!r}), but this key is not "
            "recorded in every epoch: no rows are held out for validation. What can be monitored "
            f"here is {sorted(known)}."
        )

"""Callback that shows a progress bar."""

from __future__ import annotations

import sys
import time

from skorch.callbacks import Callback
from tqdm.auto import tqdm

__all__ = ["EpochProgress"]

_WATCHED_SECONDS = 2.0  # whose steps make an estimate
_LONG_SECONDS = 60.0
_MUCH_LONGER = 1.5


class EpochProgress(Callback):
    """Show a progress bar on stderr, with the training loss, the meta loss and CLID.

    If training will take more than a minute, a line says about how long, by the pace of the steps
    of two seconds. Another line follows if later steps are so much slower, as with meta updates,
    that the time is half as long again.

    Parameters
    ----------
    description : str, default="fit"
        Text before the bar.

    Examples
    --------
    >>> from sknoisy.callbacks import EpochProgress
    >>> EpochProgress("digits").description
    'digits'
    """

    keys = ("train_loss", "meta_loss", "clid")

    def __init__(self, description: str = "fit"):
        self.description = description

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Open the bar."""
        self._n_before = len(net.history)
        self._bar = tqdm(total=net.max_epochs, desc=self.description, unit="epoch")
        self._n_rows = self._n_watched = 0
        self._start = self._watched_since = time.monotonic()
        self._told = _LONG_SECONDS / _MUCH_LONGER

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        """Note the number of rows in an epoch; move the bar to where a checkpoint goes on."""
        active = getattr(dataset_train, "active", None)
        self._epoch_rows = len(dataset_train if active is None else active)
        n_done = len(net.history) - 1 - self._n_before
        if n_done > self._bar.n:
            self._bar.n = self._bar.initial = n_done
            self._bar.refresh()
            self._n_rows = n_done * self._epoch_rows

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        """Say how long training takes, if it takes long."""
        if not training:
            return
        self._n_rows += len(batch[1])
        self._n_watched += len(batch[1])
        now = time.monotonic()
        seconds = now - self._watched_since
        if seconds < _WATCHED_SECONDS:
            return
        left = max(net.max_epochs * self._epoch_rows - self._n_rows, 0)
        total = now - self._start + left * seconds / self._n_watched
        self._watched_since, self._n_watched = now, 0
        if total > _MUCH_LONGER * self._told:
            self._told = total
            text = f"{self.description}: {net.max_epochs} epochs take about {_in_minutes(total)}."
            tqdm.write(text, file=sys.stderr)

    def on_epoch_end(self, net, **kwargs):
        """Advance the bar by one epoch."""
        epoch = net.history[-1]
        self._bar.set_postfix(
            {key: f"{epoch[key]:.3f}" for key in self.keys if key in epoch}, refresh=False
        )
        self._bar.update()

    def on_train_end(self, net, X=None, y=None, **kwargs):
        """Close the bar."""
        self._bar.close()
        self._bar = None


def _in_minutes(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"

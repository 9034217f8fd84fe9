"""Callback that shows a progress bar."""

from __future__ import annotations

from skorch.callbacks import Callback
from tqdm.auto import tqdm

__all__ = ["EpochProgress"]


class EpochProgress(Callback):
    """Show a progress bar on stderr, with the training loss, the meta loss and CLID.

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

    def on_epoch_begin(self, net, **kwargs):
        """Move the bar to the epoch at which training goes on."""
        n_done = len(net.history) - 1 - self._n_before
        if n_done > self._bar.n:
            self._bar.n = self._bar.initial = n_done
            self._bar.refresh()

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

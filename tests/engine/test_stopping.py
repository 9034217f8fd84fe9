"""The stop of an interrupted fit."""

from contextlib import nullcontext

import pytest
import torch

from sknoisy._engine.stopping import cut_short, interruptible
from sknoisy.exceptions import InterruptedFitWarning


class Interrupted:
    """A fit with an interruption on the way out of torch.no_grad, which leaves gradients off."""

    @interruptible
    def fit(self, is_usable):
        if is_usable:
            with cut_short():
                self._learn()
            return self
        self._learn()

    def _learn(self):
        torch.set_grad_enabled(False)
        raise KeyboardInterrupt

    def _forget(self):
        pass


@pytest.mark.parametrize("is_usable", [True, False])
def test_an_interruption_leaves_gradients_as_they_were(is_usable):
    ends = nullcontext() if is_usable else pytest.raises(KeyboardInterrupt)
    with pytest.warns(InterruptedFitWarning), ends:
        Interrupted().fit(is_usable)
    assert torch.is_grad_enabled()

"""Between two batches, the plain and the meta step never wait for a number from the device."""

from typing import Any

import pytest
import torch
from skorch.callbacks import Callback
from torch.utils._python_dispatch import TorchDispatchMode

from sknoisy import CLIDMUClassifier
from sknoisy.base import NetworkClassifier

QUICK = {"max_epochs": 2, "batch_size": 10, "random_state": 0}
ESTIMATORS = {
    "plain": NetworkClassifier(**QUICK),
    "averaged": NetworkClassifier(weight_average=0.9, **QUICK),
    "meta": CLIDMUClassifier(n_warmup_epochs=1, meta_batch_size=10, **QUICK),
}
ON_EACH = pytest.mark.parametrize("name", ESTIMATORS)
aten = torch.ops.aten


class Waits(TorchDispatchMode):
    """Counts the operations that on a GPU wait for its result."""

    n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (aten._local_scalar_dense, aten.nonzero, aten.masked_select):
            self.n += 1
        return func(*args, **(kwargs or {}))


class BetweenBatches(Callback):
    """Open a context from the end of the first batch of the second epoch to that of the third."""

    def __init__(self, context: Any):
        self.context, self.n = context, 0

    def on_epoch_begin(self, net, **kwargs):
        self.n = 0

    def on_batch_end(self, net, training=False, **kwargs):
        self.n += 1
        if len(net.history) == 2 and self.n == 1:
            self.context.__enter__()
        if len(net.history) == 2 and self.n == 3:
            self.context.__exit__(None, None, None)


@ON_EACH
def test_no_step_reads_a_number(name, images):
    waits = Waits()
    estimator = ESTIMATORS[name].set_params(callbacks=[BetweenBatches(waits)], device="cpu")
    estimator.fit(*images)
    assert waits.n == 0


def test_reading_a_number_is_counted(images):
    class Reads(Callback):
        def on_batch_end(self, net, loss=None, **kwargs):
            loss.item()

    waits = Waits()
    callbacks = [BetweenBatches(waits), Reads()]
    NetworkClassifier(callbacks=callbacks, device="cpu", **QUICK).fit(*images)
    assert waits.n > 0


class NoWait:
    """Let torch raise an error where the host would wait for the GPU."""

    def __enter__(self):
        torch.cuda.set_sync_debug_mode("error")

    def __exit__(self, *exception):
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@ON_EACH
def test_the_host_does_not_wait_for_the_gpu(name, precision, images):
    estimator = ESTIMATORS[name].set_params(
        callbacks=[BetweenBatches(NoWait())], device="cuda", precision=precision
    )
    try:
        estimator.fit(*images)
    finally:
        torch.cuda.set_sync_debug_mode("default")

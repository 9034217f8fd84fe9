"""Number of torch threads in a fit: small steps lose to the competition of threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["suitable_threads"]

# Below, a step of one thread takes at most some milliseconds. Several threads gain little if the
# cores are idle, and wait for one another if they are not (figures in benchmarks/RESULTS.md).
_MIN_MULTIPLICATIONS = 1e8

_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_THREAD_LIMIT")


@contextmanager
def suitable_threads(n_multiplications: float, device: torch.device) -> Iterator[None]:
    """Use one thread within the context if a step of the fit is small; then restore the number.

    The number is left alone on other devices than the CPU, and if the user or joblib has chosen
    it: by ``torch.set_num_threads`` or by an environment variable.

    Parameters
    ----------
    n_multiplications : float
        Multiplications of a step: a forward pass of one batch, or a regression of the labels.
    device : torch.device
        Device of the fit.
    """
    before = torch.get_num_threads()
    is_small = n_multiplications < _MIN_MULTIPLICATIONS
    if device.type != "cpu" or not is_small or not _is_default(before):
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _is_default(n_threads: int) -> bool:
    """Return whether torch chose the number: one thread for each logical or physical core."""
    if any(os.environ.get(name) for name in _LIMITS):
        return False
    n_cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        n_cores = len(os.sched_getaffinity(0))
    return n_threads in (n_cores, n_cores // 2)

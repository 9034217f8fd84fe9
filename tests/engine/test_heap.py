"""Freed memory goes back to the operating system when it is asked for."""

import sys
from pathlib import Path

import numpy as np
import pytest

from sknoisy._engine.heap import return_freed_memory


def resident_bytes():
    """Return the memory of this process without mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and asks glibc")
def test_freed_pages_between_arrays_are_given_back():
    """Of 64 MiB in small arrays, one in sixteen is kept, which holds the heap where it is."""
    arrays = [np.ones(8000) for _ in range(1024)]
    kept = arrays[::16]
    del arrays
    before = resident_bytes()
    return_freed_memory()
    assert before - resident_bytes() > 32 * 2**20
    assert all((array == 1).all() for array in kept)

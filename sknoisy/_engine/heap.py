"""Memory that was freed, given back to the operating system."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

__all__ = ["return_freed_memory"]


def return_freed_memory() -> None:
    """Ask glibc to give back the pages that hold nothing; other libraries are not asked.

    It keeps them where arrays of up to 32 MB were freed, and takes new ones for larger arrays.
    """
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # a system without glibc
            ctypes.CDLL(None).malloc_trim(0)

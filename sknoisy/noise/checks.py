"""Checks of labels and transition matrices that other parts of the library use."""

from ._estimation import check_transition
from ._labels import encode

__all__ = ["check_transition", "encode"]

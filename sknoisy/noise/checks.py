"""What other parts of the library do with labels and transition matrices, too."""

from ._estimation import check_transition, to_transition
from ._labels import encode

__all__ = ["check_transition", "encode", "to_transition"]

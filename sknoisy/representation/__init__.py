"""Self-supervised encoders as transformers: features that no wrong label can mislead.

================  ===============================================================================
:class:`SimCLR`   two views of a row agree, against all other rows of the batch; images and tables
:class:`MoCo`     the same against a queue of earlier rows
:class:`SCARF`    a row and its copy with replaced entries agree; tables
================  ===============================================================================
"""

from .moco import MoCo
from .scarf import SCARF
from .simclr import SimCLR

__all__ = ["SCARF", "MoCo", "SimCLR"]

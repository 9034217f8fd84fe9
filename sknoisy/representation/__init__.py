"""Self-supervised encoders as transformers: features that do not depend on labels.

================  ===============================================================================
:class:`SimCLR`   contrasts two views of a row with the other rows of the batch; images and tables
:class:`MoCo`     contrasts two views of a row with a queue of earlier rows; images and tables
:class:`SCARF`    contrasts a row and a corrupted copy with copies of the other rows; tables
================  ===============================================================================
"""

from .moco import MoCo
from .scarf import SCARF
from .simclr import SimCLR

__all__ = ["SCARF", "MoCo", "SimCLR"]

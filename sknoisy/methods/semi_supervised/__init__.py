"""Nets that learn from rows with labels and from rows without labels.

After a selection, the selected rows keep their labels and the rejected rows lose theirs.

============================  =================================================================
:class:`MixMatchNet`          guesses the missing labels and mixes all rows
:class:`ContrastiveMixUpNet`  mixes the rows with labels and contrasts all rows
============================  =================================================================
"""

from .contrastive import ContrastiveMixUpNet
from .mixmatch import MixMatchNet

__all__ = ["ContrastiveMixUpNet", "MixMatchNet"]

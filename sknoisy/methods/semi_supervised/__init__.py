"""Nets that learn from rows with labels and from rows without labels.

After a selection, the selected rows keep their labels and the rejected rows lose theirs.

============================  =================================================================
:class:`MixMatchNet`          guesses the missing labels and mixes all rows
:class:`FixMatchNet`          takes confident predictions as the labels of strong views
:class:`FlexMatchNet`         the same, with a threshold for each class
:class:`ContrastiveMixUpNet`  mixes the rows with labels and contrasts all rows
============================  =================================================================
"""

from .contrastive import ContrastiveMixUpNet
from .fixmatch import FixMatchNet, FlexMatchNet
from .mixmatch import MixMatchNet

__all__ = ["ContrastiveMixUpNet", "FixMatchNet", "FlexMatchNet", "MixMatchNet"]

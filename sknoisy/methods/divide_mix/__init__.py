"""DivideMix: two networks that divide the rows for each other.

Each network learns the rows that the other one takes for right with their labels, and all others
without.

============================  =================================================================
:class:`DivideMixClassifier`  the estimator
:class:`DivideMixNet`         one of its two nets
============================  =================================================================
"""

from .classifier import DivideMixClassifier
from .net import DivideMixNet

__all__ = ["DivideMixClassifier", "DivideMixNet"]

"""DivideMix: two networks that divide the rows for each other.

Each network learns the rows that the other one takes for right with their labels, and all others
without.

============================  =================================================================
:class:`DivideMixClassifier`  the estimator
:class:`DivideMixNet`         one of its two nets
:func:`division`              the callback that divides the rows
:func:`net_of`                makes a net for another estimator
============================  =================================================================
"""

from .classifier import DivideMixClassifier
from .net import DIVISION, DivideMixNet
from .pair import division, label_distribution_of, net_of

__all__ = [
    "DIVISION",
    "DivideMixClassifier",
    "DivideMixNet",
    "division",
    "label_distribution_of",
    "net_of",
]

"""DMLP: labels purified on frozen features, the purifier and the classifier behind it.

==========================  ===============================================================
:class:`DMLPClassifier`     the classifier
:class:`LabelPurifier`      the purification as a step of a pipeline
==========================  ===============================================================
"""

from .classifier import DMLPClassifier
from .purifier import LabelPurifier

__all__ = ["DMLPClassifier", "LabelPurifier"]

"""DMLP: labels purified on frozen features, the purifier and the classifier that uses it.

============================  ==========================================================
:class:`DMLPClassifier`       purifies the labels, then trains a network
:class:`LabelPurifier`        the purification as a step of a pipeline
:class:`PurificationVariant`  options in which the paper and its released code differ
============================  ==========================================================
"""

from .classifier import DMLPClassifier
from .purifier import LabelPurifier
from .variant import PurificationVariant

__all__ = ["DMLPClassifier", "LabelPurifier", "PurificationVariant"]

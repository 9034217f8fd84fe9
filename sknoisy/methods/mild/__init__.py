"""MILD: selection of rows by their learning dynamics.

===============================  ==========================================================
:class:`MILDClassifier`          the classifier
:class:`CleanSampleSelector`     the selection as a step of a pipeline
:func:`count_dynamics`           numbers of epochs in which each row is misclassified and
                                 memorised
:func:`segment_dynamics`         mean lengths of the runs of such epochs
:class:`LearningDynamics`        the result of both
===============================  ==========================================================
"""

from .classifier import MILDClassifier
from .dynamics import LearningDynamics, count_dynamics, segment_dynamics
from .selector import CleanSampleSelector

__all__ = [
    "CleanSampleSelector",
    "LearningDynamics",
    "MILDClassifier",
    "count_dynamics",
    "segment_dynamics",
]

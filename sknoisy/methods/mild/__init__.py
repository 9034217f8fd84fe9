"""MILD: rows selected by their learning dynamics, the selector, the classifier and their parts.

===============================  ==========================================================
:class:`MILDClassifier`          the classifier
:class:`CleanSampleSelector`     the selection as a step of a pipeline
:func:`count_dynamics`           epochs in which a row is misclassified and memorised, as
                                 :class:`LearningDynamics`
:func:`segment_dynamics`         mean lengths of the runs of such epochs
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

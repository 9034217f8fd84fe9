"""MLNT: the classifier for noise-tolerant training, and its parts.

===============================  ==========================================================
:class:`MLNTClassifier`          the classifier
:class:`LabelTransfer`           settings of the synthetic labels
:class:`Mentoring`               settings of the mentor
:class:`ToleranceGradient`       the gradient of the consistency loss, in plain torch
:class:`ToleranceProblem`        its input, one meta step
:class:`ToleranceStep`           its result
:class:`NoiseToleranceUpdate`    the meta step as a callback, for any skorch net
:func:`transfer_labels`          synthetic labels of a batch
:func:`consistency`              divergence of the student from the teacher
:func:`blend_targets`            mean of the teacher's and the mentor's probabilities
===============================  ==========================================================
"""

from .classifier import MLNTClassifier
from .gradient import ToleranceGradient, ToleranceProblem, ToleranceStep, consistency
from .mentoring import Mentoring, blend_targets
from .transfer import LabelTransfer, transfer_labels
from .update import NoiseToleranceUpdate

__all__ = [
    "LabelTransfer",
    "MLNTClassifier",
    "Mentoring",
    "NoiseToleranceUpdate",
    "ToleranceGradient",
    "ToleranceProblem",
    "ToleranceStep",
    "blend_targets",
    "consistency",
    "transfer_labels",
]

"""MLNT: noise-tolerant training, the classifier and its parts.

===============================  ==========================================================
:class:`MLNTClassifier`          the classifier
:class:`NoiseToleranceUpdate`    the meta step as a callback, for any skorch net
:class:`ToleranceGradient`       the gradient of the consistency loss, in plain torch
:func:`transfer_labels`          synthetic labels of a batch
:func:`consistency`              divergence of the student from the teacher
:func:`blend_targets`            mean of the teacher's and the mentor's probabilities
===============================  ==========================================================
"""

from .classifier import MLNTClassifier
from .gradient import ToleranceGradient, ToleranceProblem, ToleranceStep, consistency
from .mentoring import blend_targets
from .transfer import transfer_labels
from .update import NoiseToleranceUpdate

__all__ = [
    "MLNTClassifier",
    "NoiseToleranceUpdate",
    "ToleranceGradient",
    "ToleranceProblem",
    "ToleranceStep",
    "blend_targets",
    "consistency",
    "transfer_labels",
]

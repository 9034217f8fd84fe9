"""Displays of fitted estimators and of audits, by scikit-learn's convention.

Make a display from an estimator, by ``from_estimator``, or from arrays. It draws with matplotlib,
which is imported on the first drawing: ``pip install "sknoisy[plots]"``.
"""

from ._label_issues import LabelIssuesDisplay
from ._layer_usage import LayerUsageDisplay
from ._learning_dynamics import LearningDynamicsDisplay
from ._loss_histogram import LossHistogramDisplay
from ._sample_weights import SampleWeightDisplay
from ._transition_matrix import TransitionMatrixDisplay

__all__ = [
    "LabelIssuesDisplay",
    "LayerUsageDisplay",
    "LearningDynamicsDisplay",
    "LossHistogramDisplay",
    "SampleWeightDisplay",
    "TransitionMatrixDisplay",
]

"""Displays of fitted estimators, by scikit-learn's convention.

Make a display from an estimator, by ``from_estimator``, or from arrays. It draws with matplotlib,
which is imported on the first drawing: ``pip install "sknoisy[plots]"``.
"""

from ._layer_usage import LayerUsageDisplay
from ._learning_dynamics import LearningDynamicsDisplay

__all__ = ["LayerUsageDisplay", "LearningDynamicsDisplay"]

"""Displays of what a fitted classifier has learned, after scikit-learn's convention.

A display is made by ``from_estimator``, or from the numbers themselves, and draws with matplotlib,
which is imported when something is drawn: ``pip install "sknoisy[plots]"``.
"""

from ._layer_usage import LayerUsageDisplay
from ._learning_dynamics import LearningDynamicsDisplay

__all__ = ["LayerUsageDisplay", "LearningDynamicsDisplay"]

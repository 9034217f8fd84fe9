"""scikit-learn-compatible estimators for learning with noisy labels."""

from .classifiers import (
    CLIDMUClassifier,
    FaMUSClassifier,
    L2RClassifier,
    MetaWeightNetClassifier,
    MLCClassifier,
    MSLCClassifier,
    TransitionMLCClassifier,
)
from .purification import PurifiedClassifier

__all__ = [
    "CLIDMUClassifier",
    "FaMUSClassifier",
    "L2RClassifier",
    "MLCClassifier",
    "MSLCClassifier",
    "MetaWeightNetClassifier",
    "PurifiedClassifier",
    "TransitionMLCClassifier",
]
__version__ = "0.1.0.dev0"

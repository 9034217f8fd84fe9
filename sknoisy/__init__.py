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

__all__ = [
    "CLIDMUClassifier",
    "FaMUSClassifier",
    "L2RClassifier",
    "MLCClassifier",
    "MSLCClassifier",
    "MetaWeightNetClassifier",
    "TransitionMLCClassifier",
]
__version__ = "0.1.0.dev0"

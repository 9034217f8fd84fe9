"""scikit-learn-compatible estimators for learning with noisy labels."""

from .classifiers import (
    CLIDMUClassifier,
    DMLPClassifier,
    FaMUSClassifier,
    L2RClassifier,
    MetaWeightNetClassifier,
    MLCClassifier,
    MSLCClassifier,
    TransitionMLCClassifier,
)
from .purification import LabelPurifier, PurifiedClassifier

__all__ = [
    "CLIDMUClassifier",
    "DMLPClassifier",
    "FaMUSClassifier",
    "L2RClassifier",
    "LabelPurifier",
    "MLCClassifier",
    "MSLCClassifier",
    "MetaWeightNetClassifier",
    "PurifiedClassifier",
    "TransitionMLCClassifier",
]
__version__ = "0.1.0.dev0"

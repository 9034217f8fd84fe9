"""scikit-learn-compatible estimators for learning with noisy labels."""

from .classifiers import (
    CLIDMUClassifier,
    DMLPClassifier,
    FaMUSClassifier,
    L2RClassifier,
    MetaWeightNetClassifier,
    MILDClassifier,
    MLCClassifier,
    MLNTClassifier,
    MSLCClassifier,
    NoisyLabelClassifier,
    TransitionMLCClassifier,
)
from .purification import LabelPurifier, PurifiedClassifier
from .selection import CleanSampleSelector

__all__ = [
    "CLIDMUClassifier",
    "CleanSampleSelector",
    "DMLPClassifier",
    "FaMUSClassifier",
    "L2RClassifier",
    "LabelPurifier",
    "MILDClassifier",
    "MLCClassifier",
    "MLNTClassifier",
    "MSLCClassifier",
    "MetaWeightNetClassifier",
    "NoisyLabelClassifier",
    "PurifiedClassifier",
    "TransitionMLCClassifier",
]
__version__ = "0.1.0.dev0"

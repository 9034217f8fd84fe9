"""Steps that repair labels, and the classifier that stands behind such a step."""

from .label_purifier import LabelPurifier
from .purified_classifier import PurifiedClassifier

__all__ = ["LabelPurifier", "PurifiedClassifier"]

"""Steps that repair labels, and the classifier that stands behind such a step."""

from .purified_classifier import PurifiedClassifier

__all__ = ["PurifiedClassifier"]

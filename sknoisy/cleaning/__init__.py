"""Running a cleaner inside a classifier, :class:`PurifiedClassifier`, and judging it."""

from .purified_classifier import PurifiedClassifier

__all__ = ["PurifiedClassifier"]
